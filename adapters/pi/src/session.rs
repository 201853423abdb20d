//! The state machine: what it holds and what the host calls.

use rp_sdk::Adapter;
use rp_sdk::interface::{
    Command, Description, Effect, Event, Exit, Failure, LaunchRequest, LaunchSpec, Reply,
};
use rp_sdk::session::{FailureKind, Severity};
use serde_json::{Value, json};

use crate::decode::{self, Head};
use crate::launch;
use crate::messages::Messages;
use crate::process::Process;
use crate::prompts::Prompts;
use crate::questions::Questions;
use crate::requests::{Request, Requests};
use crate::state::Known;
use crate::timers::{Timers, Wait};
use crate::tools::Tools;
use crate::turn::Turn;
use crate::version::Version;

/// A session of Pi.
#[derive(Debug)]
pub struct Pi {
    pub(crate) request: LaunchRequest,
    pub(crate) version: Version,
    pub(crate) effects: Vec<Effect>,
    pub(crate) process: Process,
    pub(crate) requests: Requests,
    pub(crate) timers: Timers,
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
            effects: Vec::new(),
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

    fn started(&mut self) -> Vec<Effect> {
        self.process_started();
        std::mem::take(&mut self.effects)
    }

    fn output(&mut self, data: &[u8]) -> Vec<Effect> {
        // Pi writes UTF-8; what a tool or a crash mixed in must not cost the whole line.
        self.line(&String::from_utf8_lossy(data));
        std::mem::take(&mut self.effects)
    }

    fn diagnostics(&mut self, line: &str) -> Vec<Effect> {
        self.process.diagnostics(line);
        Vec::new()
    }

    fn command(&mut self, number: u64, command: Command) -> Vec<Effect> {
        self.dispatch(number, command);
        std::mem::take(&mut self.effects)
    }

    fn wake(&mut self) -> Vec<Effect> {
        let (over, alarm) = self.timers.ring();
        self.effects.extend(alarm.map(Effect::WakeAfter));
        for wait in over {
            match wait {
                Wait::TurnEnd => self.finish_turn(),
                Wait::Start => self.nothing_started(),
                Wait::Release => self.compaction_is_over(),
                Wait::Question(id) => self.question_expired(&id),
            }
        }
        std::mem::take(&mut self.effects)
    }

    fn exited(&mut self, how: &Exit) -> Vec<Effect> {
        self.process_exited(how);
        std::mem::take(&mut self.effects)
    }
}

impl Pi {
    fn line(&mut self, line: &str) {
        let Some(head) = decode::head(line) else {
            return self.unreadable(line);
        };
        self.process.answers = true;
        if let Some(piece) = head.piece {
            return self.piece(&piece);
        }
        self.known_line(&head, line);
    }

    fn known_line(&mut self, head: &Head<'_>, line: &str) {
        match head.kind.as_ref() {
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
        if let Some(value) = decode::whole(line) {
            then(self, value);
        }
    }

    /// A line that is no JSON object: something prints between Pi's lines.
    fn unreadable(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if !self.process.told_about_noise {
            self.process.told_about_noise = true;
            let length = line.len();
            self.notice(
                Severity::Warning,
                format!("Pi printed a line of {length} bytes that is no message of its own; such lines are skipped"),
            );
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn notice(&mut self, severity: Severity, text: String) {
        self.event(Event::Notice((severity, text)));
    }

    pub(crate) fn settle(&mut self, number: u64, outcome: Result<Reply, Failure>) {
        self.effects.push(Effect::Settle((number, outcome)));
    }

    pub(crate) fn refuse(&mut self, number: u64, kind: FailureKind, message: impl Into<String>) {
        self.settle(number, Err(Failure { kind, message: message.into(), hint: None }));
    }

    /// Waits; an earlier wait for the same thing is forgotten.
    pub(crate) fn wait(&mut self, wait: Wait, ms: u64) {
        let alarm = self.timers.start(wait, ms);
        self.effects.extend(alarm.map(Effect::WakeAfter));
    }

    /// Sends a command to Pi; `fields` are those beside its id and type.
    pub(crate) fn ask(&mut self, kind: &str, fields: Value, request: Request) {
        let id = self.requests.open(request);
        let mut line = json!({"id": id, "type": kind});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        self.write(&line);
    }

    pub(crate) fn write(&mut self, line: &Value) {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        self.effects.push(Effect::Write(bytes));
    }
}
