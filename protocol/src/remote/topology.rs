//! Which machines there are beside this one, by the memberships of the owners.

use std::collections::{BTreeMap, HashMap};

use super::alias::{Identity, assign_aliases, choose_nickname};
use crate::key::PublicKey;
use crate::membership::Membership;

/// How many characters of the key stand for a machine without a nickname on the wire.
const LABEL_CHARACTERS: usize = 8;

/// A machine as it is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Who it is.
    pub key: PublicKey,
    /// What it is called here, in front of addresses.
    pub alias: String,
    /// What stands in front of addresses on the wire: the nickname as it is, or the beginning of
    /// the key in standard base64. It may be the same for several machines and may hold any
    /// character, colons too. Old readers compare it; it proves nothing.
    pub label: String,
}

/// This machine and its siblings: all machines that an owner lists together with it. Aliases and
/// keys are unique, and this machine is not among its siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    this: Machine,
    siblings: Vec<Machine>,
    by_alias: HashMap<String, usize>,
    by_key: HashMap<PublicKey, usize>,
}

impl Topology {
    /// The topology that the memberships of this machine's owners make. A membership that does not
    /// list this machine contributes nothing, neither machines nor nicknames; a sibling of a
    /// sibling is none.
    #[must_use]
    pub fn new<'a>(
        this: PublicKey,
        memberships: impl IntoIterator<Item = &'a Membership>,
    ) -> Topology {
        let mut nicknames: BTreeMap<PublicKey, Vec<&str>> = BTreeMap::from([(this, Vec::new())]);
        let counting = memberships.into_iter().filter(|membership| membership.lists(&this));
        for member in counting.flat_map(|membership| &membership.members) {
            nicknames.entry(member.key).or_default().extend(member.nickname.as_deref());
        }
        let mut chosen: BTreeMap<PublicKey, Option<String>> = nicknames
            .into_iter()
            .map(|(key, candidates)| (key, choose_nickname(candidates).map(str::to_owned)))
            .collect();
        let identity = |(key, nickname): (&PublicKey, &Option<String>)| Identity {
            key: *key,
            nickname: nickname.clone(),
        };
        let mut aliases = assign_aliases(chosen.iter().map(identity));
        let mut machine = |key: PublicKey, nickname: Option<String>| Machine {
            key,
            alias: aliases.remove(&key).unwrap_or_default(),
            label: nickname
                .unwrap_or_else(|| key.to_string().chars().take(LABEL_CHARACTERS).collect()),
        };
        let own_nickname = chosen.remove(&this).flatten();
        let this = machine(this, own_nickname);
        let mut siblings: Vec<Machine> =
            chosen.into_iter().map(|(key, nickname)| machine(key, nickname)).collect();
        siblings.sort_by_cached_key(|sibling| sibling.key.to_string());
        let numbered = || siblings.iter().enumerate();
        Topology {
            by_alias: numbered().map(|(at, sibling)| (sibling.alias.clone(), at)).collect(),
            by_key: numbered().map(|(at, sibling)| (sibling.key, at)).collect(),
            this,
            siblings,
        }
    }

    /// This machine.
    #[must_use]
    pub fn this(&self) -> &Machine {
        &self.this
    }

    /// The others, in the order of their canonical keys.
    #[must_use]
    pub fn siblings(&self) -> &[Machine] {
        &self.siblings
    }

    /// The sibling with exactly this alias. This machine's own alias is none.
    #[must_use]
    pub fn by_alias(&self, alias: &str) -> Option<&Machine> {
        self.by_alias.get(alias).and_then(|at| self.siblings.get(*at))
    }

    /// The sibling with this key.
    #[must_use]
    pub fn by_key(&self, key: &PublicKey) -> Option<&Machine> {
        self.by_key.get(key).and_then(|at| self.siblings.get(*at))
    }
}
