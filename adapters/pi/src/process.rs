//! The process of Pi: start, standard error, end.

use rp_sdk::interface::{Effect, Event, Exit};
use rp_sdk::launch::compare_version;
use rp_sdk::process::{Ending, LastWords, Noise};
use rp_sdk::session::{FailureKind, TurnEnd};
use rp_sdk::timers::Timers;
use serde_json::json;

use crate::launch::{self, INSTALL, TITLE};
use crate::requests::{self, Request};
use crate::session::Pi;
use crate::turn::{Phase, Turn};
use crate::version::TESTED;

/// How Pi says that a session does not exist.
const NO_SESSION: &str = "No session found";

/// What a person can do about a start that failed, by what Pi printed.
const HINTS: [(&str, &str); 5] = [
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

/// What is known of the process that runs.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// It has answered, so it started well.
    pub(crate) answers: bool,
    pub(crate) noise: Noise,
    pub(crate) last_words: LastWords,
    /// The command that started the process anew, to settle once it answers.
    pub(crate) resuming: Option<u64>,
    /// It was told to end so that another can be started.
    replaced: bool,
}

impl Pi {
    pub(crate) fn process_started(&mut self) {
        self.process = Process { resuming: self.process.resuming, ..Process::default() };
        compare_version(self.request.version.as_deref(), &TESTED, &mut self.effects);
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
            Err(failure) => self.effects.settle(number, Err(failure)),
        }
    }

    pub(crate) fn process_exited(&mut self, how: &Exit) {
        if self.turn.phase == Phase::Ending {
            self.finish_turn_quietly();
        }
        let what = how.in_words(TITLE);
        let words = self.process.last_words.text();
        if !self.process.replaced {
            self.explain_end(how, &words);
        }
        self.withdraw_questions();
        self.forget_prompts(&what);
        let waiting = self.process.resuming.filter(|_| self.process.replaced);
        let open: Vec<u64> = self.requests.drain().filter_map(|request| request.number()).collect();
        for number in open.into_iter().filter(|number| Some(*number) != waiting) {
            if self.process.resuming == Some(number) {
                self.refuse_resume(number, &what, &words);
            } else {
                self.effects.refuse(number, FailureKind::Harness, what.clone());
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
        self.effects.refuse(number, kind, message);
    }

    fn explain_end(&mut self, how: &Exit, words: &str) {
        let ending = Ending {
            title: TITLE,
            how,
            words,
            started: self.process.answers,
            working: self.turn.is_open() && !self.turn.abort_asked,
            install: INSTALL,
            hints: &HINTS,
        };
        ending.explain(&mut self.effects);
    }

    /// What a run of Pi's own `bash` command prints while it runs.
    pub(crate) fn bash_updated(&mut self, update: BashUpdate) {
        let request = requests::number(&update.id).and_then(|number| self.requests.get(number));
        if let Some(number) = request.and_then(Request::number) {
            let data = json!({"number": number, "delta": update.delta}).to_string();
            self.effects.event(Event::Other(("bash_execution_update".to_owned(), data)));
        }
    }
}

/// `bash_execution_update`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct BashUpdate {
    id: String,
    delta: String,
}
