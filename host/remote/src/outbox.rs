//! What is on disk about other machines: messages on their way to them, which of theirs were
//! received, and the sealed channels.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, TableDefinition, TableError};
use rp_protocol::courier::{Change, Kept, OutboxId, Received, Seen};
use rp_protocol::key::PublicKey;
use rp_store::{Database, StoreError};
use serde::{Deserialize, Serialize};

/// By machine key, a [`Record`].
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("remote.machines");
/// By machine key, the sealed channel. To be kept like a key, as the whole database is.
const CHANNELS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("remote.channels");
/// By machine key and number, a [`Note`] on one line and the body.
const OUTBOX: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("remote.outbox");

/// What is kept of a machine besides its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) outbox: OutboxId,
    pub(crate) last_number: u64,
    /// It has been sealed with, so nothing goes to it in the clear and nothing clear comes from it.
    pub(crate) is_sealed_with: bool,
    received: Vec<SeenRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeenRecord {
    outbox: OutboxId,
    oldest: u64,
    numbers: Vec<u64>,
}

/// Whose message waits, for the day it has to be given up. Nothing in it for what no agent sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The sender's address on this machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
    /// The recipient as the sender named it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) to: String,
    /// In milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
    /// It waits for its machine. If not, its sender is told at once that it is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_wait: bool,
    /// It is an inventory: out of date when this program starts again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_inventory: bool,
}

/// What is on disk of a machine.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) record: Record,
    pub(crate) kept: Kept,
    pub(crate) notes: BTreeMap<u64, Note>,
}

impl Record {
    pub(crate) fn received(&self) -> Received {
        let seen = |record: &SeenRecord| Seen {
            outbox: record.outbox,
            oldest: record.oldest,
            numbers: record.numbers.iter().copied().collect(),
        };
        Received(self.received.iter().map(seen).collect())
    }

    pub(crate) fn set_received(&mut self, received: &Received) {
        let record = |seen: &Seen| SeenRecord {
            outbox: seen.outbox,
            oldest: seen.oldest,
            numbers: seen.numbers.iter().copied().collect(),
        };
        self.received = received.0.iter().map(record).collect();
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Outbox(pub(crate) Database);

impl Outbox {
    pub(crate) fn load(&self, machine: &PublicKey) -> Result<Loaded, StoreError> {
        self.0.read(|transaction| {
            let key = machine.as_bytes().as_slice();
            let mut loaded = Loaded::default();
            if let Some(table) = opened(transaction.open_table(RECORDS))?
                && let Some(bytes) = table.get(key)?
            {
                loaded.record = decode(bytes.value())?;
            }
            if let Some(table) = opened(transaction.open_table(CHANNELS))? {
                loaded.kept.channel = table.get(key)?.map(|bytes| bytes.value().to_vec());
            }
            if let Some(table) = opened(transaction.open_table(OUTBOX))? {
                for entry in table.range((key, 0)..=(key, u64::MAX))? {
                    let (place, value) = entry?;
                    let (note, body) = split(value.value())?;
                    loaded.notes.insert(place.value().1, note);
                    loaded.kept.taken.insert(place.value().1, body.to_vec());
                }
            }
            loaded.kept.outbox = loaded.record.outbox;
            loaded.kept.last_number = loaded.record.last_number;
            loaded.kept.received = loaded.record.received();
            Ok(loaded)
        })
    }

    /// The body of a message that waits.
    pub(crate) fn body(
        &self,
        machine: &PublicKey,
        number: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(|transaction| {
            let Some(table) = opened(transaction.open_table(OUTBOX))? else { return Ok(None) };
            let Some(value) = table.get((machine.as_bytes().as_slice(), number))? else {
                return Ok(None);
            };
            Ok(Some(split(value.value())?.1.to_vec()))
        })
    }

    /// Puts changes on disk, with the record as it is after them.
    pub(crate) async fn keep(
        &self,
        machine: PublicKey,
        record: &Record,
        changes: Vec<Change>,
        notes: &BTreeMap<u64, Note>,
    ) -> Result<(), StoreError> {
        let record = serde_json::to_vec(record).unwrap_or_default();
        let note = |number: &u64| {
            let note = notes.get(number).cloned().unwrap_or_default();
            let mut line = serde_json::to_vec(&note).unwrap_or_default();
            line.push(b'\n');
            line
        };
        let channel = changes.iter().rev().find_map(|change| match change {
            Change::Channel(channel) => Some(channel.clone()),
            _ => None,
        });
        let taken: Vec<(u64, Vec<u8>)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Taken { number, body } => {
                    Some((*number, [note(number).as_slice(), body].concat()))
                }
                _ => None,
            })
            .collect();
        self.0
            .write(move |transaction| {
                let key = machine.as_bytes().as_slice();
                transaction.open_table(RECORDS)?.insert(key, record.as_slice())?;
                let mut outbox = transaction.open_table(OUTBOX)?;
                for (number, value) in &taken {
                    outbox.insert((key, *number), value.as_slice())?;
                }
                for change in &changes {
                    let Change::Confirmed(numbers) = change else { continue };
                    for number in numbers {
                        outbox.remove((key, *number))?;
                    }
                }
                if let Some(channel) = &channel {
                    transaction.open_table(CHANNELS)?.insert(key, channel.as_slice())?;
                }
                Ok(())
            })
            .await
    }

    /// The machines for which something waits or with which there is a sealed channel.
    pub(crate) fn machines(&self) -> Result<BTreeSet<PublicKey>, StoreError> {
        self.0.read(|transaction| {
            let mut keys = BTreeSet::new();
            if let Some(table) = opened(transaction.open_table(CHANNELS))? {
                for entry in table.iter()? {
                    keys.extend(<[u8; 32]>::try_from(entry?.0.value()));
                }
            }
            if let Some(table) = opened(transaction.open_table(OUTBOX))? {
                for entry in table.iter()? {
                    keys.extend(<[u8; 32]>::try_from(entry?.0.value().0));
                }
            }
            Ok(keys.into_iter().map(PublicKey::from_bytes).collect())
        })
    }

    /// Notes that a machine seals, before anything was said to it.
    pub(crate) async fn mark_sealed(&self, machine: PublicKey) -> Result<(), StoreError> {
        let record = Record { is_sealed_with: true, ..self.load(&machine)?.record };
        let record = serde_json::to_vec(&record).unwrap_or_default();
        self.0
            .write(move |transaction| {
                let key = machine.as_bytes().as_slice();
                transaction.open_table(RECORDS)?.insert(key, record.as_slice())?;
                Ok(())
            })
            .await
    }

    /// Removes the channel and what waits. That it was sealed with, and what was received from it,
    /// stays: it may come back.
    pub(crate) async fn forget(&self, machine: PublicKey) -> Result<(), StoreError> {
        self.0
            .write(move |transaction| {
                let key = machine.as_bytes().as_slice();
                transaction.open_table(CHANNELS)?.remove(key)?;
                let mut outbox = transaction.open_table(OUTBOX)?;
                outbox.retain_in((key, 0)..=(key, u64::MAX), |_, _| false)?;
                Ok(())
            })
            .await
    }
}

/// A table that was never written to is an empty one.
fn opened<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn split(value: &[u8]) -> Result<(Note, &[u8]), redb::Error> {
    let end = value.iter().position(|byte| *byte == b'\n').unwrap_or(value.len());
    let (note, body) = value.split_at_checked(end).unwrap_or((value, &[]));
    Ok((decode(note)?, body.get(1..).unwrap_or_default()))
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    fn outbox(folder: &tempfile::TempDir) -> Outbox {
        Outbox(Database::open(&folder.path().join("host.redb")).unwrap())
    }

    const MACHINE: PublicKey = PublicKey::from_bytes([7; 32]);

    #[tokio::test]
    async fn a_machine_that_is_forgotten_is_still_known_to_seal_and_what_it_sent_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(&folder);
        let mut received = Received::default();
        received.0.push(Seen { outbox: [1; 16], oldest: 3, numbers: [3, 5].into() });
        let mut record = Record { outbox: [2; 16], last_number: 9, ..Record::default() };
        record.is_sealed_with = true;
        record.set_received(&received);
        let note = Note { id: Some("a".to_owned()), may_wait: true, ..Note::default() };
        let notes = BTreeMap::from([(9, note.clone())]);
        let changes =
            vec![Change::Taken { number: 9, body: b"b".to_vec() }, Change::Channel(b"c".to_vec())];
        outbox.keep(MACHINE, &record, changes, &notes).await.unwrap();
        assert_eq!(outbox.machines().unwrap(), [MACHINE].into());
        assert_eq!(outbox.load(&MACHINE).unwrap().notes, notes);
        assert_eq!(outbox.body(&MACHINE, 9).unwrap(), Some(b"b".to_vec()));

        outbox.forget(MACHINE).await.unwrap();
        assert_eq!(outbox.machines().unwrap(), BTreeSet::new());
        let loaded = outbox.load(&MACHINE).unwrap();
        assert_eq!((loaded.record, loaded.notes), (record, BTreeMap::new()));
        assert_eq!((loaded.kept.channel, loaded.kept.last_number), (None, 9));
        assert_eq!(loaded.kept.received, received);
    }

    #[tokio::test]
    async fn a_machine_can_be_known_to_seal_before_anything_was_said_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(&folder);
        outbox.mark_sealed(MACHINE).await.unwrap();
        assert!(outbox.load(&MACHINE).unwrap().record.is_sealed_with);
        assert_eq!(outbox.machines().unwrap(), BTreeSet::new());
    }
}
