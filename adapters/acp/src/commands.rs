//! What clients want of a session.

use rp_sdk::interface::{Abilities, Command, Failure, Reply};
use rp_sdk::session::{FailureKind, ModelRef, Thinking};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::opening::Stage;
use crate::options;
use crate::requests::{Opening, Request};
use crate::session::Acp;

/// The commands that only these agents have, with what they take.
const OWN: &str = r#"`set-mode` {"mode":"…"}, `set-config-option` {"option":"…","value":"…"}, `list-sessions` {}"#;

#[derive(Debug, Deserialize)]
struct SetMode {
    mode: String,
}

#[derive(Debug, Deserialize)]
struct SetConfigOption {
    option: String,
    value: Value,
}

/// What a harness must be able to do for this command; `None` when any can or none can.
fn needed(command: &Command) -> Option<Abilities> {
    Some(match command {
        Command::Compact(_) => Abilities::COMPACT,
        Command::SetModel(_) => Abilities::SET_MODEL,
        Command::SetThinking(_) => Abilities::SET_THINKING,
        Command::ListModels => Abilities::LIST_MODELS,
        Command::Resume(_) => Abilities::RESUME,
        Command::History => Abilities::HISTORY,
        Command::Rename(_) => Abilities::RENAME,
        _ => return None,
    })
}

impl Acp {
    /// Whether commands are done at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready && self.moving.is_none()
    }

    pub(crate) fn dispatch(&mut self, number: u64, command: Command) {
        if needed(&command).is_some_and(|needed| !self.harness.abilities().contains(needed)) {
            return self.unsupported(number, "do that");
        }
        match command {
            Command::Answer((question, answer)) => self.answer(number, &question, &answer),
            Command::Abort => {
                self.take_back_waiting();
                self.abort(number);
            }
            Command::Refresh => {
                self.tell_state(true);
                self.tell_usage_again();
                self.effects.done(number);
            }
            other if !self.is_ready() => self.wait_for_session(number, other),
            other => self.perform(number, other),
        }
    }

    fn perform(&mut self, number: u64, command: Command) {
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::NewSession => self.move_to(number, Opening::New),
            Command::Resume(session) => self.resume(number, session),
            Command::Compact(instructions) => self.compact(number, instructions),
            Command::SetModel(model) => self.set_model(number, &model),
            Command::SetThinking(level) => self.set_thinking(number, level),
            Command::ListModels => match self.options.list_models(self.agent.images) {
                Some(models) => self.effects.settle(number, Ok(Reply::Models(models))),
                None => self.unsupported(number, "list its models"),
            },
            Command::History if !self.history_is_whole => {
                self.unsupported(number, "tell what was said before");
            }
            Command::History => {
                let messages = self.conversation.history.to_vec();
                self.effects.settle(number, Ok(Reply::History(messages)));
            }
            Command::Other((name, arguments)) => self.other(number, &name, &arguments),
            // Those that need no session were done before.
            _ => self.unsupported(number, "do that"),
        }
    }

    fn unsupported(&mut self, number: u64, what: &str) {
        let message = format!("{} cannot {what}", self.harness.title());
        self.effects.refuse(number, FailureKind::Unsupported, message);
    }

    fn resume(&mut self, number: u64, session: String) {
        if session.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the session has no name");
        }
        match self.earlier(session) {
            Some(opening) => self.move_to(number, opening),
            None => self.unsupported(number, "continue earlier sessions"),
        }
    }

    fn compact(&mut self, number: u64, instructions: Option<String>) {
        let title = self.harness.title();
        let failure = if self.turn.is_open() {
            Failure::new(FailureKind::Busy, format!("{title} is working"))
                .with_hint("wait for the end of the turn, or abort it")
        } else if instructions.is_some() && !self.harness.compacts_as_told() {
            let message = format!("{title} takes no instructions for this");
            Failure::new(FailureKind::Unsupported, message).with_hint("leave them out")
        } else {
            return self.send_compact(number, instructions);
        };
        self.effects.settle(number, Err(failure));
    }

    fn set_model(&mut self, number: u64, model: &ModelRef) {
        let name = self.options.model_named(model);
        match self.options.set_model(&name) {
            Some((method, params)) => {
                self.ask(method, params, Request::SetModel { number, name });
            }
            None => self.unsupported(number, "let its model be chosen"),
        }
    }

    fn set_thinking(&mut self, number: u64, level: Thinking) {
        match self.options.set_thinking(level) {
            Some(((method, params), name)) => {
                self.ask(method, params, Request::SetThinking { number, name });
            }
            None => self.unsupported(number, "let the thinking of this model be chosen"),
        }
    }

    /// A command that only these agents have.
    fn other(&mut self, number: u64, name: &str, arguments: &str) {
        match name {
            "set-mode" => match serde_json::from_str(arguments) {
                Ok(SetMode { mode }) => self.set_mode(number, &mode),
                Err(_) => self.misspelt(number),
            },
            "set-config-option" => match serde_json::from_str(arguments) {
                Ok(wanted) => self.set_config_option(number, wanted),
                Err(_) => self.misspelt(number),
            },
            "list-sessions" if self.agent.lists => {
                let params = json!({"cwd": self.request.cwd});
                self.ask_plain("session/list", params, Request::ListSessions { number });
            }
            "list-sessions" => self.unsupported(number, "list its sessions"),
            _ => {
                let message = format!("there is no command `{name}`");
                let failure = Failure::new(FailureKind::Unsupported, message)
                    .with_hint(format!("there are {OWN}"));
                self.effects.settle(number, Err(failure));
            }
        }
    }

    fn misspelt(&mut self, number: u64) {
        let failure = Failure::new(FailureKind::Invalid, "the arguments do not fit")
            .with_hint(format!("the commands are {OWN}"));
        self.effects.settle(number, Err(failure));
    }

    /// Some agents take any word for a mode or a value, so it is looked up first.
    fn set_mode(&mut self, number: u64, mode: &str) {
        match self.options.set_mode(mode) {
            Ok((method, params)) => {
                self.ask(method, params, Request::SetOption { number });
            }
            Err(modes) if modes.is_empty() => self.unsupported(number, "change modes"),
            Err(modes) => self.not_among(number, "mode", mode, modes),
        }
    }

    fn set_config_option(&mut self, number: u64, wanted: SetConfigOption) {
        let SetConfigOption { option, value } = wanted;
        let Some(choice) = self.options.choice(&option) else {
            let ids = self.options.ids();
            return match ids.is_empty() {
                true => self.unsupported(number, "be given options"),
                false => self.not_among(number, "option", &option, ids),
            };
        };
        if !choice.takes(&value) {
            let list = choice.list();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return self.not_among(number, "value", &value, list);
        }
        let (method, params) = options::set(&option, value);
        self.ask(method, params, Request::SetOption { number });
    }

    fn not_among(&mut self, number: u64, what: &str, name: &str, list: String) {
        let message = format!("there is no {what} `{name}`");
        let failure =
            Failure::new(FailureKind::NotFound, message).with_hint(format!("there are: {list}"));
        self.effects.settle(number, Err(failure));
    }
}
