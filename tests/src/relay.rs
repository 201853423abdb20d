//! The real `rp-relay`, run as a program on a free port.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, target};

/// A relay; dropping it ends it.
pub struct Relay {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Relay {
    /// A relay that listens, with memberships of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-relay-").tempdir()?;
        let mut relay = Relay { folder, port: 0, process: None };
        relay.start_again()?;
        Ok(relay)
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
        command.args(["--log-format", "json"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().context("start rp-relay")?;
        let output = process.stderr.take().context("no standard error")?;
        self.process = Some(process);
        let (tell, told) = mpsc::channel();
        // Reads on, so that the relay never waits for room.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let field = |name: &str| line.get("fields")?.get(name)?.as_str();
                if field("message") == Some("listening")
                    && let Some(address) = field("address")
                {
                    let _ = tell.send(address.to_owned());
                }
            }
        });
        let address = told.recv_timeout(PATIENCE).context("the relay does not listen")?;
        let (_, port) = address.rsplit_once(':').context("an address has a port")?;
        self.port = port.parse()?;
        Ok(())
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}
