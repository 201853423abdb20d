//! Asking a session something: a prompt, and what the model answers in its turn.

use std::pin::pin;

use rp_protocol::session::{Event, Failure, FailureKind, Prompt, Role, Severity, TurnEnd, Urgency};
use tokio::sync::oneshot;

use crate::{
    commands::harness_failure,
    history::HistoryItem,
    session::{Request, Session, removed},
};

impl Session {
    /// Gives the session a prompt, as a person would, and waits until the turn it becomes part of
    /// is over; a working session begins that turn when it is done. Gives the text of the last
    /// message of that turn that has one, empty when none has.
    ///
    /// # Errors
    /// The prompt was not taken, or did not become part of a turn that ended well.
    pub async fn answer_to(&self, text: String) -> Result<String, Failure> {
        let mut events = self.events_after(self.last_event());
        let prompt = Prompt { text, images: Vec::new(), urgency: Urgency::WhenIdle };
        let (given, number) = oneshot::channel();
        self.ask(|reply| Request::Prompt(prompt, given, reply)).await??;
        let mut turn = Turn::of(number.await.map_err(|_| removed())?);
        let mut status = self.watch();
        let process = status.borrow().started_at_ms;
        let mut ended = pin!(async {
            let has_ended = |now: Option<u64>| now.is_none() || now != process;
            drop(status.wait_for(|status| has_ended(status.started_at_ms)).await);
        });
        loop {
            let item = tokio::select! {
                // What happened before the process ended is heard first.
                biased;
                item = events.next() => item,
                () = &mut ended => {
                    let message = "the agent's process ended before it answered";
                    return Err(harness_failure(message, None));
                }
            };
            match item {
                Some(HistoryItem::Event(recorded)) => {
                    if let Some(outcome) = turn.hear(&recorded.event) {
                        return outcome;
                    }
                }
                Some(HistoryItem::Dropped { .. }) => {}
                None => return Err(removed()),
            }
        }
    }
}

/// The turn that a prompt becomes part of.
struct Turn {
    /// The number of the prompt's command.
    number: u64,
    begun: bool,
    answer: String,
    /// The last error that was told in it.
    trouble: Option<String>,
}

impl Turn {
    fn of(number: u64) -> Self {
        Turn { number, begun: false, answer: String::new(), trouble: None }
    }

    /// The outcome, when this event decides it.
    fn hear(&mut self, event: &Event) -> Option<Result<String, Failure>> {
        match event {
            Event::PromptSeen { number } if *number == self.number => self.begun = true,
            Event::PromptsDropped { numbers } if numbers.contains(&self.number) => {
                let message = "the prompt was dropped before the agent saw it";
                return Some(Err(failure(FailureKind::Refused, message)));
            }
            Event::MessageEnded(message)
                if self.begun
                    && message.role == Role::Assistant
                    && !message.text.trim().is_empty() =>
            {
                self.answer.clone_from(&message.text);
            }
            Event::Notice { severity: Severity::Error, text } if self.begun => {
                self.trouble = Some(text.clone());
            }
            Event::TurnEnded { how } if self.begun => return Some(self.ended(*how)),
            _ => {}
        }
        None
    }

    fn ended(&mut self, how: TurnEnd) -> Result<String, Failure> {
        match how {
            TurnEnd::Completed => Ok(std::mem::take(&mut self.answer)),
            TurnEnd::Aborted => {
                Err(failure(FailureKind::Refused, "the turn was aborted before it was done"))
            }
            TurnEnd::Limit => {
                Err(failure(FailureKind::Harness, "a limit ended the turn before it was done"))
            }
            TurnEnd::Failed => {
                let why = self.trouble.take().map(|text| format!(": {text}")).unwrap_or_default();
                Err(failure(FailureKind::Harness, &format!("the agent's turn failed{why}")))
            }
        }
    }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned(), hint: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use rp_protocol::session::Message;

    use super::*;

    fn said(role: Role, text: &str) -> Event {
        Event::MessageEnded(Message {
            id: "m".to_owned(),
            role,
            text: text.to_owned(),
            thinking: None,
            tool: None,
            images: Vec::new(),
            at_ms: 0,
        })
    }

    fn error(text: &str) -> Event {
        Event::Notice { severity: Severity::Error, text: text.to_owned() }
    }

    /// What becomes of prompt 7 with these events.
    fn outcome(events: &[Event]) -> Option<Result<String, String>> {
        let mut turn = Turn::of(7);
        let outcome = events.iter().find_map(|event| turn.hear(event));
        outcome.map(|outcome| outcome.map_err(|failure| failure.message))
    }

    #[test]
    fn the_answer_is_the_last_message_with_text_of_the_own_turn() {
        let events = [
            Event::PromptSeen { number: 6 },
            said(Role::Assistant, "of another turn"),
            Event::TurnEnded { how: TurnEnd::Aborted },
            Event::TurnStarted,
            Event::PromptSeen { number: 7 },
            said(Role::Assistant, "first"),
            said(Role::Assistant, "last"),
            said(Role::Assistant, " "),
            said(Role::Tool, "output"),
            Event::TurnEnded { how: TurnEnd::Completed },
        ];
        assert_eq!(outcome(&events), Some(Ok("last".to_owned())));
        assert_eq!(outcome(&events[..9]), None);
    }

    #[test]
    fn a_turn_that_does_not_end_well_is_no_answer() {
        let ended = |how| {
            let events = [
                error("of another turn"),
                Event::PromptSeen { number: 7 },
                said(Role::Assistant, "half"),
                Event::TurnEnded { how },
            ];
            outcome(&events).unwrap().unwrap_err()
        };
        assert_eq!(ended(TurnEnd::Aborted), "the turn was aborted before it was done");
        assert_eq!(ended(TurnEnd::Limit), "a limit ended the turn before it was done");
        assert_eq!(ended(TurnEnd::Failed), "the agent's turn failed");
        let told = [
            Event::PromptSeen { number: 7 },
            error("no credit is left"),
            Event::TurnEnded { how: TurnEnd::Failed },
        ];
        let why = "the agent's turn failed: no credit is left".to_owned();
        assert_eq!(outcome(&told), Some(Err(why)));
    }

    #[test]
    fn a_prompt_that_is_dropped_is_not_waited_for() {
        let dropped = Event::PromptsDropped { numbers: vec![6, 7] };
        let why = "the prompt was dropped before the agent saw it".to_owned();
        assert_eq!(outcome(&[dropped]), Some(Err(why)));
        assert_eq!(outcome(&[Event::PromptsDropped { numbers: vec![6] }]), None);
    }
}
