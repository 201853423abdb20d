//! The durable inbox of each agent that this host runs.
//!
//! A message is accepted, written to disk with others in one commit, and only then reported as
//! stored; it waits there, in the order of acceptance, until the agent's harness has it. What
//! happened to it stays for a while: its id, so that a second copy is recognised, and its steps
//! with their times, so that a person can trace it.
//!
//! What waits is also known in memory, so asking for it at a turn edge or sleeping until something
//! arrives costs the disk nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redb::{ReadTransaction, ReadableTable};
use rp_store::{Database, StoreError};
use tokio::sync::{Notify, oneshot, watch};

use crate::agent::AgentId;

mod index;
mod message;
mod queue;
mod record;
mod stage;
mod tables;

pub use message::{
    Accepted, Expired, HeldMessage, Incoming, Letter, MailboxLimits, Origin, Pending, Refused,
    TraceStep,
};
pub use stage::Stage;

use index::Index;
use queue::{Change, Queue, submit};
use record::{BODIES, HELD, IDS, KEPT, Record, TRACES, TraceRecord, WAITING, decode};
use tables::Tables;

/// The mailboxes of this host's agents; clones share them.
#[derive(Clone)]
pub struct Mailboxes {
    database: Database,
    shared: Arc<Shared>,
}

struct Shared {
    limits: MailboxLimits,
    queue: Mutex<Queue>,
    index: Mutex<Index>,
    changed: watch::Sender<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailboxes {
    /// Opens the mailboxes in `database` and finds out what waits in them. Blocks for one commit.
    ///
    /// # Errors
    /// The database failed, or what is in it is not readable.
    pub fn open(database: Database, limits: MailboxLimits) -> Result<Self, StoreError> {
        let (tell, told) = std::sync::mpsc::channel();
        database.write_then(
            move |transaction| Tables::open(transaction, limits).map(drop),
            move |outcome| drop(tell.send(outcome)),
        );
        told.recv().unwrap_or(Err(StoreError::Closed))?;
        let index = database.read(|transaction| {
            let mut index = Index::default();
            for entry in transaction.open_table(WAITING)?.iter()? {
                let (key, record) = entry?;
                let (agent, sequence) = key.value();
                let record: Record = decode(record.value())?;
                index.insert(
                    &AgentId::from_number(agent),
                    sequence,
                    record.stage,
                    record.expires_at_ms,
                );
            }
            Ok(index)
        })?;
        Ok(Self {
            database,
            shared: Arc::new(Shared {
                limits,
                queue: Mutex::default(),
                index: Mutex::new(index),
                changed: watch::Sender::new(()),
            }),
        })
    }

    /// Puts a message into the mailbox of `agent`. Returns at once; `done` is told when it is on
    /// disk, or why it is not. Messages get their places in the order of the calls.
    ///
    /// `done` must not block. It runs on the database's thread; when the message is refused
    /// without asking the disk, it runs before this returns.
    pub fn accept(
        &self,
        agent: &AgentId,
        message: Incoming,
        now_ms: u64,
        done: impl FnOnce(Result<Accepted, Refused>) + Send + 'static,
    ) {
        if let Err(refused) = message.check_size(&self.shared.limits) {
            return done(Err(refused));
        }
        self.submit(Change::Accept {
            agent: agent.clone(),
            message,
            now_ms,
            since: Instant::now(),
            done: Box::new(done),
        });
    }

    /// The first `limit` messages that wait for `agent`, in the order they were accepted. One
    /// that was being offered when the host ended is among them, in stage [`Stage::Offered`].
    ///
    /// # Errors
    /// The database failed.
    pub fn pending(&self, agent: &AgentId, limit: usize) -> Result<Vec<Pending>, StoreError> {
        let waiting = lock(&self.shared.index).first(agent, limit);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        self.database.read(|transaction| {
            let records = transaction.open_table(WAITING)?;
            let bodies = transaction.open_table(BODIES)?;
            let mut pending = Vec::with_capacity(waiting.len());
            for (sequence, stage) in waiting {
                let key = (agent.number(), sequence);
                let (Some(record), Some(body)) = (records.get(key)?, bodies.get(key)?) else {
                    continue;
                };
                let record: Record = decode(record.value())?;
                pending.push(Pending {
                    sequence,
                    accepted_at_ms: record.accepted_at_ms,
                    message: record.into_incoming(body.value())?,
                    stage,
                });
            }
            Ok(pending)
        })
    }

    /// How many messages wait for `agent`.
    pub fn waiting(&self, agent: &AgentId) -> usize {
        lock(&self.shared.index).count(agent)
    }

    /// Notes that messages came to `stage`. It counts for [`pending`](Self::pending) at once. It is
    /// written to disk without waiting: what says whether the harness has a message, as soon as
    /// possible, other stages within a second. A message that cannot come to that stage from where
    /// it is stays there. Returned are those that waited until now and were moved: who hands
    /// messages over hands over these, and nobody else has them.
    pub fn mark(&self, agent: &AgentId, sequences: &[u64], stage: Stage, now_ms: u64) -> Vec<u64> {
        let (sequences, moved) = lock(&self.shared.index).mark(agent, sequences, &stage);
        if !sequences.is_empty() {
            self.submit(Change::Mark { agent: agent.clone(), sequences, stage, now_ms });
        }
        moved
    }

    /// Notes that the message with the id `re` was answered by the message `answer`. `by` is the
    /// answering agent when this host runs it. Messages that are not known are nobody's concern.
    pub fn answered(&self, by: Option<&AgentId>, re: &str, answer: &str, now_ms: u64) {
        self.submit(Change::Answered {
            by: by.cloned(),
            re: re.to_owned(),
            answer: answer.to_owned(),
            now_ms,
        });
    }

    /// Notes a step of a message that goes to somebody who has no mailbox here.
    pub fn trace_only(&self, id: &str, step: TraceStep) {
        self.submit(Change::Trace { id: id.to_owned(), step });
    }

    /// What is known of the way of a message, the oldest step first. What was noted a moment ago
    /// may be missing; [`settled`](Self::settled) waits for it.
    ///
    /// # Errors
    /// The database failed.
    pub fn trace(&self, id: &str) -> Result<Vec<TraceStep>, StoreError> {
        self.database.read(|transaction| {
            let mut ways = Vec::new();
            if let Some(bytes) = transaction.open_table(TRACES)?.get(id)? {
                ways.push(decode::<TraceRecord>(bytes.value())?.steps);
            }
            let places = (id.as_bytes(), 0)..=(id.as_bytes(), u32::MAX);
            for entry in transaction.open_table(IDS)?.range(places)? {
                let (key, place) = entry?;
                let agent = key.value().1;
                if let Some(record) = record(transaction, (agent, place.value()))? {
                    let agent = AgentId::from_number(agent);
                    ways.push(record.into_trace(&agent).collect());
                }
            }
            Ok(merge(ways))
        })
    }

    /// Wakes one waiter for each time that a message came into the mailbox of `agent` since
    /// somebody last waited.
    pub fn arrivals(&self, agent: &AgentId) -> Arc<Notify> {
        lock(&self.shared.index).arrivals(agent)
    }

    /// Tells whenever something in a mailbox or a trace may have changed. What it says is only
    /// that it is worth looking again.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    /// The newest `limit` messages of `agent`, waiting or not, the newest first. With `before`,
    /// only those with a smaller place.
    ///
    /// # Errors
    /// The database failed.
    pub fn inbox(
        &self,
        agent: &AgentId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError> {
        let name = agent.number();
        let places = (name, 0)..(name, before.unwrap_or(u64::MAX));
        self.database.read(|transaction| {
            let mut letters = Vec::new();
            let bodies = transaction.open_table(BODIES)?;
            for table in [WAITING, KEPT] {
                let records = transaction.open_table(table)?;
                for entry in records.range(places.clone())?.rev().take(limit) {
                    let (key, record) = entry?;
                    let record: Record = decode(record.value())?;
                    let body = bodies.get(key.value())?;
                    let body = body.as_ref().map(|body| body.value());
                    letters.push(record.into_letter(key.value().1, body)?);
                }
            }
            letters.sort_by_key(|letter| std::cmp::Reverse(letter.sequence));
            letters.truncate(limit);
            Ok(letters)
        })
    }

    /// Fails the messages whose time is up and that were not offered to a harness yet. Returns
    /// them so that their senders can be told.
    ///
    /// # Errors
    /// The database failed; the messages stay as they were.
    pub fn expire(&self, now_ms: u64) -> Result<Vec<Expired>, StoreError> {
        let overdue = lock(&self.shared.index).overdue(now_ms);
        let mut expired = self.database.read(|transaction| {
            let mut expired = Vec::with_capacity(overdue.len());
            for (agent, sequence) in overdue {
                let Some(record) = record(transaction, (agent.number(), sequence))? else {
                    continue;
                };
                expired.push(Expired {
                    agent,
                    sequence,
                    id: record.id,
                    from: record.from,
                    sender: record.sender,
                    to: record.to,
                    re: record.re,
                });
            }
            Ok(expired)
        })?;
        let stage = Stage::Failed { reason: "expired before the agent could take it".to_owned() };
        expired.retain(|message| {
            let mut index = lock(&self.shared.index);
            // Meanwhile it may have been offered, or expired by somebody else.
            index.expire(&message.agent, message.sequence)
        });
        for message in &expired {
            self.submit(Change::Mark {
                agent: message.agent.clone(),
                sequences: vec![message.sequence],
                stage: stage.clone(),
                now_ms,
            });
        }
        Ok(expired)
    }

    /// When [`expire`](Self::expire) has something to do next, in milliseconds since the Unix
    /// epoch.
    pub fn next_expiry(&self) -> Option<u64> {
        lock(&self.shared.index).next_expiry()
    }

    /// Which of these messages of `agent` were answered.
    ///
    /// # Errors
    /// The database failed.
    pub fn answered_among(
        &self,
        agent: &AgentId,
        sequences: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        self.database.read(|transaction| {
            let mut answered = Vec::new();
            for &sequence in sequences {
                let record = record(transaction, (agent.number(), sequence))?;
                if record.is_some_and(|record| record.stage == Stage::Answered) {
                    answered.push(sequence);
                }
            }
            Ok(answered)
        })
    }

    /// Wakes one waiter when there may be a new [`next_expiry`](Self::next_expiry).
    pub fn expiries_changed(&self) -> Arc<Notify> {
        lock(&self.shared.index).expiries_changed()
    }

    /// Keeps a message until a person decides. `done` is told when it is on disk;
    /// [`Refused::Busy`] means that too many are held already.
    pub fn hold(&self, held: HeldMessage, done: impl FnOnce(Result<(), Refused>) + Send + 'static) {
        if let Err(refused) = held.message.check_size(&self.shared.limits) {
            return done(Err(refused));
        }
        self.submit(Change::Hold { held, done: Box::new(done) });
    }

    /// The messages that wait for a person's decision, the longest waiting first.
    ///
    /// # Errors
    /// The database failed.
    pub fn held(&self) -> Result<Vec<HeldMessage>, StoreError> {
        let mut all: Vec<HeldMessage> = self.database.read(|transaction| {
            let table = transaction.open_table(HELD)?;
            let entries = table.iter()?;
            entries.map(|entry| decode(entry?.1.value())).collect()
        })?;
        all.sort_by_key(|held| held.held_at_ms);
        Ok(all)
    }

    /// The held message with this id.
    ///
    /// # Errors
    /// The database failed.
    pub fn held_message(&self, id: &str) -> Result<Option<HeldMessage>, StoreError> {
        self.database.read(|transaction| {
            let found = transaction.open_table(HELD)?.get(id)?;
            found.map(|bytes| decode(bytes.value())).transpose()
        })
    }

    /// Holds a message no longer. When it is delivered instead, call this after
    /// [`accept`](Self::accept): changes reach the disk in the order of the calls, so a crash in
    /// between leaves the message in both places, and its id keeps it from arriving twice.
    pub fn drop_held(&self, id: &str) {
        self.submit(Change::DropHeld { id: id.to_owned() });
    }

    /// Removes the mailbox of an agent that is gone, with all that is in it.
    ///
    /// # Errors
    /// The database failed; the mailbox is still there.
    pub async fn remove(&self, agent: &AgentId) -> Result<(), Refused> {
        let agent = agent.clone();
        self.wait_for(|done| Change::Remove { agent, done }).await
    }

    /// Waits until all that was handed in before is on disk.
    ///
    /// # Errors
    /// The database failed.
    pub async fn settled(&self) -> Result<(), Refused> {
        self.wait_for(|done| Change::Settle { done }).await
    }

    async fn wait_for(
        &self,
        change: impl FnOnce(message::Done<()>) -> Change,
    ) -> Result<(), Refused> {
        let (tell, told) = oneshot::channel();
        self.submit(change(Box::new(move |outcome| drop(tell.send(outcome)))));
        told.await.unwrap_or(Err(Refused::Storage(StoreError::Closed)))
    }

    fn submit(&self, change: Change) {
        submit(&self.database, &self.shared, change);
    }
}

impl std::fmt::Debug for Mailboxes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Mailboxes")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

fn record(transaction: &ReadTransaction, key: (u32, u64)) -> Result<Option<Record>, redb::Error> {
    for table in [WAITING, KEPT] {
        if let Some(bytes) = transaction.open_table(table)?.get(key)? {
            return decode(bytes.value()).map(Some);
        }
    }
    Ok(None)
}

/// The steps of several ways by time. Those of one way stay in their order even when their clocks
/// disagree.
fn merge(ways: Vec<Vec<TraceStep>>) -> Vec<TraceStep> {
    let mut steps = Vec::new();
    for way in ways {
        let mut latest = 0;
        for step in way {
            latest = step.at_ms.max(latest);
            steps.push((latest, step));
        }
    }
    steps.sort_by_key(|(at_ms, _)| *at_ms);
    steps.into_iter().map(|(_, step)| step).collect()
}
