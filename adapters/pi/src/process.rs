//! The process of Pi: start, standard error, end.

use std::collections::VecDeque;

use rp_sdk::interface::{Effect, Event, Exit};
use rp_sdk::session::{FailureKind, Severity, TurnEnd};
use serde_json::json;

use crate::launch::{self, INSTALL};
use crate::requests::Request;
use crate::session::Pi;
use crate::timers::Timers;
use crate::turn::{Phase, Turn};
use crate::version::{TESTED, is_tested};

/// How Pi says that a session does not exist.
const NO_SESSION: &str = "No session found";

/// How many lines of standard error are kept to explain an end.
const LINES_KEPT: usize = 6;

/// What is known of the process that runs.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// It has answered, so it started well.
    pub(crate) answers: bool,
    pub(crate) told_about_noise: bool,
    last_lines: VecDeque<String>,
    /// The command that started the process anew, to settle once it answers.
    pub(crate) resuming: Option<u64>,
    /// It was told to end so that another can be started.
    replaced: bool,
}

impl Process {
    pub(crate) fn diagnostics(&mut self, line: &str) {
        if self.last_lines.len() == LINES_KEPT {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line.to_owned());
    }

    fn last_words(&self) -> String {
        let lines: Vec<&str> = self
            .last_lines
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
            .collect();
        lines.join("\n")
    }
}

impl Pi {
    pub(crate) fn process_started(&mut self) {
        self.process = Process { resuming: self.process.resuming, ..Process::default() };
        if let Some(printed) = self.request.version.clone().filter(|printed| !is_tested(printed)) {
            let tested = TESTED.join(" and ");
            self.notice(
                Severity::Warning,
                format!("Pi {printed} is not a version this adapter was tested with ({tested}); most should work"),
            );
        }
        self.ask("get_state", json!({}), Request::State { number: self.process.resuming });
    }

    /// Ends Pi and starts it with another session; the command settles when that one answers.
    pub(crate) fn relaunch(&mut self, number: u64, session: &str) {
        let mut request = self.request.clone();
        request.resume = Some(session.to_owned());
        match launch::launch(&request) {
            Ok(spec) => {
                self.request = request;
                self.process.resuming = Some(number);
                self.process.replaced = true;
                self.known.resumed(session);
                self.effects.push(Effect::Relaunch(spec));
            }
            Err(failure) => self.settle(number, Err(failure)),
        }
    }

    pub(crate) fn process_exited(&mut self, how: &Exit) {
        if self.turn.phase == Phase::Ending {
            self.finish_turn_quietly();
        }
        let what = describe(how);
        let words = self.process.last_words();
        if !self.process.replaced {
            self.explain_end(how, &what, &words);
        }
        self.withdraw_questions();
        for (number, _) in self.prompts.drain() {
            self.refuse(number, FailureKind::Harness, what.clone());
        }
        let waiting = self.process.resuming.filter(|_| self.process.replaced);
        let open: Vec<u64> = self.requests.drain().filter_map(|request| request.number()).collect();
        for number in open.into_iter().filter(|number| Some(*number) != waiting) {
            if self.process.resuming == Some(number) {
                self.refuse_resume(number, &what, &words);
            } else {
                self.refuse(number, FailureKind::Harness, what.clone());
            }
        }
        if self.turn.is_open() {
            let how = if self.turn.abort_asked || self.process.replaced {
                TurnEnd::Aborted
            } else {
                TurnEnd::Failed
            };
            self.close_turn(how);
        }
        self.turn = Turn::default();
        self.timers = Timers::default();
        self.process.resuming = waiting;
        self.process.replaced = false;
    }

    /// Pi was started for this session and could not be.
    fn refuse_resume(&mut self, number: u64, what: &str, words: &str) {
        let kind =
            if words.contains(NO_SESSION) { FailureKind::NotFound } else { FailureKind::Harness };
        let message = if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") };
        self.refuse(number, kind, message);
    }

    /// Says why Pi is gone, where a person would wonder.
    fn explain_end(&mut self, how: &Exit, what: &str, words: &str) {
        let because = if words.is_empty() { String::new() } else { format!(":\n{words}") };
        if !self.process.answers {
            let hint = hint(how, words).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            self.notice(Severity::Error, format!("Pi did not start ({what}){because}{hint}"));
        } else if self.turn.is_open() && !self.turn.abort_asked {
            self.notice(Severity::Error, format!("{what} in the middle of a turn{because}"));
        } else if !was_told_to(how) {
            self.notice(Severity::Error, format!("{what}{because}"));
        }
    }

    /// What a run of Pi's own `bash` command prints while it runs.
    pub(crate) fn bash_updated(&mut self, update: BashUpdate) {
        if let Some(number) = self.requests.number_of(&update.id) {
            let data = json!({"number": number, "delta": update.delta}).to_string();
            self.event(Event::Other(("bash_execution_update".to_owned(), data)));
        }
    }
}

/// `bash_execution_update`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct BashUpdate {
    id: String,
    delta: String,
}

fn describe(how: &Exit) -> String {
    match how {
        Exit::Code(code) => format!("Pi ended with code {code}"),
        Exit::Signal(signal) => format!("Pi was ended by signal {signal}"),
        Exit::FailedToStart(reason) => format!("Pi cannot be run: {reason}"),
    }
}

/// Ends that somebody asked for: closed input, an extension's shutdown, a signal to stop.
fn was_told_to(how: &Exit) -> bool {
    match how {
        Exit::Code(code) => matches!(code, 0 | 129 | 130 | 143),
        Exit::Signal(_) => true,
        Exit::FailedToStart(_) => false,
    }
}

/// What a person can do about a start that failed, from what Pi printed.
fn hint(how: &Exit, words: &str) -> Option<String> {
    let hints = [
        (
            "Unknown option",
            "this Pi does not know that option: check the `args` of the agent's settings, or update Pi",
        ),
        (
            "Unknown provider",
            "check the model of the agent; `pi --list-models` shows those that can be used",
        ),
        (NO_SESSION, "the session is gone: start the agent without resuming one"),
        ("Failed to load extension", "check the path in the `args` of the agent's settings"),
        ("SyntaxError", "this Pi may need a newer Node.js: Pi 0.87 needs Node.js 22"),
    ];
    if matches!(how, Exit::FailedToStart(_)) {
        return Some(INSTALL.to_owned());
    }
    hints.iter().find(|(sign, _)| words.contains(sign)).map(|(_, hint)| (*hint).to_owned())
}
