//! The hosts that are connected, and who watches which machine.

use std::collections::HashMap;
use std::sync::Arc;

use rp_protocol::key::PublicKey;

use crate::host::Host;
use crate::registry::{LastOffline, Watches};

/// All hosts. A machine has one, unless it was cloned.
#[derive(Debug, Default)]
pub struct Hosts {
    /// Never empty lists, in the order of their logins.
    connected: HashMap<PublicKey, Vec<Arc<Host>>>,
    watches: Watches,
    offline: LastOffline,
}

impl Hosts {
    /// Adds a host; returns those with the same key that were there before.
    pub fn add(&mut self, host: &Arc<Host>) -> Vec<Arc<Host>> {
        let of_key = self.connected.entry(host.key).or_default();
        let before = of_key.clone();
        of_key.push(Arc::clone(host));
        before
    }

    /// Removes a host. `now` is in milliseconds since 1970.
    pub fn remove(&mut self, host: &Arc<Host>, now: u64) {
        let Some(of_key) = self.connected.get_mut(&host.key) else { return };
        of_key.retain(|other| !Arc::ptr_eq(other, host));
        if of_key.is_empty() {
            self.connected.remove(&host.key);
            self.watches.forget(&host.key);
            self.offline.remember(host.key, now);
        }
    }

    /// The host of a machine that logged in last.
    #[must_use]
    pub fn newest(&self, key: &PublicKey) -> Option<&Arc<Host>> {
        self.connected.get(key).and_then(|hosts| hosts.last())
    }

    /// Every host.
    pub fn everybody(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.connected.values().flatten()
    }

    /// From now on `watcher` watches these and nobody else.
    pub fn watch(&mut self, watcher: &PublicKey, watched: &[PublicKey], bound: usize) {
        self.watches.replace(watcher, watched, bound);
    }

    /// The hosts that watch a machine.
    pub fn watchers(&self, key: &PublicKey) -> impl Iterator<Item = &Arc<Host>> {
        self.watches.watchers(key).filter_map(|watcher| self.connected.get(watcher)).flatten()
    }

    /// When the last host of a machine went, in milliseconds since 1970.
    #[must_use]
    pub fn offline_since(&self, key: &PublicKey) -> Option<u64> {
        self.offline.since(key)
    }
}
