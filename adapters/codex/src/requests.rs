//! What was asked of Codex and is not answered yet.

use rp_sdk::session::Prompt;

/// A question to Codex. The number is that of the command that settles with the answer.
#[derive(Debug)]
pub(crate) enum Request {
    Initialize,
    /// The first thread of the process.
    Open,
    NewSession {
        number: u64,
    },
    Resume {
        number: u64,
    },
    /// The thread that was current before is not followed any more.
    Leave,
    /// A prompt, kept whole because a turn may end before it joins it.
    Prompt(SentPrompt),
    /// Without a number when a prompt interrupts, or the thread is left.
    Interrupt {
        number: Option<u64>,
        turn: String,
    },
    /// What was said with a denial.
    Guidance {
        number: u64,
    },
    Compact {
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
    Other {
        number: u64,
    },
}

/// A prompt on its way.
#[derive(Debug)]
pub(crate) struct SentPrompt {
    pub(crate) number: u64,
    pub(crate) prompt: Prompt,
    /// Its command is settled already.
    pub(crate) accepted: bool,
    /// It joins a running turn instead of starting one.
    pub(crate) steers: bool,
}

impl Request {
    /// The command that waits for the answer. A compaction is settled with its turn.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Initialize | Self::Open | Self::Leave | Self::Compact { .. } => None,
            Self::Prompt(sent) => (!sent.accepted).then_some(sent.number),
            Self::Interrupt { number, .. } => *number,
            Self::NewSession { number }
            | Self::Resume { number }
            | Self::Guidance { number }
            | Self::Models { number }
            | Self::History { number }
            | Self::Rename { number }
            | Self::Other { number } => Some(*number),
        }
    }

    /// Another thread is current behind its answer.
    pub(crate) fn changes_thread(&self) -> bool {
        matches!(self, Self::NewSession { .. } | Self::Resume { .. })
    }
}
