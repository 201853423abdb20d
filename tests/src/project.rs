//! Projects of components, written by `rp-host component new` and built as their authors build them.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::host::Host;

/// A project in JavaScript, written and built in the host's folders. Gives its folder, which is a
/// package too.
///
/// # Errors
/// When npm is missing or fails; the text says what to install.
pub async fn javascript(host: &Host, kind: &str, id: &str) -> Result<PathBuf> {
    let project = host.agent_folder("projects")?.join(id);
    let path = project.to_str().context("the folder's path is no text")?;
    let made = host.run(&["component", "new", kind, path, "--lang", "js"]).await?;
    ensure!(made.code == Some(0), "{}", made.stderr);
    for arguments in [&["install", "--silent", "--no-audit", "--no-fund"][..], &["run", "build"]] {
        let npm = Command::new("npm").args(arguments).current_dir(&project).output();
        let npm = npm.context("npm is missing\nhint: install Node.js 22, which npm comes with")?;
        ensure!(npm.status.success(), "{}", String::from_utf8_lossy(&npm.stderr));
    }
    Ok(project)
}
