//! What was asked of Claude and is not answered yet.

use rp_sdk::requests::Requests;
use serde_json::{Value, json};

use crate::session::ClaudeCode;

/// A request to Claude. The number is that of the command that settles with the answer.
#[derive(Debug)]
pub(crate) enum Request {
    Initialize,
    /// What this conversation has cost before this process.
    Spent,
    /// Without a number when nobody waits for it; with one, the context is asked for next.
    Settings {
        refresh: Option<u64>,
    },
    Context {
        number: u64,
    },
    /// The level is read back before the command is done.
    Thinking {
        number: u64,
    },
    ThinkingIsSet {
        number: u64,
    },
    Model {
        number: u64,
    },
    Models {
        number: u64,
    },
    Rename {
        number: u64,
    },
    /// Ends what runs and drops what waits. Without a number when a new session is wanted.
    Abort {
        number: Option<u64>,
    },
    /// Ends what runs, for the prompt that follows.
    Interrupt,
    Other {
        number: u64,
    },
}

impl Request {
    /// The command that waits for the answer.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Initialize | Self::Spent | Self::Interrupt => None,
            Self::Settings { refresh: number } | Self::Abort { number } => *number,
            Self::Context { number }
            | Self::Thinking { number }
            | Self::ThinkingIsSet { number }
            | Self::Model { number }
            | Self::Models { number }
            | Self::Rename { number }
            | Self::Other { number } => Some(*number),
        }
    }
}

/// The request with this id, as Claude echoes it.
pub(crate) fn close(requests: &mut Requests<Request>, id: &str) -> Option<Request> {
    requests.close(id.strip_prefix('r')?.parse().ok()?)
}

impl ClaudeCode {
    /// Sends a request; `fields` are those beside its subtype.
    pub(crate) fn ask(&mut self, subtype: &str, fields: Value, request: Request) {
        let id = format!("r{}", self.requests.open(request));
        let mut body = json!({"subtype": subtype});
        if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), fields) {
            body.extend(fields);
        }
        let line = json!({"type": "control_request", "request_id": id, "request": body});
        self.effects.write_line(&line);
    }
}
