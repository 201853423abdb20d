//! Answers that are not given twice in a row.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// For how many peers the last answer about their rooms is remembered.
const REMEMBERED: usize = 1024;

/// What one connection was answered last, as hashes: the answer to a presence check, and for each
/// peer that about its rooms. An answer that is equal is not sent again.
#[derive(Debug, Default)]
pub(super) struct Answers {
    hashing: RandomState,
    presence: Option<u64>,
    rooms: HashMap<u64, u64>,
}

impl Answers {
    /// Whether this answer to a presence check is another than the last one.
    pub(super) fn is_new_presence(&mut self, answer: &str) -> bool {
        let hash = Some(self.hashing.hash_one(answer));
        std::mem::replace(&mut self.presence, hash) != hash
    }

    /// Whether this answer about the rooms of a peer is another than the last one about it.
    pub(super) fn is_new_rooms(&mut self, peer: &str, answer: &str) -> bool {
        let (peer, hash) = (self.hashing.hash_one(peer), self.hashing.hash_one(answer));
        if self.rooms.len() >= REMEMBERED && !self.rooms.contains_key(&peer) {
            // An answer too many does no harm.
            self.rooms.clear();
        }
        self.rooms.insert(peer, hash) != Some(hash)
    }
}
