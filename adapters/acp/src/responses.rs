//! What the agent answers.

use rp_sdk::interface::{Failure, Reply};
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{FailureKind, Severity};
use serde::Deserialize;

use crate::decode::{Line, RpcError};
use crate::requests::Request;
use crate::session::Acp;

/// The answer to `session/set_config_option`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetResult<'a> {
    #[serde(borrow)]
    config_options: Option<&'a RawValue>,
}

impl Acp {
    pub(crate) fn response(&mut self, line: &Line<'_>) {
        let id = line.id.and_then(|id| id.get().parse().ok());
        let Some((id, request)) = id.and_then(|id| Some((id, self.requests.close(id)?))) else {
            return;
        };
        match &line.error {
            None => self.succeeded(id, request, line.result),
            Some(error) => self.failed(id, request, error),
        }
    }

    fn succeeded(&mut self, id: u64, request: Request, result: Option<&RawValue>) {
        match request {
            Request::Initialize => self.initialized(result),
            Request::Open { number, opening } => self.opened(number, &opening, result),
            Request::FirstModel { number, name } => {
                self.set(result);
                self.options.model_is(&name);
                self.ready(number);
            }
            Request::Prompt => self.prompt_answered(id, Ok(result)),
            Request::SetModel { number, name } => {
                self.set(result);
                self.options.model_is(&name);
                self.model = Some(name);
                self.tell_state(false);
                self.effects.done(number);
            }
            Request::SetThinking { number, name } => {
                if !self.set(result) {
                    self.options.thinking_is(&name);
                }
                self.tell_state(false);
                self.effects.done(number);
            }
            Request::SetOption { number } => {
                self.set(result);
                self.tell_state(false);
                self.effects.done(number);
            }
            Request::ListSessions { number } => {
                let data = result.map_or("{}", RawValue::get).to_owned();
                self.effects.settle(number, Ok(Reply::Data(data)));
            }
        }
    }

    /// Takes over the options as they are now. Gives whether the agent told them.
    fn set(&mut self, result: Option<&RawValue>) -> bool {
        let list = member::<SetResult<'_>>(result).unwrap_or_default().config_options;
        self.options.listed(list);
        list.is_some()
    }

    fn failed(&mut self, id: u64, request: Request, error: &RpcError<'_>) {
        match request {
            Request::Initialize => {
                let message =
                    format!("{} refuses the handshake: {}", self.harness.title(), error.says());
                self.closed(Failure::new(FailureKind::Harness, message));
            }
            Request::Open { number, opening } => self.not_opened(number, &opening, error),
            Request::FirstModel { number, name } => {
                let text = format!("the model {name} was not taken: {}", error.says());
                self.effects.notice(Severity::Warning, text);
                self.ready(number);
            }
            Request::Prompt => self.prompt_answered(id, Err(error)),
            other => {
                if let Some(number) = other.number() {
                    self.effects.settle(number, Err(failure(error)));
                }
            }
        }
    }
}

fn failure(error: &RpcError<'_>) -> Failure {
    let message = error.says();
    let kind = match error.code {
        RpcError::NO_METHOD => FailureKind::Unsupported,
        _ if message.contains("not found") => FailureKind::NotFound,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, message)
}
