//! What a session of any harness can be told and what it can say.
//!
//! These are the types of `wit/session` in the form that clients of the control API, the
//! history log and the mesh see: JSON objects tagged by `type`, names in kebab-case. The
//! meaning of each is documented in the WIT package; only what differs is said here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How hard the model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Thinking {
    Off,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// Who a message of a conversation is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Role {
    User,
    Assistant,
    Tool,
    System,
}

/// How a prompt enters a session that is already working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Held until the running turn is over, then a turn of its own.
    #[default]
    WhenIdle,
    /// Joins the running turn behind the tools that are running now.
    AfterTools,
    /// Ends what is running, then starts a turn.
    Interrupt,
}

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// A picture in a prompt or a message. `data` is standard base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// MIME type, such as `image/png`.
    pub mime: String,
    /// The bytes of the file.
    #[serde(with = "base64_text")]
    pub data: Vec<u8>,
}

/// Names one model of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// The provider, as the harness names it; may be empty.
    pub provider: String,
    /// The model's own id.
    pub id: String,
}

/// A model a session can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// What `set-model` takes.
    #[serde(rename = "ref")]
    pub reference: ModelRef,
    /// The name a person reads.
    pub name: String,
    /// It can think before it answers.
    pub reasoning: bool,
    /// It takes images.
    pub vision: bool,
    /// Size of its context in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u32>,
}

/// Input for the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The words.
    pub text: String,
    /// Pictures that go with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// What to do when the session is already working.
    #[serde(default)]
    pub urgency: Urgency,
}

/// What kind of answer a question takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum QuestionKind {
    /// Permission for a tool call.
    Permission {
        /// The tool's name.
        tool: String,
        /// Its arguments.
        input: Value,
        /// The answers the harness takes.
        options: Vec<PermissionOption>,
    },
    /// One of these, exactly as spelled.
    Choose {
        /// What to choose from.
        options: Vec<String>,
    },
    /// Yes or no.
    Confirm,
    /// Free text.
    Text {
        /// What the field starts with.
        #[serde(skip_serializing_if = "Option::is_none")]
        prefill: Option<String>,
    },
}

/// One answer to a permission question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionOption {
    /// What `answer` names.
    pub id: String,
    /// What a person reads.
    pub label: String,
    /// What choosing it does.
    pub effect: PermissionEffect,
}

/// What a permission option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum PermissionEffect {
    AllowOnce,
    AllowAlways,
    DenyOnce,
    DenyAlways,
}

/// Something the harness will not do until a person answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What `answer` names.
    pub id: String,
    /// One line.
    pub title: String,
    /// More; may be empty.
    pub detail: String,
    /// What kind of answer it takes.
    pub kind: QuestionKind,
    /// The harness answers for itself after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Answer {
    /// An option: its id (permission) or its text (choose).
    Choice {
        /// The option.
        choice: String,
    },
    /// Yes or no.
    Confirm {
        /// Yes.
        yes: bool,
    },
    /// Free text.
    Text {
        /// The text.
        text: String,
    },
    /// No, and what to do instead.
    DenyWithGuidance {
        /// What the model is told.
        guidance: String,
    },
    /// No answer: the question is withdrawn.
    Dismiss,
}

/// How a question came to be no longer open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum QuestionEnd {
    /// Somebody answered it.
    Answered {
        /// Who, in words such as `the command line`.
        by: String,
        /// The answer.
        answer: Answer,
        /// The answer as a person reads it.
        words: String,
    },
    /// The harness does not want to know any more: an abort, or an answer given elsewhere.
    Withdrawn,
    /// Nobody answered in time.
    Expired,
    /// The process that asked, or its host, ended.
    Lost,
}

/// A finished message of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same id its `text` events carried.
    pub id: String,
    /// Who it is from.
    pub role: Role,
    /// The whole text.
    pub text: String,
    /// What the model thought, where the harness shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The tool call this message is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolCall>,
    /// Pictures in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Milliseconds since the Unix epoch; 0 when the harness does not say.
    #[serde(default)]
    pub at_ms: u64,
}

/// A tool call, running or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The harness's id of the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub input: Value,
    /// What it gave, once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// It ended badly.
    #[serde(default)]
    pub failed: bool,
}

/// Tokens and money.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read by the model.
    pub input: u64,
    /// Tokens written by the model.
    pub output: u64,
    /// Tokens read from the provider's cache.
    pub cache_read: u64,
    /// Tokens written to it.
    pub cache_write: u64,
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// How full the context is, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_percent: Option<f32>,
}

/// What a session is like right now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// A turn is running.
    pub working: bool,
    /// The model in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The thinking level in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// The session's name in the harness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What `resume` takes to come back to this session in a new process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_session: Option<String>,
}

/// What a session can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented in wit/session")]
pub enum Command {
    Prompt(Prompt),
    Abort,
    NewSession,
    Resume { session: String },
    Compact { instructions: Option<String> },
    SetModel { model: ModelRef },
    SetThinking { level: Thinking },
    ListModels,
    History,
    Answer { question: String, answer: Answer },
    Rename { title: String },
    Refresh,
    Other { name: String, arguments: Value },
}

impl Command {
    /// The name of every command, in the order of the variants.
    pub const NAMES: [&str; 13] = [
        "prompt",
        "abort",
        "new-session",
        "resume",
        "compact",
        "set-model",
        "set-thinking",
        "list-models",
        "history",
        "answer",
        "rename",
        "refresh",
        "other",
    ];

    /// Its name, which is also the `type` of its JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Prompt(_) => "prompt",
            Command::Abort => "abort",
            Command::NewSession => "new-session",
            Command::Resume { .. } => "resume",
            Command::Compact { .. } => "compact",
            Command::SetModel { .. } => "set-model",
            Command::SetThinking { .. } => "set-thinking",
            Command::ListModels => "list-models",
            Command::History => "history",
            Command::Answer { .. } => "answer",
            Command::Rename { .. } => "rename",
            Command::Refresh => "refresh",
            Command::Other { .. } => "other",
        }
    }
}

/// What a command that succeeded gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented in wit/session")]
pub enum Reply {
    Done,
    Models { models: Vec<Model> },
    History { messages: Vec<Message> },
    Data { data: Value },
}

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The harness or its adapter cannot do this at all.
    Unsupported,
    /// It could, and said no.
    Refused,
    /// Not now.
    Busy,
    /// What the command names does not exist.
    NotFound,
    /// The harness broke, or is not running.
    Harness,
    /// The command makes no sense.
    Invalid,
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What went wrong, for a person.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a session can say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented in wit/session")]
pub enum Event {
    State(State),
    TurnStarted,
    PromptSeen {
        number: u64,
    },
    PromptsDropped {
        numbers: Vec<u64>,
    },
    Text {
        message: String,
        piece: String,
    },
    Thinking {
        message: String,
        piece: String,
    },
    ToolStarted(ToolCall),
    ToolProgress {
        call: String,
        piece: String,
    },
    ToolEnded(ToolCall),
    MessageEnded(Message),
    Question(Question),
    QuestionSettled {
        question: String,
        /// Said by the host; what comes from an adapter does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        how: Option<QuestionEnd>,
    },
    Usage(Usage),
    TurnEnded {
        how: TurnEnd,
    },
    Notice {
        severity: Severity,
        text: String,
    },
    Other {
        name: String,
        data: Value,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnEnd {
    /// As it should.
    Completed,
    /// Somebody stopped it.
    Aborted,
    /// The model or the harness failed.
    Failed,
    /// A limit ended it.
    Limit,
}

/// One ability of an adapter and its harness: see `abilities` in `wit/harness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented in wit/harness")]
pub enum Ability {
    Steer,
    Queue,
    Interrupt,
    TakeBack,
    Abort,
    Images,
    PermissionQuestions,
    Questions,
    SurvivesDenial,
    ListModels,
    SetModel,
    SetThinking,
    StreamThinking,
    StreamToolOutput,
    Compact,
    NewSession,
    Resume,
    History,
    Rename,
    MeshTools,
    Usage,
    Cost,
    ModelErrors,
}

impl Ability {
    /// All of them, in the order of `wit/harness`.
    pub const ALL: [Ability; 23] = [
        Ability::Steer,
        Ability::Queue,
        Ability::Interrupt,
        Ability::TakeBack,
        Ability::Abort,
        Ability::Images,
        Ability::PermissionQuestions,
        Ability::Questions,
        Ability::SurvivesDenial,
        Ability::ListModels,
        Ability::SetModel,
        Ability::SetThinking,
        Ability::StreamThinking,
        Ability::StreamToolOutput,
        Ability::Compact,
        Ability::NewSession,
        Ability::Resume,
        Ability::History,
        Ability::Rename,
        Ability::MeshTools,
        Ability::Usage,
        Ability::Cost,
        Ability::ModelErrors,
    ];

    /// Its name, as in `wit/harness`: `permission-questions`.
    #[must_use]
    pub fn name(self) -> String {
        let debug = format!("{self:?}");
        let mut name = String::with_capacity(debug.len() + 2);
        for (place, letter) in debug.chars().enumerate() {
            if letter.is_uppercase() && place > 0 {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }
}

/// What an adapter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HarnessDescription {
    /// Stable name used on the command line.
    pub name: String,
    /// The name a person reads.
    pub title: String,
    /// The program that is looked up on PATH.
    pub program: String,
    /// Arguments that make it print its version.
    pub version_args: Vec<String>,
    /// Versions the adapter was tested against.
    pub tested: Vec<String>,
    /// How to install it, in one line.
    pub install: String,
    /// What it can do.
    pub abilities: Vec<Ability>,
}

/// What an adapter needs to know to launch its harness: see `wit/harness`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Names this start of the process: no other start has the same.
    pub launch: String,
    /// Absolute path of the agent's folder.
    pub cwd: String,
    /// The agent's name on the mesh.
    pub agent: String,
    /// The model to start with.
    pub model: Option<String>,
    /// A native session to continue.
    pub resume: Option<String>,
    /// How the agent reaches the mesh.
    pub mesh: Option<MeshAccess>,
    /// The user's settings, a JSON object.
    pub settings: String,
    /// The version the program printed.
    pub version: Option<String>,
}

/// How an agent reaches the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshAccess {
    /// A stdio MCP server to hand to the harness.
    pub server: McpServer,
    /// Path of the host's HTTP socket.
    pub socket: String,
    /// The agent's id on that socket.
    pub agent_id: String,
    /// Path of the folder with the skill that explains the mesh to the model.
    pub skill: String,
    /// Names the agent on that socket.
    pub token: String,
}

/// A stdio MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// Its name in the harness.
    pub name: String,
    /// Absolute path of its program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside what it inherits.
    pub env: Vec<(String, String)>,
}

/// What the host must start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// A program name, looked up on PATH.
    pub program: String,
    /// Its arguments; `{dir}` stands for the folder of `files`.
    pub args: Vec<String>,
    /// Its environment, beside what it inherits; `{dir}` likewise.
    pub env: Vec<(String, String)>,
    /// Private files the host writes first.
    pub files: Vec<(String, Vec<u8>)>,
    /// How standard output is cut.
    pub framing: Framing,
}

/// How standard output is cut before the adapter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By LF.
    Lines,
    /// As it was read.
    Bytes,
}

/// How a harness process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Exit {
    /// By itself.
    Code {
        /// The exit code.
        code: i32,
    },
    /// By a signal.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It never ran.
    FailedToStart {
        /// Why.
        reason: String,
    },
}

/// What an adapter asks the host to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Bytes for the harness's standard input.
    Write(Vec<u8>),
    /// Something for the clients.
    Event(Event),
    /// The outcome of the command with this number.
    Settle(u64, Result<Reply, Failure>),
    /// Call `wake` after this many milliseconds.
    WakeAfter(u32),
    /// End the process and start it again.
    Relaunch(LaunchSpec),
    /// End the process.
    Stop,
}

mod base64_text {
    //! Bytes as standard base64 text with padding (RFC 4648, section 4).

    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn the_name_of_a_command_is_the_type_of_its_json() {
        for name in Command::NAMES {
            let command: Command = serde_json::from_value(serde_json::json!({
                "type": name,
                "text": "",
                "session": "",
                "instructions": null,
                "model": { "provider": "", "id": "" },
                "level": "off",
                "question": "",
                "answer": { "type": "dismiss" },
                "title": "",
                "name": "",
                "arguments": {},
            }))
            .unwrap();
            assert_eq!(command.name(), name);
        }
    }
}
