//! The real `rp-relay`, run as a program.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, network, target};

/// How a relay is to run. By default it is plain HTTP on a free port of loopback.
#[derive(Debug, Clone)]
pub struct Options {
    /// It speaks TLS and QUIC, with a certificate that it makes for itself.
    pub encrypted: bool,
    /// Where it listens; on port 0 it takes a free one and keeps it.
    pub listen: SocketAddr,
    /// Host and port by which machines know it, where that is not the address itself.
    pub name: Option<String>,
    /// The network namespace that it runs in.
    pub namespace: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Options { encrypted: false, listen, name: None, namespace: None }
    }
}

/// A relay; dropping it ends it.
pub struct Relay {
    folder: TempDir,
    options: Options,
    fingerprint: Option<String>,
    process: Option<Child>,
}

impl Relay {
    /// A relay that listens, with memberships of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        Self::start_as(Options::default())
    }

    /// As [`Relay::start`], but otherwise.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_as(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-relay-").tempdir()?;
        let mut relay = Relay { folder, options, fingerprint: None, process: None };
        relay.start_again()?;
        Ok(relay)
    }

    /// Starts it again on the port it had.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let Options { encrypted, listen, name, namespace } = &self.options;
        let program = target::program("rp-relay", "RP_RELAY_BIN")?;
        let mut command = network::command(namespace.as_deref(), &program);
        command.current_dir(self.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--listen", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
        if *encrypted {
            command.arg("--self-signed");
        }
        if let Some(name) = name {
            command.args(["--name", name]);
        }
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
                for name in ["address", "fingerprint"] {
                    if let Some(value) = field(name) {
                        let _ = tell.send((name, value.to_owned()));
                    }
                }
            }
        });
        let says = |wanted: &str| -> Result<String> {
            loop {
                let (name, value) = told.recv_timeout(PATIENCE).context("it does not listen")?;
                if name == wanted {
                    return Ok(value);
                }
            }
        };
        self.options.listen = says("address")?.parse()?;
        if self.options.encrypted {
            self.fingerprint = Some(says("fingerprint")?);
        }
        Ok(())
    }

    /// Its URL, by the name that machines know.
    #[must_use]
    pub fn url(&self) -> String {
        let Options { encrypted, listen, name, .. } = &self.options;
        let scheme = if *encrypted { "https" } else { "http" };
        format!("{scheme}://{}", name.clone().unwrap_or_else(|| listen.to_string()))
    }

    /// What a machine needs in its environment to find it, and to know its certificate.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let url = ("REMOTE_PI_RELAY".to_owned(), self.url());
        let certificate = self.fingerprint.clone();
        let certificate = certificate.map(|shown| ("RP_HOST_RELAY_CERTIFICATE".to_owned(), shown));
        [url].into_iter().chain(certificate).collect()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// The folder of the memberships that owners have published.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Everything it keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}
