//! A network of its own: every machine in a network namespace, with a cable to one switch. Needs
//! Linux, its program `ip`, and the right to make namespaces.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, bail};

/// The name of a machine's own end of its cable.
const INTERFACE: &str = "eth0";

/// A switch in a namespace of its own. What is plugged in goes with it.
pub struct Network {
    switch: String,
    namespaces: Vec<String>,
}

/// A machine's place on a network.
#[derive(Debug, Clone)]
pub struct Station {
    /// The namespace that its programs run in.
    pub namespace: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The switch's end of its cable.
    port: String,
}

impl Network {
    /// A network with nothing on it.
    ///
    /// # Errors
    /// When this machine does not allow it; the text says what was refused.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let switch = format!("rp-{}-{number}", std::process::id());
        ip(&["netns", "add", &switch])?;
        let network = Network { namespaces: vec![switch.clone()], switch };
        ip(&["-n", &network.switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &network.switch, "link", "set", "switch", "up"])?;
        Ok(network)
    }

    /// Plugs one more machine in.
    ///
    /// # Errors
    /// When this machine does not allow it.
    pub fn station(&mut self) -> Result<Station> {
        let number = self.namespaces.len();
        let address = Ipv4Addr::new(10, 77, 0, u8::try_from(number).context("too many stations")?);
        let namespace = format!("{}-{number}", self.switch);
        let port = format!("port{number}");
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        ip(&["-n", &self.switch, "link", "add", &port, "type", "veth"]
            .into_iter()
            .chain(["peer", "name", INTERFACE, "netns", &namespace])
            .collect::<Vec<_>>())?;
        ip(&["-n", &self.switch, "link", "set", &port, "master", "switch", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
        ip(&["-n", &namespace, "link", "set", INTERFACE, "up"])?;
        Ok(Station { namespace, address, port })
    }

    /// Cuts a machine's cable somewhere on its way, or mends it. The machine is not told.
    ///
    /// # Errors
    /// When this machine does not allow it.
    pub fn plug(&self, station: &Station, is_in: bool) -> Result<()> {
        // Without its bridge a port takes nothing and gives nothing, and its other end stays up.
        let how = if is_in { ["master", "switch"].as_slice() } else { ["nomaster"].as_slice() };
        let set = ["-n", &self.switch, "link", "set", &station.port];
        ip(&set.into_iter().chain(how.iter().copied()).collect::<Vec<_>>())
    }

    /// Switches a machine's interface off or on, as the machine itself would.
    ///
    /// # Errors
    /// When this machine does not allow it.
    pub fn interface(&self, station: &Station, is_on: bool) -> Result<()> {
        let state = if is_on { "up" } else { "down" };
        ip(&["-n", &station.namespace, "link", "set", INTERFACE, state])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

/// A command that runs a program, in a network namespace if one is named.
#[must_use]
pub fn command(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("ip");
    // It becomes the program, so its process is the program's.
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("start ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
