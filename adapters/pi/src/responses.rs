//! What Pi answers.

use rp_sdk::interface::{Failure, Reply};
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{FailureKind, Model};
use serde::Deserialize;

use crate::decode::Response;
use crate::requests::Request;
use crate::session::Pi;
use crate::state::ModelData;
use crate::{history, prompts, requests};

/// Commands of Pi behind which its state is another.
const CHANGES_STATE: [&str; 5] = ["fork", "clone", "cycle_model", "cycle_thinking_level", "bash"];

/// The data of `get_available_models`.
#[derive(Debug, Deserialize)]
struct ModelsData {
    models: Vec<ModelData>,
}

/// The data of commands that an extension can call off.
#[derive(Debug, Deserialize)]
struct CancelledData {
    #[serde(default)]
    cancelled: bool,
}

impl Pi {
    pub(crate) fn response(&mut self, response: Response<'_>) {
        let id = response.id.map(RawValue::get);
        let Some(request) = requests::close(&mut self.requests, id, &response.command) else {
            return;
        };
        if response.success {
            self.succeeded(request, response.data);
        } else {
            self.failed(request, &response.error);
        }
        self.release_prompts();
    }

    fn succeeded(&mut self, request: Request, data: Option<&RawValue>) {
        match request {
            Request::Prompt { number, .. } => self.prompt_accepted(number),
            Request::Abort { number } => self.aborted(number, Ok(Reply::Done)),
            Request::ClearQueue => {
                self.queue_cleared(member::<prompts::Dropped>(data).unwrap_or_default())
            }
            Request::NewSession { number } => self.session_changed(number, data, None),
            Request::SwitchSession { number, file } => {
                self.session_changed(number, data, Some(file))
            }
            Request::Compact { number } => self.effects.done(number),
            Request::SetModel { number } => {
                if let Some(model) = member::<ModelData>(data) {
                    self.known.model = Some(model.into());
                    self.tell_state(false);
                }
                self.effects.done(number);
                self.ask_for_state();
            }
            Request::SetThinking { number } => {
                self.effects.done(number);
                self.ask_for_state();
            }
            Request::Models { number } => {
                let models = member::<ModelsData>(data)
                    .map(|data| data.models.into_iter().map(Model::from).collect());
                self.reply(number, models.map(Reply::Models));
            }
            Request::History { number } => {
                self.reply(number, history::read(data).map(Reply::History))
            }
            Request::Rename { number } => self.effects.done(number),
            Request::State { number } => self.state_came(number, data),
            Request::Statistics => {
                if let Some(data) = member(data) {
                    self.tell_context(&data);
                }
            }
            Request::Other { number, name } => self.other_succeeded(number, &name, data),
        }
    }

    fn failed(&mut self, request: Request, error: &str) {
        match request {
            Request::Prompt { number, prompt, tries } => {
                self.prompt_refused(number, prompt, tries, error)
            }
            Request::Abort { number } => self.aborted(number, Err(refused(error))),
            // Only the old generation does not know it.
            Request::ClearQueue => self.version.settles = Some(false),
            other => {
                if let Some(number) = other.number() {
                    self.effects.settle(number, Err(refused(error)));
                }
            }
        }
    }

    /// `new_session` or `switch_session`: Pi ended what was running in the old session, the
    /// old generation without a word.
    fn session_changed(&mut self, number: u64, data: Option<&RawValue>, file: Option<String>) {
        if member::<CancelledData>(data).is_some_and(|data| data.cancelled) {
            return self.effects.refuse(number, FailureKind::Refused, "an extension called it off");
        }
        self.turn_was_dropped();
        self.withdraw_questions();
        self.forget_sent_prompts();
        match file {
            Some(file) => self.known.resumed(&file),
            None => self.known.moved(),
        }
        self.effects.done(number);
        self.ask_for_state();
        self.release_prompts();
    }

    fn state_came(&mut self, number: Option<u64>, data: Option<&RawValue>) {
        if let Some(data) = member(data) {
            self.learn_state(data);
        }
        self.tell_state(number.is_some());
        let Some(number) = number else {
            return;
        };
        if self.process.resuming == Some(number) {
            self.process.resuming = None;
        }
        self.effects.done(number);
    }

    fn other_succeeded(&mut self, number: u64, name: &str, data: Option<&RawValue>) {
        let statistics = if name == "get_session_stats" { member(data) } else { None };
        if let Some(statistics) = statistics {
            self.tell_context(&statistics);
        }
        let reply = data.map_or(Reply::Done, |data| Reply::Data(data.get().to_owned()));
        self.effects.settle(number, Ok(reply));
        if CHANGES_STATE.contains(&name) {
            self.ask_for_state();
        }
    }

    fn reply(&mut self, number: u64, reply: Option<Reply>) {
        match reply {
            Some(reply) => self.effects.settle(number, Ok(reply)),
            None => self.effects.refuse(
                number,
                FailureKind::Harness,
                "Pi answered something that cannot be read",
            ),
        }
    }
}

fn refused(error: &str) -> Failure {
    let kind = match error {
        _ if error.starts_with("Unknown command") => FailureKind::Unsupported,
        _ if error.contains("not found") => FailureKind::NotFound,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, error.to_owned())
}
