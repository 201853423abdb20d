//! The lines of the protocol.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line to the agent.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum ToAgent<'a> {
    Prompt {
        id: String,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        when: Option<&'static str>,
    },
    Abort {
        id: String,
    },
}

impl ToAgent<'_> {
    /// The line with its newline.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A line from the agent.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum FromAgent {
    Ready,
    Accepted {
        id: String,
    },
    Refused {
        id: Option<String>,
        error: String,
    },
    TurnStarted,
    PromptSeen {
        id: String,
    },
    Text {
        message: String,
        text: String,
    },
    Message {
        message: String,
        text: String,
    },
    ToolCall {
        call: String,
        name: String,
        input: Value,
    },
    ToolResult {
        call: String,
        output: String,
        failed: bool,
    },
    TurnEnded {
        how: How,
    },
    Aborted {
        id: String,
        dropped: Vec<String>,
    },
    #[serde(other)]
    Unknown,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    Completed,
    Aborted,
}
