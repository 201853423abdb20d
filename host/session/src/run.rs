//! One process of a session, from its start to its end, with the adapter that drives it.

use std::collections::VecDeque;

use rp_engine::AdapterSession;
use rp_protocol::session::LaunchSpec;
use tokio::time::Instant;

use crate::process::Process;

/// Lines of standard error kept to explain an end.
const LAST_WORDS: usize = 5;

/// Why a process is being ended.
#[derive(Debug)]
pub(crate) enum Cause {
    /// Somebody wants it stopped.
    Asked,
    /// Its adapter wants it stopped.
    Adapter,
    /// Its adapter wants another one in its place.
    Relaunch(LaunchSpec),
    /// It cannot go on.
    Broken(String),
    /// It has ended by itself.
    Exited,
}

/// One process of a session.
pub(crate) struct Run {
    pub(crate) process: Process,
    /// Absent once it has failed.
    pub(crate) adapter: Option<AdapterSession>,
    /// It continues an earlier conversation.
    pub(crate) resumes: bool,
    /// What its adapter says of the session to resume counts. One that resumes may not know
    /// it at first.
    pub(crate) knows_session: bool,
    /// It was heard of.
    pub(crate) ready: bool,
    /// When it is taken to be ready though it was not heard of.
    pub(crate) ready_by: Instant,
    /// A turn is running.
    pub(crate) working: bool,
    /// Turns that have started.
    pub(crate) turns: u64,
    /// A prompt was accepted whose turn should start before this.
    pub(crate) turn_due: Option<Instant>,
    /// When the adapter wants to be woken.
    pub(crate) wake: Option<Instant>,
    /// Why it is being ended.
    pub(crate) cause: Option<Cause>,
    /// It is gone, and its adapter is being told.
    pub(crate) gone: bool,
    last_words: VecDeque<String>,
}

impl Run {
    pub(crate) fn new(
        process: Process,
        adapter: AdapterSession,
        resumes: bool,
        ready_by: Instant,
    ) -> Self {
        Self {
            process,
            adapter: Some(adapter),
            resumes,
            knows_session: !resumes,
            ready: false,
            ready_by,
            working: false,
            turns: 0,
            turn_due: None,
            wake: None,
            cause: None,
            gone: false,
            last_words: VecDeque::new(),
        }
    }

    /// Begins its end. The first cause counts, but what a person asks for beats the rest.
    pub(crate) fn end(&mut self, cause: Cause) {
        if self.cause.is_none() || matches!(cause, Cause::Asked) {
            self.cause = Some(cause);
        }
        self.process.end();
    }

    /// Somebody has asked for its end.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        matches!(self.cause, Some(Cause::Asked))
    }

    /// It takes commands.
    pub(crate) fn is_open(&self) -> bool {
        self.cause.is_none() && self.adapter.is_some()
    }

    /// Remembers a line of standard error.
    pub(crate) fn heard(&mut self, line: &str) {
        if self.last_words.len() == LAST_WORDS {
            self.last_words.pop_front();
        }
        self.last_words.push_back(line.to_owned());
    }

    /// The last lines of standard error.
    pub(crate) fn last_words(&self) -> String {
        let lines: Vec<&str> = self.last_words.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
