//! What clients want of a session.

use rp_sdk::interface::{Command, Failure, Reply};
use rp_sdk::json::RawValue;
use rp_sdk::launch::value;
use rp_sdk::session::{FailureKind, ModelRef, Thinking};
use serde_json::{Map, Value, json};

use crate::launch::PROVIDER;
use crate::models::effort_for;
use crate::prompts::Local;
use crate::requests::Request;
use crate::session::ClaudeCode;

/// Requests of Claude that clients can make by name, and what each takes. Others are not
/// passed on: some would change what this adapter keeps track of, and what an unknown one
/// does is not known.
const REQUESTS: [(&str, &str, &[&str]); 8] = [
    ("set-permission-mode", "set_permission_mode", &["mode"]),
    ("get-context-usage", "get_context_usage", &[]),
    ("get-session-cost", "get_session_cost", &[]),
    ("get-settings", "get_settings", &[]),
    ("get-status", "get_status", &[]),
    ("get-usage", "get_usage", &[]),
    ("mcp-status", "mcp_status", &[]),
    ("export-conversation", "export_conversation", &[]),
];

impl ClaudeCode {
    pub(crate) fn dispatch(&mut self, number: u64, command: Command) {
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::Abort => self.abort(number),
            Command::NewSession => self.new_session(number),
            Command::Resume(session) => self.resume(number, session),
            Command::Compact(instructions) => self.send_local(number, Local::Compact(instructions)),
            Command::SetModel(model) => self.set_model(number, &model),
            Command::SetThinking(level) => self.set_thinking(number, level),
            Command::ListModels => self.ask("list_models", json!({}), Request::Models { number }),
            Command::History => self.effects.refuse(
                number,
                FailureKind::Unsupported,
                "Claude Code keeps its conversations in files and does not tell them",
            ),
            Command::Answer((question, answer)) => self.answer(number, &question, answer),
            Command::Rename(title) => {
                let fields = json!({"title": title});
                self.ask("rename_session", fields, Request::Rename { number });
            }
            Command::Refresh => {
                let request = Request::Settings { refresh: Some(number) };
                self.ask("get_settings", json!({}), request);
            }
            Command::Other((name, arguments)) => self.other(number, &name, &arguments),
        }
    }

    /// Ends the running turn and drops what waits behind it.
    fn abort(&mut self, number: u64) {
        self.turn.abort_asked = self.turn.is_busy();
        let request = Request::Abort { number: Some(number) };
        self.ask("interrupt", json!({"cancel_queued": true}), request);
    }

    /// Ends what is running for a prompt that follows; what waits goes on waiting.
    pub(crate) fn interrupt(&mut self) {
        if self.turn.is_busy() {
            self.turn.abort_asked = true;
            self.ask("interrupt", json!({}), Request::Interrupt);
        }
    }

    /// Ends what is running and drops what waits: another conversation follows.
    pub(crate) fn leave_conversation(&mut self) {
        if self.turn.is_busy() || self.prompts.any_waits() {
            self.turn.abort_asked = self.turn.is_busy();
            let request = Request::Abort { number: None };
            self.ask("interrupt", json!({"cancel_queued": true}), request);
        }
    }

    fn new_session(&mut self, number: u64) {
        self.leave_conversation();
        self.send_local(number, Local::Clear);
    }

    fn set_model(&mut self, number: u64, model: &ModelRef) {
        if !model.provider.is_empty() && model.provider != PROVIDER {
            let message = format!("Claude Code has no provider {}", model.provider);
            return self.effects.refuse(number, FailureKind::NotFound, message);
        }
        match value("model", &model.id) {
            Ok(id) => self.ask("set_model", json!({"model": id}), Request::Model { number }),
            Err(failure) => self.effects.settle(number, Err(failure)),
        }
    }

    fn set_thinking(&mut self, number: u64, level: Thinking) {
        let effort = effort_for(level, self.known.entry());
        let fields = json!({"settings": {"effortLevel": effort}});
        self.ask("apply_flag_settings", fields, Request::Thinking { number });
    }

    /// A request of Claude by its own name.
    fn other(&mut self, number: u64, name: &str, arguments: &str) {
        let Some((_, subtype, takes)) = REQUESTS.iter().find(|(known, ..)| *known == name) else {
            let names: Vec<&str> = REQUESTS.iter().map(|(known, ..)| *known).collect();
            let message = format!("Claude Code is not asked for `{name}`");
            let failure = Failure::new(FailureKind::Unsupported, message)
                .with_hint(format!("it can be asked for {}", names.join(", ")));
            return self.effects.settle(number, Err(failure));
        };
        let fields = match serde_json::from_str::<Map<String, Value>>(arguments) {
            Ok(fields) if fields.keys().all(|key| takes.contains(&key.as_str())) => fields,
            _ => {
                let takes = if takes.is_empty() { "nothing".to_owned() } else { takes.join(", ") };
                let message = format!("`{name}` takes a JSON object with {takes} in it");
                return self.effects.refuse(number, FailureKind::Invalid, message);
            }
        };
        self.ask(subtype, Value::Object(fields), Request::Other { number });
    }
}

/// The data of an answer, as the reply to a command.
pub(crate) fn data(answer: Option<&RawValue>) -> Reply {
    answer.map_or(Reply::Done, |data| Reply::Data(data.get().to_owned()))
}
