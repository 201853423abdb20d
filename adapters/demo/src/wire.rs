//! The lines of the protocol.

use std::fmt;

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
    Answer {
        id: String,
        question: &'a str,
        #[serde(flatten)]
        answer: Answered<'a>,
    },
}

/// What was answered: the one key that is there says it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answered<'a> {
    Choice(&'a str),
    Yes(bool),
    Text(&'a str),
    Guidance(&'a str),
    Dismissed(bool),
}

impl fmt::Display for ToAgent<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        to.write_str(&line)
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
    Question(Asked),
    QuestionSettled {
        question: String,
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

/// A question to a person.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) question: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) expires_ms: Option<u64>,
}

/// What kind of answer a question takes.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Kind {
    Permission { tool: String, input: Value, options: Vec<Choice> },
    Choose { options: Vec<String> },
    Confirm,
    Text,
}

/// One answer to a question for permission.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) effect: Effect,
}

/// What choosing it does.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Effect {
    AllowOnce,
    AllowAlways,
    DenyOnce,
    DenyAlways,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    Completed,
    Aborted,
}
