//! Fuzzing: each parser has a target in `fuzz/fuzz_targets`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{program, root, run, step, target, tool};

/// Fuzzes one target for some minutes.
pub fn fuzz(name: &str, minutes: u64) -> Result<()> {
    let targets = targets()?;
    if !targets.iter().any(|known| known == name) {
        bail!("there is no fuzz target {name}; there are: {}", targets.join(", "));
    }
    if !has_nightly() {
        bail!("fuzzing needs a nightly compiler: `rustup toolchain install nightly`");
    }
    tool("cargo-fuzz")?;
    for_seconds(name, minutes * 60)
}

/// Fuzzes every target for a few seconds each, or says why it cannot.
pub fn every_target_briefly(seconds: u64) -> Result<()> {
    if !has_nightly() {
        println!("    left out: there is no nightly compiler on this machine");
        return Ok(());
    }
    tool("cargo-fuzz")?;
    for name in targets()? {
        step(&format!("fuzz {name} for {seconds} s"), || for_seconds(&name, seconds))?;
    }
    Ok(())
}

fn for_seconds(name: &str, seconds: u64) -> Result<()> {
    let limit = format!("-max_total_time={seconds}");
    let arguments =
        ["fuzz", "run", "--fuzz-dir", "fuzz", name, "--", &limit, "-verbosity=0", "-print_funcs=0"];
    run(nightly("cargo", &arguments).env("CARGO_TARGET_DIR", target().join("fuzz")))
}

/// A program of the nightly toolchain, with the tools of the target folder.
fn nightly(name: &str, arguments: &[&str]) -> Command {
    let mut command = program(name, &["+nightly"]);
    command.args(arguments).env_remove("RUSTUP_TOOLCHAIN");
    let tools = target().join("tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command
}

fn has_nightly() -> bool {
    nightly("rustc", &["--version"]).output().is_ok_and(|output| output.status.success())
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
