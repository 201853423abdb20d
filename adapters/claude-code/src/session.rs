//! The state machine: what it holds and what the host calls.

use rp_sdk::interface::{Command, Description, Exit, Failure, LaunchRequest, LaunchSpec};
use rp_sdk::json::{read, text};
use rp_sdk::requests::Requests;
use rp_sdk::{Adapter, Effects};
use serde::Deserialize;

use crate::decode::{self, Line};
use crate::launch::{self, TITLE};
use crate::messages::Messages;
use crate::process::Process;
use crate::prompts::Prompts;
use crate::questions::Questions;
use crate::requests::Request;
use crate::state::Known;
use crate::tools::Tools;
use crate::turn::Turn;

/// A session of Claude Code.
#[derive(Debug)]
pub struct ClaudeCode {
    pub(crate) request: LaunchRequest,
    /// Claude ends at a line that it does not take for a message, so none goes out that was not
    /// built here.
    pub(crate) effects: Effects,
    pub(crate) process: Process,
    pub(crate) requests: Requests<Request>,
    pub(crate) prompts: Prompts,
    pub(crate) turn: Turn,
    pub(crate) messages: Messages,
    pub(crate) tools: Tools,
    pub(crate) questions: Questions,
    pub(crate) known: Known,
}

impl Adapter for ClaudeCode {
    fn describe() -> Vec<Description> {
        vec![launch::describe()]
    }

    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
        launch::launch(request)
    }

    fn new(request: LaunchRequest) -> Self {
        Self {
            request,
            effects: Effects::default(),
            process: Process::default(),
            requests: Requests::default(),
            prompts: Prompts::default(),
            turn: Turn::default(),
            messages: Messages::default(),
            tools: Tools::default(),
            questions: Questions::default(),
            known: Known::default(),
        }
    }

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn started(&mut self) {
        self.process_started();
    }

    fn output(&mut self, data: &[u8]) {
        self.line(text(data).trim());
    }

    fn diagnostics(&mut self, line: &str) {
        self.complaint(line);
    }

    fn command(&mut self, number: u64, command: Command) {
        self.dispatch(number, command);
    }

    fn exited(&mut self, how: &Exit) {
        self.process_exited(how);
    }
}

impl ClaudeCode {
    fn line(&mut self, text: &str) {
        let Some(line) = decode::line(text) else {
            return self.process.noise.hear(TITLE, text, &mut self.effects);
        };
        // What a sub-agent says is not part of the conversation; what it asks comes apart.
        if line.parent_tool_use_id.is_some() {
            return;
        }
        match &line.event {
            Some(event) => self.streamed(event, line.abandoned_from()),
            None => self.known_line(&line, text),
        }
    }

    fn known_line(&mut self, line: &Line<'_>, text: &str) {
        match &*line.kind {
            "system" => self.system(line.subtype.as_deref().unwrap_or_default(), text),
            "assistant" => self.with(text, Self::assistant_line),
            "user" => self.with(text, Self::user_line),
            "result" => self.with(text, Self::result),
            "command_lifecycle" => self.with(text, Self::lifecycle),
            "conversation_reset" => self.conversation_reset(),
            "control_response" => self.with(text, Self::response),
            "control_request" => self.with(text, Self::asked),
            "control_cancel_request" => self.with(text, Self::withdrawn),
            // Whatever another Claude says.
            _ => {}
        }
    }

    fn system(&mut self, subtype: &str, text: &str) {
        match subtype {
            "init" => self.with(text, Self::init),
            "api_retry" => self.with(text, Self::retrying),
            "status" => self.with(text, Self::status),
            "compact_boundary" => self.with(text, Self::compacted),
            "session_state_changed" => self.with(text, Self::session_state),
            "session_title_changed" => self.with(text, Self::title_changed),
            "informational" => self.with(text, Self::informed),
            _ => {}
        }
    }

    /// Reads the whole line and hands it over. A line that does not have the shape of its
    /// kind is skipped, as one of an unknown kind is.
    fn with<'a, T: Deserialize<'a>>(&mut self, text: &'a str, then: fn(&mut Self, T)) {
        if let Some(line) = read(text) {
            then(self, line);
        }
    }
}
