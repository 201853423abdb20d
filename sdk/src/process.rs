//! What a harness prints that is no message, and the end of its process.

use std::collections::VecDeque;

use crate::effects::Effects;
use crate::interface::Exit;
use crate::session::Severity;

/// How many of the first and how many of the last lines of standard error are kept.
const LINES_KEPT: usize = 4;

/// Lines of standard error that may explain an end: the first ones, because a program that is
/// started wrongly says so first and then how it is started, and the last ones. Blank lines and
/// the colours of a terminal are left out.
#[derive(Debug, Default)]
pub struct LastWords {
    first: Vec<String>,
    last: VecDeque<String>,
}

impl LastWords {
    /// A line of standard error.
    pub fn hear(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        if self.first.len() < LINES_KEPT {
            return self.first.push(line.to_owned());
        }
        if self.last.len() == LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// Whether nothing was heard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The lines that were kept, without a newline at their end.
    #[must_use]
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.first.iter().chain(&self.last).map(String::as_str).collect();
        lines.join("\n")
    }
}

/// Lines on standard output that are no message of the harness: something prints between those.
#[derive(Debug, Default)]
pub struct Noise {
    told: bool,
}

impl Noise {
    /// Such a line was read. A person is told of the first that is not blank, but not what stands in
    /// it, which may be anything. `title` is what the harness is called.
    pub fn hear(&mut self, title: &str, line: &str, effects: &mut Effects) {
        if line.trim().is_empty() || std::mem::replace(&mut self.told, true) {
            return;
        }
        let length = line.len();
        let text = format!(
            "{title} printed a line of {length} bytes that is no message; such lines are skipped"
        );
        effects.notice(Severity::Warning, text);
    }
}

/// The end of a process, and what it was doing then.
#[derive(Debug)]
pub struct Ending<'a> {
    /// What the harness is called.
    pub title: &'a str,
    /// How it ended.
    pub how: &'a Exit,
    /// What it printed to standard error.
    pub words: &'a str,
    /// It had said something that makes sense, so it had started well.
    pub started: bool,
    /// It was in a turn that nobody had asked to end.
    pub working: bool,
    /// How a person installs the harness, for one that cannot be run.
    pub install: &'a str,
    /// What a person can do if it did not start, by what stands in the words then. The first that
    /// fits is told; an empty sign fits all words.
    pub hints: &'a [(&'a str, &'a str)],
}

impl Ending<'_> {
    /// Tells a person why the process is gone, unless somebody wanted that.
    pub fn explain(&self, effects: &mut Effects) {
        let what = self.how.in_words(self.title);
        let words = self.words;
        let because = if words.is_empty() { String::new() } else { format!(":\n{words}") };
        let text = if !self.started {
            let hint = self.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            format!("{} did not start ({what}){because}{hint}", self.title)
        } else if self.working {
            format!("{what} in the middle of a turn{because}")
        } else if !self.how.was_wanted() {
            format!("{what}{because}")
        } else {
            return;
        };
        effects.notice(Severity::Error, text);
    }

    fn hint(&self) -> Option<&str> {
        if matches!(self.how, Exit::FailedToStart(_)) {
            return Some(self.install);
        }
        self.hints.iter().find(|(sign, _)| self.words.contains(sign)).map(|(_, hint)| *hint)
    }
}

/// A line without the sequences that colour it on a terminal.
#[must_use]
pub fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let text = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let mut text = text.chars();
        // The letter that ends the sequence.
        text.next();
        plain.push_str(text.as_str());
    }
    plain
}

#[cfg(test)]
mod tests {
    use crate::interface::{Effect, Event};

    use super::*;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(without_colours("\u{1b}[31mERROR\u{1b}[0m \u{1b}[2mit broke"), "ERROR it broke");
        assert_eq!(without_colours("plain ü"), "plain ü");
        assert_eq!(without_colours("\u{1b}[1;31mred\u{1b}["), "red");
    }

    #[test]
    fn the_first_and_the_last_lines_are_kept() {
        let mut words = LastWords::default();
        assert!(words.is_empty() && words.text().is_empty());
        for number in 1..=20 {
            words.hear(&format!("  line {number}\r"));
            words.hear(" \u{1b}[0m");
        }
        let kept: Vec<String> = [1, 2, 3, 4, 17, 18, 19, 20].map(|n| format!("line {n}")).into();
        assert_eq!(words.text(), kept.join("\n"));
    }

    #[test]
    fn only_the_first_line_of_noise_is_told() {
        let mut noise = Noise::default();
        let mut effects = Effects::default();
        noise.hear("Pi", " ", &mut effects);
        assert_eq!(effects.take(), []);
        noise.hear("Pi", "secret", &mut effects);
        noise.hear("Pi", "secret", &mut effects);
        let told = effects.take();
        assert_eq!(told.len(), 1);
        assert!(!format!("{told:?}").contains("secret"));
    }

    #[test]
    fn an_end_is_explained_where_a_person_would_wonder() {
        let explained = |how: Exit, started, working| {
            let ending = Ending {
                title: "Pi",
                how: &how,
                words: "it broke",
                started,
                working,
                install: "install it",
                hints: &[("old", "update it"), ("broke", "repair it"), ("", "look at it")],
            };
            let mut effects = Effects::default();
            ending.explain(&mut effects);
            effects.take()
        };
        let notice =
            |text: &str| vec![Effect::Event(Event::Notice((Severity::Error, text.to_owned())))];
        assert_eq!(
            explained(Exit::Code(0), false, false),
            notice("Pi did not start (Pi ended with code 0):\nit broke\nhint: repair it")
        );
        assert_eq!(
            explained(Exit::FailedToStart("no file".to_owned()), false, false),
            notice("Pi did not start (Pi cannot be run: no file):\nit broke\nhint: install it")
        );
        assert_eq!(
            explained(Exit::Signal(9), true, true),
            notice("Pi was ended by signal 9 in the middle of a turn:\nit broke")
        );
        assert_eq!(
            explained(Exit::Code(1), true, false),
            notice("Pi ended with code 1:\nit broke")
        );
        assert_eq!(explained(Exit::Signal(9), true, false), []);
    }
}
