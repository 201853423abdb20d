//! Fuzzing: each parser has a target in `fuzz/fuzz_targets`.

use anyhow::{Context, Result, bail};

use crate::run::{cargo, program, root, run, step};

/// Fuzzes one target for some minutes.
pub fn fuzz(target: &str, minutes: u64) -> Result<()> {
    if !targets()?.iter().any(|known| known == target) {
        bail!("there is no fuzz target {target}; there are: {}", targets()?.join(", "));
    }
    if let Some(missing) = missing() {
        bail!("{missing}");
    }
    for_seconds(target, minutes * 60)
}

/// Fuzzes every target for a few seconds each, or says why it cannot.
pub fn every_target_briefly(seconds: u64) -> Result<()> {
    if let Some(missing) = missing() {
        println!("    left out: {missing}");
        return Ok(());
    }
    for target in targets()? {
        step(&format!("fuzz {target} for {seconds} s"), || for_seconds(&target, seconds))?;
    }
    Ok(())
}

fn for_seconds(target: &str, seconds: u64) -> Result<()> {
    let limit = format!("-max_total_time={seconds}");
    run(program("cargo", &["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz", target, "--", &limit])
        .env_remove("RUSTUP_TOOLCHAIN"))
}

/// What is missing on this machine, with what to do about it.
fn missing() -> Option<&'static str> {
    if !nightly() {
        return Some("no nightly toolchain (install one with `rustup toolchain install nightly`)");
    }
    if !cargo(&["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Some("cargo-fuzz is missing (install it with `cargo install cargo-fuzz`)");
    }
    None
}

fn nightly() -> bool {
    program("rustc", &["+nightly", "--version"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = file?.path();
        if let (Some(name), Some("rs")) =
            (path.file_stem(), path.extension().and_then(|ending| ending.to_str()))
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
