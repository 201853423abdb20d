//! What becomes of a message that was sent: the answers to [`Frame::Send`](super::Frame::Send) and
//! [`Frame::Deliver`](super::Frame::Deliver).

use super::fields::{Fields, FrameError, write_number};

/// The relay's answer to a message that was sent.
///
/// Each message gets exactly one final answer, unless the sender's connection ends before. What the
/// relay says is about delivery only: a sender that must not lose a message keeps it until the
/// recipient's host confirms it under seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 0: The relay has it and has queued it for the recipient's connection. Another answer follows.
    Accepted,
    /// 1: The recipient's host says that it has it. Final.
    Received,
    /// 2: It was queued for a recipient on the old wire, which never says whether it has it. Final.
    Handed,
    /// 3: The recipient is not connected, since this time in milliseconds of the relay's clock, 0
    /// when the relay does not know. Final.
    Offline {
        /// Milliseconds since 1970.
        since_ms: u64,
    },
    /// 4: The queue for the recipient or the recipient itself is full, or the sender went beyond its
    /// window. Nothing was kept. Final.
    Busy {
        /// How long to wait before sending it again, in milliseconds.
        retry_after_ms: u64,
    },
    /// 5: It will never be delivered as it is. Final.
    Refused(Refusal),
    /// 6: The recipient's connection ended before it answered: it may have it or not. Final.
    Lost,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 1: The relay lets this sender send nothing to this recipient.
    NotAuthorised,
    /// 2: The body is longer than the relay or the recipient takes.
    TooLarge,
    /// 3: The recipient speaks only the old wire, so it cannot open anything sealed.
    LegacyOnly,
    /// 4: The recipient's host wants nothing from this sender: it shares no mesh with it.
    Unwanted,
    /// 5: The recipient's host takes nothing that is not sealed.
    ClearRefused,
    /// 6: The recipient's host has no key for this sealed message: a new session is needed.
    NoSession,
    /// 7: The body is not what its kind says.
    Malformed,
    /// 8: The recipient has no such room.
    NoSuchRoom,
    /// Any other number: a reason that this side does not know.
    Other(u64),
}

/// What a host says about a message that the relay delivered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 0: It has it. For a durable message: it is on disk.
    Received,
    /// 1: It cannot take it now.
    Busy {
        /// How long the sender should wait, in milliseconds.
        retry_after_ms: u64,
    },
    /// 2: It does not take it.
    Refused(Refusal),
}

impl Answer {
    /// Whether no other answer follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Answer::Accepted
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (number, argument) = match self {
            Answer::Accepted => (0, None),
            Answer::Received => (1, None),
            Answer::Handed => (2, None),
            Answer::Offline { since_ms } => (3, Some(since_ms)),
            Answer::Busy { retry_after_ms } => (4, Some(retry_after_ms)),
            Answer::Refused(refusal) => (5, Some(refusal.number())),
            Answer::Lost => (6, None),
        };
        write_number(out, number);
        argument.into_iter().for_each(|argument| write_number(out, argument));
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        Ok(match fields.number("answer")? {
            0 => Answer::Accepted,
            1 => Answer::Received,
            2 => Answer::Handed,
            3 => Answer::Offline { since_ms: fields.number("time")? },
            4 => Answer::Busy { retry_after_ms: fields.number("delay")? },
            5 => Answer::Refused(Refusal::of(fields.number("refusal")?)),
            6 => Answer::Lost,
            _ => return Err(FrameError::Malformed("answer")),
        })
    }
}

impl Verdict {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (number, argument) = match self {
            Verdict::Received => (0, None),
            Verdict::Busy { retry_after_ms } => (1, Some(retry_after_ms)),
            Verdict::Refused(refusal) => (2, Some(refusal.number())),
        };
        write_number(out, number);
        argument.into_iter().for_each(|argument| write_number(out, argument));
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        Ok(match fields.number("verdict")? {
            0 => Verdict::Received,
            1 => Verdict::Busy { retry_after_ms: fields.number("delay")? },
            2 => Verdict::Refused(Refusal::of(fields.number("refusal")?)),
            _ => return Err(FrameError::Malformed("verdict")),
        })
    }
}

/// What the relay tells the sender when the recipient's host has spoken.
impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Received => Answer::Received,
            Verdict::Busy { retry_after_ms } => Answer::Busy { retry_after_ms },
            Verdict::Refused(refusal) => Answer::Refused(refusal),
        }
    }
}

impl Refusal {
    fn number(self) -> u64 {
        match self {
            Refusal::NotAuthorised => 1,
            Refusal::TooLarge => 2,
            Refusal::LegacyOnly => 3,
            Refusal::Unwanted => 4,
            Refusal::ClearRefused => 5,
            Refusal::NoSession => 6,
            Refusal::Malformed => 7,
            Refusal::NoSuchRoom => 8,
            Refusal::Other(number) => number,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            1 => Refusal::NotAuthorised,
            2 => Refusal::TooLarge,
            3 => Refusal::LegacyOnly,
            4 => Refusal::Unwanted,
            5 => Refusal::ClearRefused,
            6 => Refusal::NoSession,
            7 => Refusal::Malformed,
            8 => Refusal::NoSuchRoom,
            other => Refusal::Other(other),
        }
    }
}
