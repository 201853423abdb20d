//! Where cargo puts what it builds, found from where this very program is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Cargo's target folder.
pub fn folder() -> Result<PathBuf> {
    Ok(profile()?.parent().context("a profile is in the target folder")?.to_owned())
}

/// A program of this workspace, built with the same profile as the running one.
///
/// The environment variable `variable` names another file to use instead.
pub fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let path = profile()?.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is missing\nhint: build it with `cargo build -p {name}`, or name it in {variable}",
        path.display()
    );
    Ok(path)
}

/// The profile's folder in the target folder: programs are in it, tests in its `deps`.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    let outside_deps = |folder: &&Path| !folder.ends_with("deps");
    let profile = program.ancestors().skip(1).find(outside_deps);
    Ok(profile.context("a program is in a folder")?.to_owned())
}
