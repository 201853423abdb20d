//! What went wrong, for a person at a terminal: a sentence, a hint and an exit code.

use std::fmt;

/// Exit codes of the program: 0 done, 1 failed, 2 wrong usage, 3 daemon unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// It could not be done.
    Failed,
    /// It was asked wrongly.
    Usage,
    /// The daemon does not answer.
    Unreachable,
}

/// An error that reaches the person. `Display` is the sentence alone.
#[derive(Debug, Clone)]
pub struct Problem {
    message: String,
    hint: Option<String>,
    exit: ExitKind,
}

impl Problem {
    /// It could not be done.
    ///
    /// Errors of the rooms below carry their hint in their text, behind `hint: ` on a line of its
    /// own; it becomes the hint.
    pub fn failed(message: impl Into<String>) -> Self {
        let message = message.into();
        let (message, hint) = match message.split_once("\nhint: ") {
            Some((message, hint)) => (message.trim_end().to_owned(), Some(hint.to_owned())),
            None => (message, None),
        };
        Self { message, hint, exit: ExitKind::Failed }
    }

    /// It was asked wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: ExitKind::Usage, ..Self::failed(message) }
    }

    /// The daemon does not answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: ExitKind::Unreachable, ..Self::failed(message) }
    }

    /// What to do about it, unless the cause knows better.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What went wrong, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code that tells it to scripts.
    pub fn exit_code(&self) -> u8 {
        match self.exit {
            ExitKind::Failed => 1,
            ExitKind::Usage => 2,
            ExitKind::Unreachable => 3,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Turns any error into a problem by saying what was being done.
pub trait While<T> {
    /// `doing` completes the sentence "could not …".
    fn doing(self, doing: impl fmt::Display) -> Result<T, Problem>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    fn doing(self, doing: impl fmt::Display) -> Result<T, Problem> {
        self.map_err(|error| Problem::failed(format!("could not {doing}: {error}")))
    }
}
