//! The only place that prints: standard output for what was asked, standard error for the rest.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the edge of the program")]

use std::io::Write;

use serde::Serialize;

use crate::{
    problem::{Problem, While},
    render::safe,
};

/// Prints an answer: as JSON if asked for, else as the text that `human` makes of it.
pub fn answer<T: Serialize>(
    json: bool,
    value: &T,
    human: impl FnOnce(&T) -> String,
) -> Result<(), Problem> {
    let mut text =
        if json { serde_json::to_string(value).doing("write JSON")? } else { human(value) };
    if !text.ends_with('\n') && !text.is_empty() {
        text.push('\n');
    }
    raw(text.as_bytes())
}

/// Prints bytes as they are. A reader that went away, as `head` does, wants nothing more: that
/// ends the program, and well.
pub fn raw(bytes: &[u8]) -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Problem::failed(format!("could not write to standard output: {error}"))),
    }
}

/// Says what is going on, on standard error.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// Says what went wrong and what to do about it.
pub fn problem(problem: &Problem, json: bool) {
    if json {
        let error = serde_json::json!({
            "error": { "message": problem.message(), "hint": problem.hint_text() }
        });
        eprintln!("{error}");
        return;
    }
    eprintln!("error: {}", safe(problem.message()));
    if let Some(hint) = problem.hint_text() {
        eprintln!("hint: {}", safe(hint));
    }
}
