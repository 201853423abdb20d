//! Agents that a person runs in their own terminal.

use serde::{Deserialize, Serialize};

/// `POST /v1/live`: a harness that runs in a terminal comes onto the mesh. The answer is a stream of
/// server-sent events, the first of which is a [`Live`]; the agent is on the mesh until whoever asked
/// hangs up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoLive {
    /// Its folder.
    pub folder: String,
    /// Its name; the folder's own when absent. One that is taken gets a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its harness.
    pub harness: String,
    /// The process that holds the connection.
    pub pid: u32,
    /// The token it had from a daemon that has ended: it comes back as who it was, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The last event of that stream when the agent itself wanted to leave. Where the stream ends without
/// it, the daemon ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Left {
    /// Always.
    pub left: bool,
}

/// Who a live agent is, and what its harness must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Live {
    /// Its id.
    pub id: String,
    /// Its name, with the number it got.
    pub name: String,
    /// Its folder.
    pub cwd: String,
    /// What others send to; absent while it is not on the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where the harness's program is.
    pub program: String,
    /// What the harness is called in a sentence.
    pub title: String,
    /// The control socket.
    pub socket: String,
    /// What speaks for it there.
    pub token: String,
    /// The folder of the skill that teaches a model the mesh.
    pub skill: String,
}

/// `POST /v1/agents/{id}/mail`: what runs in the harness of a live agent comes for its messages. The
/// answer is a stream of server-sent events with one [`Mail`] in it. With a batch it stays open until
/// that is acknowledged; when it is closed before, the messages are offered again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeMail {
    /// The edge of a turn that the harness is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<TurnEdge>,
    /// Which messages the conversation holds, of those that an earlier answer asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Vec<String>>,
    /// Whether it takes messages.
    pub take: Take,
}

/// An edge of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnEdge {
    /// A conversation begins, or is gone on with.
    Conversation,
    /// The person prompts.
    Prompt,
    /// The turn is over.
    End,
    /// It is over once more, because it went on with messages.
    EndAgain,
}

/// Whether messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Take {
    /// No.
    Nothing,
    /// Those that wait now.
    Now,
    /// As soon as there are some.
    Wait,
}

/// What somebody who came for mail is given: one of both, or nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Mail {
    /// Messages of which the conversation may already hold some: whoever asks reads it, and asks again
    /// with those in `holds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubt: Vec<String>,
    /// Messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<MailBatch>,
}

/// Messages as the model is to read them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MailBatch {
    /// What it is acknowledged by.
    pub number: u64,
    /// The text.
    pub text: String,
}

/// `POST /v1/agents/{id}/mail/{number}`: the harness has that batch.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailTaken {
    /// As part of a turn.
    #[serde(default)]
    pub seen: bool,
    /// It did not take it but was told that it is there: it stays in the mailbox, and the model takes
    /// it with a tool.
    #[serde(default)]
    pub left: bool,
}
