//! What was asked of Pi and is not answered yet.

use rp_sdk::requests::Requests;
use rp_sdk::session::Prompt;

/// A question to Pi. The number is that of the command that settles with the answer.
#[derive(Debug)]
pub(crate) enum Request {
    /// A prompt, kept whole because Pi may refuse it for the moment.
    Prompt {
        number: u64,
        prompt: Prompt,
        tries: u8,
    },
    /// Without a number when a prompt interrupts.
    Abort {
        number: Option<u64>,
    },
    ClearQueue,
    NewSession {
        number: u64,
    },
    SwitchSession {
        number: u64,
        file: String,
    },
    Compact {
        number: u64,
    },
    SetModel {
        number: u64,
    },
    SetThinking {
        number: u64,
    },
    Models {
        number: u64,
    },
    History {
        number: u64,
    },
    Rename {
        number: u64,
    },
    State {
        number: Option<u64>,
    },
    Statistics,
    Other {
        number: u64,
        name: String,
    },
}

impl Request {
    /// The command that waits for the answer.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Prompt { number, .. }
            | Self::NewSession { number }
            | Self::SwitchSession { number, .. }
            | Self::Compact { number }
            | Self::SetModel { number }
            | Self::SetThinking { number }
            | Self::Models { number }
            | Self::History { number }
            | Self::Rename { number }
            | Self::Other { number, .. } => Some(*number),
            Self::Abort { number } | Self::State { number } => *number,
            Self::ClearQueue | Self::Statistics => None,
        }
    }
}

impl Request {
    /// Whether Pi leaves the session, or shortens it: prompts that reach it before it
    /// answered are lost.
    pub(crate) fn moves_session(&self) -> bool {
        match self {
            Self::NewSession { .. } | Self::SwitchSession { .. } | Self::Compact { .. } => true,
            Self::Other { name, .. } => matches!(name.as_str(), "fork" | "clone"),
            _ => false,
        }
    }
}

/// The id that a request is sent with.
pub(crate) fn id(number: u64) -> String {
    format!("r{number}")
}

/// The number of the request with this id, as Pi echoes it.
pub(crate) fn number(id: &str) -> Option<u64> {
    id.strip_prefix('r')?.parse().ok()
}

/// The request an answer belongs to. `id` is JSON text, as Pi echoed it. The old generation drops
/// the id of a command it does not know, so then the oldest request for that command is meant.
pub(crate) fn close(
    requests: &mut Requests<Request>,
    id: Option<&str>,
    command: &str,
) -> Option<Request> {
    let number = match id {
        Some(id) => number(id.strip_prefix('"')?.strip_suffix('"')?)?,
        None => {
            let mut open = requests.iter();
            open.find(|(_, request)| sent_as(request) == Some(command))?.0
        }
    };
    requests.close(number)
}

/// The name of a command that not every Pi knows.
fn sent_as(request: &Request) -> Option<&str> {
    match request {
        Request::ClearQueue => Some("clear_queue"),
        Request::Other { name, .. } => Some(name),
        _ => None,
    }
}
