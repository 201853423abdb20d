//! What clients want of a session.

use rp_sdk::interface::{Command, Failure};
use rp_sdk::session::{FailureKind, ModelRef, Thinking};
use serde_json::{Map, Value, json};

use crate::requests::Request;
use crate::session::Codex;
use crate::state::effort_of;
use crate::thread::Stage;
use crate::turn::Compaction;

/// Methods of Codex that change what this adapter keeps track of. Each has a command of its own.
const OWN: [(&str, &str); 7] = [
    ("turn/start", "prompt"),
    ("turn/steer", "prompt"),
    ("turn/interrupt", "abort"),
    ("thread/start", "new-session"),
    ("thread/resume", "resume"),
    ("thread/compact/start", "compact"),
    ("thread/unsubscribe", "new-session"),
];

impl Codex {
    pub(crate) fn take_command(&mut self, number: u64, command: Command) {
        match (self.thread.stage, command) {
            (Stage::Open, command) => self.carry_out(number, command),
            (_, Command::Abort) => {
                self.take_back_waiting();
                self.effects.done(number);
            }
            (_, command) => self.wait_for_thread(number, command),
        }
    }

    pub(crate) fn carry_out(&mut self, number: u64, command: Command) {
        let thread = self.thread.id.clone();
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::Abort => self.abort(number),
            Command::NewSession => self.new_session(number),
            Command::Resume(id) => self.resume(number, &id),
            Command::Compact(instructions) => self.compact(number, instructions.as_deref()),
            Command::SetModel(model) => self.set_model(number, &model),
            Command::SetThinking(level) => self.set_thinking(number, level),
            Command::ListModels => self.ask("model/list", json!({}), Request::Models { number }),
            Command::History => {
                let params = json!({"threadId": thread, "includeTurns": true});
                self.ask("thread/read", params, Request::History { number });
            }
            Command::Answer((question, answer)) => self.answer(number, &question, answer),
            Command::Rename(title) => {
                let params = json!({"threadId": thread, "name": title});
                self.ask("thread/name/set", params, Request::Rename { number });
            }
            Command::Refresh => {
                self.tell_state(true);
                self.tell_context();
                self.effects.done(number);
            }
            Command::Other((method, arguments)) => self.other(number, &method, &arguments),
        }
    }

    fn abort(&mut self, number: u64) {
        self.take_back_held();
        self.prompts.interrupting = false;
        if self.turn.is_coming_or_open() {
            self.interrupt(Some(number));
        } else {
            self.effects.done(number);
        }
    }

    fn compact(&mut self, number: u64, instructions: Option<&str>) {
        if instructions.is_some_and(|text| !text.trim().is_empty()) {
            let message = "Codex takes no instructions for what to keep";
            let failure = Failure::new(FailureKind::Unsupported, message)
                .with_hint("shorten the context without instructions");
            return self.effects.settle(number, Err(failure));
        }
        if self.turn.is_coming_or_open() {
            let failure = Failure::new(FailureKind::Busy, "Codex is working")
                .with_hint("wait for the end of the turn, or abort it");
            return self.effects.settle(number, Err(failure));
        }
        self.turn.expect(Compaction::Asked(number));
        let params = json!({"threadId": self.thread.id});
        self.ask("thread/compact/start", params, Request::Compact { number });
    }

    /// Codex takes another model with the next turn, and keeps the provider for a whole thread.
    fn set_model(&mut self, number: u64, model: &ModelRef) {
        let current = &self.known.provider;
        if !model.provider.is_empty() && model.provider != *current {
            let message = format!("Codex keeps its model provider ({current}) for a whole session");
            let hint = format!(
                "give the agent the model {}/{} and start it again",
                model.provider, model.id
            );
            let failure = Failure::new(FailureKind::Unsupported, message).with_hint(hint);
            return self.effects.settle(number, Err(failure));
        }
        if model.id.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the model has no name");
        }
        self.known.choose_model(&model.id);
        self.tell_state(false);
        self.effects.done(number);
    }

    /// The next turn takes it.
    fn set_thinking(&mut self, number: u64, level: Thinking) {
        self.known.chosen.effort = Some(effort_of(level));
        self.known.thinking = Some(level);
        self.tell_state(false);
        self.effects.done(number);
    }

    /// A method of Codex by its own name.
    fn other(&mut self, number: u64, method: &str, arguments: &str) {
        if let Some((_, own)) = OWN.iter().find(|(other, _)| *other == method) {
            let message = format!("`{method}` cannot be called by its name");
            let failure = Failure::new(FailureKind::Invalid, message)
                .with_hint(format!("use the command `{own}`"));
            return self.effects.settle(number, Err(failure));
        }
        match serde_json::from_str::<Map<String, Value>>(arguments) {
            Ok(params) => self.ask(method, Value::Object(params), Request::Other { number }),
            Err(_) => {
                self.effects.refuse(
                    number,
                    FailureKind::Invalid,
                    "the arguments are not a JSON object",
                );
            }
        }
    }
}
