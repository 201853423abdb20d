//! Every check that a change must pass, in the order in which it tells most for least time.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    demo, fuzz,
    run::{build_everything, cargo, program, root, run, step, target, tool},
    setup,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 10] = [
    ("format", format),
    ("toolchain", setup::toolchain),
    ("released interfaces", released_interfaces),
    ("guests: lints and replays", guests),
    ("lints", lints),
    ("unit and integration tests", tests),
    ("demonstration", || demo::demo("demo")),
    ("documentation", documentation),
    ("licences and sources", licences),
    ("fuzzing", || fuzz::every_target_briefly(10)),
];

/// Runs every step, or those whose name contains `only`.
pub fn test(only: Option<&str>) -> Result<()> {
    let start = Instant::now();
    let chosen: Vec<_> =
        STEPS.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))).collect();
    if chosen.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step is named like that; the steps are: {}", names.join(", "));
    }
    for (name, work) in &chosen {
        step(name, work)?;
    }
    println!(
        "All {} steps passed in {:.0} min.",
        chosen.len(),
        start.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

fn format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&["fmt", "--check"]).current_dir(root().join("fuzz")))?;
    run(&mut guest_cargo(&["fmt", "--all", "--check"]))
}

fn released_interfaces() -> Result<()> {
    let broken = rp_guests::check_released(&root())?;
    if !broken.is_empty() {
        bail!("wit/ no longer honours what was released:\n{}", broken.join("\n"));
    }
    Ok(())
}

fn guests() -> Result<()> {
    run(&mut guest_cargo(&["clippy", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    run(&mut guest_cargo(&["test", "--locked"]))
}

fn lints() -> Result<()> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn tests() -> Result<()> {
    build_everything()?;
    run(&mut cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]))
}

fn documentation() -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    for mut command in [cargo(&arguments), guest_cargo(&arguments)] {
        run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}

fn licences() -> Result<()> {
    let deny = tool("cargo-deny")?;
    run(program(&deny.to_string_lossy(), &["check", "bans", "licenses", "sources"])
        .env("CARGO_TERM_QUIET", "true"))
}

/// `cargo` in the workspace of the guests, compiled for this machine.
fn guest_cargo(arguments: &[&str]) -> std::process::Command {
    let mut command = cargo(arguments);
    command
        .current_dir(root().join("adapters"))
        .env("CARGO_TARGET_DIR", target().join("guests-native"));
    command
}
