//! Requests and answers of the control API, version 1: JSON over HTTP on `R/host/host.sock`.
//!
//! The command line, the tools in a model's hands and third parties speak these types, and
//! nothing but these types.

use rp_protocol::session::{Command, Event, HarnessDescription, Question};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The state root.
    pub state_root: String,
    /// Milliseconds since it was started.
    pub uptime_ms: u64,
    /// How it takes part in the local mesh.
    pub mesh: MeshStatus,
    /// Messages that the person at this machine has not read.
    #[serde(default)]
    pub unread: usize,
    /// Messages that wait for a person's decision.
    #[serde(default)]
    pub held: usize,
    /// The agents it keeps.
    pub agents: Vec<Agent>,
}

/// How the daemon takes part in the local mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeshStatus {
    /// `leader`, `follower` or `searching`.
    pub role: String,
    /// The broker's socket.
    pub socket: String,
    /// Peers on it, ours included.
    pub peers: usize,
    /// The routing policy in force.
    pub policy: String,
}

/// One kept agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agent {
    /// Eight hexadecimal digits.
    pub id: String,
    /// Its name on the mesh.
    pub name: String,
    /// What others send to; absent while it is not on the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its folder.
    pub cwd: String,
    /// The adapter that drives it.
    pub harness: String,
    /// The version its program printed, once it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `stopped`, `starting`, `idle`, `working`, `stopping`, `backing-off` or `failed`.
    pub state: String,
    /// Why it is in that state, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its harness's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Milliseconds since that process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// Messages that wait for it.
    pub waiting: usize,
    /// Questions that wait for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// The model in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `POST /v1/agents`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Its folder.
    pub folder: String,
    /// Its name; the folder's own when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The adapter; the setting `harness` when absent.
    #[serde(default)]
    pub harness: Option<String>,
    /// The model to start with.
    #[serde(default)]
    pub model: Option<String>,
    /// Settings for the adapter.
    #[serde(default)]
    pub settings: serde_json::Map<String, Value>,
}

/// One peer of the mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    /// What to send to.
    pub address: String,
    /// Its leaf name.
    pub name: String,
    /// Its folder; empty when it has none.
    pub cwd: String,
    /// The machine; absent for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc: Option<String>,
    /// The harness, when this host runs the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<String>,
    /// The session's state, when this host runs the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peers {
    /// Everyone on the mesh.
    pub peers: Vec<Peer>,
}

/// One address or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Destination {
    /// An address, or `broadcast`.
    One(String),
    /// Several addresses.
    Many(Vec<String>),
}

/// `POST /v1/messages` and `POST /v1/agents/{id}/messages`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// To whom.
    pub to: Destination,
    /// What: any JSON.
    pub body: Value,
    /// The id of the message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    /// Fail if it still waits in a mailbox of this host after so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

/// What became of a message that was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// One for each recipient.
    pub outcomes: Vec<Outcome>,
}

/// What became of a message at one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipient as it was named.
    pub to: String,
    /// `received`, `denied`, `unknown`, `held`, `timeout` or `sent` (a broadcast).
    pub status: String,
    /// Why, when it was not received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Addresses that look like an unknown one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closest: Vec<String>,
}

impl Outcome {
    /// Whether the message is with the recipient, or at least on its way.
    pub fn reached_somebody(&self) -> bool {
        matches!(self.status.as_str(), "received" | "sent" | "held")
    }
}

/// A message in a mailbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub from: String,
    /// The id of the message it answers.
    pub re: Option<String>,
    /// What it says.
    pub body: Value,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
}

/// `GET /v1/agents/{id}/inbox`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inbox {
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// `GET /v1/agents/{id}/answers/{message}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The answer, if it came in time.
    pub answer: Option<Message>,
}

/// A message that waits for a person's decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldMessage {
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub from: String,
    /// Whom it would reach.
    pub to: Vec<String>,
    /// What it says.
    pub body: Value,
    /// Why the routing policy holds it.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// `GET /v1/held`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// The longest waiting first.
    pub messages: Vec<HeldMessage>,
}

/// `POST /v1/held/{id}/deny`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// Why, for the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One step of a message's way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// `accepted`, `stored`, `offered`, `injected`, `turn-seen`, `answered`, `failed` or `held`.
    pub stage: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The recipient's agent id, when this host runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /v1/messages/{id}/trace`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trace {
    /// Oldest first.
    pub steps: Vec<Step>,
}

/// One event of a session, as `GET /v1/agents/{id}/events` streams them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// Rises with every event of the session; numbers are left out when the daemon was killed.
    pub sequence: u64,
    /// When it was recorded, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// `POST /v1/agents/{id}/commands`.
pub type RunCommand = Command;

/// One harness.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Harness {
    /// What the adapter says of itself.
    #[serde(flatten)]
    pub description: HarnessDescription,
    /// Where its program was found; absent when it is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// What the program printed as its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// `GET /v1/harnesses`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Harnesses {
    /// In the order of their names.
    pub harnesses: Vec<Harness>,
}

/// One component.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Component {
    /// Its id.
    pub id: String,
    /// Its own version.
    pub version: String,
    /// `adapter`, `policy` or `actions`.
    pub kind: String,
    /// What it does.
    pub about: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// What it may do beyond computing, in sentences.
    pub permissions: Vec<String>,
    /// The world it was built for.
    pub world: String,
    /// Bytes of the `.wasm`.
    pub size: u64,
    /// SHA-256 of the `.wasm`.
    pub sha256: String,
    /// `built in` or the folder it was found in.
    pub source: String,
    /// `ready`, or `failed: …` after three crashes within a minute.
    pub state: String,
    /// What it imports.
    pub imports: Vec<String>,
}

/// `GET /v1/components`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Components {
    /// In the order of their ids.
    pub components: Vec<Component>,
}

/// Every answer that is not 2xx.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorText,
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorText {
    /// A sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
