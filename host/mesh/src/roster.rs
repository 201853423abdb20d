//! Who is registered, in the order they came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rp_protocol::routing;

use crate::agent::AgentId;
use crate::connection::{Connection, lock};
use crate::mailbox::Origin;

/// How a peer is reached.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// A program on the socket.
    Socket(Arc<Connection>),
    /// Run by this host: its messages go to its mailbox.
    Mailbox(AgentId, Origin),
}

/// One registered peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: Arc<str>,
    pub(crate) cwd: String,
    pub(crate) name: String,
    pub(crate) harness: Option<String>,
    pub(crate) link: Link,
    sent: Mutex<LastMinute>,
}

impl Peer {
    pub(crate) fn new(
        address: &str,
        cwd: &str,
        name: &str,
        harness: Option<&str>,
        link: Link,
    ) -> Self {
        Peer {
            address: Arc::from(address),
            cwd: cwd.to_owned(),
            name: name.to_owned(),
            harness: harness.map(str::to_owned),
            link,
            sent: Mutex::new(LastMinute::default()),
        }
    }

    /// As a routing policy sees it.
    pub(crate) fn facts(&self) -> routing::Peer<'_> {
        routing::Peer {
            pc: None,
            cwd: &self.cwd,
            name: &self.name,
            address: &self.address,
            harness: self.harness.as_deref(),
            person: self.is_agent(&AgentId::person()),
        }
    }

    /// Counts an envelope of this peer and tells how many it sent in the minute before.
    pub(crate) fn count_sent(&self, now_ms: u64) -> u32 {
        lock(&self.sent).count(now_ms)
    }

    /// Its mailbox, when it is an agent of this host or the person at it.
    pub(crate) fn agent(&self) -> Option<AgentId> {
        match &self.link {
            Link::Mailbox(agent, _) => Some(agent.clone()),
            Link::Socket(_) => None,
        }
    }

    /// What its messages are stored as.
    pub(crate) fn origin(&self) -> Origin {
        match self.link {
            Link::Socket(_) => Origin::Agent,
            Link::Mailbox(_, origin) => origin,
        }
    }

    pub(crate) fn is_agent(&self, wanted: &AgentId) -> bool {
        matches!(&self.link, Link::Mailbox(agent, _) if agent == wanted)
    }
}

/// Counts events of the last sixty seconds, to the second.
#[derive(Debug)]
pub(crate) struct LastMinute {
    counts: [u32; 60],
    total: u32,
    second: u64,
}

impl Default for LastMinute {
    fn default() -> Self {
        LastMinute { counts: [0; 60], total: 0, second: 0 }
    }
}

impl LastMinute {
    /// Counts one event and returns how many there were before.
    pub(crate) fn count(&mut self, now_ms: u64) -> u32 {
        let second = now_ms / 1000;
        // A clock that was set back counts on in the newest second.
        for passed in self.second.max(second.saturating_sub(60))..second {
            if let Some(slot) = self.counts.get_mut(((passed + 1) % 60) as usize) {
                self.total = self.total.saturating_sub(*slot);
                *slot = 0;
            }
        }
        self.second = self.second.max(second);
        let before = self.total;
        if let Some(slot) = self.counts.get_mut((self.second % 60) as usize) {
            *slot = slot.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
        before
    }
}

/// Counts what senders that are not on the roster sent in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    sent: Mutex<HashMap<String, LastMinute>>,
}

impl Strangers {
    /// Most senders that are remembered; beyond it all are forgotten and counted anew.
    const MOST: usize = 4096;

    pub(crate) fn count_sent(&self, sender: &str, now_ms: u64) -> u32 {
        let mut sent = lock(&self.sent);
        if let Some(last_minute) = sent.get_mut(sender) {
            return last_minute.count(now_ms);
        }
        if sent.len() >= Self::MOST {
            sent.clear();
        }
        sent.entry(sender.to_owned()).or_default().count(now_ms)
    }
}

/// Who is registered.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    by_address: HashMap<Arc<str>, Arc<Peer>>,
    in_order: Vec<Arc<Peer>>,
}

impl Roster {
    pub(crate) fn get(&self, address: &str) -> Option<&Arc<Peer>> {
        self.by_address.get(address)
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len()
    }

    /// All peers, in the order they registered.
    pub(crate) fn peers(&self) -> &[Arc<Peer>] {
        &self.in_order
    }

    pub(crate) fn insert(&mut self, peer: Arc<Peer>) {
        self.by_address.insert(Arc::clone(&peer.address), Arc::clone(&peer));
        self.in_order.push(peer);
    }

    /// Removes this very peer. False when another one has its address by now.
    pub(crate) fn remove(&mut self, peer: &Arc<Peer>) -> bool {
        let is_current =
            self.by_address.get(&peer.address).is_some_and(|current| Arc::ptr_eq(current, peer));
        if is_current {
            self.by_address.remove(&peer.address);
            self.in_order.retain(|other| !Arc::ptr_eq(other, peer));
        }
        is_current
    }

    /// Removes everybody.
    pub(crate) fn clear(&mut self) -> Vec<Arc<Peer>> {
        self.by_address.clear();
        std::mem::take(&mut self.in_order)
    }
}

#[cfg(test)]
mod tests {
    use super::LastMinute;

    #[test]
    fn events_are_counted_for_sixty_seconds() {
        let mut sent = LastMinute::default();
        assert_eq!(sent.count(1_000_000), 0);
        assert_eq!(sent.count(1_000_500), 1);
        assert_eq!(sent.count(1_030_000), 2);
        assert_eq!(sent.count(1_059_999), 3);
        assert_eq!(sent.count(1_060_000), 2, "the first two are a minute old");
        assert_eq!(sent.count(1_059_000), 3, "a clock set back loses nothing");
        assert_eq!(sent.count(9_000_000), 0);
    }
}
