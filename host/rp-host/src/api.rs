//! Requests and answers of the control API, version 1: JSON over HTTP on `R/host/host.sock`.
//!
//! The command line, the tools in a model's hands and third parties speak these types, and
//! nothing but these types.

use rp_protocol::{
    actions,
    session::{Ability, Command, Event, HarnessDescription, Question},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod live;
mod questions;
mod remote;

pub use live::{GoLive, Left, Live, Mail, MailBatch, MailTaken, Take, TakeMail, TurnEdge};
pub use questions::{AnswerQuestion, AskedQuestion, Questions};
pub use remote::{
    ChangedMesh, Conversation, CreateMesh, CreatedMesh, Decide, JoinMesh, Machine, Member, OwnMesh,
    Owner, RecoverMesh, RecoveredMesh, Relay, RemoveMachine, RenameMachine, SetRelay, Switch,
    SwitchRelay,
};

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
    /// How it is connected to other machines; absent in an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
    /// Messages that the person at this machine has not read.
    #[serde(default)]
    pub unread: usize,
    /// Messages that wait for a person's decision.
    #[serde(default)]
    pub held: usize,
    /// Questions that wait for a person.
    #[serde(default)]
    pub questions: usize,
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
    /// `stopped`, `starting`, `idle`, `working`, `stopping`, `backing-off` or `failed`; `live` for
    /// one that a person runs in their terminal.
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
    pub settings: Map<String, Value>,
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
    /// The other machines, also those without a peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
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
    /// Fail if it still waits in a mailbox of this host, or for another machine, after so many
    /// milliseconds. With 0 it fails at once when its machine is not connected.
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
    /// `received`, `denied`, `unknown`, `held`, `waiting` (on disk until its machine confirms it),
    /// `timeout` or `sent` (a broadcast).
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
        matches!(self.status.as_str(), "received" | "sent" | "held" | "waiting")
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

/// One action of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// What the component says of it. Its name is behind the component's id and a slash when two
    /// components have an action of this name.
    #[serde(flatten)]
    pub action: actions::Action,
    /// The component it is from.
    pub component: String,
}

/// `GET /v1/agents/{id}/actions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Actions {
    /// In the order of their components, and there as the component lists them.
    pub actions: Vec<Action>,
}

/// `POST /v1/agents/{id}/actions/{name}`. Whoever hangs up ends the action.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunAction {
    /// They must fit the action's schema.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// A person agreed to a destructive action.
    #[serde(default)]
    pub confirmed: bool,
}

/// What came of an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionDone {
    /// For the person; may be empty.
    pub text: String,
    /// What the person was to know on the way, oldest first.
    pub notes: Vec<String>,
    /// Steps that were done for it.
    pub steps: usize,
}

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
    /// What `component test` saw of it on this machine; absent where it was not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Vec<Ability>>,
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
    /// Who made it, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// `built-in`, `unsigned`, or the key it is signed with.
    pub signer: String,
    /// What it asks to do beyond computing, in sentences.
    pub permissions: Vec<String>,
    /// The same as `component grant` takes it.
    pub asked: Vec<String>,
    /// What it was granted of that.
    pub granted: Vec<String>,
    /// What a person has to decide about before it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// What it may use; one that reaches a limit is ended.
    pub limits: ComponentLimits,
    /// The world it was built for.
    pub world: String,
    /// Bytes of the `.wasm`.
    pub size: u64,
    /// SHA-256 of the `.wasm`.
    pub sha256: String,
    /// `ready`, `pending`, `disabled`, or `failed: …` after three crashes within a minute.
    pub state: String,
    /// The version that is in force; an older one while a newer one is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<String>,
    /// What it imports; absent while it is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<Vec<String>>,
    /// The harnesses it drives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harnesses: Vec<String>,
}

/// What an instance of a component, and one call of it, may use.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ComponentLimits {
    /// Memory.
    pub memory_bytes: u64,
    /// Time a call may compute.
    pub computing_ms: u64,
    /// Time a call may wait.
    pub waiting_ms: u64,
    /// What a call may return.
    pub output_bytes: u64,
    /// What it may store, if it is granted a storage.
    pub storage_bytes: u64,
}

/// Something in the folder of components that cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusedPackage {
    /// Its name there.
    pub name: String,
    /// Why.
    pub error: ErrorText,
}

/// `GET /v1/components`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Components {
    /// In the order of their ids.
    pub components: Vec<Component>,
    /// In the order of their names.
    pub refused: Vec<RefusedPackage>,
    /// Where a person drops components.
    pub folder: String,
}

/// `POST /v1/components`: a package, from a folder or an archive on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddComponent {
    /// Absolute path.
    pub path: String,
    /// What is granted at once; without it the component waits if it asks for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantChoice>,
}

/// What a person grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GrantChoice {
    /// `"all"`.
    All(All),
    /// These, such as `run=pi` or `store`.
    Only(Vec<String>),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum All {
    /// Everything that is asked for.
    #[serde(rename = "all")]
    All,
}

/// `POST /v1/components/{id}/grant`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    /// What.
    pub grant: GrantChoice,
    /// What the person was shown; if the component is another by now, nothing is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
}

/// What a person was shown of a component before they granted it something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// [`Component::sha256`].
    pub sha256: String,
    /// [`Component::asked`].
    pub asked: Vec<String>,
}

/// `POST /v1/components/{id}/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revoke {
    /// What is taken back; everything if it is empty.
    pub permits: Vec<String>,
}

/// `GET /v1/policies`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policies {
    /// In the order they are asked.
    pub policies: Vec<PolicyInForce>,
    /// The file with their order and settings.
    pub settings: String,
    /// What is wrong with that file; the settings before stay in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One policy of the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// The component.
    pub id: String,
    /// `ready`, or why it holds everything.
    pub state: String,
    /// It reads what messages say.
    pub reads_bodies: bool,
}

/// `POST /v1/policies/explain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explain {
    /// The sender's address, or `person`.
    pub from: String,
    /// Where it would be sent.
    pub to: String,
    /// What it would say.
    pub body: Value,
}

/// What would happen to a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    /// Who it would reach, by address.
    pub recipients: Vec<String>,
    /// What each policy says by itself, in their order.
    pub policies: Vec<PolicySays>,
    /// What they decide together: `deliver`, `deny`, `redirect`, `hold` or `rewrite`.
    pub decision: String,
    /// Why, or where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What one policy says of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicySays {
    /// The component.
    pub policy: String,
    /// As in [`Explanation`].
    pub decision: String,
    /// Why, or where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/policies/replay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayPolicies {
    /// How far back, in milliseconds.
    pub since_ms: u64,
    /// The text of a `policy.toml` that is asked instead of what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// What policies would have decided about what was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyReplay {
    /// Messages in the routing log since then.
    pub messages: usize,
    /// Those that were delivered, and now would not be as they were.
    pub would_change: usize,
    /// The first of them.
    pub changed: Vec<Changed>,
    /// Policies that were not asked, because they read what messages say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A message that would fare otherwise now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    /// When it was sent, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its id.
    pub id: String,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses, joined with a comma.
    pub to: String,
    /// As in [`Explanation`].
    pub decision: String,
    /// Why, or where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
