//! Which prompt goes out when, and when the model sees it.
//!
//! Pi queues a `prompt` that says how (`streamingBehavior`) while it works and runs it at
//! once when it is idle, so a prompt is right even if a run ended while it was on its way.
//! It is held back here only where Pi would lose or refuse it: between a prompt and the start
//! of its run, between the end of a run and that of the turn, around a compaction, and while
//! Pi moves to another session.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::held::{Held, HeldPrompt};
use rp_sdk::interface::{Event, Failure};
use rp_sdk::session::{FailureKind, Prompt, Urgency};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::requests::Request;
use crate::session::{Pi, Wait};
use crate::turn::{Compacting, Phase};

/// How many prompts are remembered until the model sees them.
const SENT_AT_MOST: usize = 256;

/// How often a prompt is sent that Pi refuses for the moment.
const TRIES: u8 = 20;

/// How long to wait before such a prompt is sent again, in milliseconds.
const TRY_AGAIN_MS: u64 = 250;

/// A prompt that Pi has and the model has not seen.
#[derive(Debug)]
struct Sent {
    number: u64,
    text: String,
    /// It starts a run of its own, unlike one that joins a run.
    starts_run: bool,
    /// Pi has said that it has it.
    accepted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    held: Held,
    sent: VecDeque<Sent>,
    /// A run is being aborted for the first of the held prompts.
    pub(crate) interrupting: bool,
}

impl Prompts {
    /// A turn is over: a prompt that was to start it and was not seen never will be, such as
    /// a command of an extension.
    pub(crate) fn turn_ended(&mut self) {
        self.sent.retain(|sent| !sent.starts_run);
    }

    /// How many wait in Pi's queue.
    pub(crate) fn waiting_in_queue(&self) -> usize {
        self.sent.iter().filter(|sent| !sent.starts_run).count()
    }
}

/// The data of `clear_queue`: the texts it dropped.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Dropped {
    steering: Vec<String>,
    follow_up: Vec<String>,
}

impl Pi {
    pub(crate) fn prompt(&mut self, number: u64, prompt: Prompt) {
        if prompt.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the prompt is empty");
        }
        let interrupts = prompt.urgency == Urgency::Interrupt;
        if let Err(failure) = self.prompts.held.hold(HeldPrompt::new(number, prompt)) {
            return self.effects.settle(number, Err(failure));
        }
        if interrupts {
            self.interrupt();
        }
        self.release_prompts();
    }

    /// Ends what is running, so that the first of the held prompts can go out.
    fn interrupt(&mut self) {
        let works = matches!(self.turn.phase, Phase::Starting | Phase::Running | Phase::Retrying);
        if works && !self.prompts.interrupting {
            self.prompts.interrupting = true;
            self.abort(None);
        }
    }

    /// Sends what was held back, as far as Pi takes it now.
    pub(crate) fn release_prompts(&mut self) {
        while self.takes_prompts() {
            let Some(held) = self.prompts.held.take_next() else {
                return;
            };
            self.send_prompt(held);
        }
    }

    fn takes_prompts(&self) -> bool {
        self.turn.compacting == Compacting::No
            && !self.prompts.interrupting
            && !self.requests.any(Request::moves_session)
            && matches!(self.turn.phase, Phase::Idle | Phase::Running | Phase::Retrying)
    }

    fn send_prompt(&mut self, held: HeldPrompt) {
        let HeldPrompt { number, prompt, tries, .. } = held;
        let idle = self.turn.phase == Phase::Idle;
        // A command of an extension runs at once, beside a run, and for as long as it likes.
        if idle && !prompt.text.starts_with('/') {
            self.turn.phase = Phase::Starting;
        }
        if self.prompts.sent.len() == SENT_AT_MOST {
            self.prompts.sent.pop_front();
        }
        let text = prompt.text.clone();
        self.prompts.sent.push_back(Sent { number, text, starts_run: idle, accepted: false });
        let fields = fields(&prompt);
        self.ask("prompt", fields, Request::Prompt { number, prompt, tries });
    }

    pub(crate) fn prompt_accepted(&mut self, number: u64) {
        if let Some(sent) = self.prompts.sent.iter_mut().find(|sent| sent.number == number) {
            sent.accepted = true;
        }
        self.effects.done(number);
        if self.turn.phase == Phase::Starting {
            self.expect_start();
        }
    }

    pub(crate) fn prompt_refused(&mut self, number: u64, prompt: Prompt, tries: u8, error: &str) {
        self.prompts.sent.retain(|sent| sent.number != number);
        if self.turn.phase == Phase::Starting {
            self.turn.phase = Phase::Idle;
        }
        let passing =
            error.contains("compaction is in progress") || error.contains("already processing");
        if passing && tries < TRIES {
            let held = HeldPrompt { tries: tries + 1, ..HeldPrompt::new(number, prompt) };
            self.prompts.held.put_back(held);
            if self.turn.compacting != Compacting::Yes {
                self.turn.compacting = Compacting::JustEnded;
                self.wait(Wait::Release, TRY_AGAIN_MS);
            }
            return;
        }
        let kind = if passing { FailureKind::Busy } else { FailureKind::Refused };
        let hint = error.starts_with("No API key").then(|| {
            "run `pi` in a terminal and log in with /login, or set the provider's API key"
                .to_owned()
        });
        let message = error.lines().next().unwrap_or_default().to_owned();
        self.effects.settle(number, Err(Failure { kind, message, hint }));
        self.release_prompts();
    }

    /// A message of the user became part of the run. Handlers and templates may have changed
    /// its text; then it is the prompt that started the run, if that was not seen yet.
    pub(crate) fn prompt_became_seen(&mut self, text: &str) {
        let first = !std::mem::replace(&mut self.turn.prompt_seen, true);
        let sent = &mut self.prompts.sent;
        let at = sent
            .iter()
            .position(|sent| sent.text == text)
            .or_else(|| {
                sent.iter().position(|sent| !sent.text.is_empty() && text.starts_with(&sent.text))
            })
            .or_else(|| sent.iter().position(|sent| first && sent.starts_run));
        if let Some(sent) = at.and_then(|at| sent.remove(at)) {
            self.effects.event(Event::PromptSeen(sent.number));
        }
    }

    /// An abort takes back what was held here.
    pub(crate) fn take_back_held(&mut self) {
        let why = "an abort took the prompt back before Pi had it";
        self.prompts.held.give_up(FailureKind::Refused, why, &mut self.effects);
    }

    /// Pi is gone: nothing that was held back will go out.
    pub(crate) fn forget_prompts(&mut self, what: &str) {
        self.prompts.held.give_up(FailureKind::Harness, what, &mut self.effects);
        self.forget_sent_prompts();
        self.prompts.interrupting = false;
    }

    /// Pi dropped what was in its queue. The commands were settled when it took them.
    pub(crate) fn queue_cleared(&mut self, dropped: Dropped) {
        let mut numbers = Vec::new();
        for text in dropped.steering.into_iter().chain(dropped.follow_up) {
            let at =
                self.prompts.sent.iter().position(|sent| !sent.starts_run && sent.text == text);
            if let Some(sent) = at.and_then(|at| self.prompts.sent.remove(at)) {
                numbers.push(sent.number);
            }
        }
        self.effects.dropped(numbers);
    }

    /// Pi is gone, or another session is current: nothing of its queue will be seen. A prompt that
    /// was to start a run may have been a command of an extension, which has done what it does.
    pub(crate) fn forget_sent_prompts(&mut self) {
        let sent = std::mem::take(&mut self.prompts.sent).into_iter();
        let lost =
            sent.filter(|sent| sent.accepted && !(sent.starts_run && sent.text.starts_with('/')));
        self.effects.dropped(lost.map(|sent| sent.number).collect());
    }
}

fn fields(prompt: &Prompt) -> Value {
    let behaviour = if prompt.urgency == Urgency::AfterTools { "steer" } else { "followUp" };
    let mut fields = json!({"message": prompt.text, "streamingBehavior": behaviour});
    if let (Some(fields), false) = (fields.as_object_mut(), prompt.images.is_empty()) {
        let images = prompt
            .images
            .iter()
            .map(|image| json!({"type": "image", "data": STANDARD.encode(&image.data), "mimeType": image.mime}))
            .collect();
        fields.insert("images".to_owned(), Value::Array(images));
    }
    fields
}
