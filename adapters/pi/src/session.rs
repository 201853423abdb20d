//! The state machine: what it holds and what the host calls.

use rp_sdk::interface::{Command, Description, Exit, Failure, LaunchRequest, LaunchSpec};
use rp_sdk::json::{read, text};
use rp_sdk::requests::Requests;
use rp_sdk::timers::Timers;
use rp_sdk::{Adapter, Effects};
use serde_json::{Value, json};

use crate::decode::{self, Head};
use crate::launch::{self, TITLE};
use crate::messages::Messages;
use crate::process::Process;
use crate::prompts::Prompts;
use crate::questions::Questions;
use crate::requests::{self, Request};
use crate::state::Known;
use crate::tools::Tools;
use crate::turn::Turn;
use crate::version::Version;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing follows the end of a run, so the turn is over.
    TurnEnd,
    /// A prompt that was accepted starts no run.
    Start,
    /// Prompts that were held back can go out.
    Release,
    /// The question with this id answers itself.
    Question(String),
}

/// A session of Pi.
#[derive(Debug)]
pub struct Pi {
    pub(crate) request: LaunchRequest,
    pub(crate) version: Version,
    pub(crate) effects: Effects,
    pub(crate) process: Process,
    pub(crate) requests: Requests<Request>,
    pub(crate) timers: Timers<Wait>,
    pub(crate) turn: Turn,
    pub(crate) prompts: Prompts,
    pub(crate) messages: Messages,
    pub(crate) tools: Tools,
    pub(crate) questions: Questions,
    pub(crate) known: Known,
}

impl Adapter for Pi {
    fn describe() -> Vec<Description> {
        vec![launch::describe()]
    }

    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
        launch::launch(request)
    }

    fn new(request: LaunchRequest) -> Self {
        Self {
            version: Version::new(request.version.as_deref()),
            known: Known::new(request.resume.as_deref()),
            request,
            effects: Effects::default(),
            process: Process::default(),
            requests: Requests::default(),
            timers: Timers::default(),
            turn: Turn::default(),
            prompts: Prompts::default(),
            messages: Messages::default(),
            tools: Tools::default(),
            questions: Questions::default(),
        }
    }

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn started(&mut self) {
        self.process_started();
    }

    fn output(&mut self, data: &[u8]) {
        self.line(&text(data));
    }

    fn diagnostics(&mut self, line: &str) {
        self.process.last_words.hear(line);
    }

    fn command(&mut self, number: u64, command: Command) {
        self.dispatch(number, command);
    }

    fn wake(&mut self) {
        for wait in self.timers.ring(&mut self.effects) {
            match wait {
                Wait::TurnEnd => self.finish_turn(),
                Wait::Start => self.nothing_started(),
                Wait::Release => self.compaction_is_over(),
                Wait::Question(id) => self.question_expired(&id),
            }
        }
    }

    fn exited(&mut self, how: &Exit) {
        self.process_exited(how);
    }
}

impl Pi {
    fn line(&mut self, line: &str) {
        let Some(head) = decode::head(line) else {
            return self.process.noise.hear(TITLE, line, &mut self.effects);
        };
        self.process.answers = true;
        if let Some(piece) = head.piece {
            return self.piece(&piece);
        }
        self.known_line(&head, line);
    }

    fn known_line(&mut self, head: &Head<'_>, line: &str) {
        match &*head.kind {
            "response" => self.with(line, Self::response),
            "agent_start" => self.run_started(),
            "agent_end" => self.run_ended(line),
            "agent_settled" => self.settled(),
            "message_start" => self.with(line, Self::message_started),
            "message_end" => self.with(line, Self::message_ended),
            "tool_execution_start" => self.with(line, Self::tool_started),
            "tool_execution_update" => self.with(line, Self::tool_updated),
            "tool_execution_end" => self.with(line, Self::tool_ended),
            "extension_ui_request" => self.dialog(line),
            "extension_error" => self.with(line, Self::extension_failed),
            "auto_retry_start" => self.with(line, Self::retry_started),
            "auto_retry_end" => self.with(line, Self::retry_ended),
            "compaction_start" => self.with(line, Self::compaction_started),
            "compaction_end" => self.with(line, Self::compaction_ended),
            "thinking_level_changed" => self.with(line, Self::thinking_changed),
            "session_info_changed" => self.with(line, Self::title_changed),
            "bash_execution_update" => self.with(line, Self::bash_updated),
            // Pieces of what other lines tell whole, and whatever a newer Pi says.
            _ => {}
        }
    }

    /// Reads the whole line and hands it over. A line that does not have the shape of its
    /// kind is skipped, as one of an unknown kind is.
    fn with<'a, T: serde::Deserialize<'a>>(&mut self, line: &'a str, then: fn(&mut Self, T)) {
        if let Some(value) = read(line) {
            then(self, value);
        }
    }

    /// Waits; an earlier wait for the same thing is forgotten.
    pub(crate) fn wait(&mut self, wait: Wait, ms: u64) {
        self.timers.start(wait, ms, &mut self.effects);
    }

    /// Sends a command to Pi; `fields` are those beside its id and type.
    pub(crate) fn ask(&mut self, kind: &str, fields: Value, request: Request) {
        let id = requests::id(self.requests.open(request));
        let mut line = json!({"id": id, "type": kind});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        self.effects.write_line(&line);
    }
}
