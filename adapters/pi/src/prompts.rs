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
use rp_sdk::interface::{Event, Reply};
use rp_sdk::session::{FailureKind, Prompt, Urgency};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::requests::Request;
use crate::session::Pi;
use crate::timers::Wait;
use crate::turn::{Compacting, Phase};

/// How many prompts are held back.
const HELD_AT_MOST: usize = 256;

/// How many prompts are remembered until the model sees them.
const SENT_AT_MOST: usize = 256;

/// How often a prompt is sent that Pi refuses for the moment.
const TRIES: u8 = 20;

/// How long to wait before such a prompt is sent again, in milliseconds.
const TRY_AGAIN_MS: u64 = 250;

#[derive(Debug)]
struct Held {
    number: u64,
    prompt: Prompt,
    tries: u8,
}

/// A prompt that Pi has and the model has not seen.
#[derive(Debug)]
struct Sent {
    number: u64,
    text: String,
    /// It starts a run of its own, unlike one that joins a run.
    starts_run: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    held: VecDeque<Held>,
    sent: VecDeque<Sent>,
    /// A run is being aborted for the first of the held prompts.
    pub(crate) interrupting: bool,
}

impl Prompts {
    /// Everything that was held back, because it will not go out.
    pub(crate) fn drain(&mut self) -> Vec<(u64, Prompt)> {
        self.sent.clear();
        self.interrupting = false;
        std::mem::take(&mut self.held).into_iter().map(|held| (held.number, held.prompt)).collect()
    }

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
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(crate) struct Dropped {
    steering: Vec<String>,
    follow_up: Vec<String>,
}

impl Pi {
    pub(crate) fn prompt(&mut self, number: u64, prompt: Prompt) {
        if prompt.text.is_empty() && prompt.images.is_empty() {
            return self.refuse(number, FailureKind::Invalid, "the prompt is empty");
        }
        if self.prompts.held.len() >= HELD_AT_MOST {
            let message = format!("{HELD_AT_MOST} prompts are waiting already");
            return self.refuse(number, FailureKind::Busy, message);
        }
        let interrupts = prompt.urgency == Urgency::Interrupt;
        let held = Held { number, prompt, tries: 0 };
        if !interrupts {
            self.prompts.held.push_back(held);
        } else {
            let behind = self
                .prompts
                .held
                .iter()
                .take_while(|held| held.prompt.urgency == Urgency::Interrupt)
                .count();
            self.prompts.held.insert(behind, held);
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
            let Some(held) = self.prompts.held.pop_front() else {
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

    fn send_prompt(&mut self, held: Held) {
        let Held { number, prompt, tries } = held;
        let idle = self.turn.phase == Phase::Idle;
        // A command of an extension runs at once, beside a run, and for as long as it likes.
        if idle && !prompt.text.starts_with('/') {
            self.turn.phase = Phase::Starting;
        }
        if self.prompts.sent.len() == SENT_AT_MOST {
            self.prompts.sent.pop_front();
        }
        self.prompts.sent.push_back(Sent { number, text: prompt.text.clone(), starts_run: idle });
        let fields = fields(&prompt);
        self.ask("prompt", fields, Request::Prompt { number, prompt, tries });
    }

    pub(crate) fn prompt_accepted(&mut self, number: u64) {
        self.settle(number, Ok(Reply::Done));
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
            self.prompts.held.push_front(Held { number, prompt, tries: tries + 1 });
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
        self.settle(number, Err(rp_sdk::interface::Failure { kind, message, hint }));
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
            self.event(Event::PromptSeen(sent.number));
        }
    }

    /// An abort takes back what was held here.
    pub(crate) fn take_back_held(&mut self) {
        for held in std::mem::take(&mut self.prompts.held) {
            self.refuse(
                held.number,
                FailureKind::Refused,
                "an abort took the prompt back before Pi had it",
            );
        }
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
        if !numbers.is_empty() {
            self.event(Event::PromptsDropped(numbers));
        }
    }

    /// Another session is current: nothing of the old one's queue will be seen.
    pub(crate) fn forget_sent_prompts(&mut self) {
        self.prompts.sent.clear();
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
