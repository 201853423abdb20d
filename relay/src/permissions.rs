//! To whom one machine may write.

use std::collections::HashMap;

use rp_protocol::key::PublicKey;

use crate::membership::Memberships;

/// To how many machines the permission is remembered.
const REMEMBERED: usize = 1024;

/// What was found out about one sender, until a membership changes.
#[derive(Debug, Default)]
pub struct Permissions {
    as_of: u64,
    to: HashMap<PublicKey, bool>,
}

impl Permissions {
    /// Whether one owner lists both machines. Storage that fails allows nothing.
    pub fn allow(&mut self, memberships: &Memberships, from: &PublicKey, to: &PublicKey) -> bool {
        // Read before the memberships are, so that a change in between is noticed next time.
        let as_of = memberships.changes();
        if self.as_of != as_of || self.to.len() >= REMEMBERED {
            self.to.clear();
            self.as_of = as_of;
        }
        if let Some(known) = self.to.get(to) {
            return *known;
        }
        match memberships.list_together(from, to) {
            Ok(may) => {
                self.to.insert(*to, may);
                may
            }
            Err(error) => {
                tracing::error!(%error, "memberships cannot be read");
                false
            }
        }
    }
}
