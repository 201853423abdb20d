//! The mail of an agent whose harness a person runs in their own terminal.
//!
//! No process of this host is behind it. What runs in the harness, a hook or an extension, comes
//! at the edges of its turns and is given what waits. It says when the harness has that; if it goes
//! away before, nobody knows, and whoever comes next is asked what the conversation holds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{
    delivery::{Conversation, Delivery, Todo},
    memory::Memory,
    process::now_ms,
};

/// Text of one batch, in bytes: harnesses cut off what a hook says behind 10,000 characters.
const BATCH_BYTES: usize = 8 << 10;

/// How often a turn goes on with messages before the person is asked for a prompt: agents that
/// write to each other do not stop by themselves.
const MOST_CONTINUATIONS: u32 = 5;

/// What somebody who came for mail is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Nothing waits, or somebody else is being given it.
    Nothing,
    /// The conversation must be read first: which of these ids does it hold?
    Doubt(Vec<String>),
    /// Messages as the model is to read them.
    Batch {
        /// What they are acknowledged by.
        number: u64,
        /// The text.
        text: String,
    },
}

/// The mail of one agent.
pub struct LiveMail(Mutex<Inner>);

struct Inner {
    delivery: Delivery,
    memory: Memory,
    /// Begins with the time: an acknowledgement of an earlier daemon's batch must fit none of these.
    last: u64,
    /// The batch that was given and not acknowledged.
    open: Option<u64>,
    /// How often the running turn went on with messages.
    went_on: u32,
}

impl LiveMail {
    pub(crate) fn new(delivery: Delivery, mut memory: Memory) -> Self {
        let mut delivery = delivery.in_batches_of(BATCH_BYTES);
        delivery.process_started(&mut memory, Conversation::Readable);
        Self(Mutex::new(Inner { delivery, memory, last: now_ms(), open: None, went_on: 0 }))
    }

    /// A conversation begins or is gone on with: what it holds is not known.
    pub fn conversation_begins(&self) {
        let Inner { delivery, memory, open, .. } = &mut *self.lock();
        if open.is_none() {
            delivery.process_started(memory, Conversation::Readable);
        }
    }

    /// The person prompts. Where an earlier turn was broken off, its messages may be lost.
    pub fn turn_begins(&self) {
        let Inner { delivery, memory, open, .. } = &mut *self.lock();
        if open.is_none() && !memory.in_flight.is_empty() {
            delivery.lost(memory, true);
        }
    }

    /// A turn has ended that had in it what was given before.
    pub fn turn_ended(&self) {
        self.end(false);
    }

    /// As [`Self::turn_ended`], of a turn that had ended before and went on with messages. Tells
    /// whether it may go on once more.
    pub fn turn_ended_again(&self) -> bool {
        self.end(true);
        self.lock().went_on < MOST_CONTINUATIONS
    }

    fn end(&self, again: bool) {
        let Inner { delivery, memory, went_on, .. } = &mut *self.lock();
        *went_on = if again { *went_on + 1 } else { 0 };
        delivery.turn_started();
        delivery.all_seen(memory);
        delivery.turn_ended(memory);
    }

    /// Gives what waits. `holds` answers an earlier [`Given::Doubt`].
    pub fn give(&self, holds: Option<&[String]>) -> Given {
        let Inner { delivery, memory, last, open, .. } = &mut *self.lock();
        if open.is_some() {
            return Given::Nothing;
        }
        match holds {
            Some(ids) => {
                delivery.conversation_read(|id| ids.iter().any(|held| held == id), memory);
            }
            None => delivery.reading_broke_off(),
        }
        delivery.mail_arrived();
        match delivery.at_edge(memory, Instant::now()) {
            None => Given::Nothing,
            Some(Todo::ReadHistory) => Given::Doubt(delivery.doubtful(memory)),
            Some(Todo::Prompt(text)) => {
                *last += 1;
                *open = Some(*last);
                delivery.offered(*last);
                Given::Batch { number: *last, text }
            }
        }
    }

    /// The harness has this batch; with `seen`, as part of a turn. Tells whether that is news.
    pub fn taken(&self, number: u64, seen: bool) -> bool {
        let Inner { delivery, memory, open, .. } = &mut *self.lock();
        if *open != Some(number) {
            return false;
        }
        *open = None;
        delivery.accepted(memory);
        if seen {
            delivery.prompt_seen(number, memory);
        }
        true
    }

    /// The harness was told that this batch is there, and it stays in the mailbox. Tells whether that
    /// is news.
    pub fn left(&self, number: u64) -> bool {
        let Inner { delivery, memory, open, .. } = &mut *self.lock();
        if *open != Some(number) {
            return false;
        }
        *open = None;
        delivery.refused(memory);
        true
    }

    /// Whoever was given this batch went away. Nothing happens when it was acknowledged.
    pub fn gone(&self, number: u64) {
        let Inner { delivery, memory, open, .. } = &mut *self.lock();
        if *open == Some(number) {
            *open = None;
            delivery.lost(memory, true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
