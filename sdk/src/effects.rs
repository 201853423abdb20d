//! What an adapter wants done, in the order in which it wants it.

use std::fmt;

use crate::interface::{Effect, Event, Failure, Reply};
use crate::session::{FailureKind, Severity};

/// Effects that the host has not been given yet. An adapter keeps one of these and adds to it
/// wherever something happens; after each call the host gets what is in it.
#[derive(Debug, Default)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Takes all of them out.
    pub fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.0)
    }

    /// Adds an effect that has no method of its own here.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Tells clients what happened.
    pub fn event(&mut self, event: Event) {
        self.push(Effect::Event(event));
    }

    /// Tells a person something that is no part of the conversation.
    pub fn notice(&mut self, severity: Severity, text: impl Into<String>) {
        self.event(Event::Notice((severity, text.into())));
    }

    /// Tells clients that the prompts of these commands, though accepted, will never be part of
    /// a turn. Tells nothing when there are none.
    pub fn dropped(&mut self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.event(Event::PromptsDropped(numbers));
        }
    }

    /// Settles the command with this number. Each is settled exactly once.
    pub fn settle(&mut self, number: u64, outcome: Result<Reply, Failure>) {
        self.push(Effect::Settle((number, outcome)));
    }

    /// Settles a command: it was carried out and there is nothing to say about it.
    pub fn done(&mut self, number: u64) {
        self.settle(number, Ok(Reply::Done));
    }

    /// Settles a command: it was not carried out.
    pub fn refuse(&mut self, number: u64, kind: FailureKind, message: impl Into<String>) {
        self.settle(number, Err(Failure::new(kind, message)));
    }

    /// Writes a line to the harness, such as a `serde_json::Value`. It must hold no line feed;
    /// the one that ends it is added.
    pub fn write_line(&mut self, line: &(impl fmt::Display + ?Sized)) {
        self.push(Effect::Write(format!("{line}\n").into_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn effects_come_out_in_their_order_and_once() {
        let mut effects = Effects::default();
        effects.write_line(&json!({"type": "prompt"}));
        effects.done(1);
        effects.refuse(2, FailureKind::Busy, "one at a time");
        let failure = Failure::new(FailureKind::Busy, "one at a time");
        assert_eq!(
            effects.take(),
            [
                Effect::Write(b"{\"type\":\"prompt\"}\n".to_vec()),
                Effect::Settle((1, Ok(Reply::Done))),
                Effect::Settle((2, Err(failure))),
            ]
        );
        assert_eq!(effects.take(), []);
    }

    #[test]
    fn nothing_is_said_of_no_prompts() {
        let mut effects = Effects::default();
        effects.dropped(Vec::new());
        assert_eq!(effects.take(), []);
        effects.dropped(vec![1, 3]);
        assert_eq!(effects.take(), [Effect::Event(Event::PromptsDropped(vec![1, 3]))]);
    }
}
