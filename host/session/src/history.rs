//! What a session said: a numbered log that only grows at its end, on disk within a second,
//! followed live without a gap and without an event told twice.
//!
//! Numbers rise by one from 1. After a crash of the host the last second may be lost from
//! the disk; so that no number is ever given to two events, the log then goes on at a higher
//! one. Pieces of one message's text or thinking, or of one tool's output, that were read at
//! once are one event.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use rp_protocol::session::Event;
use rp_store::{Database, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Agent and number; time and JSON.
const EVENTS: TableDefinition<(&str, u64), (u64, &[u8])> = TableDefinition::new("session_events");
/// How many events of an agent are stored, and their bytes of JSON.
const SIZES: TableDefinition<&str, (u64, u64)> = TableDefinition::new("session_event_sizes");
/// Below this number, every number may have been given to an event.
const RESERVED: TableDefinition<&str, u64> = TableDefinition::new("session_event_numbers");

/// Numbers are reserved on disk in blocks of this many.
const BLOCK: u64 = 4096;
/// Newest events kept in memory; readers that are further behind read the disk.
const RECENT_EVENTS: usize = 2048;
/// The same, in bytes of JSON.
const RECENT_BYTES: usize = 8 << 20;
/// Events a reader takes at once.
const PAGE: usize = 256;

/// How much of a log is kept. The oldest events go first; the newest always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Number of events.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events: 100_000, bytes: 64 << 20 }
    }
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number.
    pub sequence: u64,
    /// When it was recorded, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What a reader of the log gets.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryItem {
    /// The next event.
    Event(Arc<Recorded>),
    /// The events before this number, which the reader asked for, are no longer kept.
    Dropped {
        /// The first number that is left.
        first: u64,
    },
}

/// The log of one agent.
#[derive(Debug, Clone)]
pub struct History(Arc<Log>);

#[derive(Debug)]
struct Log {
    database: Database,
    agent: String,
    limits: HistoryLimits,
    recent: Mutex<Recent>,
    progress: watch::Sender<Progress>,
}

/// The newest events, stored or on their way to the disk.
#[derive(Debug)]
struct Recent {
    events: VecDeque<(Arc<Recorded>, usize)>,
    bytes: usize,
    next: u64,
    reserved: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    last: u64,
    closed: bool,
}

impl History {
    /// Opens the log of an agent; it is empty when there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open(
        database: Database,
        agent: &str,
        limits: HistoryLimits,
    ) -> Result<Self, StoreError> {
        let agent = agent.to_owned();
        let key = agent.clone();
        let next = database
            .write(move |transaction| {
                transaction.open_table(EVENTS)?;
                transaction.open_table(SIZES)?;
                let reserved = transaction.open_table(RESERVED)?;
                let next = reserved.get(key.as_str())?.map_or(1, |found| found.value());
                Ok(next)
            })
            .await?;
        let recent = Recent { events: VecDeque::new(), bytes: 0, next, reserved: next };
        let progress = watch::Sender::new(Progress { last: next - 1, closed: false });
        Ok(Self(Arc::new(Log { database, agent, limits, recent: Mutex::new(recent), progress })))
    }

    /// The newest number; 0 when there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.progress.borrow().last
    }

    /// The events after this number, then those to come, in order.
    #[must_use]
    pub fn after(&self, sequence: u64) -> HistoryReader {
        HistoryReader {
            progress: self.0.progress.subscribe(),
            history: self.clone(),
            next: sequence.saturating_add(1),
            page: VecDeque::new(),
        }
    }

    /// The number after which the newest `count` events follow. Numbers have holes where a host
    /// was killed, so this is not a subtraction.
    ///
    /// # Errors
    /// The database failed.
    pub async fn before_last(&self, count: usize) -> Result<u64, StoreError> {
        // What was appended a moment ago may not have reached the table yet. On a full disk it
        // stays there, and what is on the disk is shown.
        let _ = self.0.database.write(|_| Ok(())).await;
        let agent = self.0.agent.as_str();
        self.0.database.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let mut first = None;
            for entry in table.range((agent, 0)..=(agent, u64::MAX))?.rev().take(count) {
                first = Some(entry?.0.value().1);
            }
            Ok(first.map_or(self.last(), |first| first.saturating_sub(1)))
        })
    }

    /// Appends events. Only one caller appends at a time.
    pub(crate) async fn append(&self, events: Vec<Event>, at_ms: u64) {
        if events.is_empty() {
            return;
        }
        self.reserve(events.len() as u64).await;
        // What a turn said is to survive the host once the turn is over.
        let ends_a_turn = events.iter().any(|event| matches!(event, Event::TurnEnded { .. }));
        let mut batch = Vec::with_capacity(events.len());
        let last = {
            let mut recent = self.recent();
            for event in events {
                let json = match serde_json::to_vec(&event) {
                    Ok(json) => json,
                    Err(error) => {
                        tracing::error!(%error, "an event could not be written as JSON");
                        continue;
                    }
                };
                let sequence = recent.push(Recorded { sequence: 0, at_ms, event }, json.len());
                batch.push((sequence, json));
            }
            recent.next - 1
        };
        let (agent, limits) = (self.0.agent.clone(), self.0.limits);
        let write =
            move |transaction: &WriteTransaction| store(transaction, &agent, limits, at_ms, &batch);
        if ends_a_turn {
            self.0.database.write_then(write, |outcome| {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "events of a session were not written");
                }
            });
        } else {
            self.0.database.write_relaxed(write);
        }
        self.0.progress.send_modify(|progress| progress.last = last);
    }

    /// Makes sure that this many more numbers are reserved on disk.
    async fn reserve(&self, count: u64) {
        let until = {
            let recent = self.recent();
            if recent.next + count <= recent.reserved {
                return;
            }
            recent.next + count + BLOCK
        };
        // Even when the disk is full, the session goes on.
        match self.write_reserved(until).await {
            Ok(()) => self.recent().reserved = until,
            Err(error) => tracing::warn!(%error, "event numbers could not be reserved"),
        }
    }

    async fn write_reserved(&self, until: u64) -> Result<(), StoreError> {
        let agent = self.0.agent.clone();
        let write = move |transaction: &WriteTransaction| {
            transaction.open_table(RESERVED)?.insert(agent.as_str(), until)?;
            Ok(())
        };
        self.0.database.write(write).await
    }

    /// Puts everything on disk and ends the readers once they have read it.
    pub(crate) async fn close(&self) {
        let next = self.recent().next;
        if let Err(error) = self.write_reserved(next).await {
            tracing::warn!(%error, "a session's history could not be closed");
        }
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    /// Removes the log of an agent from the disk.
    pub(crate) async fn forget(database: &Database, agent: &str) -> Result<(), StoreError> {
        let agent = agent.to_owned();
        let forget = move |transaction: &WriteTransaction| {
            let mut events = transaction.open_table(EVENTS)?;
            events.retain_in((agent.as_str(), 0)..=(agent.as_str(), u64::MAX), |_, _| false)?;
            transaction.open_table(SIZES)?.remove(agent.as_str())?;
            transaction.open_table(RESERVED)?.remove(agent.as_str())?;
            Ok(())
        };
        database.write(forget).await
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next events from this number on; none when there are none yet.
    async fn page(&self, next: u64) -> Vec<HistoryItem> {
        let first_recent = {
            let recent = self.recent();
            if next >= recent.next {
                return Vec::new();
            }
            match recent.from(next) {
                Some(page) => return page,
                None => recent.events.front().map_or(recent.next, |(event, _)| event.sequence),
            }
        };
        let mut stored = self.read_stored(next, first_recent);
        if stored.first != Some(next) {
            // What has left the memory may not have reached the tables yet.
            let _ = self.0.database.write(|_| Ok(())).await;
            stored = self.read_stored(next, first_recent);
        }
        let first = stored.first.unwrap_or(first_recent);
        let mut page = Vec::with_capacity(stored.events.len() + 1);
        // A hole behind older events was left by a crash; a start that is missing was
        // dropped.
        if first > next && !stored.older {
            page.push(HistoryItem::Dropped { first });
        }
        page.extend(stored.events.into_iter().map(|event| HistoryItem::Event(Arc::new(event))));
        if page.is_empty() {
            page = self.recent().from(first_recent).unwrap_or_default();
        }
        page
    }

    fn read_stored(&self, next: u64, end: u64) -> Stored {
        let agent = self.0.agent.as_str();
        let read = self.0.database.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let older = table.range((agent, 0)..(agent, next))?.next().is_some();
            let mut stored = Stored { older, ..Stored::default() };
            let mut bytes = 0;
            for entry in table.range((agent, next)..(agent, end))? {
                let (key, value) = entry?;
                let ((_, sequence), (at_ms, json)) = (key.value(), value.value());
                stored.first.get_or_insert(sequence);
                bytes += json.len();
                match serde_json::from_slice(json) {
                    Ok(event) => stored.events.push(Recorded { sequence, at_ms, event }),
                    Err(error) => tracing::error!(%error, sequence, "a stored event is unreadable"),
                }
                if stored.events.len() >= PAGE || bytes >= RECENT_BYTES {
                    break;
                }
            }
            Ok(stored)
        });
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "a session's history could not be read");
            Stored::default()
        })
    }
}

/// A stretch of the log as it is on disk.
#[derive(Debug, Default)]
struct Stored {
    first: Option<u64>,
    events: Vec<Recorded>,
    /// There are events before it.
    older: bool,
}

impl Recent {
    fn push(&mut self, mut event: Recorded, bytes: usize) -> u64 {
        let sequence = self.next;
        event.sequence = sequence;
        self.next += 1;
        self.bytes += bytes;
        self.events.push_back((Arc::new(event), bytes));
        while self.events.len() > RECENT_EVENTS
            || (self.bytes > RECENT_BYTES && self.events.len() > 1)
        {
            let Some((_, bytes)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
        }
        sequence
    }

    /// A page from this number on; `None` when it begins before what is kept here.
    fn from(&self, next: u64) -> Option<Vec<HistoryItem>> {
        let (first, _) = self.events.front()?;
        let skip = usize::try_from(next.checked_sub(first.sequence)?).ok()?;
        let events = self.events.iter().skip(skip).take(PAGE);
        Some(events.map(|(event, _)| HistoryItem::Event(event.clone())).collect())
    }
}

fn store(
    transaction: &WriteTransaction,
    agent: &str,
    limits: HistoryLimits,
    at_ms: u64,
    batch: &[(u64, Vec<u8>)],
) -> Result<(), redb::Error> {
    let mut events = transaction.open_table(EVENTS)?;
    let mut sizes = transaction.open_table(SIZES)?;
    let (mut count, mut bytes) = sizes.get(agent)?.map_or((0, 0), |found| found.value());
    for (sequence, json) in batch {
        events.insert((agent, *sequence), (at_ms, json.as_slice()))?;
        count += 1;
        bytes += json.len() as u64;
    }
    while count > limits.events || (bytes > limits.bytes && count > 1) {
        let oldest = events.range((agent, 0)..=(agent, u64::MAX))?.next().transpose()?;
        let Some(sequence) = oldest.map(|(key, _)| key.value().1) else { break };
        if let Some(removed) = events.remove((agent, sequence))? {
            bytes = bytes.saturating_sub(removed.value().1.len() as u64);
        }
        count = count.saturating_sub(1);
    }
    sizes.insert(agent, (count, bytes))?;
    Ok(())
}

/// Reads a log from a number on, and follows it. As slow as it likes: it holds nothing up.
#[derive(Debug)]
pub struct HistoryReader {
    history: History,
    progress: watch::Receiver<Progress>,
    next: u64,
    page: VecDeque<HistoryItem>,
}

impl HistoryReader {
    /// The next item; waits for one. `None` once the log is closed and read to its end.
    /// Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<HistoryItem> {
        loop {
            if let Some(item) = self.page.pop_front() {
                match &item {
                    HistoryItem::Event(event) => self.next = event.sequence + 1,
                    HistoryItem::Dropped { first } => self.next = *first,
                }
                return Some(item);
            }
            let closed = self.progress.borrow_and_update().closed;
            self.page = self.history.page(self.next).await.into();
            if self.page.is_empty() {
                if closed {
                    return None;
                }
                self.progress.changed().await.ok()?;
            }
        }
    }
}

/// Joins neighbouring pieces of the same text, thinking or tool output.
pub(crate) fn join_pieces(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::with_capacity(events.len());
    for event in events {
        match (joined.last_mut(), &event) {
            (
                Some(Event::Text { message: last, piece: text }),
                Event::Text { message: id, piece },
            )
            | (
                Some(Event::Thinking { message: last, piece: text }),
                Event::Thinking { message: id, piece },
            )
            | (
                Some(Event::ToolProgress { call: last, piece: text }),
                Event::ToolProgress { call: id, piece },
            ) if last == id => text.push_str(piece),
            _ => joined.push(event),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
