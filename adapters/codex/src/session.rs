//! The state machine: what it holds and what the host calls.

use rp_sdk::interface::{Command, Description, Exit, Failure, LaunchRequest, LaunchSpec};
use rp_sdk::json::{RawValue, member, read, text};
use rp_sdk::requests::Requests;
use rp_sdk::{Adapter, Effects};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::launch::{self, TITLE};
use crate::options::Options;
use crate::process::Process;
use crate::prompts::Prompts;
use crate::questions::Questions;
use crate::requests::Request;
use crate::state::Known;
use crate::thread::Thread;
use crate::tools::Tools;
use crate::turn::Turn;
use crate::wire::{self, Delta, Line};

/// What becomes of a piece of text.
type TakePiece = fn(&mut Codex, Delta<'_>);

/// How lines begin that carry a piece of text. Codex names the method first; a line that does
/// not begin so is understood as well, only later.
const PIECES: [(&str, TakePiece); 3] = [
    (r#"{"method":"item/agentMessage/delta","#, Codex::text_went_on),
    (r#"{"method":"item/commandExecution/outputDelta","#, Codex::tool_went_on),
    (r#"{"method":"item/reasoning/summaryTextDelta","#, Codex::thinking_went_on),
];

/// A session of Codex.
#[derive(Debug)]
pub struct Codex {
    pub(crate) request: LaunchRequest,
    pub(crate) options: Options,
    pub(crate) effects: Effects,
    pub(crate) process: Process,
    pub(crate) requests: Requests<Request>,
    pub(crate) thread: Thread,
    pub(crate) turn: Turn,
    pub(crate) prompts: Prompts,
    pub(crate) tools: Tools,
    pub(crate) questions: Questions,
    pub(crate) known: Known,
}

impl Adapter for Codex {
    fn describe() -> Vec<Description> {
        vec![launch::describe()]
    }

    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
        launch::launch(request)
    }

    fn new(request: LaunchRequest) -> Self {
        Self {
            // What does not fit was refused before the process was started.
            options: Options::parse(&request.settings).unwrap_or_default(),
            request,
            effects: Effects::default(),
            process: Process::default(),
            requests: Requests::default(),
            thread: Thread::default(),
            turn: Turn::default(),
            prompts: Prompts::default(),
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
        self.read(&text(data));
    }

    fn diagnostics(&mut self, line: &str) {
        self.process.diagnostics(line);
    }

    fn command(&mut self, number: u64, command: Command) {
        self.take_command(number, command);
    }

    fn exited(&mut self, how: &Exit) {
        self.process_exited(how);
    }
}

impl Codex {
    fn read(&mut self, text: &str) {
        if let Some((_, then)) = PIECES.iter().find(|(start, _)| text.starts_with(start))
            && let Some(piece) = wire::piece(text)
        {
            return then(self, piece);
        }
        let Some(line) = read::<Line<'_>>(text) else {
            return self.process.noise.hear(TITLE, text, &mut self.effects);
        };
        self.process.answers = true;
        match (line.id, line.method.is_empty()) {
            (Some(id), true) => self.answered(id, line.result, line.error),
            (Some(id), false) => self.asked(id, &line.method, line.params),
            (None, _) => self.notified(&line),
        }
    }

    fn notified(&mut self, line: &Line<'_>) {
        let params = line.params;
        match &*line.method {
            "item/agentMessage/delta" => self.with(params, Self::text_went_on),
            "item/commandExecution/outputDelta" => self.with(params, Self::tool_went_on),
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                self.with(params, Self::thinking_went_on);
            }
            "item/reasoning/summaryPartAdded" => self.with(params, Self::thinking_part_added),
            "item/started" => self.with(params, Self::item_started),
            "item/completed" => self.with(params, Self::item_completed),
            "turn/started" => self.with(params, Self::turn_started),
            "turn/completed" => self.with(params, Self::turn_completed),
            "error" => self.with(params, Self::model_failed),
            "warning" => self.with(params, Self::warned),
            "serverRequest/resolved" => self.with(params, Self::request_resolved),
            "thread/tokenUsage/updated" => self.with(params, Self::usage_updated),
            "thread/settings/updated" => self.with(params, Self::settings_updated),
            "thread/name/updated" => self.with(params, Self::name_updated),
            "mcpServer/startupStatus/updated" => self.with(params, Self::server_status_updated),
            // What other lines tell as well, what concerns no client, and whatever a newer
            // Codex says.
            _ => {}
        }
    }

    /// Reads the parameters and hands them over. Those that do not have the shape of their
    /// method are skipped, as unknown methods are.
    fn with<'a, T: Deserialize<'a>>(
        &mut self,
        params: Option<&'a RawValue>,
        then: fn(&mut Self, T),
    ) {
        if let Some(value) = member(params) {
            then(self, value);
        }
    }

    /// Sends a request to Codex.
    pub(crate) fn ask(&mut self, method: &str, params: Value, request: Request) {
        let id = self.requests.open(request);
        self.effects.write_line(&json!({"id": id, "method": method, "params": params}));
    }

    /// Answers a request of Codex; `id` is as it stood in the request.
    pub(crate) fn reply(&mut self, id: &str, result: Value) {
        let id: Value = serde_json::from_str(id).unwrap_or_default();
        self.effects.write_line(&json!({"id": id, "result": result}));
    }
}
