//! Running other programs, with their names and times said.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// The folder cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program that runs in the root of the repository.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// `cargo` with these arguments, of the toolchain that runs us.
pub fn cargo(arguments: &[&str]) -> Command {
    program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

/// Runs a program to its end; its output goes where ours goes. Its failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start {name}"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        bail!("`{name} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Builds every target of the workspace. Demo, tests and lints all build the same set, because
/// cargo compiles a dependency again for each set of packages that wants other features of it.
pub fn build_everything() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--all-targets", "--locked"]))
}

/// Whether a program can be started at all.
pub fn exists(name: &str, argument: &str) -> bool {
    Command::new(name)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The path of one of cargo's tools, which is kept in the target folder.
pub fn tool(name: &str) -> Result<PathBuf> {
    let folder = target().join("tools");
    let program = folder.join("bin").join(name);
    if !exists(&program.to_string_lossy(), "--version") {
        step(&format!("install {name}"), || {
            run(cargo(&["install", name, "--locked", "--quiet", "--root"])
                .arg(&folder)
                .env("CARGO_TARGET_DIR", target().join("tools-build")))
        })?;
    }
    Ok(program)
}

/// Does something under a headline and says how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {name}");
    let start = Instant::now();
    let done = work().with_context(|| format!("step `{name}`"))?;
    println!("    {name}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(done)
}
