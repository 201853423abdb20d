//! Where a turn begins and ends.
//!
//! A turn may be several runs of Pi: a run that failed is tried again, one that outgrew the
//! context goes on behind a compaction. The new generation says `agent_settled` when nothing
//! more will happen. The old one does not; there a run's end is held back for a moment, since
//! what follows it follows at once.

use rp_sdk::interface::Event;
use rp_sdk::session::{Severity, TurnEnd};

use crate::decode;
use crate::requests::Request;
use crate::session::{Pi, Wait};

/// How long a run's end is held back, in milliseconds. What follows came within one.
const HELD_BACK_MS: u64 = 50;

/// How long to wait for an `agent_settled` that must come.
const SETTLED_AT_MOST_MS: u64 = 5_000;

/// How long an accepted prompt may take until its run starts. Handlers of extensions may
/// swallow a prompt, so none may ever start; 22 ms were seen.
const START_MS: u64 = 250;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No turn.
    #[default]
    Idle,
    /// A prompt went out and its run has not started.
    Starting,
    /// Pi works.
    Running,
    /// A run failed and will be tried again.
    Retrying,
    /// A run ended; whether the turn did is open.
    Ending,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compacting {
    #[default]
    No,
    Yes,
    /// It ended; prompts are held back a moment longer.
    JustEnded,
}

/// How the last message of the model ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    Done,
    /// It calls tools, so more should follow.
    Tools,
    Aborted,
    Failed,
    Limit,
}

#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) phase: Phase,
    pub(crate) compacting: Compacting,
    /// Somebody asked for an abort, so a failure is not one.
    pub(crate) abort_asked: bool,
    /// The abort may have come before the run: it is repeated when that starts.
    pub(crate) abort_at_start: bool,
    /// A message of the user was already part of this run.
    pub(crate) prompt_seen: bool,
    pub(crate) last_stop: Stop,
    pub(crate) error: Option<String>,
}

impl Turn {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Retrying | Phase::Ending)
    }
}

impl Pi {
    /// `agent_start`
    pub(crate) fn run_started(&mut self) {
        self.timers.cancel(&Wait::Start);
        self.timers.cancel(&Wait::TurnEnd);
        if self.turn.phase == Phase::Ending {
            self.finish_turn_quietly();
        }
        if !self.turn.is_open() {
            self.turn = Turn {
                compacting: self.turn.compacting,
                abort_asked: self.turn.abort_at_start,
                abort_at_start: self.turn.abort_at_start,
                ..Turn::default()
            };
            self.effects.event(Event::TurnStarted);
        }
        self.turn.phase = Phase::Running;
        if std::mem::take(&mut self.turn.abort_at_start) {
            self.ask("abort", serde_json::json!({}), Request::Abort { number: None });
        }
        self.release_prompts();
    }

    /// `agent_end`
    pub(crate) fn run_ended(&mut self, line: &str) {
        if !self.turn.is_open() {
            return;
        }
        let will_retry =
            if self.version.settles == Some(false) { None } else { decode::will_retry(line) };
        if will_retry.is_some() {
            self.version.settles = Some(true);
        }
        if will_retry == Some(true) {
            self.turn.phase = Phase::Retrying;
        } else {
            self.expect_turn_end();
        }
    }

    /// The turn is over unless something says otherwise.
    pub(crate) fn expect_turn_end(&mut self) {
        self.turn.phase = Phase::Ending;
        let ms = if self.version.settles == Some(true) { SETTLED_AT_MOST_MS } else { HELD_BACK_MS };
        self.wait(Wait::TurnEnd, ms);
    }

    /// `agent_settled`
    pub(crate) fn settled(&mut self) {
        self.version.settles = Some(true);
        if self.turn.is_open() {
            self.finish_turn();
        }
    }

    /// The turn is over, as its last message said.
    pub(crate) fn finish_turn(&mut self) {
        self.finish_turn_quietly();
        self.release_prompts();
    }

    /// The same, without sending what waits for it.
    pub(crate) fn finish_turn_quietly(&mut self) {
        let how = match self.turn.last_stop {
            Stop::Failed | Stop::Tools if self.turn.abort_asked => TurnEnd::Aborted,
            Stop::Done | Stop::Tools => TurnEnd::Completed,
            Stop::Limit => TurnEnd::Limit,
            Stop::Aborted => TurnEnd::Aborted,
            Stop::Failed => TurnEnd::Failed,
        };
        self.close_turn(how);
    }

    /// Pi turned to something else. A run that had not ended was dropped, by the old
    /// generation without a word.
    pub(crate) fn turn_was_dropped(&mut self) {
        if self.turn.phase == Phase::Ending {
            self.finish_turn_quietly();
        } else {
            self.close_turn(TurnEnd::Aborted);
        }
    }

    /// Ends the turn and everything that is open in it.
    pub(crate) fn close_turn(&mut self, how: TurnEnd) {
        if !self.turn.is_open() {
            return;
        }
        self.timers.cancel(&Wait::TurnEnd);
        self.end_open_tools();
        self.withdraw_questions_of_turn();
        if let Some(error) = self.turn.error.take().filter(|_| how == TurnEnd::Failed) {
            self.effects.notice(Severity::Error, error);
        }
        self.turn = Turn { compacting: self.turn.compacting, ..Turn::default() };
        self.messages.turn_ended();
        self.prompts.turn_ended();
        self.effects.event(Event::TurnEnded(how));
        self.tell_end_of_work();
    }

    /// Pi accepted the prompt that was to start a run.
    pub(crate) fn expect_start(&mut self) {
        self.wait(Wait::Start, START_MS);
    }

    /// No run came: the prompt was a command of an extension, or swallowed by one.
    pub(crate) fn nothing_started(&mut self) {
        if self.turn.phase == Phase::Starting {
            self.turn.phase = Phase::Idle;
            self.turn.abort_at_start = false;
            self.release_prompts();
        }
    }
}
