//! Other machines: the relay, the owner's mesh, and joining it.

use serde::{Deserialize, Serialize};

/// `GET /v1/relay`: how this machine is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The relay's URL as it was given.
    pub url: String,
    /// `environment`, `file` or `default`.
    pub source: String,
    /// `off`, `stopped`, `connecting`, `connected` or `waiting`.
    pub state: String,
    /// Why it is so, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `quic`, `websocket` or `legacy`, while it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Fingerprint of this machine's key, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What a person should look at, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `POST /v1/relay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRelay {
    /// What to do.
    pub action: Switch,
}

/// What to do with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Connect, and stay so.
    Start,
    /// End the connection.
    Stop,
    /// The other of both.
    Toggle,
}

/// `POST /v1/relay/url`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRelay {
    /// `http://…` or `https://…`.
    pub url: String,
}

/// Another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What stands in front of its addresses.
    pub alias: String,
    /// Of its key.
    pub fingerprint: String,
    /// `online`, `online-legacy` or `offline`, as the relay says.
    pub presence: String,
    /// How messages go to it: `sealed`, `clear`, or `unknown` if it was never seen.
    pub way: String,
    /// Messages that wait for it.
    pub waiting: usize,
}

/// `GET /v1/mesh`: the owners and their machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMesh {
    /// What this machine is called; absent while it has no owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Those whose membership lists this machine.
    pub owners: Vec<Owner>,
}

/// An owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Of the owner's key.
    pub fingerprint: String,
    /// The owner's key is kept on this machine.
    pub here: bool,
    /// Counts the owner's changes.
    pub version: u64,
    /// In the owner's order.
    pub members: Vec<Member>,
}

/// A machine of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What stands in front of its addresses here.
    pub alias: String,
    /// What the owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// Of its key.
    pub fingerprint: String,
    /// It is this machine.
    pub this: bool,
    /// When it joined, as the owner's tool wrote it.
    pub paired_at: String,
}

/// `POST /v1/mesh`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateMesh {
    /// What this machine is called.
    pub name: String,
}

/// A mesh that was created. The words are told here and never again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreatedMesh {
    /// Fingerprint of the owner.
    pub owner: String,
    /// 24 words that bring the owner's key back.
    pub recovery_words: String,
}

/// `POST /v1/mesh/recover`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverMesh {
    /// The recovery words.
    pub words: String,
    /// What this machine is called if the owner does not list it yet.
    pub name: String,
}

/// An owner that was recovered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecoveredMesh {
    /// Fingerprint of the owner.
    pub owner: String,
}

/// `POST /v1/mesh/rename`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameMachine {
    /// Nickname, alias or fingerprint.
    pub machine: String,
    /// What it is called from now on.
    pub name: String,
}

/// `POST /v1/mesh/remove`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMachine {
    /// Nickname, alias or fingerprint.
    pub machine: String,
}

/// What was published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangedMesh {
    /// The membership's version now.
    pub version: u64,
}

/// `POST /v1/mesh/join`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinMesh {
    /// The code that `mesh invite` shows.
    pub code: String,
    /// What this machine would like to be called.
    pub name: String,
}

/// `GET /v1/mesh/conversation?known=STAGE&wait_ms=…`: an invitation that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// `waiting`, `compare`, `agreed`, `joined` or `failed`.
    pub stage: String,
    /// What the joining machine needs; absent there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// To be the same on both machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// What the joining machine would like to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of the other side's key: the machine's or the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/mesh/conversation`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// The words are the same on both machines.
    pub accept: bool,
}
