//! What Claude answers.

use rp_sdk::interface::{Failure, Reply};
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{FailureKind, Severity};
use serde::Deserialize;
use serde_json::json;

use crate::commands;
use crate::decode::{Response, ResponseLine};
use crate::models::ListedModels;
use crate::requests::{self, Request};
use crate::session::ClaudeCode;

/// The answer to `initialize`, but for the models.
#[derive(Debug, Deserialize)]
struct Initialized {
    current_permission_mode: Option<String>,
}

/// The answer to `set_model`.
#[derive(Debug, Deserialize)]
struct ModelSet {
    model: String,
}

/// The answer to `interrupt`.
#[derive(Debug, Deserialize)]
struct Interrupted {
    /// Ids of the messages that were dropped.
    #[serde(default)]
    cancelled: Vec<String>,
}

impl ClaudeCode {
    pub(crate) fn response(&mut self, line: ResponseLine<'_>) {
        let response = line.response;
        self.process.answers = true;
        let Some(request) = requests::close(&mut self.requests, &response.request_id) else {
            return;
        };
        if &*response.subtype == "success" {
            self.succeeded(request, response.response);
        } else {
            self.failed(&request, &response);
        }
    }

    fn succeeded(&mut self, request: Request, data: Option<&RawValue>) {
        match request {
            Request::Initialize => self.initialized(data),
            Request::Spent => {
                if let Some(spent) = member(data) {
                    self.learn_spent(spent);
                }
            }
            Request::Settings { refresh } => self.settings_came(refresh, data),
            Request::Context { number } => {
                if let Some(context) = member(data) {
                    self.tell_context(&context);
                }
                self.effects.done(number);
            }
            Request::Thinking { number } => {
                self.ask("get_settings", json!({}), Request::ThinkingIsSet { number });
            }
            Request::ThinkingIsSet { number } => {
                self.settings_came(None, data);
                self.effects.done(number);
            }
            Request::Model { number } => {
                if let Some(ModelSet { model }) = member(data) {
                    self.learn_model(Some(&model));
                    self.tell_state(false);
                }
                self.effects.done(number);
                self.ask("get_settings", json!({}), Request::Settings { refresh: None });
            }
            Request::Models { number } => self.models_came(number, data),
            Request::Rename { number } => self.effects.done(number),
            Request::Abort { number } => self.interrupted(number, data),
            Request::Interrupt => {}
            Request::Other { number } => self.effects.settle(number, Ok(commands::data(data))),
        }
    }

    fn failed(&mut self, request: &Request, response: &Response<'_>) {
        let error = response.error.as_deref().unwrap_or("Claude Code does not say why");
        if matches!(request, Request::Initialize) {
            let text = format!("Claude Code refused to be initialized: {error}");
            return self.effects.notice(Severity::Warning, text);
        }
        if let Some(number) = request.number() {
            let kind = match response.error_code.as_deref() {
                Some("unsupported_request") => FailureKind::Unsupported,
                Some("invalid_request" | "invalid_mode") => FailureKind::Invalid,
                _ => FailureKind::Refused,
            };
            let message = error.to_owned();
            self.effects.settle(number, Err(Failure::new(kind, message)));
        }
    }

    fn initialized(&mut self, data: Option<&RawValue>) {
        if let Some(ListedModels { models }) = member(data) {
            self.known.models = models;
        }
        if let Some(Initialized { current_permission_mode }) = member(data) {
            self.learn_mode(current_permission_mode.as_deref());
        }
        self.tell_state(true);
        if let Some(number) = self.process.resuming.take() {
            self.effects.done(number);
        }
    }

    fn settings_came(&mut self, refresh: Option<u64>, data: Option<&RawValue>) {
        if let Some(settings) = member(data) {
            self.learn_settings(settings);
        }
        self.tell_state(refresh.is_some());
        if let Some(number) = refresh {
            self.ask("get_context_usage", json!({}), Request::Context { number });
        }
    }

    fn models_came(&mut self, number: u64, data: Option<&RawValue>) {
        match member(data) {
            Some(ListedModels { models }) => {
                self.known.models = models;
                let models = self.known.listed();
                self.effects.settle(number, Ok(Reply::Models(models)));
                self.tell_state(false);
            }
            None => self.effects.refuse(
                number,
                FailureKind::Harness,
                "Claude Code lists its models in a way that cannot be read",
            ),
        }
    }

    /// Claude took notice of an abort, which is done when its work is over.
    fn interrupted(&mut self, number: Option<u64>, data: Option<&RawValue>) {
        if let Some(Interrupted { cancelled }) = member(data) {
            for id in cancelled {
                self.dropped(&id);
            }
        }
        match number {
            Some(number) if self.turn.is_busy() => self.turn.aborting.push(number),
            Some(number) => self.effects.done(number),
            None => {}
        }
    }
}
