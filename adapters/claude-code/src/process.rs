//! The process of Claude: start, standard error, end.

use rp_sdk::interface::{Effect, Exit};
use rp_sdk::launch::compare_version;
use rp_sdk::process::{Ending, LastWords, Noise};
use rp_sdk::session::{FailureKind, Severity, TurnEnd};
use serde_json::json;

use crate::launch::{self, INSTALL, TESTED, TITLE};
use crate::requests::Request;
use crate::session::ClaudeCode;

/// How Claude says that a session does not exist.
const NO_SESSION: [&str; 2] = ["No conversation found", "does not match any session"];

/// What stands on standard error before a model that Claude does not know.
const UNKNOWN_MODEL: &str = "[claude-code:unrecognized_model]";

/// What a person can do about a start that failed, by what Claude printed.
const HINTS: [(&str, &str); 5] = [
    (NO_SESSION[0], "the session is gone: start the agent without resuming one"),
    (NO_SESSION[1], "the session is gone: start the agent without resuming one"),
    (
        "unknown option",
        "this Claude Code does not know that option: check the `args` of the agent's settings, or run `claude update`",
    ),
    (
        "root/sudo privileges",
        "take the option out of the `args` of the agent's settings, or set IS_SANDBOX=1 in its `env` where root is all there is",
    ),
    ("requires Node", "Claude Code needs a newer Node.js"),
];

/// What is known of the process that runs.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// It has answered, so it started well.
    pub(crate) answers: bool,
    pub(crate) noise: Noise,
    told_of_model: bool,
    pub(crate) told_of_mesh: bool,
    /// Its last result was an error, of which its exit code tells once more.
    pub(crate) result_failed: bool,
    last_words: LastWords,
    /// The command that started the process anew, to settle once it answers.
    pub(crate) resuming: Option<u64>,
    /// It was told to end so that another can be started.
    replaced: bool,
}

impl ClaudeCode {
    pub(crate) fn process_started(&mut self) {
        self.process = Process { resuming: self.process.resuming, ..Process::default() };
        compare_version(self.request.version.as_deref(), &TESTED, &mut self.effects);
        self.known.starts(self.request.resume.as_deref());
        self.ask("initialize", json!({}), Request::Initialize);
        if self.request.resume.is_some() {
            self.ask("get_usage", json!({}), Request::Spent);
        }
        self.ask("get_settings", json!({}), Request::Settings { refresh: None });
    }

    /// A line of standard error.
    pub(crate) fn complaint(&mut self, line: &str) {
        if line.starts_with(UNKNOWN_MODEL) && !self.process.told_of_model {
            self.process.told_of_model = true;
            self.effects.notice(
                Severity::Warning,
                "Claude Code does not know the model; the provider is asked for it all the same",
            );
        }
        self.process.last_words.hear(line);
    }

    /// Continues another conversation, which takes another process; the command settles when
    /// that one answers.
    pub(crate) fn resume(&mut self, number: u64, session: String) {
        let mut request = self.request.clone();
        request.resume = Some(session);
        match launch::launch(&request) {
            Ok(spec) => {
                // Or it would finish what it was given first.
                self.leave_conversation();
                self.request = request;
                self.process.resuming = Some(number);
                self.process.replaced = true;
                self.effects.push(Effect::Relaunch(spec));
            }
            Err(failure) => self.effects.settle(number, Err(failure)),
        }
    }

    pub(crate) fn process_exited(&mut self, how: &Exit) {
        let what = how.in_words(TITLE);
        let waiting = self.process.resuming.filter(|_| self.process.replaced);
        if waiting.is_none() {
            self.explain_end(how);
            if let Some(number) = self.process.resuming {
                self.refuse_resume(number, &what);
            }
        }
        self.withdraw_questions();
        self.forget_prompts(&what);
        for number in self.requests.drain().filter_map(|request| request.number()) {
            self.effects.refuse(number, FailureKind::Harness, what.clone());
        }
        let asked = self.turn.abort_asked || self.process.replaced;
        self.end_work(if asked { TurnEnd::Aborted } else { TurnEnd::Failed });
        self.process.resuming = waiting;
        self.process.replaced = false;
    }

    /// Claude was started for this session and could not be.
    fn refuse_resume(&mut self, number: u64, what: &str) {
        let words = self.process.last_words.text();
        let gone = NO_SESSION.iter().any(|sign| words.contains(sign));
        let kind = if gone { FailureKind::NotFound } else { FailureKind::Harness };
        self.effects.refuse(number, kind, [what, &words].join(": ").trim_end_matches([':', ' ']));
    }

    /// Says why Claude is gone, where a person would wonder.
    fn explain_end(&mut self, how: &Exit) {
        let working = self.turn.is_busy() && !self.turn.abort_asked;
        let closed = matches!(how, Exit::Code(_)) && how.was_wanted();
        // Its exit code says once more that the last turn failed.
        let told = self.process.answers && self.process.result_failed && *how == Exit::Code(1);
        if !working && (closed || told) {
            return;
        }
        let words = self.process.last_words.text();
        let ending = Ending {
            title: TITLE,
            how,
            words: &words,
            started: self.process.answers,
            working,
            install: INSTALL,
            hints: &HINTS,
        };
        ending.explain(&mut self.effects);
    }
}
