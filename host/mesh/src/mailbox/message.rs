//! What goes into a mailbox and what comes out.

use rp_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::stage::Stage;
use crate::agent::AgentId;

/// What wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// An agent.
    Agent,
    /// A person, at a terminal or a device of theirs.
    Person,
    /// The router itself: a notice about a message that was sent.
    Router,
}

/// A message for an agent of this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Incoming {
    /// The envelope's id.
    pub id: String,
    /// The sender's address.
    pub from: String,
    /// The address it was sent to.
    pub to: String,
    /// The id of the message it answers.
    pub re: Option<String>,
    /// The body as JSON text.
    pub body: Box<RawValue>,
    /// What wrote it.
    pub origin: Origin,
    /// The agent of this host that sent it. With `re`, the message in its mailbox that this one
    /// answers counts as answered in the very commit that stores this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<AgentId>,
    /// When it is to fail if it was not offered to the harness by then, in milliseconds since
    /// the Unix epoch; `None` for never.
    pub expires_at_ms: Option<u64>,
}

/// What became of a message that was handed to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    Stored,
    /// The mailbox has, or had, a message with this id; nothing was stored.
    Duplicate,
}

/// Why a mailbox did not take a message.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The agent has not kept up.
    #[error(
        "the mailbox is full: {waiting} messages ({waiting_bytes} bytes) wait for the agent; try again when it has caught up"
    )]
    Full {
        /// How many messages wait.
        waiting: u64,
        /// How many bytes they have.
        waiting_bytes: u64,
    },
    /// The message is longer than a mailbox takes.
    #[error("the message has {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        limit: usize,
    },
    /// More messages are on their way to the disk than can be kept in memory.
    #[error("too many messages are on their way to the disk; try again")]
    Busy,
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// How much mailboxes keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages that can wait in one mailbox.
    pub waiting: u64,
    /// Bytes that can wait in one mailbox.
    pub waiting_bytes: u64,
    /// The longest body, in bytes.
    pub body_bytes: usize,
    /// Messages kept in one mailbox after the harness took them, for dedupe and traces; and
    /// traces of messages that were in no mailbox.
    pub kept: u64,
    /// Bytes of their bodies kept in one mailbox.
    pub kept_bytes: u64,
    /// How long they are kept, in milliseconds.
    pub kept_ms: u64,
    /// Messages that can be held for a person's decision.
    pub held: u64,
    /// Bytes that can be held.
    pub held_bytes: u64,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            waiting: 10_000,
            waiting_bytes: 64 << 20,
            body_bytes: 8 << 20,
            kept: 20_000,
            kept_bytes: 64 << 20,
            kept_ms: 7 * 24 * 60 * 60 * 1000,
            held: 1_000,
            held_bytes: 64 << 20,
        }
    }
}

/// A message that waits for its agent.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its place in the mailbox: grows with each message, never used twice.
    pub sequence: u64,
    /// The message.
    pub message: Incoming,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_at_ms: u64,
    /// [`Stage::Stored`], or [`Stage::Offered`] when an offer was begun whose end is unknown.
    pub stage: Stage,
}

/// A message in a listing: waiting, or kept after the harness took it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its place in the mailbox.
    pub sequence: u64,
    /// The envelope's id.
    pub id: String,
    /// The sender's address.
    pub from: String,
    /// The address it was sent to.
    pub to: String,
    /// The id of the message it answers.
    pub re: Option<String>,
    /// What wrote it.
    pub origin: Origin,
    /// The body as JSON text; `None` when it is not kept any more.
    pub body: Option<Box<RawValue>>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_at_ms: u64,
    /// When it fails if it is not offered by then.
    pub expires_at_ms: Option<u64>,
    /// How far it has come.
    pub stage: Stage,
}

/// A message that ran out of time before it was offered to the harness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Whose mailbox it was in.
    pub agent: AgentId,
    /// Its place there.
    pub sequence: u64,
    /// The envelope's id.
    pub id: String,
    /// Who is to be told.
    pub from: String,
    /// The same, when it is an agent of this host.
    pub sender: Option<AgentId>,
    /// The address it was sent to.
    pub to: String,
    /// The id of the message it answers.
    pub re: Option<String>,
}

/// A step on the way of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// What was reached.
    pub stage: Stage,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The recipient it concerns, when that is an agent of this host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<AgentId>,
    /// More to tell a person: the address of another recipient, the id of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// A message that waits for a person's decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldMessage {
    /// The message as it was sent.
    pub message: Incoming,
    /// The addresses it was going to.
    pub recipients: Vec<String>,
    /// Why it is held.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub held_at_ms: u64,
}

impl Incoming {
    /// What counts against quotas: the body and all that is stored with it.
    pub(super) fn bytes(&self) -> usize {
        let re = self.re.as_ref().map_or(0, String::len);
        self.body.get().len() + self.id.len() + self.from.len() + self.to.len() + re
    }

    /// Refuses what is longer than a mailbox takes.
    pub(super) fn check_size(&self, limits: &MailboxLimits) -> Result<(), Refused> {
        /// Ids and addresses are short on the wire; this only keeps a mistake from the disk.
        const HEAD_BYTES: usize = 64 << 10;
        let too_large = |bytes, limit| Err(Refused::TooLarge { bytes, limit });
        let body = self.body.get().len();
        let head = self.bytes() - body;
        match () {
            () if body > limits.body_bytes => too_large(body, limits.body_bytes),
            () if head > HEAD_BYTES => too_large(head, HEAD_BYTES),
            () => Ok(()),
        }
    }
}

/// What is to be told once something is on disk.
pub(super) type Done<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;
