//! What this host wants on the mesh, whoever leads it.

use std::sync::Arc;

use rp_protocol::mesh::Register;
use tokio::sync::watch;

use crate::agent::AgentId;
use crate::mailbox::Origin;
use crate::mesh::Agent;

/// The mailbox of the person at this machine. No agent gets it: ids of agents are hashes, and
/// this one stands out in a listing.
#[must_use]
pub fn person_mailbox() -> AgentId {
    "00000000".parse().unwrap_or_else(|_| AgentId::random())
}

/// An agent of this host, or the person at this machine, and where it stands on the mesh.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) agent: AgentId,
    pub(crate) origin: Origin,
    /// What it asks for each time it registers; numbers it was given are not remembered.
    pub(crate) request: Register,
    pub(crate) harness: Option<String>,
    address: watch::Sender<Option<Arc<str>>>,
}

impl Member {
    pub(crate) fn new(
        agent: AgentId,
        origin: Origin,
        cwd: String,
        name: String,
        harness: Option<String>,
    ) -> Self {
        Member {
            agent,
            origin,
            request: Register { name, cwd, takeover: false },
            harness,
            address: watch::Sender::new(None),
        }
    }

    pub(crate) fn agent(agent: Agent) -> Self {
        let Agent { id, cwd, name, harness } = agent;
        Member::new(id, Origin::Agent, cwd, name, harness)
    }

    pub(crate) fn set_address(&self, address: Option<&str>) {
        self.address.send_replace(address.map(Arc::from));
    }

    /// Its address on the mesh, when it is registered.
    pub(crate) fn address(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.address.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_persons_mailbox_is_always_the_same() {
        assert_eq!(super::person_mailbox().as_str(), "00000000");
    }
}
