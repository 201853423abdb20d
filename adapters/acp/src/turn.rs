//! Where a turn begins and ends: with the first prompt, and with the answer to the last one.

use rp_sdk::interface::{Event, Failure, Reply};
use rp_sdk::json::{RawValue, Text, member};
use rp_sdk::session::{FailureKind, Severity, TurnEnd};
use serde::Deserialize;
use serde_json::json;

use crate::decode::RpcError;
use crate::prompts::{Purpose, Sent};
use crate::session::{Acp, Wait};
use crate::state::Tokens;

/// The call of the model that is going on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Nothing was seen of it.
    #[default]
    ToCome,
    /// It said or called something; the agent's id of its message, if it was told.
    Shown(Option<String>),
}

#[derive(Debug, Default)]
pub(crate) struct Turn {
    open: bool,
    pub(crate) compacting: bool,
    /// Somebody asked for its end, so whatever ends it is that.
    pub(crate) abort_asked: bool,
    /// Commands that are done when the turn is over.
    aborts: Vec<u64>,
    pub(crate) call: Call,
    /// The model said or did something.
    pub(crate) answered: bool,
    ended: Option<TurnEnd>,
    error: Option<String>,
}

impl Turn {
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

/// The answer to a prompt.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PromptResult<'a> {
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

impl Acp {
    pub(crate) fn start_turn(&mut self, purpose: Purpose) {
        let compacting = purpose == Purpose::Compact;
        self.turn = Turn { open: true, compacting, ..Turn::default() };
        self.effects.event(Event::TurnStarted);
    }

    /// The model says or does something. Another message than before, or the first thing
    /// behind tools, is another call of it.
    pub(crate) fn model_shows_itself(&mut self, message: Option<&str>) {
        if !self.turn.open {
            return;
        }
        self.turn.answered = true;
        let began = match &mut self.turn.call {
            Call::Shown(Some(before)) => message.is_some_and(|message| message != before),
            Call::Shown(before @ None) => {
                *before = message.map(str::to_owned);
                false
            }
            Call::ToCome => true,
        };
        if began {
            self.turn.call = Call::Shown(message.map(str::to_owned));
            self.call_began();
        }
    }

    /// The last tool of a call ended: the model is called again.
    pub(crate) fn tools_ended(&mut self) {
        self.turn.call = Call::ToCome;
    }

    /// Has the running turn ended.
    pub(crate) fn cancel_turn(&mut self) {
        if !std::mem::replace(&mut self.turn.abort_asked, true) {
            self.notify("session/cancel", json!({}));
        }
        self.cancel_questions();
    }

    /// Ends what runs and takes back what waits.
    pub(crate) fn abort(&mut self, number: u64) {
        self.drop_held();
        if self.turn.open {
            self.turn.aborts.push(number);
            self.cancel_turn();
        } else {
            self.cancel_questions();
            self.effects.done(number);
        }
    }

    pub(crate) fn prompt_answered(
        &mut self,
        request: u64,
        answer: Result<Option<&RawValue>, &RpcError<'_>>,
    ) {
        let Some(at) = self.prompts.sent.iter().position(|sent| sent.request == request) else {
            return;
        };
        let refused = match answer {
            Ok(result) => {
                self.prompt_succeeded(at, result);
                false
            }
            Err(error) => self.prompt_failed(at, error),
        };
        let sent = self.prompts.sent.remove(at);
        self.settle_sent(sent, refused);
        if self.prompts.sent.is_empty() {
            self.timers.cancel(&Wait::Refusal);
            self.close_turn();
            self.after_turn();
        } else {
            // What came before it was ended together with it.
            self.turn.call = Call::ToCome;
            self.next_call_sees_all();
        }
    }

    fn prompt_succeeded(&mut self, at: usize, result: Option<&RawValue>) {
        let result: PromptResult<'_> = member(result).unwrap_or_default();
        let cancelled = &*result.stop_reason == "cancelled";
        let joined = self.prompts.sent.get(at).is_some_and(|sent| sent.joined);
        // One that joined and was not seen when the turn was cancelled never will be.
        if !(cancelled && joined) {
            self.was_seen(at);
        }
        self.tell_tokens(&Tokens::new(result.usage, result.meta), joined);
        let how = match &*result.stop_reason {
            "cancelled" => TurnEnd::Aborted,
            "max_tokens" | "max_turn_requests" => {
                self.turn.error = Some(format!("a limit ended the turn: {}", &*result.stop_reason));
                TurnEnd::Limit
            }
            "refusal" => {
                self.turn.error = Some("the model refused to go on".to_owned());
                TurnEnd::Failed
            }
            _ => TurnEnd::Completed,
        };
        self.ends_as(how);
    }

    /// Gives whether the agent refused the prompt, rather than failed with it.
    fn prompt_failed(&mut self, at: usize, error: &RpcError<'_>) -> bool {
        let refused = error.refuses() && !self.turn.answered;
        if !refused {
            self.was_seen(at);
        }
        self.turn.error = Some(error.says());
        self.ends_as(TurnEnd::Failed);
        refused
    }

    /// The worst of what several prompts of a turn say counts.
    fn ends_as(&mut self, how: TurnEnd) {
        if how != TurnEnd::Completed || self.turn.ended.is_none() {
            self.turn.ended = Some(how);
        }
    }

    fn settle_sent(&mut self, sent: Sent, refused: bool) {
        let is_prompt = sent.purpose == Purpose::Prompt;
        let aborted = self.turn.abort_asked.then(|| "an abort ended it".to_owned());
        let error = aborted.or_else(|| self.turn.error.clone());
        let outcome = match error.filter(|_| refused || !is_prompt) {
            Some(message) => Err(Failure::new(FailureKind::Refused, message)),
            None => Ok(Reply::Done),
        };
        let accepted = sent.settled || outcome.is_ok();
        if !sent.settled {
            self.effects.settle(sent.number, outcome);
        }
        if is_prompt && accepted && !sent.is_seen() {
            self.effects.dropped(vec![sent.number]);
        }
    }

    /// Ends the turn and everything that is open in it.
    pub(crate) fn close_turn(&mut self) {
        if !self.turn.open {
            return;
        }
        let how = match self.turn.ended {
            _ if self.turn.abort_asked => TurnEnd::Aborted,
            Some(how) => how,
            None => TurnEnd::Failed,
        };
        self.conversation.turn_ended(&mut self.effects);
        self.cancel_questions();
        self.explain_turn(how);
        let turn = std::mem::take(&mut self.turn);
        self.effects.event(Event::TurnEnded(how));
        for number in turn.aborts {
            self.effects.done(number);
        }
        self.tell_end_of_work();
    }

    fn explain_turn(&mut self, how: TurnEnd) {
        match (how, self.turn.error.take()) {
            (TurnEnd::Failed, Some(error)) => self.effects.notice(Severity::Error, error),
            (TurnEnd::Limit, Some(error)) => self.effects.notice(Severity::Warning, error),
            (TurnEnd::Completed, None) if !self.turn.answered && self.is_silent_about_errors() => {
                let text = "the turn ended without an answer: the model may have failed, which this agent does not tell";
                self.effects.notice(Severity::Warning, text.to_owned());
            }
            _ => {}
        }
    }
}
