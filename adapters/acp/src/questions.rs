//! What the agent asks: permission for a tool, or anything else with a choice of answers.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::json::{RawValue, Text, member};
use rp_sdk::session::{
    Answer, FailureKind, PermissionEffect, PermissionOption, PermissionRequest, Question,
    QuestionKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::decode::Update;
use crate::session::Acp;

/// How many questions can be open; one more is cancelled.
const OPEN_AT_MOST: usize = 64;

/// Parameters of `session/request_permission`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    #[serde(borrow)]
    session_id: Text<'a>,
    #[serde(borrow)]
    tool_call: Update<'a>,
    options: Vec<AskedOption>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedOption {
    option_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
}

impl AskedOption {
    fn effect(&self) -> Option<PermissionEffect> {
        Some(match self.kind.as_str() {
            "allow_once" => PermissionEffect::AllowOnce,
            "allow_always" => PermissionEffect::AllowAlways,
            "reject_once" => PermissionEffect::DenyOnce,
            "reject_always" => PermissionEffect::DenyAlways,
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Open {
    /// The agent's id of it, as JSON text.
    agent_id: String,
    options: Vec<AskedOption>,
    /// It is about a tool, whose call this is. A free choice is about none.
    permission: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: u64,
    open: BTreeMap<String, Open>,
}

impl Acp {
    /// `session/request_permission`
    pub(crate) fn asked(&mut self, agent_id: &str, params: Option<&RawValue>) {
        let Some(asked) = member::<Asked<'_>>(params) else {
            return self.answer_error(agent_id, -32602, "Invalid params");
        };
        let full = self.questions.open.len() >= OPEN_AT_MOST;
        let elsewhere = *asked.session_id != self.conversation.session;
        // What is asked behind a cancel crossed it on the way, and holds up the end of the turn.
        if full || elsewhere || asked.options.is_empty() || self.turn.abort_asked {
            return self.answer_cancelled(agent_id);
        }
        self.model_shows_itself(None);
        self.questions.last += 1;
        let call = asked.tool_call.tool_call_id.as_deref().unwrap_or_default();
        // With the call in it, an answer to a question of an earlier process fits no other one.
        let id = format!("{call}.{}", self.questions.last);
        // Options of one kind are no permission: an agent without other questions asks so too.
        let mut kinds = asked.options.iter().map(|option| option.kind.as_str());
        let first = kinds.next();
        let is_choice = asked.options.len() > 1 && kinds.all(|kind| Some(kind) == first);
        let kind = if is_choice {
            QuestionKind::Choose(asked.options.iter().map(|option| option.name.clone()).collect())
        } else {
            QuestionKind::Permission(self.permission(&asked))
        };
        let open = Open {
            agent_id: agent_id.to_owned(),
            permission: (!is_choice).then(|| call.to_owned()),
            options: asked.options,
        };
        self.questions.open.insert(id.clone(), open);
        let detail = asked.tool_call.shown().unwrap_or_default();
        self.effects.event(Event::Question(Question {
            id,
            title: asked.tool_call.title.unwrap_or_default().to_string(),
            detail,
            kind,
            expires_ms: None,
        }));
    }

    fn permission(&mut self, asked: &Asked<'_>) -> PermissionRequest {
        self.conversation.asked_about(&asked.tool_call, &mut self.effects);
        let call = asked.tool_call.tool_call_id.as_deref().unwrap_or_default();
        let about = self.conversation.tools.about(call);
        let (tool, input) = about.unwrap_or_else(|| ("tool".to_owned(), "{}".to_owned()));
        let options = asked.options.iter().filter_map(|option| {
            let effect = option.effect()?;
            Some(PermissionOption {
                id: option.option_id.clone(),
                label: option.name.clone(),
                effect,
            })
        });
        PermissionRequest { tool, input, options: options.collect() }
    }

    pub(crate) fn answer(&mut self, number: u64, id: &str, answer: &Answer) {
        let Some(question) = self.questions.open.get(id) else {
            let message = "the question is not open, or no longer";
            return self.effects.refuse(number, FailureKind::NotFound, message);
        };
        let by_name = question.permission.is_none();
        let chosen = match answer {
            Answer::Dismiss => None,
            Answer::Choice(choice) => question.options.iter().find(|option| {
                *choice == if by_name { option.name.as_str() } else { option.option_id.as_str() }
            }),
            Answer::DenyWithGuidance(_) => {
                let message = "the protocol has no guidance beside an answer";
                return self.effects.refuse(number, FailureKind::Unsupported, message);
            }
            _ => None,
        };
        if chosen.is_none() && *answer != Answer::Dismiss {
            let names = question.options.iter();
            let names = names.map(|option| if by_name { &option.name } else { &option.option_id });
            let names: Vec<&str> = names.map(String::as_str).collect();
            let message = format!("the question takes one of: {}", names.join(", "));
            return self.effects.refuse(number, FailureKind::Invalid, message);
        }
        let outcome = chosen.map_or_else(
            || json!({"outcome": "cancelled"}),
            |option| json!({"outcome": "selected", "optionId": option.option_id}),
        );
        let allows = chosen.is_some_and(|option| option.kind.starts_with("allow"));
        let (agent_id, call) = (question.agent_id.clone(), question.permission.clone());
        self.answer_result(&agent_id, &json!({"outcome": outcome}));
        self.close_question(id);
        match call {
            Some(call) if allows => self.conversation.allowed(&call, &mut self.effects),
            Some(call) => self.conversation.denied(&call),
            None => {}
        }
        self.effects.done(number);
    }

    /// Answers every open question, so that the agent goes on: some do not end a turn before.
    pub(crate) fn cancel_questions(&mut self) {
        for (id, agent_id) in self.questions_open() {
            self.answer_cancelled(&agent_id);
            self.close_question(&id);
        }
    }

    /// Nobody waits for these answers any more.
    pub(crate) fn withdraw_questions(&mut self) {
        for (id, _) in self.questions_open() {
            self.close_question(&id);
        }
    }

    fn questions_open(&self) -> Vec<(String, String)> {
        let open = self.questions.open.iter();
        open.map(|(id, open)| (id.clone(), open.agent_id.clone())).collect()
    }

    fn close_question(&mut self, id: &str) {
        if self.questions.open.remove(id).is_some() {
            self.effects.event(Event::QuestionSettled(id.to_owned()));
        }
    }

    fn answer_cancelled(&mut self, agent_id: &str) {
        self.answer_result(agent_id, &json!({"outcome": {"outcome": "cancelled"}}));
    }

    fn answer_result(&mut self, agent_id: &str, result: &Value) {
        self.effects
            .write_line(&format!(r#"{{"jsonrpc":"2.0","id":{agent_id},"result":{result}}}"#));
    }

    /// Refuses a request of the agent.
    pub(crate) fn answer_error(&mut self, agent_id: &str, code: i64, message: &str) {
        let error = json!({"code": code, "message": message});
        self.effects.write_line(&format!(r#"{{"jsonrpc":"2.0","id":{agent_id},"error":{error}}}"#));
    }
}
