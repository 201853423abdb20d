//! One other machine: whether it is there, how it is talked to, and what waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rp_protocol::courier::{Change, Courier, Kept, NotTaken};
use rp_protocol::key::PublicKey;
use rp_protocol::mesh::EnvelopeId;
use rp_protocol::relay::Presence;
use rp_store::StoreError;

use crate::outbox::{Note, Outbox, Record};
use crate::status::Way;

/// Of how many messages to one machine the word of its router is awaited.
const MAX_AWAITED: usize = 4096;

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

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) courier: Courier,
    pub(crate) record: Record,
    pub(crate) presence: Presence,
    /// Of the messages that wait, by number.
    pub(crate) notes: BTreeMap<u64, Note>,
    pub(crate) awaited: Awaited,
    /// What waits goes in the clear one by one: the number of the one that is under way.
    pub(crate) clear_under_way: Option<u64>,
    /// The disk failed, or the machine was busy: nothing is tried before this time.
    pub(crate) rests_until_ms: u64,
}

/// The newest messages that went to a machine and of which its router has not said what became.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    by_id: HashMap<EnvelopeId, (String, String)>,
    oldest_first: VecDeque<EnvelopeId>,
}

impl Awaited {
    /// Notes a message from the address `from` to the address `to`.
    pub(crate) fn note(&mut self, id: EnvelopeId, from: &str, to: &str) {
        if self.by_id.insert(id, (from.to_owned(), to.to_owned())).is_none() {
            self.oldest_first.push_back(id);
        }
        while self.oldest_first.len() > MAX_AWAITED {
            let gone = self.oldest_first.pop_front();
            gone.map(|id| self.by_id.remove(&id));
        }
    }

    /// Who sent the message to whom, if it is awaited and that was `from`.
    pub(crate) fn take(&mut self, id: &EnvelopeId, from: &str) -> Option<(String, String)> {
        self.by_id.get(id).filter(|(sender, _)| sender == from)?;
        self.by_id.remove(id)
    }
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
        let mut awaited = Awaited::default();
        for note in notes.values() {
            if let Some(id) = note.id.as_deref().and_then(EnvelopeId::parse) {
                awaited.note(id, &note.from, &note.to);
            }
        }
        let mut line = Line {
            courier,
            record,
            presence: Presence::Offline,
            notes,
            awaited,
            clear_under_way: None,
            rests_until_ms: 0,
        };
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

    /// The messages taken in these changes that wait for their machine.
    pub(crate) fn patient(&self, changes: &[Change]) -> impl Iterator<Item = EnvelopeId> {
        let taken = changes.iter().filter_map(|change| match change {
            Change::Taken { number, .. } => self.notes.get(number),
            _ => None,
        });
        let patient = taken.filter(|note| note.may_wait);
        patient.filter_map(|note| EnvelopeId::parse(note.id.as_deref()?))
    }

    /// Takes back what has waited too long; gives what was an agent's.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Note> {
        self.take_back(|note| note.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms))
    }

    /// Takes back the messages of agents that do not wait for a machine.
    pub(crate) fn take_back_impatient(&mut self) -> Vec<Note> {
        self.take_back(|note| note.id.is_some() && !note.may_wait)
    }

    fn take_back(&mut self, wanted: impl Fn(&Note) -> bool) -> Vec<Note> {
        let numbers: Vec<u64> =
            self.notes.iter().filter(|(_, note)| wanted(note)).map(|(number, _)| *number).collect();
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

    /// When there is something to do although nothing happens, in milliseconds since 1970.
    pub(crate) fn due_ms(&self, clear_is_allowed: bool) -> Option<u64> {
        let expiry = self.notes.values().filter_map(|note| note.expires_at_ms).min();
        let clear = self.path(clear_is_allowed) == Path::Clear
            && self.clear_under_way.is_none()
            && self.waiting() > 0;
        let clear = clear.then_some(self.rests_until_ms);
        let first = [expiry, clear, self.courier.wakes_ms()].into_iter().flatten().min();
        first.map(|at_ms| at_ms.max(self.rests_until_ms))
    }
}
