//! What a rule says of an envelope.

use rp_sdk::policy::Peer;

use crate::fields::Fields;

/// Characters of a peer's name that a reason shows.
const SHOWN: usize = 60;

/// What happens to an envelope that a rule objects to, the stricter the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// A person decides.
    Hold,
    /// It is refused.
    Deny,
}

/// A rule does not let an envelope through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) action: Action,
    /// Names the rule, for the sender and for whoever decides about what is held.
    pub(crate) reason: String,
}

impl Action {
    /// The key `action`, which every rule has.
    pub(crate) fn read(fields: &mut Fields, usual: Action) -> Result<Action, String> {
        match fields.text("action")?.as_deref() {
            None => Ok(usual),
            Some("hold") => Ok(Action::Hold),
            Some("deny") => Ok(Action::Deny),
            Some(_) => Err(fields.wrong("action", "\"hold\" or \"deny\"")),
        }
    }

    /// The objection of a rule.
    pub(crate) fn because(self, rule: &str, what: &str) -> Objection {
        Objection { action: self, reason: format!("guarded: {rule}: {what}") }
    }
}

/// The strictest objection; of equally strict ones, the first.
pub(crate) fn strictest(objections: impl Iterator<Item = Objection>) -> Option<Objection> {
    objections.reduce(
        |strictest, next| {
            if next.action > strictest.action { next } else { strictest }
        },
    )
}

/// A peer in a reason: its name, and its machine when that is another one.
pub(crate) fn shown(peer: &Peer) -> String {
    let name: String = peer.name.chars().take(SHOWN).collect();
    match &peer.pc {
        Some(machine) => format!("{name} on {}", machine.chars().take(SHOWN).collect::<String>()),
        None => name,
    }
}
