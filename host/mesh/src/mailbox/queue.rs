//! Changes on their way to the disk. All that came in since the last commit is applied by one
//! work of the database, with the tables opened once, and settled after its commit.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use redb::WriteTransaction;
use rp_store::{Database, StoreError};

use super::message::{Accepted, Done, HeldMessage, Incoming, Origin, Refused, TraceStep};
use super::stage::Stage;
use super::tables::{Marked, Tables, Taken};
use super::{Shared, lock};
use crate::agent::AgentId;

/// Messages that can be on their way to the disk at once, and their bytes.
const MAX_MESSAGES: usize = 8192;
const MAX_BYTES: usize = 64 << 20;

/// Marks and traces that can be on their way at once. Only a disk that has stopped lets so many
/// pile up; more are lost, which can make messages arrive again after a restart.
const MAX_NOTES: usize = 65_536;

/// A change.
pub(super) enum Change {
    Accept {
        agent: AgentId,
        message: Incoming,
        now_ms: u64,
        /// For telling later how long it took until it was stored.
        since: Instant,
        done: Done<Accepted>,
    },
    Hold {
        held: HeldMessage,
        done: Done<()>,
    },
    DropHeld {
        id: String,
    },
    Remove {
        agent: AgentId,
        done: Done<()>,
    },
    Settle {
        done: Done<()>,
    },
    Mark {
        agent: AgentId,
        sequences: Vec<u64>,
        stage: Stage,
        now_ms: u64,
    },
    Answered {
        by: Option<AgentId>,
        re: String,
        answer: String,
        now_ms: u64,
    },
    Trace {
        id: String,
        step: TraceStep,
    },
    /// A message was refused because its commit failed, but may be on disk nevertheless.
    Revoke {
        agent: AgentId,
        id: String,
        accepted_at_ms: u64,
    },
}

/// What a change did, to be told after the commit.
enum Effect {
    /// With the message that it answered.
    Taken(Taken, Option<u64>),
    IsHeld(bool),
    Marked(Vec<(u64, Marked)>),
    Answered(Option<u64>),
    Nothing,
}

#[derive(Default)]
pub(super) struct Queue {
    changes: VecDeque<Change>,
    /// Messages and bytes from being queued until they are settled.
    messages: usize,
    bytes: usize,
    is_durable_work_queued: bool,
    is_relaxed_work_queued: bool,
    /// Changes that a full disk gave back need durable work, whatever comes next.
    has_durable_leftovers: bool,
}

impl Change {
    fn is_durable(&self) -> bool {
        match self {
            Self::Accept { .. }
            | Self::Hold { .. }
            | Self::DropHeld { .. }
            | Self::Remove { .. }
            | Self::Settle { .. }
            | Self::Revoke { .. } => true,
            Self::Mark { stage, .. } => stage.is_decisive(),
            Self::Answered { .. } | Self::Trace { .. } => false,
        }
    }

    /// Bytes and places it takes among the messages on their way.
    fn load(&self) -> Option<usize> {
        match self {
            Self::Accept { message, .. } => Some(message.bytes()),
            Self::Hold { held, .. } => Some(held.message.bytes()),
            _ => None,
        }
    }

    fn apply(&self, tables: &mut Tables<'_>) -> Result<Effect, redb::Error> {
        match self {
            Self::Accept { agent, message, now_ms, since, .. } => {
                let passed = u64::try_from(since.elapsed().as_millis()).unwrap_or(0);
                let stored_at_ms = now_ms.saturating_add(passed);
                let taken = tables.accept(agent, message, *now_ms, stored_at_ms)?;
                // A notice of the router names a message, and does not answer it.
                let re = message.re.as_ref().filter(|_| message.origin != Origin::Router);
                let answered = match (&taken, re) {
                    (Taken::Stored { .. }, Some(re)) => {
                        tables.answered(message.sender.as_ref(), re, &message.id, *now_ms)?
                    }
                    _ => None,
                };
                Ok(Effect::Taken(taken, answered))
            }
            Self::Hold { held, .. } => tables.hold(held).map(Effect::IsHeld),
            Self::DropHeld { id } => tables.drop_held(id).map(|()| Effect::Nothing),
            Self::Remove { agent, .. } => tables.remove(agent).map(|()| Effect::Nothing),
            Self::Settle { .. } => Ok(Effect::Nothing),
            Self::Mark { agent, sequences, stage, now_ms } => {
                let mut marked = Vec::with_capacity(sequences.len());
                for &sequence in sequences {
                    marked.push((sequence, tables.mark(agent, sequence, stage, *now_ms, None)?));
                }
                Ok(Effect::Marked(marked))
            }
            Self::Answered { by, re, answer, now_ms } => {
                tables.answered(by.as_ref(), re, answer, *now_ms).map(Effect::Answered)
            }
            Self::Trace { id, step } => tables.trace(id, step.clone()).map(|()| Effect::Nothing),
            Self::Revoke { agent, id, accepted_at_ms } => {
                tables.revoke(agent, id, *accepted_at_ms).map(|()| Effect::Nothing)
            }
        }
    }

    /// What makes sure that a refused message is not on disk after all.
    fn revocation(&self) -> Option<Self> {
        match self {
            Self::Accept { agent, message, now_ms, .. } => Some(Self::Revoke {
                agent: agent.clone(),
                id: message.id.clone(),
                accepted_at_ms: *now_ms,
            }),
            _ => None,
        }
    }

    /// Tells whoever waits for it that it did not come about. What nobody waits for is returned.
    fn refuse(self, refused: Refused) -> Option<Self> {
        match self {
            Self::Accept { done, .. } => tell(done, Err(refused)),
            Self::Hold { done, .. } | Self::Remove { done, .. } | Self::Settle { done } => {
                tell(done, Err(refused));
            }
            note => return Some(note),
        }
        None
    }
}

impl Queue {
    fn has_room_for(&self, change: &Change) -> bool {
        match change.load() {
            Some(bytes) => self.messages < MAX_MESSAGES && self.bytes + bytes <= MAX_BYTES,
            None => self.changes.len() < MAX_NOTES,
        }
    }

    fn push(&mut self, change: Change) -> Wanted {
        if let Some(bytes) = change.load() {
            self.messages += 1;
            self.bytes += bytes;
        }
        let is_durable = change.is_durable() || std::mem::take(&mut self.has_durable_leftovers);
        self.changes.push_back(change);
        if self.is_durable_work_queued {
            Wanted::Nothing
        } else if is_durable {
            self.is_durable_work_queued = true;
            Wanted::DurableWork
        } else if self.is_relaxed_work_queued {
            Wanted::Nothing
        } else {
            self.is_relaxed_work_queued = true;
            Wanted::RelaxedWork
        }
    }

    /// What a work that is about to run is to apply.
    fn take(&mut self, is_durable: bool) -> VecDeque<Change> {
        if is_durable {
            self.is_durable_work_queued = false;
            return std::mem::take(&mut self.changes);
        }
        self.is_relaxed_work_queued = false;
        // A durable change must not be settled by a commit that is not durable, nor be overtaken.
        let relaxed = self.changes.iter().take_while(|change| !change.is_durable());
        let count = relaxed.count();
        self.changes.drain(..count).collect()
    }

    fn release(&mut self, change: &Change) {
        if let Some(bytes) = change.load() {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// What the database is to be asked for.
enum Wanted {
    Nothing,
    DurableWork,
    RelaxedWork,
}

/// One work of the database.
#[derive(Default)]
struct Run {
    /// Whether it got as far as taking its changes.
    was_begun: bool,
    changes: VecDeque<(Change, Effect)>,
}

/// Sends a change on its way.
pub(super) fn submit(database: &Database, shared: &Arc<Shared>, change: Change) {
    let mut queue = lock(&shared.queue);
    if !queue.has_room_for(&change) {
        drop(queue);
        if change.refuse(Refused::Busy).is_some() {
            tracing::error!("a mark of a message was lost: too many wait for the disk");
        }
        return;
    }
    let wanted = queue.push(change);
    drop(queue);
    // The first of these runs in the transaction, the second after its commit, or without the
    // first when there is none.
    let run = Arc::new(Mutex::new(Run::default()));
    let (shared_at_end, run_at_end) = (Arc::clone(shared), Arc::clone(&run));
    let shared = Arc::clone(shared);
    match wanted {
        Wanted::Nothing => {}
        Wanted::DurableWork => database.write_then(
            move |transaction| apply(&shared, &run, transaction, true),
            move |outcome| conclude(&shared_at_end, &run_at_end, true, outcome),
        ),
        Wanted::RelaxedWork => database.write_relaxed_then(
            move |transaction| apply(&shared, &run, transaction, false),
            move |outcome| conclude(&shared_at_end, &run_at_end, false, outcome),
        ),
    }
}

fn apply(
    shared: &Shared,
    run: &Mutex<Run>,
    transaction: &WriteTransaction,
    is_durable: bool,
) -> Result<(), redb::Error> {
    let run = &mut *lock(run);
    run.was_begun = true;
    let taken = lock(&shared.queue).take(is_durable);
    run.changes = taken.into_iter().map(|change| (change, Effect::Nothing)).collect();
    if run.changes.is_empty() {
        return Ok(());
    }
    let mut tables = Tables::open(transaction, shared.limits)?;
    for (change, effect) in &mut run.changes {
        *effect = change.apply(&mut tables)?;
    }
    tables.finish()
}

fn conclude(shared: &Shared, run: &Mutex<Run>, is_durable: bool, outcome: Result<(), StoreError>) {
    let run = std::mem::take(&mut *lock(run));
    match outcome {
        Ok(()) => {
            for (change, effect) in run.changes {
                settle(shared, change, effect);
            }
            shared.changed.send_replace(());
        }
        Err(error) => fail(shared, run, is_durable, &error),
    }
}

/// A change is on disk, or as good as that when it is a relaxed one.
fn settle(shared: &Shared, change: Change, effect: Effect) {
    lock(&shared.queue).release(&change);
    match (change, effect) {
        (Change::Accept { agent, message, done, .. }, Effect::Taken(taken, answered)) => {
            if let (Some(sender), Some(sequence)) = (&message.sender, answered) {
                lock(&shared.index).remove(sender, sequence);
            }
            let result = match taken {
                Taken::Stored { sequence } => {
                    let expires_at_ms = message.expires_at_ms;
                    lock(&shared.index).insert(&agent, sequence, Stage::Stored, expires_at_ms);
                    Ok(Accepted::Stored)
                }
                Taken::Duplicate => Ok(Accepted::Duplicate),
                Taken::Full { waiting, waiting_bytes } => {
                    Err(Refused::Full { waiting, waiting_bytes })
                }
            };
            tell(done, result);
        }
        (Change::Mark { agent, .. }, Effect::Marked(marked)) => {
            let mut index = lock(&shared.index);
            for (sequence, marked) in marked {
                if let Marked::Returned { expires_at_ms } = marked {
                    index.insert(&agent, sequence, Stage::Stored, expires_at_ms);
                }
            }
        }
        (Change::Answered { by: Some(agent), .. }, Effect::Answered(Some(sequence))) => {
            lock(&shared.index).remove(&agent, sequence);
        }
        (Change::Hold { done, .. }, Effect::IsHeld(false)) => tell(done, Err(Refused::Busy)),
        (Change::Remove { agent, done }, _) => {
            lock(&shared.index).remove_mailbox(&agent);
            tell(done, Ok(()));
        }
        (Change::Hold { done, .. } | Change::Settle { done }, _) => tell(done, Ok(())),
        _ => {}
    }
}

/// Nothing of a work came about.
fn fail(shared: &Shared, mut run: Run, is_durable: bool, error: &StoreError) {
    let mut queue = lock(&shared.queue);
    if !run.was_begun {
        let never_taken = queue.take(is_durable);
        run.changes = never_taken.into_iter().map(|change| (change, Effect::Nothing)).collect();
    }
    for (change, _) in &run.changes {
        queue.release(change);
    }
    drop(queue);
    // A work that made the database fail must not be repeated for ever.
    let can_retry = !matches!(error, StoreError::Storage(_) | StoreError::Panicked(_));
    let mut leftovers = VecDeque::new();
    for (change, _) in run.changes {
        if let (true, Some(revocation)) = (run.was_begun, change.revocation()) {
            leftovers.push_back(revocation);
        }
        match change.refuse(Refused::Storage(error.clone())) {
            Some(note) if can_retry => leftovers.push_back(note),
            Some(_) => tracing::error!(%error, "a mark of a message was lost"),
            None => {}
        }
    }
    let mut queue = lock(&shared.queue);
    queue.has_durable_leftovers |= leftovers.iter().any(Change::is_durable);
    // Before what came in since, so that the order stays.
    leftovers.append(&mut queue.changes);
    queue.changes = leftovers;
}

/// Runs what waits for an outcome. Its panic must not keep the others from theirs.
fn tell<T>(done: Done<T>, outcome: Result<T, Refused>) {
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("what was to run after storing a message panicked");
    }
}
