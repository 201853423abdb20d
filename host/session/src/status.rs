//! What a session is doing, for everybody to see.

use rp_protocol::session::{Exit, Question, State, Usage};
use serde::{Deserialize, Serialize};

/// Where a session is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing runs, and nothing will until somebody starts it.
    #[default]
    Stopped,
    /// The process is being started, or has not said anything yet.
    Starting,
    /// It waits for a prompt.
    Idle,
    /// A turn is running.
    Working,
    /// The process is being ended.
    Stopping,
    /// The process ended and will be started again.
    BackingOff {
        /// When, in milliseconds since the Unix epoch.
        until_ms: u64,
        /// Which restart it will be since it last ran well; from 1.
        attempt: u32,
        /// Why it ended.
        reason: String,
    },
    /// It cannot run. Only a person's start or restart tries again.
    Failed {
        /// Why.
        reason: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl Phase {
    /// A process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Starting | Self::Idle | Self::Working | Self::Stopping)
    }
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that was started, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// How often it was started again by itself, since this host started.
    #[serde(default)]
    pub restarts: u32,
    /// The version its program printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How the last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// What the adapter last said of the conversation.
    pub state: State,
    /// Tokens and money, as last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Questions that wait for an answer.
    pub questions: Vec<Question>,
}
