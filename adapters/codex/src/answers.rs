//! What Codex answered.

use rp_sdk::interface::{Failure, Reply};
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::FailureKind;

use crate::requests::{Request, SentPrompt};
use crate::session::Codex;
use crate::turn::Compaction;
use crate::wire::{self, ThreadOpened, TurnAccepted};
use crate::{history, models};

/// How much of an error is passed on, in characters.
const ERROR_AT_MOST: usize = 500;

/// What stands in an error before the list of everything that would have been right.
const BEFORE_LIST: &str = ", expected one of ";

impl Codex {
    pub(crate) fn answered(
        &mut self,
        id: &RawValue,
        result: Option<&RawValue>,
        error: Option<&RawValue>,
    ) {
        let Some(request) = id.get().parse().ok().and_then(|id| self.requests.close(id)) else {
            return;
        };
        match error {
            None => self.agreed(request, result),
            Some(error) => self.disagreed(request, &cut(&wire::error_message(error))),
        }
    }

    fn agreed(&mut self, request: Request, result: Option<&RawValue>) {
        match request {
            Request::Initialize => self.greeted(),
            Request::Open => match member::<ThreadOpened>(result) {
                Some(opened) => self.opened(opened),
                None => self.not_opened(UNREADABLE),
            },
            Request::NewSession { number } => self.thread_came(number, result, false),
            Request::Resume { number } => self.thread_came(number, result, true),
            Request::Leave => {}
            Request::Prompt(sent) => {
                let turn = member::<TurnAccepted<'_>>(result);
                self.prompt_accepted(&sent, turn.map(|accepted| accepted.turn.id.into_owned()));
            }
            Request::Interrupt { number, .. } => {
                if let Some(number) = number {
                    self.effects.done(number);
                }
            }
            // Its turn tells how it came out.
            Request::Compact { .. } => {}
            Request::Guidance { number } | Request::Rename { number } => self.effects.done(number),
            Request::Models { number } => {
                let listed = member::<models::Listed>(result);
                let reply = listed.map(|listed| Reply::Models(self.known.list_models(listed)));
                self.answer_with(number, reply);
            }
            Request::History { number } => {
                self.answer_with(number, history::read(result).map(Reply::History));
            }
            Request::Other { number } => {
                let reply = result.map_or(Reply::Done, |data| Reply::Data(data.get().to_owned()));
                self.effects.settle(number, Ok(reply));
            }
        }
    }

    fn disagreed(&mut self, request: Request, error: &str) {
        match request {
            Request::Initialize | Request::Open => self.not_opened(error),
            Request::Leave => {}
            Request::Prompt(sent) => self.prompt_not_accepted(sent, error),
            Request::Interrupt { number, turn } => self.not_interrupted(number, &turn),
            Request::Guidance { number } => {
                let text = format!("it was denied, but Codex did not take what was said: {error}");
                self.effects.refuse(number, FailureKind::Harness, text);
            }
            Request::Compact { number } => self.compaction_refused(number, refused(error)),
            Request::NewSession { number } | Request::Resume { number } => {
                self.effects.settle(number, Err(refused(error)));
                self.release_prompts();
            }
            // Codex cannot read a thread in which nothing was said yet.
            Request::History { number } if !self.known.saved => {
                self.effects.settle(number, Ok(Reply::History(Vec::new())));
            }
            Request::Models { number }
            | Request::History { number }
            | Request::Rename { number }
            | Request::Other { number } => self.effects.settle(number, Err(refused(error))),
        }
    }

    fn thread_came(&mut self, number: u64, result: Option<&RawValue>, resumed: bool) {
        match member::<ThreadOpened>(result) {
            Some(opened) => self.thread_changed(number, opened, resumed),
            None => {
                self.effects.refuse(number, FailureKind::Harness, UNREADABLE);
                self.release_prompts();
            }
        }
    }

    fn prompt_not_accepted(&mut self, sent: SentPrompt, error: &str) {
        if sent.steers {
            return self.steer_again_later(sent);
        }
        if self.forget_sent_prompt(sent.number) {
            self.turn.nothing_comes();
            self.settle_pending_interrupts();
        }
        self.prompt_refused(&sent, refused(error));
        self.release_prompts();
    }

    /// The command is settled with its turn, so not once more if that was left meanwhile.
    fn compaction_refused(&mut self, number: u64, failure: Failure) {
        if self.turn.compaction == Compaction::Asked(number) {
            self.turn.nothing_comes();
            self.settle_pending_interrupts();
            self.effects.settle(number, Err(failure));
            self.release_prompts();
        }
    }

    fn answer_with(&mut self, number: u64, reply: Option<Reply>) {
        match reply {
            Some(reply) => self.effects.settle(number, Ok(reply)),
            None => self.effects.refuse(number, FailureKind::Harness, UNREADABLE),
        }
    }
}

const UNREADABLE: &str = "Codex answered something that cannot be read";

fn refused(error: &str) -> Failure {
    let kind = match error {
        _ if error.contains("unknown variant") => FailureKind::Unsupported,
        _ if ["not found", "not loaded", "no rollout found"]
            .iter()
            .any(|no| error.contains(no)) =>
        {
            FailureKind::NotFound
        }
        _ if error.starts_with("invalid session id") => FailureKind::Invalid,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, error.to_owned())
}

fn cut(error: &str) -> String {
    let error = error.split(BEFORE_LIST).next().unwrap_or_default();
    match error.char_indices().nth(ERROR_AT_MOST) {
        Some((at, _)) => format!("{}…", error.get(..at).unwrap_or_default()),
        None => error.to_owned(),
    }
}
