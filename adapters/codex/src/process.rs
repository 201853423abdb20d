//! The process of Codex: start, standard error, end.

use rp_sdk::interface::Exit;
use rp_sdk::launch::compare_version;
use rp_sdk::process::{Ending, LastWords, Noise, without_colours};
use rp_sdk::session::{FailureKind, TurnEnd};

use crate::launch::{INSTALL, TESTED, TITLE};
use crate::session::Codex;

/// What a person can do about a start that failed, by what Codex printed.
const HINTS: [(&str, &str); 4] = [
    (
        "unexpected argument",
        "this Codex does not know that option: check the `args` of the agent's settings, or update Codex",
    ),
    ("Model provider", "name the provider in config.toml, or correct the agent's settings"),
    ("CODEX_HOME", "make that folder, or correct CODEX_HOME in the agent's settings"),
    ("unknown variant", "correct that value in config.toml or in the agent's `args`"),
];

/// What is known of the process that runs.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// It has said something, so it started well.
    pub(crate) answers: bool,
    pub(crate) noise: Noise,
    /// It was told to end, and why was told too.
    pub(crate) given_up: bool,
    /// What it printed to standard error that is no log.
    said: LastWords,
    logged: LastWords,
}

impl Process {
    /// Codex logs to standard error whatever happens, and says there why it cannot start.
    pub(crate) fn diagnostics(&mut self, line: &str) {
        let line = without_colours(line);
        let words = if is_log(line.trim()) { &mut self.logged } else { &mut self.said };
        words.hear(&line);
    }

    /// What may explain an end. The log does so only where nothing else does, and never an
    /// end that somebody wanted.
    fn last_words(&self, how: &Exit) -> String {
        if self.said.is_empty() && !how.was_wanted() {
            self.logged.text()
        } else {
            self.said.text()
        }
    }
}

impl Codex {
    pub(crate) fn process_started(&mut self) {
        compare_version(self.request.version.as_deref(), &[TESTED], &mut self.effects);
        self.greet();
    }

    pub(crate) fn process_exited(&mut self, how: &Exit) {
        let what = how.in_words(TITLE);
        self.explain_end(how);
        for number in self.thread.drain() {
            self.effects.refuse(number, FailureKind::Harness, what.clone());
        }
        self.give_up_held(FailureKind::Harness, &what);
        for request in self.requests.drain() {
            if let Some(number) = request.number() {
                self.effects.refuse(number, FailureKind::Harness, what.clone());
            }
        }
        self.withdraw_questions();
        let how = if self.turn.abort_asked() { TurnEnd::Aborted } else { TurnEnd::Failed };
        self.tools.process_is_gone();
        self.leave_turn(how);
    }

    /// Says why Codex is gone, where a person would wonder.
    fn explain_end(&mut self, how: &Exit) {
        if self.process.given_up {
            return;
        }
        let words = self.process.last_words(how);
        let ending = Ending {
            title: TITLE,
            how,
            words: &words,
            started: self.process.answers,
            working: self.turn.is_open() && !self.turn.abort_asked(),
            install: INSTALL,
            hints: &HINTS,
        };
        ending.explain(&mut self.effects);
    }
}

/// A line of a log begins with the time, such as `2026-11-21T01:21:59.623646Z`.
fn is_log(line: &str) -> bool {
    let time = line.split(' ').next().unwrap_or_default();
    let digits = time.chars().filter(char::is_ascii_digit).count();
    time.ends_with('Z') && time.contains('T') && digits >= 14
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\u{1b}[2m2026-11-21T01:22:03.871105Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[2mcodex_core\u{1b}[0m\u{1b}[2m:\u{1b}[0m it broke";

    #[test]
    fn the_log_explains_an_end_only_where_nothing_else_does() {
        let mut process = Process::default();
        process.diagnostics(LOG);
        process.diagnostics("  ");
        assert_eq!(process.last_words(&Exit::Code(0)), "");
        assert!(process.last_words(&Exit::Code(101)).ends_with("it broke"));
        process.diagnostics("Error: no such provider");
        assert_eq!(process.last_words(&Exit::Code(1)), "Error: no such provider");
    }
}
