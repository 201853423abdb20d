//! One other machine: whether it is there, how it is talked to, and what waits for it.

use std::collections::BTreeMap;

use rp_protocol::courier::{Change, Courier, Kept, NotTaken};
use rp_protocol::key::PublicKey;
use rp_protocol::relay::Presence;
use rp_store::StoreError;

use crate::outbox::{Note, Outbox, Record};
use crate::status::Way;

/// How something can be brought to a machine now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Sealed.
    Sealed,
    /// In the clear.
    Clear,
    /// Not now: it is not connected, or only in a way that is not allowed for it.
    None,
}

/// How something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Sealed,
    Clear,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) courier: Courier,
    pub(crate) record: Record,
    pub(crate) presence: Presence,
    /// Of the messages that wait, by number.
    pub(crate) notes: BTreeMap<u64, Note>,
}

impl Line {
    pub(crate) fn load(machine: PublicKey, outbox: &Outbox) -> Result<Self, StoreError> {
        let loaded = outbox.load(&machine)?;
        let (mut record, mut kept, mut notes) = (loaded.record, loaded.kept, loaded.notes);
        if record.outbox == [0; 16] {
            // Without randomness the outbox has the id that means none, and is made again.
            let _ = getrandom::fill(&mut record.outbox);
            kept.outbox = record.outbox;
        }
        notes.retain(|_, note| note.id.is_some() || note.is_inventory);
        let without_channel = Kept { channel: None, ..kept.clone() };
        let courier = Courier::load(machine, kept)
            .or_else(|error| {
                tracing::warn!(%error, "a sealed channel on disk is damaged; a new one is made");
                Courier::load(machine, without_channel)
            })
            .map_err(|_| StoreError::Closed)?;
        let mut line = Line { courier, record, presence: Presence::Offline, notes };
        line.drop_inventories();
        Ok(line)
    }

    pub(crate) fn path(&self, clear_is_allowed: bool) -> Path {
        match self.presence {
            Presence::Online => Path::Sealed,
            Presence::Legacy if clear_is_allowed && !self.record.is_sealed_with => Path::Clear,
            Presence::Legacy | Presence::Offline => Path::None,
        }
    }

    pub(crate) fn way(&self) -> Way {
        match self.presence {
            _ if self.record.is_sealed_with => Way::Sealed,
            Presence::Online => Way::Sealed,
            Presence::Legacy => Way::Clear,
            Presence::Offline => Way::Unknown,
        }
    }

    /// Takes an agent's message.
    pub(crate) fn take_message(&mut self, body: Vec<u8>, note: Note) -> Result<u64, NotTaken> {
        let number = self.courier.take(body)?;
        self.notes.insert(number, note);
        Ok(number)
    }

    /// Takes an inventory or a question for one. It waits only while the machine is there.
    pub(crate) fn take_inventory(&mut self, body: Vec<u8>) -> Result<(), NotTaken> {
        let number = self.courier.take(body)?;
        self.notes.insert(number, Note { is_inventory: true, ..Note::default() });
        Ok(())
    }

    /// The machine is gone: what it was told about who is here will be out of date.
    pub(crate) fn drop_inventories(&mut self) {
        let Line { courier, notes, .. } = self;
        notes.retain(|number, note| {
            if note.is_inventory {
                courier.withdraw(*number);
            }
            !note.is_inventory
        });
    }

    /// Notes what changes are about to be put on disk.
    pub(crate) fn note(&mut self, changes: &[Change]) {
        let mut kept = Kept { received: self.record.received(), ..Kept::default() };
        for change in changes {
            match change {
                Change::Taken { number, .. } => {
                    self.record.last_number = self.record.last_number.max(*number);
                }
                Change::Confirmed(numbers) => {
                    for number in numbers {
                        self.notes.remove(number);
                    }
                }
                Change::Received { .. } => kept.apply(change),
                Change::Channel(_) => self.record.is_sealed_with = true,
            }
        }
        self.record.set_received(&kept.received);
    }

    /// Takes back what has waited too long; gives what was an agent's.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Note> {
        let over = |note: &Note| note.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let numbers: Vec<u64> =
            self.notes.iter().filter(|(_, note)| over(note)).map(|(number, _)| *number).collect();
        let Line { courier, notes, .. } = self;
        let take_back = |number: u64| {
            courier.withdraw(number);
            notes.remove(&number)
        };
        numbers.into_iter().filter_map(take_back).collect()
    }

    /// Messages of agents that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.notes.values().filter(|note| note.id.is_some()).count()
    }

    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        self.notes.values().filter_map(|note| note.expires_at_ms).min()
    }
}
