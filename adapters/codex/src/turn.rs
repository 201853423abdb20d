//! Where a turn begins and ends, and how.

use rp_sdk::interface::{Event, Failure};
use rp_sdk::json::member;
use rp_sdk::session::{FailureKind, Severity, TurnEnd};
use serde_json::{Value, json};

use crate::requests::Request;
use crate::session::Codex;
use crate::wire::{ErrorLine, ServerStatus, TurnError, TurnLine, Warning};

/// How a warning begins that comes with every turn of a model that Codex does not know.
const UNKNOWN_MODEL: &str = "Model metadata for";

/// How a failure says that the account is missing or wrong.
const UNAUTHORIZED: &str = "401 Unauthorized";

const LOGIN_HINT: &str = "\nhint: run `codex login`, or check the key of the model provider";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// A turn was asked for and has not begun.
    Coming,
    Running,
}

/// Whether the turn shortens the context and does nothing else.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compaction {
    #[default]
    No,
    /// The command with this number asked for it.
    Asked(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) phase: Phase,
    /// Codex's name for it; empty as long as that is not known.
    pub(crate) id: String,
    pub(crate) compaction: Compaction,
    /// Codex refused a prompt that was to join it.
    refuses_prompts: bool,
    /// Somebody asked for an abort.
    abort_asked: bool,
    /// Aborts that go out once the turn has a name or has begun.
    interrupts: Vec<Option<u64>>,
}

impl Turn {
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(crate) fn is_coming_or_open(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Whether a prompt can join it.
    pub(crate) fn steerable(&self) -> bool {
        let takes_prompts = !self.refuses_prompts && !self.abort_asked;
        self.is_open() && self.compaction == Compaction::No && takes_prompts
    }

    pub(crate) fn takes_no_prompts(&mut self) {
        self.refuses_prompts = true;
    }

    /// Whether somebody asked for its end, so that this is no failure.
    pub(crate) fn abort_asked(&self) -> bool {
        self.abort_asked
    }

    /// A turn was asked for.
    pub(crate) fn expect(&mut self, compaction: Compaction) {
        *self = Self { phase: Phase::Coming, compaction, ..Self::default() };
    }

    /// The turn that was asked for will not come.
    pub(crate) fn nothing_comes(&mut self) {
        if self.phase == Phase::Coming {
            self.phase = Phase::Idle;
            self.compaction = Compaction::No;
        }
    }
}

impl Codex {
    /// `turn/started`
    pub(crate) fn turn_started(&mut self, line: TurnLine<'_>) {
        if line.thread_id != self.thread.id || line.turn.id == self.turn.id && self.turn.is_open() {
            return;
        }
        if self.turn.is_open() {
            self.close_turn(TurnEnd::Aborted);
        }
        self.turn.phase = Phase::Running;
        self.turn.id = line.turn.id.into_owned();
        self.effects.event(Event::TurnStarted);
        self.send_pending_interrupts();
        self.release_prompts();
    }

    /// `turn/completed`
    pub(crate) fn turn_completed(&mut self, line: TurnLine<'_>) {
        let turn = line.turn;
        let known = self.turn.id.is_empty() || turn.id == self.turn.id;
        if line.thread_id != self.thread.id || !self.turn.is_coming_or_open() || !known {
            return;
        }
        // It may end before it has begun; then both are told at once.
        if !self.turn.is_open() {
            self.turn.phase = Phase::Running;
            self.effects.event(Event::TurnStarted);
        }
        let error = member::<TurnError<'_>>(turn.error);
        let how = match turn.status.as_ref() {
            _ if self.turn.abort_asked => TurnEnd::Aborted,
            "interrupted" => TurnEnd::Aborted,
            "failed" if error.as_ref().is_some_and(TurnError::is_limit) => TurnEnd::Limit,
            "failed" => TurnEnd::Failed,
            _ => TurnEnd::Completed,
        };
        if let Some(error) = error.filter(|_| how != TurnEnd::Aborted) {
            let text = in_words(&error);
            let hint = if text.contains(UNAUTHORIZED) { LOGIN_HINT } else { "" };
            self.effects.notice(Severity::Error, format!("{text}{hint}"));
        }
        self.close_turn(how);
        self.release_prompts();
    }

    /// The turn is not followed any more, nor is one that was to come.
    pub(crate) fn leave_turn(&mut self, how: TurnEnd) {
        if self.turn.is_open() {
            return self.close_turn(how);
        }
        self.settle_pending_interrupts();
        self.prompts.interrupting = false;
        let turn = std::mem::take(&mut self.turn);
        self.settle_compaction(turn.compaction, how);
    }

    /// Ends the turn and everything that is open in it.
    pub(crate) fn close_turn(&mut self, how: TurnEnd) {
        self.end_open_tools(how);
        self.withdraw_questions_of_turn();
        self.drop_unseen_prompts();
        self.settle_pending_interrupts();
        self.prompts.interrupting = false;
        let turn = std::mem::take(&mut self.turn);
        self.effects.event(Event::TurnEnded(how));
        self.settle_compaction(turn.compaction, how);
        self.tell_end_of_work();
    }

    fn settle_compaction(&mut self, compaction: Compaction, how: TurnEnd) {
        let Compaction::Asked(number) = compaction else {
            return;
        };
        let failure = |kind, message: &str| Err(Failure::new(kind, message.to_owned()));
        match how {
            TurnEnd::Completed => self.effects.done(number),
            TurnEnd::Aborted => {
                self.effects.settle(number, failure(FailureKind::Refused, "somebody stopped it"));
            }
            TurnEnd::Failed | TurnEnd::Limit => {
                let message = "the context could not be shortened";
                self.effects.settle(number, failure(FailureKind::Harness, message));
            }
        }
    }

    /// `error`. One that ends the turn is told with its end.
    pub(crate) fn model_failed(&mut self, line: ErrorLine<'_>) {
        let is_told_later = !line.will_retry && self.turn.is_coming_or_open();
        if !is_told_later && line.thread_id == self.thread.id {
            self.effects.notice(Severity::Warning, in_words(&line.error));
        }
    }

    /// `warning`
    pub(crate) fn warned(&mut self, warning: Warning) {
        if !warning.message.starts_with(UNKNOWN_MODEL) {
            self.effects.notice(Severity::Warning, warning.message);
        }
    }

    /// `mcpServer/startupStatus/updated`
    pub(crate) fn server_status_updated(&mut self, server: ServerStatus) {
        if server.status == "failed" {
            let why = server.error.unwrap_or_else(|| "no reason was given".to_owned());
            let text = format!("the MCP server {} did not start: {why}", server.name);
            self.effects.notice(Severity::Warning, text);
        }
    }

    // ---- interrupts

    /// Ends the turn that is coming or open. Without a number it is for a prompt that
    /// interrupts, or because the thread is left.
    pub(crate) fn interrupt(&mut self, number: Option<u64>) {
        self.turn.abort_asked = true;
        if self.turn.id.is_empty() {
            return self.turn.interrupts.push(number);
        }
        let turn = self.turn.id.clone();
        let params = json!({"threadId": self.thread.id, "turnId": turn});
        self.ask("turn/interrupt", params, Request::Interrupt { number, turn });
    }

    /// The turn that is coming has this name.
    pub(crate) fn turn_is_named(&mut self, id: String) {
        if self.turn.phase == Phase::Coming {
            self.turn.id = id;
            self.send_pending_interrupts();
        }
    }

    fn send_pending_interrupts(&mut self) {
        for number in std::mem::take(&mut self.turn.interrupts) {
            self.interrupt(number);
        }
    }

    /// Codex knew no such turn: it is over, or has not begun.
    pub(crate) fn not_interrupted(&mut self, number: Option<u64>, turn: &str) {
        if self.turn.phase == Phase::Coming && self.turn.id == turn {
            self.turn.interrupts.push(number);
        } else if let Some(number) = number {
            self.effects.done(number);
        }
    }

    /// There is nothing left to interrupt.
    pub(crate) fn settle_pending_interrupts(&mut self) {
        for number in std::mem::take(&mut self.turn.interrupts).into_iter().flatten() {
            self.effects.done(number);
        }
    }
}

/// What went wrong, with the details that Codex gives. Some messages are what the provider
/// answered, as JSON.
fn in_words(error: &TurnError<'_>) -> String {
    let answer: Value = serde_json::from_str(&error.message).unwrap_or_default();
    let message = answer.pointer("/error/message").and_then(Value::as_str);
    let message = message.unwrap_or(&error.message);
    match error.additional_details.as_deref() {
        Some(details) if details != message => format!("{message}: {details}"),
        _ => message.to_owned(),
    }
}
