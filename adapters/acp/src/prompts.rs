//! Which prompt goes out when, and when the model sees it.
//!
//! The protocol has one prompt at a time, and what agents do with a second one differs: one
//! takes it into the running turn, one queues it, one ends the running turn for it. So prompts
//! wait here, where an abort can take them back; only one that is meant to join goes out at
//! once, to an agent that was seen to do that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::held::{Held, HeldPrompt};
use rp_sdk::interface::{Abilities, Event, Failure, Reply};
use rp_sdk::session::{FailureKind, Image, Prompt, Urgency};
use serde_json::{Value, json};

use crate::requests::Request;
use crate::session::{Acp, Wait};
use crate::turn::Call;

/// How long the agent may take to refuse a prompt, in milliseconds. One that it has not
/// refused by then is said to be accepted; 31 ms were seen.
const REFUSED_WITHIN_MS: u64 = 2_000;

/// What a prompt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Prompt,
    /// It is the agent's command that shortens the context.
    Compact,
}

/// A prompt that the agent has and has not answered.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The id it was sent with.
    pub(crate) request: u64,
    pub(crate) number: u64,
    pub(crate) purpose: Purpose,
    text: String,
    images: Vec<Image>,
    pub(crate) settled: bool,
    /// It was sent into a running turn.
    pub(crate) joined: bool,
    /// How many calls of the model have to begin until it is part of one for sure; none when
    /// the model has seen it.
    calls_to_come: u8,
}

impl Sent {
    pub(crate) fn is_seen(&self) -> bool {
        self.calls_to_come == 0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    held: Held,
    pub(crate) sent: Vec<Sent>,
}

impl Acp {
    pub(crate) fn prompt(&mut self, number: u64, prompt: Prompt) {
        if prompt.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the prompt is empty");
        }
        if !prompt.images.is_empty() && !self.agent.images {
            let message = format!("{} takes no images", self.harness.title());
            return self.effects.refuse(number, FailureKind::Unsupported, message);
        }
        if !self.turn.is_open() {
            return self.send_prompt(number, prompt, false);
        }
        match prompt.urgency {
            Urgency::WhenIdle => {
                self.hold_prompt(number, prompt);
            }
            Urgency::AfterTools => self.join_turn(number, prompt),
            Urgency::Interrupt => {
                if self.hold_prompt(number, prompt) {
                    self.cancel_turn();
                }
            }
        }
    }

    fn join_turn(&mut self, number: u64, prompt: Prompt) {
        if !self.harness.abilities().contains(Abilities::STEER) {
            let title = self.harness.title();
            let message = format!("{title} takes no prompt into a running turn");
            let failure = Failure::new(FailureKind::Unsupported, message)
                .with_hint("send it `when-idle`, or `interrupt` what runs");
            return self.effects.settle(number, Err(failure));
        }
        if self.turn.abort_asked || self.turn.compacting {
            self.hold_prompt(number, prompt);
        } else {
            self.send_prompt(number, prompt, false);
        }
    }

    /// Accepts a prompt that goes out later, and gives whether it did.
    fn hold_prompt(&mut self, number: u64, prompt: Prompt) -> bool {
        let held = HeldPrompt { accepted: true, ..HeldPrompt::new(number, prompt) };
        let outcome = self.prompts.held.hold(held);
        let holds = outcome.is_ok();
        self.effects.settle(number, outcome.map(|()| Reply::Done));
        holds
    }

    /// The turn is over: the next prompt begins another.
    pub(crate) fn release_prompt(&mut self) {
        if !self.turn.is_open()
            && let Some(held) = self.prompts.held.take_next()
        {
            self.send_prompt(held.number, held.prompt, held.accepted);
        }
    }

    fn send_prompt(&mut self, number: u64, prompt: Prompt, settled: bool) {
        let mut blocks = Vec::new();
        if !prompt.text.is_empty() {
            blocks.push(json!({"type": "text", "text": prompt.text}));
        }
        blocks.extend(prompt.images.iter().map(|image| {
            json!({"type": "image", "data": STANDARD.encode(&image.data), "mimeType": image.mime})
        }));
        self.send(number, Purpose::Prompt, &blocks, settled);
        if let Some(sent) = self.prompts.sent.last_mut() {
            sent.text = prompt.text;
            sent.images = prompt.images;
        }
    }

    /// Sends the agent's command that shortens the context.
    pub(crate) fn send_compact(&mut self, number: u64, instructions: Option<String>) {
        let text = instructions.map_or("/compact".to_owned(), |text| format!("/compact {text}"));
        self.send(number, Purpose::Compact, &[json!({"type": "text", "text": text})], false);
    }

    fn send(&mut self, number: u64, purpose: Purpose, blocks: &[Value], settled: bool) {
        let request = self.ask("session/prompt", json!({"prompt": blocks}), Request::Prompt);
        let joined = self.turn.is_open();
        if !joined {
            self.start_turn(purpose);
        }
        // A call that has begun and not shown itself may have gone out without this prompt.
        let calls_to_come = if joined && self.turn.call == Call::ToCome { 2 } else { 1 };
        let (text, images) = (String::new(), Vec::new());
        self.prompts.sent.push(Sent {
            request,
            number,
            purpose,
            text,
            images,
            settled,
            joined,
            calls_to_come,
        });
        if !settled {
            self.timers.start(Wait::Refusal, REFUSED_WITHIN_MS, &mut self.effects);
        }
    }

    /// The agent has not refused these, so it has accepted them.
    pub(crate) fn accept_sent(&mut self) {
        let mut numbers = Vec::new();
        for sent in &mut self.prompts.sent {
            // Shortening the context is done when the turn is over.
            if sent.purpose == Purpose::Prompt && !std::mem::replace(&mut sent.settled, true) {
                numbers.push(sent.number);
            }
        }
        for number in numbers {
            self.effects.done(number);
        }
    }

    /// A call of the model shows itself.
    pub(crate) fn call_began(&mut self) {
        self.accept_sent();
        // What was being written belongs to the call before.
        self.conversation.end_message(&mut self.effects);
        let mut seen = Vec::new();
        for (at, sent) in self.prompts.sent.iter_mut().enumerate() {
            if sent.calls_to_come > 0 {
                sent.calls_to_come -= 1;
                seen.extend((sent.calls_to_come == 0).then_some(at));
            }
        }
        for at in seen {
            self.tell_seen(at);
        }
    }

    /// The prompt was part of a turn, though nothing showed when.
    pub(crate) fn was_seen(&mut self, at: usize) {
        if let Some(sent) = self.prompts.sent.get_mut(at)
            && std::mem::take(&mut sent.calls_to_come) > 0
        {
            self.tell_seen(at);
        }
    }

    /// A call of the model is over: whatever was sent before this is part of the next one.
    pub(crate) fn next_call_sees_all(&mut self) {
        for sent in &mut self.prompts.sent {
            sent.calls_to_come = sent.calls_to_come.min(1);
        }
    }

    fn tell_seen(&mut self, at: usize) {
        let Some(sent) = self.prompts.sent.get_mut(at) else {
            return;
        };
        if sent.purpose == Purpose::Compact {
            return;
        }
        let number = sent.number;
        let (text, images) = (std::mem::take(&mut sent.text), std::mem::take(&mut sent.images));
        self.effects.event(Event::PromptSeen(number));
        self.conversation.user(None, text, images, &mut self.effects);
        if !std::mem::replace(&mut self.known.kept, true) {
            self.tell_state(false);
        }
    }

    /// Prompts that were accepted and will not go out.
    pub(crate) fn drop_held(&mut self) {
        let why = "an abort took the prompt back";
        self.prompts.held.give_up(FailureKind::Refused, why, &mut self.effects);
    }
}
