//! What Codex asks, from the request to its answer or its withdrawal.

use std::collections::BTreeMap;

use rp_sdk::interface::{Event, Failure};
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Answer, FailureKind, Prompt, Question, QuestionKind, Severity, Urgency};
use serde_json::{Map, Value, json};

use crate::inputs::{Form, Input};
use crate::requests::Request;
use crate::session::Codex;
use crate::wire::{OfThread, Resolved};

/// How many questions can be open; one more is refused.
const OPEN_AT_MOST: usize = 64;

/// What can be answered.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// One of these, by id, each with what Codex is told then.
    Decision { choices: Vec<(&'static str, Value)>, denial: Value },
    /// What an MCP server asks for.
    Form(Form),
    /// One of the questions that the model asks with one request.
    Input(Input),
}

#[derive(Debug)]
struct Open {
    /// The id of the request, as JSON text.
    request: String,
    /// The item it is about.
    item: Option<String>,
    /// It was asked during a turn, and goes with it.
    in_turn: bool,
    wanted: Wanted,
}

#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: BTreeMap<String, Open>,
    /// Answers so far to requests that ask several questions, by the request's id.
    given: BTreeMap<String, Map<String, Value>>,
}

/// A question on its way to the clients.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Tells the questions of one request apart.
    pub(crate) suffix: String,
    pub(crate) item: Option<String>,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) kind: QuestionKind,
    pub(crate) wanted: Wanted,
    pub(crate) expires_ms: Option<u64>,
}

impl Questions {
    /// Whether an open question is about this item.
    pub(crate) fn is_about(&self, item: &str) -> bool {
        self.open.values().any(|open| open.item.as_deref() == Some(item))
    }

    fn ids(&self, which: impl Fn(&Open) -> bool) -> Vec<String> {
        self.open.iter().filter(|(_, open)| which(open)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether questions of this request are open.
    fn waits_for(&self, request: &str) -> bool {
        self.open.values().any(|open| open.request == request)
    }
}

impl Codex {
    /// A request of Codex. One that is not understood is refused, because Codex waits for the
    /// answer.
    pub(crate) fn asked(&mut self, id: &RawValue, method: &str, params: Option<&RawValue>) {
        let questions = match method {
            "item/commandExecution/requestApproval" => self.command_approval(params),
            "item/fileChange/requestApproval" => self.file_change_approval(params),
            "item/permissions/requestApproval" => self.permissions_approval(params),
            "mcpServer/elicitation/request" => self.elicitation(params),
            "item/tool/requestUserInput" => self.user_input(params),
            _ => None,
        };
        let id = id.get();
        // Agents that the model started ask in threads of their own, and may do so for longer.
        let thread = member::<OfThread<'_>>(params);
        let in_turn = self.turn.is_open() && thread.is_none_or(|of| of.thread_id == self.thread.id);
        match questions {
            Some(questions) if self.questions.open.len() + questions.len() <= OPEN_AT_MOST => {
                questions.into_iter().for_each(|question| self.ask_clients(id, question, in_turn));
            }
            _ => self.refuse_request(id, method),
        }
    }

    fn refuse_request(&mut self, id: &str, method: &str) {
        let id: Value = serde_json::from_str(id).unwrap_or_default();
        let error = json!({"code": -32601, "message": "this client does not answer that"});
        self.effects.write_line(&json!({"id": id, "error": error}));
        let text = format!("Codex asked for {method}, which cannot be answered here");
        self.effects.notice(Severity::Warning, text);
    }

    fn ask_clients(&mut self, request: &str, asked: Asked, in_turn: bool) {
        let id = format!("question-{}{}", request.trim_matches('"'), asked.suffix);
        let open =
            Open { request: request.to_owned(), item: asked.item, in_turn, wanted: asked.wanted };
        self.questions.open.insert(id.clone(), open);
        self.effects.event(Event::Question(Question {
            id,
            title: asked.title,
            detail: asked.detail,
            kind: asked.kind,
            expires_ms: asked.expires_ms,
        }));
    }

    pub(crate) fn answer(&mut self, number: u64, id: &str, answer: Answer) {
        let Some(open) = self.questions.open.remove(id) else {
            let message = "the question is not open, or no longer";
            return self.effects.refuse(number, FailureKind::NotFound, message);
        };
        let guidance = match &answer {
            Answer::DenyWithGuidance(text) => Some(text.clone()),
            _ => None,
        };
        match open.wanted.result(answer) {
            Err(failure) => {
                self.questions.open.insert(id.to_owned(), open);
                self.effects.settle(number, Err(failure));
            }
            Ok(result) => {
                self.effects.event(Event::QuestionSettled(id.to_owned()));
                self.give(&open, result);
                match guidance {
                    Some(text) => self.guide(number, text),
                    None => self.effects.done(number),
                }
            }
        }
    }

    /// Tells Codex the answer, once all questions of the request have one.
    fn give(&mut self, open: &Open, result: Value) {
        let Wanted::Input(input) = &open.wanted else {
            return self.reply(&open.request, result);
        };
        let given = self.questions.given.entry(open.request.clone()).or_default();
        given.insert(input.name.clone(), result);
        if !self.questions.waits_for(&open.request) {
            let answers = self.questions.given.remove(&open.request).unwrap_or_default();
            self.reply(&open.request, json!({"answers": answers}));
        }
    }

    /// A denial does not end the turn, so what was said with it can join the turn.
    fn guide(&mut self, number: u64, text: String) {
        if !self.turn.is_open() {
            let message = "it was denied, but there is no turn that could be told why";
            return self.effects.refuse(number, FailureKind::Harness, message);
        }
        let prompt = Prompt { text, images: Vec::new(), urgency: Urgency::AfterTools };
        let mut params = self.input(&prompt);
        params.insert("expectedTurnId".to_owned(), json!(self.turn.id));
        self.ask("turn/steer", Value::Object(params), Request::Guidance { number });
    }

    /// `serverRequest/resolved`
    pub(crate) fn request_resolved(&mut self, resolved: Resolved<'_>) {
        let request = resolved.request_id.get();
        self.close_questions(self.questions.ids(|open| open.request == request));
    }

    /// Nobody waits for these answers any more.
    pub(crate) fn withdraw_questions(&mut self) {
        self.close_questions(self.questions.ids(|_| true));
    }

    /// Codex withdraws the questions of a turn with it, and says so only behind its end.
    pub(crate) fn withdraw_questions_of_turn(&mut self) {
        self.close_questions(self.questions.ids(|open| open.in_turn));
    }

    fn close_questions(&mut self, ids: Vec<String>) {
        for id in ids {
            self.questions.open.remove(&id);
            self.effects.event(Event::QuestionSettled(id));
        }
        let Questions { open, given } = &mut self.questions;
        given.retain(|request, _| open.values().any(|open| open.request == *request));
    }
}

impl Wanted {
    /// What Codex is told for an answer.
    fn result(&self, answer: Answer) -> Result<Value, Failure> {
        match self {
            Self::Decision { choices, denial } => match answer {
                Answer::Choice(id) => {
                    let chosen = choices.iter().find(|(other, _)| *other == id);
                    let ids: Vec<&str> = choices.iter().map(|(id, _)| *id).collect();
                    let takes = || format!("the question takes one of: {}", ids.join(", "));
                    chosen.map(|(_, result)| result.clone()).ok_or_else(|| invalid(takes()))
                }
                Answer::DenyWithGuidance(_) | Answer::Dismiss => Ok(denial.clone()),
                Answer::Confirm(_) | Answer::Text(_) => {
                    Err(invalid("the question takes the id of an option"))
                }
            },
            Self::Form(form) => form.result(answer),
            Self::Input(input) => input.result(answer),
        }
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Invalid, message.into())
}

/// Only a denial can be explained.
pub(crate) fn takes_no_guidance() -> Failure {
    Failure::new(
        FailureKind::Unsupported,
        "this is no question of permission, so there is nothing to deny".to_owned(),
    )
}
