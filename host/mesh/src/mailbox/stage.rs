//! How far a message has come.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a message has come on its way to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It may go to its recipient.
    Accepted,
    /// It is on disk in the recipient's mailbox.
    Stored,
    /// It is being handed to the harness. After a crash it is unknown whether the harness got it.
    Offered,
    /// The harness took it.
    Injected,
    /// A turn of the agent began that has it in its context.
    TurnSeen,
    /// The agent sent a message that answers it.
    Answered,
    /// It will not arrive.
    Failed {
        /// Why, for the sender.
        reason: String,
    },
    /// A routing policy wants a person to see it first.
    Held {
        /// Why, in the policy's words.
        reason: String,
    },
}

impl Stage {
    /// Whether a message can go from this stage straight to `next`.
    ///
    /// Offered may repeat, because an offer can be made again after a crash. Offered and injected
    /// may go back to stored: the harness ended before a turn saw the message.
    #[must_use]
    pub fn can_become(&self, next: &Stage) -> bool {
        use Stage::{Accepted, Answered, Failed, Held, Injected, Offered, Stored, TurnSeen};
        match self {
            Held { .. } => matches!(next, Accepted | Failed { .. }),
            Accepted => matches!(next, Stored | Held { .. } | Failed { .. }),
            Stored => matches!(next, Offered | Injected | Answered | Failed { .. }),
            Offered => matches!(next, Offered | Stored | Injected | Answered | Failed { .. }),
            Injected => matches!(next, Stored | TurnSeen | Answered | Failed { .. }),
            TurnSeen => matches!(next, Answered | Failed { .. }),
            Answered | Failed { .. } => false,
        }
    }

    /// Whether the message is in its mailbox and the harness does not have it for certain.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, Stage::Accepted | Stage::Stored | Stage::Offered)
    }

    /// Whether losing this stage in a crash could lead to a message arriving twice or being
    /// reported wrongly. Such stages go to the disk at once, the others within a second.
    pub(super) fn is_decisive(&self) -> bool {
        matches!(self, Stage::Stored | Stage::Injected | Stage::Failed { .. })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Accepted => formatter.write_str("accepted"),
            Stage::Stored => formatter.write_str("stored"),
            Stage::Offered => formatter.write_str("offered"),
            Stage::Injected => formatter.write_str("injected"),
            Stage::TurnSeen => formatter.write_str("turn-seen"),
            Stage::Answered => formatter.write_str("answered"),
            Stage::Failed { reason } => write!(formatter, "failed: {reason}"),
            Stage::Held { reason } => write!(formatter, "held: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use proptest::prelude::*;

    use super::*;

    fn any_stage() -> impl Strategy<Value = Stage> {
        prop_oneof![
            Just(Stage::Accepted),
            Just(Stage::Stored),
            Just(Stage::Offered),
            Just(Stage::Injected),
            Just(Stage::TurnSeen),
            Just(Stage::Answered),
            ".*".prop_map(|reason| Stage::Failed { reason }),
            ".*".prop_map(|reason| Stage::Held { reason }),
        ]
    }

    #[test]
    fn the_straight_way_is_legal() {
        let way = [
            Stage::Held { reason: "new sender".to_owned() },
            Stage::Accepted,
            Stage::Stored,
            Stage::Offered,
            Stage::Injected,
            Stage::TurnSeen,
            Stage::Answered,
        ];
        for (from, to) in way.iter().zip(way.iter().skip(1)) {
            assert!(from.can_become(to), "{from} -> {to}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_a_message_ends_once_and_leaves_its_mailbox_by_a_decisive_stage(
            wishes in prop::collection::vec(any_stage(), 0..200),
        ) {
            let mut stage = Stage::Accepted;
            let mut ends = 0;
            for next in wishes {
                if !stage.can_become(&next) {
                    continue;
                }
                let leaves = stage == Stage::Stored || stage == Stage::Offered;
                if leaves && !next.is_waiting() {
                    prop_assert!(next.is_decisive() || next == Stage::Answered);
                }
                if !stage.is_waiting() && next.is_waiting() {
                    let from_hold = matches!(stage, Stage::Held { .. });
                    prop_assert!(next == Stage::Stored || from_hold && next == Stage::Accepted);
                }
                ends += usize::from(matches!(next, Stage::Answered | Stage::Failed { .. }));
                stage = next;
            }
            prop_assert!(ends <= 1);
        }

        #[test]
        fn every_stage_but_the_last_ones_can_still_fail(stage in any_stage()) {
            let failed = Stage::Failed { reason: "expired".to_owned() };
            let is_over = matches!(stage, Stage::Answered | Stage::Failed { .. });
            prop_assert_eq!(stage.can_become(&failed), !is_over);
        }

        #[test]
        fn a_stage_reads_back_as_it_was_written(stage in any_stage()) {
            let text = serde_json::to_string(&stage).unwrap();
            prop_assert_eq!(serde_json::from_str::<Stage>(&text).unwrap(), stage);
        }
    }
}
