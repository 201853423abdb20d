//! Who is listed together: the relay's answer to "may this machine send to that one".

use std::collections::{HashMap, HashSet};

use super::Membership;
use crate::key::PublicKey;

/// The newest membership of every owner, by owner and by machine, so that a question about two
/// machines looks at the owners that list one of them and at no other.
///
/// One machine may send to another exactly if one single membership lists both. It is a union
/// over owners and not transitive. A machine that is listed anywhere may send to itself; the
/// owner's own key is no member unless it is listed.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    machines: HashMap<PublicKey, HashSet<PublicKey>>,
    owners: HashMap<PublicKey, HashSet<PublicKey>>,
}

impl Directory {
    /// Puts the newest membership of an owner in place of the one before.
    pub fn replace(&mut self, membership: &Membership) {
        let owner = membership.owner;
        self.remove(&owner);
        let machines: HashSet<_> = membership.members.iter().map(|member| member.key).collect();
        for machine in &machines {
            self.owners.entry(*machine).or_default().insert(owner);
        }
        self.machines.insert(owner, machines);
    }

    /// Forgets an owner, whose stored membership cannot be read or is gone.
    pub fn remove(&mut self, owner: &PublicKey) {
        for machine in self.machines.remove(owner).unwrap_or_default() {
            if let Some(owners) = self.owners.get_mut(&machine) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.owners.remove(&machine);
                }
            }
        }
    }

    /// The owners that list a machine.
    pub fn owners_listing(&self, machine: &PublicKey) -> impl Iterator<Item = &PublicKey> {
        self.owners.get(machine).into_iter().flatten()
    }

    /// Whether the relay carries an envelope from one machine to another.
    ///
    /// Anybody may list any machine, so one of the two may be listed by very many: the search
    /// goes through the owners of the one that fewer list.
    #[must_use]
    pub fn may_send(&self, from: &PublicKey, to: &PublicKey) -> bool {
        match (self.owners.get(from), self.owners.get(to)) {
            (Some(of_from), Some(of_to)) => !of_from.is_disjoint(of_to),
            _ => false,
        }
    }
}
