//! What clients want of a session.

use rp_sdk::interface::{Command, Failure, Reply};
use rp_sdk::session::{FailureKind, ModelRef, Severity};
use serde_json::{Map, Value, json};

use crate::requests::Request;
use crate::session::Pi;
use crate::turn::Phase;

/// Commands of Pi that change what this adapter keeps track of. Each has a command of its own.
const OWN: [(&str, &str); 9] = [
    ("prompt", "prompt"),
    ("steer", "prompt"),
    ("follow_up", "prompt"),
    ("abort", "abort"),
    ("clear_queue", "abort"),
    ("new_session", "new-session"),
    ("switch_session", "resume"),
    ("compact", "compact"),
    ("extension_ui_response", "answer"),
];

impl Pi {
    pub(crate) fn dispatch(&mut self, number: u64, command: Command) {
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::Abort => {
                self.take_back_held();
                self.prompts.interrupting = false;
                self.abort(Some(number));
            }
            Command::NewSession => {
                self.cancel_questions_of_turn();
                self.ask("new_session", json!({}), Request::NewSession { number });
            }
            Command::Resume(session) => self.resume(number, session),
            Command::Compact(instructions) => self.compact(number, instructions),
            Command::SetModel(model) => self.set_model(number, &model),
            Command::SetThinking(level) => {
                let fields = json!({"level": level.name()});
                self.ask("set_thinking_level", fields, Request::SetThinking { number });
            }
            Command::ListModels => {
                self.ask("get_available_models", json!({}), Request::Models { number })
            }
            Command::History => self.ask("get_messages", json!({}), Request::History { number }),
            Command::Answer((question, answer)) => self.answer(number, &question, answer),
            Command::Rename(title) => {
                self.ask("set_session_name", json!({"name": title}), Request::Rename { number });
            }
            Command::Refresh => {
                self.ask("get_session_stats", json!({}), Request::Statistics);
                self.ask("get_state", json!({}), Request::State { number: Some(number) });
            }
            Command::Other((name, arguments)) => self.other(number, name, &arguments),
        }
    }

    /// Ends the running turn. Without a number it is for a prompt that interrupts.
    pub(crate) fn abort(&mut self, number: Option<u64>) {
        // Pi does not abort, nor answer, while a question is open.
        self.cancel_questions();
        if self.turn.is_open() {
            self.turn.abort_asked = true;
        }
        if self.turn.phase == Phase::Starting {
            self.turn.abort_at_start = true;
        }
        // Pi's queue survives an abort and runs with whatever comes next. That is right for a
        // prompt that interrupts, but whoever aborts wants all of it to end.
        if number.is_some() && self.version.settles != Some(false) {
            self.ask("clear_queue", json!({}), Request::ClearQueue);
        }
        self.ask("abort", json!({}), Request::Abort { number });
    }

    /// Pi answered the abort: the run is over.
    pub(crate) fn aborted(&mut self, number: Option<u64>, outcome: Result<Reply, Failure>) {
        if let Some(number) = number {
            self.effects.settle(number, outcome);
        }
        // Nothing follows a run that was aborted, so its end need not be held back.
        if self.turn.phase == Phase::Ending
            && self.turn.abort_asked
            && self.version.settles != Some(true)
        {
            self.finish_turn();
        }
        let left = self.prompts.waiting_in_queue();
        let by_person = number.is_some() && self.version.settles == Some(false);
        if by_person && left > 0 && !self.turn.is_open() {
            let text =
                format!("prompts that waited ({left}) stay with Pi and go out with the next one");
            self.effects.notice(Severity::Warning, text);
        }
        if !self.requests.any(|request| matches!(request, Request::Abort { number: None })) {
            self.prompts.interrupting = false;
        }
        self.release_prompts();
    }

    /// Pi drops the running turn to shorten the context, and an old one loses a prompt that
    /// is on its way; nobody who asks for this means that.
    fn compact(&mut self, number: u64, instructions: Option<String>) {
        if self.turn.phase != Phase::Idle {
            let failure = Failure::new(FailureKind::Busy, "Pi is working")
                .with_hint("wait for the end of the turn, or abort it");
            return self.effects.settle(number, Err(failure));
        }
        let fields = instructions.map_or(json!({}), |text| json!({"customInstructions": text}));
        self.ask("compact", fields, Request::Compact { number });
    }

    fn resume(&mut self, number: u64, session: String) {
        if session.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the session has no name");
        }
        if self.known.can_switch_to(&session) {
            self.cancel_questions_of_turn();
            let fields = json!({"sessionPath": session});
            return self.ask(
                "switch_session",
                fields,
                Request::SwitchSession { number, file: session },
            );
        }
        self.relaunch(number, &session);
    }

    fn set_model(&mut self, number: u64, model: &ModelRef) {
        let current = self.known.model.as_ref().map(|model| model.ref_.provider.as_str());
        let provider =
            if model.provider.is_empty() { current.unwrap_or_default() } else { &model.provider };
        let fields = json!({"provider": provider, "modelId": model.id});
        self.ask("set_model", fields, Request::SetModel { number });
    }

    /// A command of Pi by its own name.
    fn other(&mut self, number: u64, name: String, arguments: &str) {
        if let Some((_, own)) = OWN.iter().find(|(other, _)| *other == name) {
            let message = format!("`{name}` cannot be sent to Pi by its name");
            let failure = Failure::new(FailureKind::Invalid, message)
                .with_hint(format!("use the command `{own}`"));
            return self.effects.settle(number, Err(failure));
        }
        let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(arguments) else {
            return self.effects.refuse(
                number,
                FailureKind::Invalid,
                "the arguments are not a JSON object",
            );
        };
        fields.remove("id");
        fields.remove("type");
        let kind = name.clone();
        self.ask(&kind, Value::Object(fields), Request::Other { number, name });
    }
}
