//! Running other programs: with an environment of our own, line by line, or not for long.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::Progress;

/// Lines of a failed program that its error repeats.
const REPEATED_LINES: usize = 40;

/// A command in `folder` whose environment says nothing about the cargo that may be running
/// us: a build script's variables describe the host package, not the guests.
pub(crate) fn clean(program: impl AsRef<Path>, folder: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_a_build) {
            command.env_remove(name);
        }
    }
    command
}

fn describes_a_build(name: &str) -> bool {
    // These two say where things are installed, not what is being built.
    if matches!(name, "CARGO_HOME" | "RUSTUP_HOME") {
        return false;
    }
    // Proxies and mirrors of the user's own set-up.
    if ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    {
        return false;
    }
    name.starts_with("CARGO")
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || name.starts_with("CLIPPY")
        || matches!(
            name,
            "RUSTFLAGS"
                | "RUSTUP_TOOLCHAIN"
                | "RUST_RECURSION_COUNT"
                | "OUT_DIR"
                | "TARGET"
                | "HOST"
                | "PROFILE"
                | "OPT_LEVEL"
                | "DEBUG"
                | "NUM_JOBS"
                | "MAKEFLAGS"
                | "MFLAGS"
                // Points at the libraries of the compiler that runs us.
                | "LD_LIBRARY_PATH"
                | "DYLD_FALLBACK_LIBRARY_PATH"
        )
}

/// What the program prints, trimmed; `None` when it cannot run or fails.
pub(crate) fn output(mut command: Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs the program to its end and hands on its standard error line by line. The error of a
/// failed program repeats the last of them.
pub(crate) fn run(mut command: Command, progress: &mut Progress) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut lines: Vec<String> = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {name} prints"))?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            progress(&line);
            if lines.len() == REPEATED_LINES {
                lines.remove(0);
            }
            lines.push(line);
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}); it last said:\n{}", lines.join("\n"));
    }
    Ok(())
}

/// Runs the program quietly and says whether it succeeded within `limit`; it is ended when
/// it takes longer.
pub(crate) fn succeeds_within(mut command: Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(50)),
            Ok(None) | Err(_) => {
                // Both fail only when the process is already gone, which is what we want.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = clean("sh", Path::new("/"));
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let start = Instant::now();
        assert!(!succeeds_within(shell("exec sleep 60"), Duration::from_millis(100)));
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(succeeds_within(shell("exit 0"), Duration::from_secs(30)));
        assert!(!succeeds_within(shell("exit 1"), Duration::from_secs(30)));
    }

    #[test]
    fn the_error_of_a_failed_program_repeats_what_it_said() {
        let mut seen = Vec::new();
        let error = run(shell("echo one >&2; echo two >&2; exit 3"), &mut |line| {
            seen.push(line.to_owned());
        })
        .unwrap_err();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(error.to_string(), "sh failed (exit status: 3); it last said:\none\ntwo");
    }

    #[test]
    fn what_cargo_tells_a_build_script_is_not_handed_on() {
        for name in ["CARGO", "CARGO_PKG_NAME", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS"] {
            assert!(describes_a_build(name), "{name}");
        }
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "TARGET"] {
            assert!(describes_a_build(name), "{name}");
        }
    }

    #[test]
    fn where_things_are_and_how_to_reach_the_network_is_handed_on() {
        for name in ["CARGO_HOME", "RUSTUP_HOME", "CARGO_HTTP_PROXY", "PATH", "HOME"] {
            assert!(!describes_a_build(name), "{name}");
        }
    }
}
