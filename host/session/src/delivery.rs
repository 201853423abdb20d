//! Mesh messages on their way into the model's context: in order, each once.
//!
//! A batch is offered as one prompt at a turn edge. Until its turn has ended, what was in it
//! is kept in the session's memory. When the process dies before that, the conversation that
//! the harness resumes is read for the ids, and only what is not in it is offered again.

use std::time::Duration;

use rp_mesh::{AgentId, Mailboxes, Pending, Stage};
use rp_protocol::session::{Failure, Message};
use rp_store::{Database, StoreError};
use tokio::time::Instant;

use crate::{
    inbound::{Shown, is_in_history, render},
    memory::{InFlight, Memory, Reached},
    process::now_ms,
};

/// The most messages of one batch.
const BATCH_MESSAGES: usize = 20;
/// The most text of one batch, in bytes; a message that is longer goes alone.
const BATCH_BYTES: usize = 64 << 10;
/// How often the wait after a refusal doubles.
const DOUBLINGS: u32 = 6;

/// The messages of one agent on their way.
pub(crate) struct Delivery {
    mailboxes: Mailboxes,
    database: Database,
    agent: AgentId,
    offer_again: Duration,
    batch_bytes: usize,
    /// The mailbox may hold something.
    mail: bool,
    doubt: Doubt,
    /// The command of the newest batch, until the process ends.
    batch: Option<u64>,
    /// A turn has started since the newest batch was offered.
    turn_started: bool,
    refusals: u32,
    /// Nothing is offered before this.
    not_before: Option<Instant>,
}

/// Whether it is known which messages the conversation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// It must be read before anything is offered.
    Read,
    /// It is being read.
    Reading,
}

/// What a process begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// An empty conversation.
    New,
    /// An earlier one, which can be read.
    Readable,
    /// An earlier one, which cannot be read.
    Unreadable,
}

/// What is to be done at a turn edge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Read the conversation.
    ReadHistory,
    /// Give this prompt.
    Prompt(String),
}

impl Delivery {
    pub(crate) fn new(
        mailboxes: Mailboxes,
        database: Database,
        agent: AgentId,
        offer_again: Duration,
    ) -> Self {
        Self {
            mailboxes,
            database,
            agent,
            offer_again,
            batch_bytes: BATCH_BYTES,
            mail: true,
            doubt: Doubt::None,
            batch: None,
            turn_started: false,
            refusals: 0,
            not_before: None,
        }
    }

    /// Batches have so many bytes of text instead.
    pub(crate) fn in_batches_of(self, batch_bytes: usize) -> Self {
        Self { batch_bytes, ..self }
    }

    /// Something may have arrived in the mailbox.
    pub(crate) fn mail_arrived(&mut self) {
        self.mail = true;
    }

    /// A process begins.
    pub(crate) fn process_started(&mut self, memory: &mut Memory, conversation: Conversation) {
        self.mail = true;
        self.batch = None;
        self.refusals = 0;
        self.not_before = None;
        self.doubt = Doubt::None;
        match conversation {
            Conversation::New => {
                let all = std::mem::take(&mut memory.in_flight);
                self.offer_once_more(all, memory);
            }
            Conversation::Readable => self.doubt = Doubt::Read,
            Conversation::Unreadable => self.give_up_reading(memory),
        }
    }

    /// The wait after a refusal is over.
    pub(crate) fn wait_is_over(&mut self) {
        self.not_before = None;
    }

    /// When the wait after a refusal is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.not_before
    }

    /// What is to be done now that the session is at a turn edge.
    pub(crate) fn at_edge(&mut self, memory: &mut Memory, now: Instant) -> Option<Todo> {
        if self.not_before.is_some_and(|until| now < until) || self.doubt == Doubt::Reading {
            return None;
        }
        self.not_before = None;
        if !self.mail && memory.again.is_empty() && self.doubt == Doubt::None {
            return None;
        }
        let pending = match self.pending() {
            Ok(pending) => pending,
            Err(error) => {
                tracing::warn!(%error, "a mailbox could not be read");
                self.not_before = Some(now + self.offer_again);
                return None;
            }
        };
        if self.doubt == Doubt::Read {
            if !pending.is_empty() || !memory.in_flight.is_empty() {
                self.doubt = Doubt::Reading;
                return Some(Todo::ReadHistory);
            }
            self.doubt = Doubt::None;
        }
        let mut batch = next_batch(memory, pending, self.batch_bytes);
        if batch.is_empty() {
            self.mail = false;
            return None;
        }
        // In this moment one may have expired, or the model may have taken it with a tool.
        let ours = self.mark(batch.iter(), Stage::Offered);
        batch.retain(|message| message.kept_here || ours.contains(&message.sequence));
        if batch.is_empty() {
            return None;
        }
        let text: Vec<&str> = batch.iter().map(|message| message.text.as_str()).collect();
        let prompt = text.join("\n\n");
        let offered = |message| InFlight { reached: Reached::Offered, ..message };
        memory.in_flight.extend(batch.into_iter().map(offered));
        self.save(memory);
        self.turn_started = false;
        Some(Todo::Prompt(prompt))
    }

    /// The prompt with the newest batch is the command with this number.
    pub(crate) fn offered(&mut self, number: u64) {
        self.batch = Some(number);
    }

    /// The prompt was accepted: its messages are on their way into a turn.
    pub(crate) fn accepted(&mut self, memory: &mut Memory) {
        self.refusals = 0;
        self.advance(memory, Reached::Offered, Reached::Injected, Stage::Injected);
    }

    /// The prompt was refused: its messages stay where they are. Tells whether that is news.
    pub(crate) fn refused(&mut self, memory: &mut Memory) -> bool {
        let (offered, rest) = std::mem::take(&mut memory.in_flight)
            .into_iter()
            .partition(|message| message.reached == Reached::Offered);
        memory.in_flight = rest;
        self.offer_once_more(offered, memory);
        self.batch = None;
        let factor = 1 << self.refusals.min(DOUBLINGS);
        self.not_before = Some(Instant::now() + self.offer_again * factor);
        self.refusals += 1;
        self.refusals == 1
    }

    /// Nobody knows what became of the prompt.
    pub(crate) fn lost(&mut self, memory: &mut Memory, can_read: bool) {
        if can_read {
            self.doubt = Doubt::Read;
        } else {
            self.give_up_reading(memory);
        }
    }

    /// A turn began.
    pub(crate) fn turn_started(&mut self) {
        self.turn_started = true;
    }

    /// The prompt of this command is part of a turn.
    pub(crate) fn prompt_seen(&mut self, number: u64, memory: &mut Memory) {
        if self.batch == Some(number) {
            self.advance(memory, Reached::Offered, Reached::Injected, Stage::Injected);
            self.advance(memory, Reached::Injected, Reached::TurnSeen, Stage::TurnSeen);
        }
    }

    /// The turn that ends had everything in it that the harness took.
    pub(crate) fn all_seen(&mut self, memory: &mut Memory) {
        self.advance(memory, Reached::Injected, Reached::TurnSeen, Stage::TurnSeen);
    }

    /// The harness dropped the prompts of these commands: what was in them was not seen.
    pub(crate) fn prompts_dropped(&mut self, numbers: &[u64], memory: &mut Memory) {
        if !self.batch.is_some_and(|batch| numbers.contains(&batch)) {
            return;
        }
        self.batch = None;
        let (seen, dropped) = std::mem::take(&mut memory.in_flight)
            .into_iter()
            .partition(|message| message.reached == Reached::TurnSeen);
        memory.in_flight = seen;
        self.offer_once_more(dropped, memory);
    }

    /// A turn is over. What was seen in it is in the conversation for good; so is what was
    /// injected before it, where a harness does not say what it sees.
    pub(crate) fn turn_ended(&mut self, memory: &mut Memory) {
        self.not_before = None;
        let settled = if self.turn_started { Reached::Injected } else { Reached::TurnSeen };
        let before = memory.in_flight.len();
        memory.in_flight.retain(|message| message.reached < settled);
        if memory.in_flight.len() != before {
            self.save(memory);
        }
    }

    /// The conversation was read: what is in it is settled, what is not is offered again.
    pub(crate) fn history_read(&mut self, history: &[Message], memory: &mut Memory) {
        self.conversation_read(|id| is_in_history(history, id), memory);
    }

    /// As [`Self::history_read`], where somebody else read it and says what it holds.
    pub(crate) fn conversation_read(&mut self, holds: impl Fn(&str) -> bool, memory: &mut Memory) {
        self.doubt = Doubt::None;
        let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut memory.in_flight)
            .into_iter()
            .partition(|message| holds(&message.id));
        // A host that was killed may have lost the newest marks.
        let unmarked: Vec<_> = self
            .pending()
            .unwrap_or_default()
            .into_iter()
            .filter(|message| holds(&message.id))
            .collect();
        for (reached, stage) in
            [(Reached::Injected, Stage::Injected), (Reached::TurnSeen, Stage::TurnSeen)]
        {
            let found = known.iter().chain(&unmarked);
            self.mark(found.filter(|message| message.reached < reached), stage);
        }
        self.offer_once_more(unknown, memory);
    }

    /// Whoever was to read the conversation went away.
    pub(crate) fn reading_broke_off(&mut self) {
        if self.doubt == Doubt::Reading {
            self.doubt = Doubt::Read;
        }
    }

    /// The messages that reading the conversation decides about, by id.
    pub(crate) fn doubtful(&self, memory: &Memory) -> Vec<String> {
        let pending = self.pending().unwrap_or_default();
        memory.in_flight.iter().chain(&pending).map(|message| message.id.clone()).collect()
    }

    /// The conversation cannot be read: what was not seen in a turn is offered again,
    /// because losing a message is worse than telling it twice.
    pub(crate) fn give_up_reading(&mut self, memory: &mut Memory) {
        self.doubt = Doubt::None;
        let mut unseen = std::mem::take(&mut memory.in_flight);
        unseen.retain(|message| message.reached < Reached::TurnSeen);
        self.offer_once_more(unseen, memory);
    }

    /// Puts messages in line again, before the rest. The mailbox still lists those that the
    /// harness never took.
    ///
    /// What the agent has answered is dealt with, whatever the model remembers of it.
    fn offer_once_more(&mut self, mut messages: Vec<InFlight>, memory: &mut Memory) {
        self.mail = true;
        let sequences: Vec<u64> = messages.iter().map(|message| message.sequence).collect();
        match self.mailboxes.answered_among(&self.agent, &sequences) {
            Ok(answered) => messages.retain(|message| !answered.contains(&message.sequence)),
            Err(error) => tracing::warn!(%error, "a mailbox could not be read"),
        }
        if messages.is_empty() {
            return;
        }
        let (mut kept, listed): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.kept_here || message.reached > Reached::Offered);
        self.mark(listed.iter(), Stage::Stored);
        for message in &mut kept {
            message.kept_here = true;
        }
        memory.again.splice(0..0, kept);
        self.save(memory);
    }

    /// What the mailbox holds, as far as the next batch can take it.
    fn pending(&self) -> Result<Vec<InFlight>, StoreError> {
        let listed = self.mailboxes.pending(&self.agent, BATCH_MESSAGES)?;
        Ok(listed.into_iter().map(to_offer).collect())
    }

    /// Takes every message that reached `from` on to `to`.
    fn advance(&mut self, memory: &mut Memory, from: Reached, to: Reached, stage: Stage) {
        let moving = || memory.in_flight.iter().filter(|message| message.reached == from);
        if moving().next().is_none() {
            return;
        }
        self.mark(moving(), stage);
        for message in &mut memory.in_flight {
            if message.reached == from {
                message.reached = to;
            }
        }
        self.save(memory);
    }

    fn mark<'a>(&self, messages: impl Iterator<Item = &'a InFlight>, stage: Stage) -> Vec<u64> {
        let sequences: Vec<u64> = messages.map(|message| message.sequence).collect();
        self.mailboxes.mark(&self.agent, &sequences, stage, now_ms())
    }

    fn save(&self, memory: &Memory) {
        memory.save(&self.database, self.agent.as_str(), false);
    }
}

fn to_offer(pending: Pending) -> InFlight {
    let Pending { sequence, message, .. } = pending;
    let text = render(Shown {
        from: &message.from,
        origin: message.origin,
        id: &message.id,
        re: message.re.as_deref(),
        body: message.body.get(),
    });
    InFlight { sequence, id: message.id, text, reached: Reached::Offered, kept_here: false }
}

/// Takes the first messages in line, as many as one prompt should carry.
fn next_batch(memory: &mut Memory, pending: Vec<InFlight>, limit: usize) -> Vec<InFlight> {
    let mut batch: Vec<InFlight> = Vec::new();
    let mut bytes = 0;
    let mut from_again = 0;
    for (place, message) in memory.again.iter().chain(&pending).enumerate() {
        let fits = batch.len() < BATCH_MESSAGES && bytes + message.text.len() <= limit;
        if !fits && !batch.is_empty() {
            break;
        }
        bytes += message.text.len();
        from_again += usize::from(place < memory.again.len());
        batch.push(message.clone());
    }
    memory.again.drain(..from_again);
    batch
}

/// What a person is told when messages are refused.
pub(crate) fn refusal_notice(failure: &Failure) -> String {
    format!("messages wait, because the session does not take them: {}", failure.message)
}
