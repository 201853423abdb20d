//! The real `rp-relay`, run as a program on a free port.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, target};

/// A relay; dropping it ends it.
pub struct Relay {
    folder: TempDir,
    flags: Vec<String>,
    port: u16,
    fingerprint: Option<String>,
    process: Option<Child>,
}

impl Relay {
    /// A relay that listens, with memberships of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// A relay that was started with these flags as well.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(flags: &[&str]) -> Result<Self> {
        let mut relay = Self::stopped(flags)?;
        relay.start_again()?;
        Ok(relay)
    }

    /// A relay that does not run yet.
    ///
    /// # Errors
    /// When it gets no folder.
    pub fn stopped(flags: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-relay-").tempdir()?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Relay { folder, flags, port: 0, fingerprint: None, process: None })
    }

    /// Starts it again on the port it had.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let program = target::program("rp-relay", "RP_RELAY_BIN")?;
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear();
        command.args(["--listen", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--log-format", "json"]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().context("start rp-relay")?;
        let output = process.stderr.take().context("no standard error")?;
        self.process = Some(process);
        let (tell, told) = mpsc::channel();
        // Reads on, so that the relay never waits for room.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                for name in ["address", "fingerprint"] {
                    if let Some(value) = line.pointer(&format!("/fields/{name}")) {
                        let _ = tell.send((name, value.as_str().unwrap_or_default().to_owned()));
                    }
                }
            }
        });
        let has_own_certificate = self.flags.iter().any(|flag| flag == "--self-signed");
        let mut port = None;
        while port.is_none() || (has_own_certificate && self.fingerprint.is_none()) {
            match told.recv_timeout(PATIENCE).context("the relay does not listen")? {
                ("address", value) => port = value.rsplit_once(':').map(|(_, it)| it.parse()),
                (_, value) => self.fingerprint = Some(value),
            }
        }
        self.port = port.context("an address has a port")??;
        Ok(())
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The fingerprint of its certificate, when `--self-signed` is one of its flags.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// The file with the memberships.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("data/mesh.redb")
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends it as an operator would: its clients are told, and leave.
    ///
    /// # Errors
    /// When it is not told.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        process.wait()?;
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}
