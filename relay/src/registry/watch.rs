//! Who watches whom.

use std::collections::{HashMap, HashSet};

use rp_protocol::key::PublicKey;

/// Both directions of "watches": asked for by watcher when it changes, by watched when something
/// happens.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watched_by: HashMap<PublicKey, HashSet<PublicKey>>,
    watchers_of: HashMap<PublicKey, HashSet<PublicKey>>,
}

impl Watches {
    /// From now on `watcher` watches the first `bound` of these and nobody else. Returns how many
    /// more there are.
    pub(crate) fn replace(
        &mut self,
        watcher: &PublicKey,
        watched: &[PublicKey],
        bound: usize,
    ) -> usize {
        self.forget(watcher);
        let mut kept = HashSet::new();
        let mut dropped = 0;
        for peer in watched {
            if kept.len() < bound {
                kept.insert(*peer);
            } else if !kept.contains(peer) {
                dropped += 1;
            }
        }
        for peer in &kept {
            self.watchers_of.entry(*peer).or_default().insert(*watcher);
        }
        if !kept.is_empty() {
            kept.shrink_to_fit();
            self.watched_by.insert(*watcher, kept);
        }
        dropped
    }

    /// `watcher` no longer watches these.
    pub(crate) fn remove(&mut self, watcher: &PublicKey, watched: &[PublicKey]) {
        let Some(kept) = self.watched_by.get_mut(watcher) else { return };
        for peer in watched {
            if kept.remove(peer) {
                unlink(&mut self.watchers_of, peer, watcher);
            }
        }
        if kept.is_empty() {
            self.watched_by.remove(watcher);
        }
    }

    /// `watcher` watches nobody.
    pub(crate) fn forget(&mut self, watcher: &PublicKey) {
        for peer in self.watched_by.remove(watcher).into_iter().flatten() {
            unlink(&mut self.watchers_of, &peer, watcher);
        }
    }

    pub(crate) fn watchers(&self, peer: &PublicKey) -> impl Iterator<Item = &PublicKey> {
        self.watchers_of.get(peer).into_iter().flatten()
    }

    pub(crate) fn is_watching(&self, watcher: &PublicKey, peer: &PublicKey) -> bool {
        self.watched_by.get(watcher).is_some_and(|watched| watched.contains(peer))
    }
}

fn unlink(
    watchers_of: &mut HashMap<PublicKey, HashSet<PublicKey>>,
    peer: &PublicKey,
    watcher: &PublicKey,
) {
    if let Some(watchers) = watchers_of.get_mut(peer) {
        watchers.remove(watcher);
        if watchers.is_empty() {
            watchers_of.remove(peer);
        }
    }
}

#[cfg(test)]
impl Watches {
    pub(super) fn is_empty(&self) -> bool {
        self.watched_by.is_empty() && self.watchers_of.is_empty()
    }
}
