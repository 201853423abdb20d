//! What was asked of the agent and is not answered yet.

/// How a session is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    New,
    /// An earlier one, with its history.
    Load(String),
    /// An earlier one, of which nothing is told.
    Resume(String),
}

/// A request to the agent. The number is that of the command that settles with the answer.
#[derive(Debug)]
pub(crate) enum Request {
    Initialize,
    /// Without a number when the adapter opens it by itself.
    Open {
        number: Option<u64>,
        opening: Opening,
    },
    /// The model that was chosen before, in a session that has just begun.
    FirstModel {
        number: Option<u64>,
        name: String,
    },
    Prompt,
    SetModel {
        number: u64,
        name: String,
    },
    SetThinking {
        number: u64,
        name: String,
    },
    /// A mode, or an option by its name.
    SetOption {
        number: u64,
    },
    ListSessions {
        number: u64,
    },
}

impl Request {
    /// The command that waits for the answer.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Initialize | Self::Prompt => None,
            Self::Open { number, .. } | Self::FirstModel { number, .. } => *number,
            Self::SetModel { number, .. }
            | Self::SetThinking { number, .. }
            | Self::SetOption { number }
            | Self::ListSessions { number } => Some(*number),
        }
    }
}

/// The first id. The agent numbers its own requests, from 0, and an id can be open in both
/// directions; whoever reads a log can tell them apart all the same.
pub(crate) const FIRST_ID: u64 = 1000;
