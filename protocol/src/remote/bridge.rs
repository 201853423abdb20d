//! The bridge between the local mesh and the machines in the topology: which envelope goes where,
//! and what the machines know about each other's peers.
//!
//! It sends nothing itself: it returns what is to be sent, and keeps nothing but inventories.

use std::borrow::Cow;
use std::collections::HashMap;

use super::inventory::{
    Inventory, PEERS_REQUEST, REQUEST_TYPE, UPDATE_TYPE, parse_inventory, write_inventory,
};
use super::topology::{Machine, Topology};
use super::wire::{Dropped, INVENTORY_ENDPOINT, RELAY, Receipt, read_relay_error, strip_label};
use crate::key::PublicKey;
use crate::mesh::{
    AckStatus, BROADCAST, BROKER, Body, Destination, Envelope, EnvelopeId, RosterEntry, split_alias,
};

/// How long an inventory counts after it came, in milliseconds.
pub const INVENTORY_LIFETIME_MS: u64 = 300_000;
/// How often every sibling is asked and told anew, in milliseconds.
pub const ANNOUNCE_INTERVAL_MS: u64 = 120_000;
/// How long after a question about an inventory the next envelope does not ask again, in
/// milliseconds.
pub const REQUEST_PATIENCE_MS: u64 = 2_000;

/// What the bridge needs to know at the moment of a call.
pub struct Around<'a> {
    /// A clock that only goes forward, in milliseconds.
    pub now_ms: u64,
    /// The peers on this machine as they are now.
    pub roster: &'a [RosterEntry],
    /// Makes a new id.
    pub next_id: &'a mut dyn FnMut() -> EnvelopeId,
}

/// What an envelope to another machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is an agent's. When it cannot be carried the agent is told.
    Message(EnvelopeId),
    /// It says what became of an agent's. When it cannot be carried nobody is told.
    Receipt,
    /// It is about inventories. When it cannot be carried nobody is told.
    Inventory,
}

/// An envelope for another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The machine.
    pub to: PublicKey,
    /// What it is for.
    pub kind: Kind,
    /// The envelope as JSON on one line, without the line feed.
    pub envelope: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(to: PublicKey, kind: Kind, envelope: &Envelope<'_>) -> Self {
        let mut line = envelope.to_line();
        line.pop();
        Outgoing { to, kind, envelope: line }
    }
}

/// What is to be done with something that came from the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Deliver it to the one recipient on this machine, who must exist, and send the receipt if
    /// there is one.
    Deliver {
        /// With the addresses as agents on this machine see them.
        envelope: Envelope<'static>,
        /// `None` for what is a receipt itself.
        receipt: Option<Receipt>,
    },
    /// Deliver it to the agent whose message could not be carried. Comes from the local router as
    /// far as that agent sees, and is never acknowledged.
    Failed(Envelope<'static>),
    /// Send this; there is nothing to deliver.
    Answer(Outgoing),
    /// Another machine told who is on it.
    Learned,
    /// Nothing.
    Dropped(Dropped),
}

/// The new topology is that of another machine: this one's key does not change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the topology is of another machine")]
pub struct OtherMachine;

#[derive(Debug, Default)]
struct Known {
    /// With the time it came.
    inventory: Option<(u64, Inventory)>,
    asked_ms: Option<u64>,
}

/// Connects the local mesh to the machines of a topology.
#[derive(Debug)]
pub struct Bridge {
    topology: Topology,
    known: HashMap<PublicKey, Known>,
    /// When all siblings are asked and told next; `None` without a connection to the relay.
    announce_ms: Option<u64>,
}

impl Bridge {
    /// A bridge without a connection to the relay.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Bridge { topology, known: HashMap::new(), announce_ms: None }
    }

    /// The machines it knows.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// When [`Bridge::tick`] has something to do, if ever.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.announce_ms
    }

    /// The relay is there: every sibling is asked who is on it and told who is here.
    pub fn connected(&mut self, around: &mut Around<'_>) -> Vec<Outgoing> {
        self.announce_ms = Some(around.now_ms.saturating_add(ANNOUNCE_INTERVAL_MS));
        let siblings = self.topology.siblings().to_vec();
        self.ask_and_tell(&siblings, around)
    }

    /// A sibling is there: it is asked who is on it and told who is here.
    pub fn appeared(&mut self, key: &PublicKey, around: &mut Around<'_>) -> Vec<Outgoing> {
        match self.topology.by_key(key).cloned() {
            Some(sibling) if self.announce_ms.is_some() => self.ask_and_tell(&[sibling], around),
            _ => Vec::new(),
        }
    }

    /// The relay is gone. What is known stays until it is too old.
    pub fn disconnected(&mut self) {
        self.announce_ms = None;
    }

    /// Asks and tells every sibling anew when it is time.
    pub fn tick(&mut self, around: &mut Around<'_>) -> Vec<Outgoing> {
        match self.announce_ms {
            Some(due) if due <= around.now_ms => self.connected(around),
            _ => Vec::new(),
        }
    }

    /// Somebody on this machine came or went: every sibling is told.
    pub fn roster_changed(&mut self, around: &mut Around<'_>) -> Vec<Outgoing> {
        if self.announce_ms.is_none() {
            return Vec::new();
        }
        let siblings = self.topology.siblings().iter();
        siblings.filter_map(|sibling| self.tell(sibling, around)).collect()
    }

    /// Takes a new topology. Siblings that are new or are called otherwise are asked and told, all
    /// of them if this machine is called otherwise. What is known of a sibling stays with its key.
    ///
    /// # Errors
    /// [`OtherMachine`]; then the topology before stays.
    pub fn set_topology(
        &mut self,
        topology: Topology,
        around: &mut Around<'_>,
    ) -> Result<Vec<Outgoing>, OtherMachine> {
        if topology.this().key != self.topology.this().key {
            return Err(OtherMachine);
        }
        let before = std::mem::replace(&mut self.topology, topology);
        self.known.retain(|key, _| self.topology.by_key(key).is_some());
        if self.announce_ms.is_none() {
            return Ok(Vec::new());
        }
        let renamed = before.this() != self.topology.this();
        let siblings = self.topology.siblings().iter();
        let news: Vec<Machine> = siblings
            .filter(|sibling| renamed || before.by_key(&sibling.key) != Some(sibling))
            .cloned()
            .collect();
        Ok(self.ask_and_tell(&news, around))
    }

    /// The peers of other machines, as far as they are known and not too old.
    #[must_use]
    pub fn roster(&self, now_ms: u64) -> Vec<RosterEntry> {
        let siblings = self.topology.siblings().iter();
        siblings
            .filter_map(|sibling| {
                let (came_ms, inventory) = self.known.get(&sibling.key)?.inventory.as_ref()?;
                let fresh = now_ms.saturating_sub(*came_ms) < INVENTORY_LIFETIME_MS;
                fresh.then(|| inventory.iter().map(|entry| prefixed(sibling, entry)))
            })
            .flatten()
            .collect()
    }

    /// What is to be sent for an agent's envelope: itself, and a question about the inventory when
    /// none is known. `None` when its destination is on no sibling. Whether the recipient is in the
    /// inventory plays no part.
    pub fn send(
        &mut self,
        envelope: &Envelope<'_>,
        around: &mut Around<'_>,
    ) -> Option<Vec<Outgoing>> {
        let Destination::One(to) = &envelope.to else {
            return None;
        };
        let (alias, rest) = split_alias(to)?;
        let sibling = self.topology.by_alias(alias)?.clone();
        let own = &self.topology.this().label;
        let carried = Envelope {
            from: Cow::Owned(format!("{own}:{}", envelope.from)),
            to: Destination::One(Cow::Owned(format!("{}:{rest}", sibling.label))),
            id: envelope.id,
            re: envelope.re,
            body: envelope.body.clone(),
        };
        let mut outgoing = vec![Outgoing::new(sibling.key, Kind::Message(envelope.id), &carried)];
        let known = self.known.entry(sibling.key).or_default();
        let asked_lately = known
            .asked_ms
            .is_some_and(|asked_ms| around.now_ms.saturating_sub(asked_ms) < REQUEST_PATIENCE_MS);
        let expired = known.inventory.as_ref().is_none_or(|(came_ms, _)| {
            around.now_ms.saturating_sub(*came_ms) >= INVENTORY_LIFETIME_MS
        });
        if expired && !asked_lately && self.announce_ms.is_some() {
            outgoing.push(self.ask(&sibling, around));
        }
        Some(outgoing)
    }

    /// Takes an envelope that the relay brought, with the sender as the relay named it.
    pub fn receive(&mut self, from_pc: &str, envelope: &str, around: &mut Around<'_>) -> Received {
        let received = if from_pc == RELAY {
            read_relay_error(envelope, &self.topology.this().label).map(Received::Failed)
        } else {
            PublicKey::parse(from_pc)
                .map_err(|_| Dropped::FromPc)
                .and_then(|key| self.receive_from(&key, envelope, around))
        };
        received.unwrap_or_else(Received::Dropped)
    }

    /// Takes an envelope of the machine `key`, which the connection or the seal has proved.
    ///
    /// # Errors
    /// With the reason it is dropped for.
    pub fn receive_from(
        &mut self,
        key: &PublicKey,
        envelope: &str,
        around: &mut Around<'_>,
    ) -> Result<Received, Dropped> {
        let unknown = || Dropped::UnknownMachine { fingerprint: key.fingerprint() };
        let sibling = self.topology.by_key(key).ok_or_else(unknown)?.clone();
        let envelope = Envelope::parse(envelope).map_err(|error| match error {
            crate::mesh::EnvelopeError::To => Dropped::To,
            _ => Dropped::Envelope,
        })?;
        let Destination::One(wire_to) = &envelope.to else {
            return Err(Dropped::To);
        };
        let own_label = &self.topology.this().label;
        let from = strip_label(&envelope.from, &sibling.label).ok_or(Dropped::Address)?;
        let to = strip_label(wire_to, own_label).ok_or(Dropped::Address)?;
        let kind = envelope.body.type_name();
        if from == INVENTORY_ENDPOINT && to == INVENTORY_ENDPOINT {
            match kind.as_deref() {
                Some(UPDATE_TYPE) => return self.learn(key, &envelope, around.now_ms),
                Some(REQUEST_TYPE) => {
                    let answer = self.tell(&sibling, around);
                    return Ok(answer.map_or(Received::Learned, Received::Answer));
                }
                _ => {}
            }
        }
        let receipt = (kind.as_deref() != Some("ack")).then(|| Receipt {
            machine: *key,
            from: format!("{own_label}:{BROKER}"),
            to: envelope.from.clone().into_owned(),
            re: envelope.id,
            target: to.to_owned(),
        });
        if to == BROADCAST || to == BROKER {
            let denied =
                receipt.map(|receipt| receipt.write(AckStatus::Denied, (around.next_id)()));
            return denied.map(Received::Answer).ok_or(Dropped::Address);
        }
        let delivered = Envelope {
            from: Cow::Owned(format!("{}:{from}", sibling.alias)),
            to: Destination::One(Cow::Owned(to.to_owned())),
            id: envelope.id,
            re: envelope.re,
            body: envelope.body.clone().into_owned(),
        };
        Ok(Received::Deliver { envelope: delivered, receipt })
    }

    fn learn(
        &mut self,
        key: &PublicKey,
        envelope: &Envelope<'_>,
        now_ms: u64,
    ) -> Result<Received, Dropped> {
        let inventory = parse_inventory(envelope.body.as_str())?;
        self.known.entry(*key).or_default().inventory = Some((now_ms, inventory));
        Ok(Received::Learned)
    }

    fn ask_and_tell(&mut self, siblings: &[Machine], around: &mut Around<'_>) -> Vec<Outgoing> {
        let mut outgoing = Vec::with_capacity(siblings.len() * 2);
        for sibling in siblings {
            outgoing.push(self.ask(sibling, around));
            outgoing.extend(self.tell(sibling, around));
        }
        outgoing
    }

    fn ask(&mut self, sibling: &Machine, around: &mut Around<'_>) -> Outgoing {
        self.known.entry(sibling.key).or_default().asked_ms = Some(around.now_ms);
        self.about_inventory(sibling, Body::constant(PEERS_REQUEST), (around.next_id)())
    }

    /// `None` when there are more peers here than another machine would take.
    fn tell(&self, sibling: &Machine, around: &mut Around<'_>) -> Option<Outgoing> {
        let body = write_inventory(around.roster).ok()?;
        Some(self.about_inventory(sibling, Body::written(body), (around.next_id)()))
    }

    fn about_inventory(&self, sibling: &Machine, body: Body<'_>, id: EnvelopeId) -> Outgoing {
        let own = &self.topology.this().label;
        let envelope = Envelope {
            from: Cow::Owned(format!("{own}:{INVENTORY_ENDPOINT}")),
            to: Destination::One(Cow::Owned(format!("{}:{INVENTORY_ENDPOINT}", sibling.label))),
            id,
            re: None,
            body,
        };
        Outgoing::new(sibling.key, Kind::Inventory, &envelope)
    }
}

fn prefixed(sibling: &Machine, entry: &RosterEntry) -> RosterEntry {
    RosterEntry {
        pc: Some(sibling.alias.clone()),
        cwd: entry.cwd.clone(),
        name: entry.name.clone(),
        address: format!("{}:{}", sibling.alias, entry.address),
    }
}
