//! What agents ask a person, and the answers.

use rp_protocol::session::Question;
use rp_session::{Settled, answers::Said};
use serde::{Deserialize, Serialize};

/// `GET /v1/questions/{id}`: a question and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AskedQuestion {
    /// What is asked; its `id` is unique on this machine.
    #[serde(flatten)]
    pub question: Question,
    /// The id of the agent that asks.
    pub agent: String,
    /// Its name.
    pub agent_name: String,
    /// When, in milliseconds since the Unix epoch.
    pub asked_at_ms: u64,
    /// When the harness stops waiting, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// What became of it; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

/// `GET /v1/questions?state=open|all`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Questions {
    /// The longest waiting first.
    pub questions: Vec<AskedQuestion>,
}

/// `POST /v1/questions/{id}/answer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerQuestion {
    /// The answer, exactly or in words.
    pub answer: Said,
    /// Who gives it, for those who would have answered too: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
