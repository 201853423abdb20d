//! What is on disk: the tables of the mailboxes and the records in them.
//!
//! A message has a small record that moves from `waiting` to `kept` when the harness has it, and
//! a body that is written once. Records are JSON, so a later version can add to them.

use redb::TableDefinition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::message::{Incoming, Letter, Origin, TraceStep};
use super::stage::Stage;
use crate::agent::AgentId;

/// Agent and place in its mailbox. Numbers, because comparing keys is most of what a write does.
pub(super) type MessageKey = (u32, u64);

/// Records of messages that wait for their agent.
pub(super) const WAITING: TableDefinition<MessageKey, &[u8]> =
    TableDefinition::new("mailbox-waiting");
/// Records of messages that the harness has or that failed.
pub(super) const KEPT: TableDefinition<MessageKey, &[u8]> = TableDefinition::new("mailbox-kept");
/// Bodies of both, as JSON text.
pub(super) const BODIES: TableDefinition<MessageKey, &str> = TableDefinition::new("mailbox-bodies");
/// Envelope id and agent to place.
pub(super) const IDS: TableDefinition<(&[u8], u32), u64> = TableDefinition::new("mailbox-ids");
/// [`Counters`] by agent.
pub(super) const COUNTERS: TableDefinition<u32, &[u8]> = TableDefinition::new("mailbox-counters");
/// [`TraceRecord`] by envelope id, for messages that are in no mailbox of this host.
pub(super) const TRACES: TableDefinition<&str, &[u8]> = TableDefinition::new("mailbox-traces");
/// The order in which those traces began.
pub(super) const TRACE_ORDER: TableDefinition<u64, &str> =
    TableDefinition::new("mailbox-trace-order");
/// Held messages by envelope id.
pub(super) const HELD: TableDefinition<&str, &[u8]> = TableDefinition::new("mailbox-held");
/// Number and bytes of held messages, under 0.
pub(super) const HELD_TOTALS: TableDefinition<u8, (u64, u64)> =
    TableDefinition::new("mailbox-held-totals");

/// A record keeps this many steps; when an offer was repeated more often, middle ones go.
const MAX_STEPS: usize = 64;

/// How a message came and how far it got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) re: Option<String>,
    pub(super) origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) sender: Option<AgentId>,
    pub(super) expires_at_ms: Option<u64>,
    pub(super) accepted_at_ms: u64,
    /// What it counts against quotas.
    pub(super) bytes: u64,
    pub(super) stage: Stage,
    pub(super) steps: Vec<Step>,
}

/// One step of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) stage: Stage,
    pub(super) at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) detail: Option<String>,
}

/// The totals of one mailbox.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) next_sequence: u64,
    pub(super) waiting: u64,
    pub(super) waiting_bytes: u64,
    pub(super) kept: u64,
    /// Bytes of kept messages whose body is still there.
    pub(super) kept_bytes: u64,
    /// Kept messages before this place have no body any more.
    pub(super) first_body: u64,
    /// No kept message is too old before this time.
    pub(super) forget_at_ms: u64,
}

/// The steps of a message that is in no mailbox.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TraceRecord {
    pub(super) steps: Vec<TraceStep>,
}

impl Record {
    pub(super) fn new(message: &Incoming, accepted_at_ms: u64, stored_at_ms: u64) -> Self {
        let step = |stage, at_ms| Step { stage, at_ms, detail: None };
        Self {
            id: message.id.clone(),
            from: message.from.clone(),
            to: message.to.clone(),
            re: message.re.clone(),
            origin: message.origin,
            sender: message.sender.clone(),
            expires_at_ms: message.expires_at_ms,
            accepted_at_ms,
            bytes: message.bytes() as u64,
            stage: Stage::Stored,
            steps: vec![step(Stage::Accepted, accepted_at_ms), step(Stage::Stored, stored_at_ms)],
        }
    }

    /// Notes a step that is known to be legal.
    pub(super) fn advance(&mut self, stage: Stage, at_ms: u64, detail: Option<String>) {
        self.stage = stage.clone();
        push_bounded(&mut self.steps, Step { stage, at_ms, detail });
    }

    /// Notes a step that was noticed only after the message was answered: it came before that.
    pub(super) fn note_late(&mut self, stage: Stage, at_ms: u64) {
        let answered = self.steps.iter().position(|step| step.stage == Stage::Answered);
        let answered_at_ms = answered.and_then(|at| self.steps.get(at)).map(|step| step.at_ms);
        let at_ms = answered_at_ms.map_or(at_ms, |answered| at_ms.min(answered));
        let place = answered.unwrap_or(self.steps.len());
        if !self.steps.iter().any(|step| step.stage == stage) {
            self.steps.insert(place, Step { stage, at_ms, detail: None });
        }
    }

    /// When the last thing happened to it.
    pub(super) fn changed_at_ms(&self) -> u64 {
        self.steps.last().map_or(self.accepted_at_ms, |step| step.at_ms)
    }

    pub(super) fn into_trace(self, agent: &AgentId) -> impl Iterator<Item = TraceStep> {
        let agent = agent.clone();
        self.steps.into_iter().map(move |step| TraceStep {
            stage: step.stage,
            at_ms: step.at_ms,
            agent: Some(agent.clone()),
            detail: step.detail,
        })
    }

    pub(super) fn into_letter(
        self,
        sequence: u64,
        body: Option<&str>,
    ) -> Result<Letter, redb::Error> {
        Ok(Letter {
            sequence,
            id: self.id,
            from: self.from,
            to: self.to,
            re: self.re,
            origin: self.origin,
            body: body.map(raw_json).transpose()?,
            accepted_at_ms: self.accepted_at_ms,
            expires_at_ms: self.expires_at_ms,
            stage: self.stage,
        })
    }

    pub(super) fn into_incoming(self, body: &str) -> Result<Incoming, redb::Error> {
        Ok(Incoming {
            id: self.id,
            from: self.from,
            to: self.to,
            re: self.re,
            body: raw_json(body)?,
            origin: self.origin,
            sender: self.sender,
            expires_at_ms: self.expires_at_ms,
        })
    }
}

impl TraceRecord {
    pub(super) fn push(&mut self, step: TraceStep) {
        push_bounded(&mut self.steps, step);
    }
}

/// Keeps how it began and how it ended.
fn push_bounded<T>(steps: &mut Vec<T>, step: T) {
    if steps.len() >= MAX_STEPS {
        steps.remove(MAX_STEPS / 2);
    }
    steps.push(step);
}

fn raw_json(text: &str) -> Result<Box<serde_json::value::RawValue>, redb::Error> {
    serde_json::from_str(text).map_err(|error| damaged(&error))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| damaged(&error))
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(format!("a mailbox record is not readable: {error}"))
}
