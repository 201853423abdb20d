//! The real `rp-relay`, run as a program.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
};

use anyhow::{Context, Result, ensure};
use rp_protocol::{
    key::SecretKey,
    membership::{Membership, write_publication},
};
use rustix::process::{Pid, Signal, kill_process};
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
    /// Further flags of the program.
    pub flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Options { encrypted: false, listen, name: None, namespace: None, flags: Vec::new() }
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

    /// As [`Relay::start`], with these flags as well.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(flags: &[&str]) -> Result<Self> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self::start_as(Options { flags, ..Options::default() })
    }

    /// As [`Relay::start`], but otherwise.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_as(options: Options) -> Result<Self> {
        let mut relay = Self::stopped(options)?;
        relay.start_again()?;
        Ok(relay)
    }

    /// One that does not run yet.
    ///
    /// # Errors
    /// When it gets no folder.
    pub fn stopped(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-relay-").tempdir()?;
        Ok(Relay { folder, options, fingerprint: None, process: None })
    }

    /// Starts it again on the port it had.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let Options { encrypted, listen, name, namespace, flags } = &self.options;
        let program = target::program("rp-relay", "RP_RELAY_BIN")?;
        let mut command = network::command(namespace.as_deref(), &program);
        command.current_dir(self.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--listen", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
        let encrypted = *encrypted;
        if encrypted {
            command.arg("--self-signed");
        }
        if let Some(name) = name {
            command.args(["--name", name]);
        }
        command.args(flags);
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
        if encrypted || self.options.flags.iter().any(|flag| flag == "--self-signed") {
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

    /// The fingerprint of its own certificate, when it made one.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
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

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Has an owner publish a membership.
///
/// # Errors
/// When the relay does not take it.
pub async fn publish(
    relay: &rp_link::Relay,
    owner: &SecretKey,
    membership: Membership,
) -> Result<()> {
    let body = write_publication(&membership.sign(owner));
    let path = format!("/mesh/{}", owner.public().hash());
    let (status, answer) = rp_link::post(relay, &path, body, 1 << 20, PATIENCE).await?;
    ensure!(status == 200, "not taken: {status}: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}
