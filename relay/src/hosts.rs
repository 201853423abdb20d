//! The hosts that are connected, and who watches which machine.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rp_protocol::key::PublicKey;

use crate::host::Host;
use crate::registry::{LastOffline, Watches};

/// Whom a machine wants to watch.
#[derive(Debug, Default)]
struct Wish {
    machines: Arc<[PublicKey]>,
    /// How often it was begun to find out whom of them it may watch.
    looks: u64,
}

/// All hosts. A machine has one, unless it was cloned.
#[derive(Debug, Default)]
pub struct Hosts {
    /// Never empty lists, in the order of their logins.
    connected: HashMap<PublicKey, Vec<Arc<Host>>>,
    wishes: HashMap<PublicKey, Wish>,
    /// Of the wishes, what memberships allow.
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
            self.wishes.remove(&host.key);
            self.watches.forget(&host.key);
            self.offline.remember(host.key, now);
        }
    }

    /// The host of a machine that logged in last.
    #[must_use]
    pub fn newest(&self, key: &PublicKey) -> Option<&Arc<Host>> {
        self.connected.get(key).and_then(|hosts| hosts.last())
    }

    /// Every host of a machine.
    pub fn of(&self, key: &PublicKey) -> impl Iterator<Item = &Arc<Host>> {
        self.connected.get(key).into_iter().flatten()
    }

    /// Every host.
    pub fn everybody(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.connected.values().flatten()
    }

    /// From now on a machine wants to watch these and nobody else.
    pub fn wish(&mut self, watcher: &PublicKey, machines: &[PublicKey]) {
        if self.connected.contains_key(watcher) {
            self.wishes.entry(*watcher).or_default().machines = machines.into();
        }
    }

    /// Whether a machine wants to watch one of these.
    #[must_use]
    pub fn wishes_any(&self, watcher: &PublicKey, machines: &HashSet<PublicKey>) -> bool {
        let wish = self.wishes.get(watcher);
        wish.is_some_and(|wish| wish.machines.iter().any(|machine| machines.contains(machine)))
    }

    /// Begins to find out whom of its wishes a machine may watch, for [`Hosts::watch`].
    pub fn look(&mut self, watcher: &PublicKey) -> Option<(Arc<[PublicKey]>, u64)> {
        let wish = self.wishes.get_mut(watcher)?;
        wish.looks += 1;
        Some((Arc::clone(&wish.machines), wish.looks))
    }

    /// From now on a machine watches these. Not if somebody has looked again since: they know
    /// better. Whether it does.
    pub fn watch(&mut self, watcher: &PublicKey, watched: &[PublicKey], look: u64) -> bool {
        let is_newest = self.wishes.get(watcher).is_some_and(|wish| wish.looks == look);
        if is_newest {
            self.watches.replace(watcher, watched, watched.len());
        }
        is_newest
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
