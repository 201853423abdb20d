//! Which prompt goes out when, and when the model sees it.
//!
//! A prompt starts a turn or joins the one that runs; Codex keeps none for later. So those for
//! later wait here, and so do all in the moments in which it is not known what runs: between
//! the start of a turn and its beginning, and while another thread becomes current. A prompt
//! that waits for the end of a turn counts as accepted.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::held::{Held, HeldPrompt};
use rp_sdk::interface::{Event, Failure};
use rp_sdk::session::{FailureKind, Prompt, Severity, Urgency};
use serde_json::{Map, Value, json};

use crate::item::Item;
use crate::requests::{Request, SentPrompt};
use crate::session::Codex;
use crate::turn::{Compaction, Phase};

/// How many prompts are remembered until the model sees them.
const SENT_AT_MOST: usize = 256;

/// A prompt that Codex was given.
#[derive(Debug)]
struct Sent {
    number: u64,
    text: String,
    /// Codex has taken it.
    answered: bool,
    /// The model sees it.
    seen: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    held: Held,
    sent: VecDeque<Sent>,
    /// The turn is being ended for the first of the held prompts.
    pub(crate) interrupting: bool,
}

impl Prompts {
    /// The prompt that can go out now.
    fn next(&mut self, phase: Phase, steerable: bool) -> Option<HeldPrompt> {
        match phase {
            Phase::Idle => self.held.take_next(),
            Phase::Running if steerable => self.held.take_next_that_joins(),
            Phase::Running | Phase::Coming => None,
        }
    }
}

impl Codex {
    pub(crate) fn prompt(&mut self, number: u64, prompt: Prompt) {
        if prompt.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the prompt is empty");
        }
        let interrupts = prompt.urgency == Urgency::Interrupt;
        if let Err(failure) = self.prompts.held.hold(HeldPrompt::new(number, prompt)) {
            return self.effects.settle(number, Err(failure));
        }
        if interrupts && self.turn.is_coming_or_open() && !self.prompts.interrupting {
            self.prompts.interrupting = true;
            self.interrupt(None);
        }
        self.release_prompts();
    }

    /// Sends what can go out now, and accepts what waits for the end of the turn.
    pub(crate) fn release_prompts(&mut self) {
        if !self.thread.is_open() || self.requests.any(Request::changes_thread) {
            return;
        }
        while let Some(held) = self.prompts.next(self.turn.phase, self.turn.steerable()) {
            self.send_prompt(held);
        }
        if self.turn.phase == Phase::Running {
            self.prompts.held.accept(&mut self.effects);
        }
    }

    fn send_prompt(&mut self, held: HeldPrompt) {
        let HeldPrompt { number, prompt, accepted, .. } = held;
        if self.prompts.sent.len() >= SENT_AT_MOST {
            self.prompts.sent.pop_front();
        }
        let text = prompt.text.clone();
        self.prompts.sent.push_back(Sent { number, text, answered: false, seen: false });
        let mut params = self.input(&prompt);
        params.insert("clientUserMessageId".to_owned(), json!(client_id(number)));
        let steers = self.turn.phase == Phase::Running;
        let request = Request::Prompt(SentPrompt { number, prompt, accepted, steers });
        if steers {
            params.insert("expectedTurnId".to_owned(), json!(self.turn.id));
            return self.ask("turn/steer", Value::Object(params), request);
        }
        params.insert("summary".to_owned(), json!(self.options.summary));
        if let Some(model) = &self.known.chosen.model {
            params.insert("model".to_owned(), json!(model));
        }
        if let Some(effort) = self.known.chosen.effort {
            params.insert("effort".to_owned(), json!(effort));
        }
        self.turn.expect(Compaction::No);
        self.ask("turn/start", Value::Object(params), request);
    }

    /// A prompt as Codex takes it, in the current thread.
    pub(crate) fn input(&self, prompt: &Prompt) -> Map<String, Value> {
        let text = json!({"type": "text", "text": prompt.text, "text_elements": []});
        let text = (!prompt.text.is_empty()).then_some(text);
        let images = prompt.images.iter().map(|image| {
            let url = format!("data:{};base64,{}", image.mime, STANDARD.encode(&image.data));
            json!({"type": "image", "url": url})
        });
        let input: Vec<Value> = text.into_iter().chain(images).collect();
        Map::from_iter([
            ("threadId".to_owned(), json!(self.thread.id)),
            ("input".to_owned(), Value::Array(input)),
        ])
    }

    /// Codex took the prompt; `turn` is the one that it starts.
    pub(crate) fn prompt_accepted(&mut self, sent: &SentPrompt, turn: Option<String>) {
        if !sent.accepted {
            self.effects.done(sent.number);
        }
        let here = self.prompts.sent.iter().position(|other| other.number == sent.number);
        let Some(entry) = here.and_then(|at| self.prompts.sent.get_mut(at)) else {
            // It went to a thread that was left meanwhile.
            return self.effects.dropped(vec![sent.number]);
        };
        entry.answered = true;
        if entry.seen {
            self.prompts.sent.retain(|other| other.number != sent.number);
        }
        if self.turn.phase == Phase::Idle {
            // The turn that it was to be part of is over.
            self.drop_unseen_prompts();
        } else if let Some(id) = turn.filter(|_| !sent.steers) {
            self.turn_is_named(id);
        }
    }

    /// The turn was over, or takes no prompts: this one waits for the next.
    pub(crate) fn steer_again_later(&mut self, sent: SentPrompt) {
        if self.forget_sent_prompt(sent.number) {
            self.turn.takes_no_prompts();
        }
        let SentPrompt { number, prompt, accepted, .. } = sent;
        self.prompts.held.put_back(HeldPrompt { accepted, ..HeldPrompt::new(number, prompt) });
        self.release_prompts();
    }

    /// Whether the prompt was sent to the thread that is current.
    pub(crate) fn forget_sent_prompt(&mut self, number: u64) -> bool {
        let sent = &mut self.prompts.sent;
        let before = sent.len();
        sent.retain(|other| other.number != number);
        sent.len() < before
    }

    pub(crate) fn prompt_refused(&mut self, sent: &SentPrompt, failure: Failure) {
        if sent.accepted {
            let text = format!("Codex did not take a prompt that waited: {}", failure.message);
            self.effects.notice(Severity::Warning, text);
            self.effects.dropped(vec![sent.number]);
        } else {
            self.effects.settle(sent.number, Err(failure));
        }
    }

    /// A message of the user became part of the turn. An old Codex does not give back what the
    /// adapter named it; then its text tells, and else its place.
    pub(crate) fn prompt_became_seen(&mut self, item: &Item<'_>) {
        let unseen = |sent: &Sent| !sent.seen;
        let sent = &self.prompts.sent;
        let at = match item.client_id.as_deref() {
            Some(id) => sent.iter().position(|sent| unseen(sent) && client_id(sent.number) == id),
            None => {
                let text = item.user_text();
                let same = sent.iter().position(|sent| unseen(sent) && sent.text == text);
                same.or_else(|| sent.iter().position(unseen))
            }
        };
        let Some(sent) = at.and_then(|at| self.prompts.sent.get_mut(at)) else {
            return;
        };
        sent.seen = true;
        let (number, answered) = (sent.number, sent.answered);
        if answered {
            self.prompts.sent.retain(|sent| sent.number != number);
        }
        self.effects.event(Event::PromptSeen(number));
    }

    /// The turn is over: what Codex took for it and the model did not see never will be seen.
    pub(crate) fn drop_unseen_prompts(&mut self) {
        let lost = |sent: &Sent| sent.answered && !sent.seen;
        let sent = &mut self.prompts.sent;
        let numbers = sent.iter().filter(|sent| lost(sent)).map(|sent| sent.number).collect();
        sent.retain(|sent| !lost(sent));
        self.effects.dropped(numbers);
    }

    /// Another thread is current: what is on its way to the old one is lost.
    pub(crate) fn forget_sent_prompts(&mut self) {
        self.drop_unseen_prompts();
        self.prompts.sent.retain(|sent| sent.seen);
    }

    /// An abort takes back what waits here.
    pub(crate) fn take_back_held(&mut self) {
        self.give_up_held(FailureKind::Refused, "an abort took the prompt back");
    }

    /// None of the prompts that wait will go out.
    pub(crate) fn give_up_held(&mut self, kind: FailureKind, why: &str) {
        self.prompts.held.give_up(kind, why, &mut self.effects);
    }
}

/// What the adapter names a prompt; it stands in the message that the prompt becomes.
fn client_id(number: u64) -> String {
    format!("prompt-{number}")
}
