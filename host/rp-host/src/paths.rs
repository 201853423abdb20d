//! Where everything is: the state root and the files in it.

use std::path::{Path, PathBuf};

use crate::problem::{Problem, While};

/// The state root `R`: `${REMOTE_PI_HOME:-$HOME}/.pi/remote`, shared with Remote Pi.
#[derive(Debug, Clone)]
pub struct StateRoot(PathBuf);

impl StateRoot {
    /// From the environment; `REMOTE_PI_HOME` wins over the home folder.
    pub fn from_environment() -> Result<Self, Problem> {
        let home = std::env::var_os("REMOTE_PI_HOME")
            .filter(|home| !home.is_empty())
            .or_else(|| std::env::var_os("HOME").filter(|home| !home.is_empty()))
            .ok_or_else(|| {
                Problem::failed("there is no home folder: neither REMOTE_PI_HOME nor HOME is set")
                    .hint("set REMOTE_PI_HOME to the folder that holds your agents' state")
            })?;
        // Agents work in other folders: what they are told must not depend on this one.
        let home = std::path::absolute(home).doing("find the current folder")?;
        Ok(Self(home.join(".pi/remote")))
    }

    /// `R` itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Everything that Remote Pi does not know.
    pub fn host(&self) -> PathBuf {
        self.0.join("host")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.host().join("host.sock")
    }

    /// The socket of the local mesh.
    pub fn broker_socket(&self) -> PathBuf {
        self.0.join("sessions/local/broker.sock")
    }

    /// What the broker routed.
    pub fn audit(&self) -> PathBuf {
        self.0.join("sessions/local/audit.jsonl")
    }

    /// The agents that are kept on this machine, in Remote Pi's format.
    pub fn registry(&self) -> PathBuf {
        self.0.join("daemons.json")
    }

    /// Settings of this program.
    pub fn settings(&self) -> PathBuf {
        self.host().join("config.json")
    }

    /// Mailboxes, histories and traces.
    pub fn database(&self) -> PathBuf {
        self.host().join("host.redb")
    }

    /// Compiled components.
    pub fn cache(&self) -> PathBuf {
        self.host().join("cache")
    }

    /// The key that the records of compiled components are checked with.
    pub fn cache_key(&self) -> PathBuf {
        self.host().join("cache.key")
    }

    /// The folder a person drops components into.
    pub fn components(&self) -> PathBuf {
        self.host().join("components")
    }

    /// Copies of those components that are in force.
    pub fn components_in_force(&self) -> PathBuf {
        self.host().join("components.in-force")
    }

    /// What tests of adapters saw.
    pub fn conformance(&self) -> PathBuf {
        self.host().join("conformance.json")
    }

    /// What was granted to components.
    pub fn grants(&self) -> PathBuf {
        self.host().join("grants.toml")
    }

    /// Which routing policies decide, in which order, and their settings.
    pub fn policy_settings(&self) -> PathBuf {
        self.host().join("policy.toml")
    }

    /// What the machine's administrator forbids. Another file can be named where there is none in
    /// the usual place.
    pub fn system_policy(&self) -> PathBuf {
        let usual = PathBuf::from("/etc/rp-host/components.toml");
        match std::env::var_os("RP_HOST_SYSTEM_POLICY") {
            Some(other) if !usual.exists() => other.into(),
            _ => usual,
        }
    }

    /// Logs of the daemon and of each component.
    pub fn logs(&self) -> PathBuf {
        self.host().join("logs")
    }

    /// Log of a daemon that runs in the background.
    pub fn daemon_log(&self) -> PathBuf {
        self.logs().join("serve.log")
    }

    /// Launch files and run records of harness processes.
    pub fn sessions(&self) -> PathBuf {
        self.host().join("sessions")
    }

    /// What harnesses in terminals are handed over, in a folder for each.
    pub fn live(&self) -> PathBuf {
        self.host().join("live")
    }

    /// The folder of the skill that teaches a model the mesh, where Remote Pi keeps its own.
    pub fn skill(&self) -> PathBuf {
        self.0.join("skills/agent-network")
    }

    /// Where the skill was before it had a folder.
    pub fn old_skill(&self) -> PathBuf {
        self.0.join("skills/agent-network.md")
    }
}
