//! Where a turn begins and ends.
//!
//! A turn begins when Claude turns to a message, or wakes up by itself because something that
//! it left running is done; it ends with a `result`. Prompts that Claude takes in between join
//! the turn. Claude's own commands run between turns and end with a `result` too.

use rp_sdk::interface::Event;
use rp_sdk::session::{FailureKind, Severity, TurnEnd};

use crate::decode::{Init, ResultLine, System};
use crate::session::ClaudeCode;

/// How Claude says that nobody is logged in.
const NOT_LOGGED_IN: &str = "Not logged in";

#[derive(Debug, Default)]
enum Work {
    #[default]
    None,
    Turn,
    Local(LocalRun),
}

/// A command of Claude itself that runs.
#[derive(Debug)]
struct LocalRun {
    number: u64,
    /// It did what it is for.
    achieved: bool,
    /// What it said instead.
    words: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Turn {
    work: Work,
    /// Somebody asked for an end, so a failure is none.
    pub(crate) abort_asked: bool,
    /// Commands that are done when what runs is over.
    pub(crate) aborting: Vec<u64>,
    /// What the provider or Claude said instead of the model.
    pub(crate) error: Option<String>,
    /// The error is that the model may not say more.
    pub(crate) limit_reached: bool,
}

impl Turn {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.work, Work::Turn)
    }

    /// A turn or a command of Claude itself is running.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.work, Work::None)
    }

    /// The running command of Claude, if there is one, did what it is for.
    pub(crate) fn local_achieved(&mut self) {
        if let Work::Local(run) = &mut self.work {
            run.achieved = true;
        }
    }

    /// The running command of Claude says something. Tells whether there is one.
    pub(crate) fn local_said(&mut self, words: &str) -> bool {
        let Work::Local(run) = &mut self.work else {
            return false;
        };
        let words = words.trim().trim_start_matches("Error: ");
        run.words.get_or_insert_with(|| words.to_owned());
        true
    }
}

impl ClaudeCode {
    /// `system` / `init`
    pub(crate) fn init(&mut self, line: Init<'_>) {
        self.process.answers = true;
        self.learn_session(line.session_id.as_deref());
        self.learn_model(line.model.as_deref());
        self.learn_mode(line.permission_mode.as_deref());
        if !self.turn.is_busy() {
            self.work_begins();
        }
        self.tell_state(false);
        self.look_at_servers(&line.mcp_servers);
    }

    /// Begins a turn, unless one is open.
    pub(crate) fn begin_turn(&mut self) {
        if !self.turn.is_open() {
            self.end_work(TurnEnd::Completed);
            self.turn.work = Work::Turn;
            self.effects.event(Event::TurnStarted);
        }
    }

    pub(crate) fn begin_local(&mut self, number: u64) {
        self.end_work(TurnEnd::Completed);
        self.turn.work = Work::Local(LocalRun { number, achieved: false, words: None });
    }

    /// `result`
    pub(crate) fn result(&mut self, line: ResultLine<'_>) {
        self.process.result_failed = line.is_error;
        // One outside of any work tells of a start that failed, as the end of the process will.
        if !self.turn.is_busy() {
            return;
        }
        self.learn_session(line.session_id.as_deref());
        self.tell_cost(line.total_cost_usd, line.model_usage);
        let how = self.ending(&line);
        if how == TurnEnd::Failed && self.turn.error.is_none() {
            self.turn.error = Some(words(&line));
        }
        self.end_work(how);
    }

    fn ending(&self, line: &ResultLine<'_>) -> TurnEnd {
        let reason = line.terminal_reason.as_deref().unwrap_or_default();
        match &*line.subtype {
            _ if reason.starts_with("aborted") => TurnEnd::Aborted,
            _ if !line.is_error => TurnEnd::Completed,
            "error_max_turns" | "error_max_budget_usd" => TurnEnd::Limit,
            _ if self.turn.limit_reached => TurnEnd::Limit,
            _ if self.turn.abort_asked => TurnEnd::Aborted,
            _ => TurnEnd::Failed,
        }
    }

    /// `session_state_changed`: a Claude that is idle has ended all it began.
    pub(crate) fn session_state(&mut self, line: System<'_>) {
        if line.state.as_deref() == Some("idle") {
            let aborted = self.turn.abort_asked;
            self.end_work(if aborted { TurnEnd::Aborted } else { TurnEnd::Completed });
        }
    }

    /// Ends what is running, and what is open in it.
    pub(crate) fn end_work(&mut self, how: TurnEnd) {
        let turn = std::mem::take(&mut self.turn);
        match turn.work {
            Work::None => return,
            Work::Local(run) => self.end_local(run),
            Work::Turn => {
                self.end_open_tools();
                self.messages.turn_ended();
                let error = turn.error.filter(|_| matches!(how, TurnEnd::Failed | TurnEnd::Limit));
                if let Some(error) = error {
                    self.effects.notice(Severity::Error, with_hint(error));
                }
                self.effects.event(Event::TurnEnded(how));
            }
        }
        self.tell_end_of_work();
        for number in turn.aborting {
            self.effects.done(number);
        }
    }

    fn end_local(&mut self, run: LocalRun) {
        if run.achieved {
            return self.effects.done(run.number);
        }
        let words = run.words.filter(|words| !words.is_empty());
        let message = words.unwrap_or_else(|| "Claude Code ended before it was done".to_owned());
        self.effects.refuse(run.number, FailureKind::Refused, message);
    }
}

/// What went wrong, in Claude's words.
fn words(line: &ResultLine<'_>) -> String {
    let errors = line.errors.iter().map(|error| &**error);
    let words: Vec<&str> = line.result.as_deref().into_iter().chain(errors).collect();
    if words.is_empty() { line.subtype.to_string() } else { words.join("\n") }
}

fn with_hint(error: String) -> String {
    if error.starts_with(NOT_LOGGED_IN) {
        let hint = "run `claude` in a terminal and log in with /login, or set ANTHROPIC_API_KEY";
        return format!("{error}\nhint: {hint}");
    }
    error
}
