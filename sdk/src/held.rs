//! Prompts that wait in the adapter.
//!
//! Harnesses differ in what they do with a prompt that comes while they work: one queues it, one
//! takes it into the turn, one loses it. Where a harness cannot be trusted with a prompt yet, it
//! waits here, and an abort can give it back.

use std::collections::VecDeque;

use crate::effects::Effects;
use crate::interface::Failure;
use crate::session::{FailureKind, Prompt, Urgency};

/// How many prompts wait at most.
const HELD_AT_MOST: usize = 256;

/// A prompt that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldPrompt {
    /// The command that gave it.
    pub number: u64,
    /// What it says.
    pub prompt: Prompt,
    /// Its command is settled already, as that of a prompt that waits for the end of a turn is.
    pub accepted: bool,
    /// How often it was given to the harness in vain.
    pub tries: u8,
}

impl HeldPrompt {
    /// One that was never given to the harness and whose command is open.
    #[must_use]
    pub fn new(number: u64, prompt: Prompt) -> Self {
        Self { number, prompt, accepted: false, tries: 0 }
    }
}

/// Prompts that wait, in the order in which they go out.
#[derive(Debug, Default)]
pub struct Held(VecDeque<HeldPrompt>);

impl Held {
    /// Lets a prompt wait. One that interrupts goes out before the rest, but behind others that
    /// interrupt.
    ///
    /// # Errors
    /// As many as can wait wait already.
    pub fn hold(&mut self, held: HeldPrompt) -> Result<(), Failure> {
        if self.0.len() >= HELD_AT_MOST {
            let message = format!("{HELD_AT_MOST} prompts are waiting already");
            return Err(Failure::new(FailureKind::Busy, message));
        }
        let interrupts = |held: &HeldPrompt| held.prompt.urgency == Urgency::Interrupt;
        let at = if interrupts(&held) {
            self.0.iter().take_while(|other| interrupts(other)).count()
        } else {
            self.0.len()
        };
        self.0.insert(at, held);
        Ok(())
    }

    /// Lets a prompt wait once more that went out and was not taken: it is the next again.
    pub fn put_back(&mut self, held: HeldPrompt) {
        self.0.push_front(held);
    }

    /// Takes out the next prompt.
    pub fn take_next(&mut self) -> Option<HeldPrompt> {
        self.0.pop_front()
    }

    /// Takes out the next of the prompts that join a running turn.
    pub fn take_next_that_joins(&mut self) -> Option<HeldPrompt> {
        let joins = |held: &HeldPrompt| held.prompt.urgency == Urgency::AfterTools;
        let at = self.0.iter().position(joins)?;
        self.0.remove(at)
    }

    /// Settles the commands of all prompts that wait: they are accepted.
    pub fn accept(&mut self, effects: &mut Effects) {
        for held in self.0.iter_mut().filter(|held| !held.accepted) {
            held.accepted = true;
            effects.done(held.number);
        }
    }

    /// None of them will go out, for this reason: the commands that are open are refused, and of
    /// the prompts that were accepted clients are told that they are dropped.
    pub fn give_up(&mut self, kind: FailureKind, why: &str, effects: &mut Effects) {
        let mut dropped = Vec::new();
        for held in std::mem::take(&mut self.0) {
            if held.accepted {
                dropped.push(held.number);
            } else {
                effects.refuse(held.number, kind, why);
            }
        }
        effects.dropped(dropped);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use crate::interface::{Effect, Event, Reply};

    fn held(number: u64, urgency: Urgency) -> HeldPrompt {
        HeldPrompt::new(number, Prompt::new("text", urgency))
    }

    fn waiting(prompts: &[(u64, Urgency)]) -> Held {
        let mut all = Held::default();
        for (number, urgency) in prompts {
            all.hold(held(*number, *urgency)).unwrap();
        }
        all
    }

    fn order(mut all: Held) -> Vec<u64> {
        std::iter::from_fn(|| all.take_next()).map(|held| held.number).collect()
    }

    #[test]
    fn those_that_interrupt_go_first_and_all_else_in_its_order() {
        use Urgency::{AfterTools, Interrupt, WhenIdle};
        let mut all = waiting(&[
            (1, WhenIdle),
            (2, AfterTools),
            (3, Interrupt),
            (4, WhenIdle),
            (5, Interrupt),
        ]);
        assert_eq!(all.take_next_that_joins().unwrap().number, 2);
        assert!(all.take_next_that_joins().is_none());
        all.put_back(held(9, WhenIdle));
        assert_eq!(order(all), [9, 3, 5, 1, 4]);
    }

    #[test]
    fn there_is_an_end_to_what_can_wait() {
        let mut all = Held::default();
        for number in 0..256 {
            all.hold(held(number, Urgency::WhenIdle)).unwrap();
        }
        let refusal = all.hold(held(256, Urgency::Interrupt)).unwrap_err();
        assert_eq!(refusal.kind, FailureKind::Busy);
    }

    #[test]
    fn what_was_accepted_is_dropped_and_the_rest_refused() {
        let mut all = waiting(&[(1, Urgency::WhenIdle)]);
        let mut effects = Effects::default();
        all.accept(&mut effects);
        all.accept(&mut effects);
        assert_eq!(effects.take(), [Effect::Settle((1, Ok(Reply::Done)))]);
        all.hold(held(2, Urgency::WhenIdle)).unwrap();
        all.give_up(FailureKind::Refused, "an abort", &mut effects);
        let refusal = Failure::new(FailureKind::Refused, "an abort");
        assert_eq!(
            effects.take(),
            [Effect::Settle((2, Err(refusal))), Effect::Event(Event::PromptsDropped(vec![1])),]
        );
        assert!(all.take_next().is_none());
    }
}
