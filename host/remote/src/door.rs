//! Where the local router hands over what is for other machines.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use rp_mesh::{Bridge, Carriage};
use rp_protocol::mesh::{Envelope, RosterEntry};
use tokio::sync::mpsc;

/// How many envelopes of agents may wait to be taken. What comes then is denied.
pub(crate) const MAX_OUTBOUND: usize = 1024;

/// An agent's envelope for another machine.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) envelope: Envelope<'static>,
    pub(crate) carriage: Carriage,
}

/// What is known of other machines, as the router sees it.
#[derive(Debug, Default)]
struct Known {
    aliases: HashSet<String>,
    roster: Vec<RosterEntry>,
}

#[derive(Debug)]
pub(crate) struct Door {
    known: RwLock<Known>,
    outbound: mpsc::Sender<Outbound>,
}

impl Door {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Outbound>) {
        let (outbound, receiver) = mpsc::channel(MAX_OUTBOUND);
        (Door { known: RwLock::default(), outbound }, receiver)
    }

    /// Shows these machines and peers from now on.
    pub(crate) fn show(&self, aliases: HashSet<String>, roster: Vec<RosterEntry>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { aliases, roster };
    }
}

impl Bridge for Door {
    fn roster(&self) -> Vec<RosterEntry> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).roster.clone()
    }

    fn knows(&self, alias: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).aliases.contains(alias)
    }

    fn send(&self, envelope: &Envelope<'_>, carriage: Carriage) -> bool {
        let envelope = envelope.clone().into_owned();
        self.outbound.try_send(Outbound { envelope, carriage }).is_ok()
    }
}
