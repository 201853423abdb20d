//! What Claude asks, and what it is answered.
//!
//! Claude asks one thing: whether a tool may be used. Where the tool is there to ask the user
//! something, the answers come with the permission.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Answer, FailureKind, Question, QuestionKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::decode::{Asked, CancelLine, RequestLine};
use crate::permissions::{self, Always};
use crate::session::ClaudeCode;

/// How many requests can be open; one more is denied.
const OPEN_AT_MOST: usize = 64;

/// The tool with which the model asks the user.
const ASK: &str = "AskUserQuestion";

/// What the model is told when nobody wants to answer it.
const NO_ANSWER: &str = "The user did not answer.";

/// Open requests by the id that Claude gave them.
#[derive(Debug, Default)]
pub(crate) struct Questions(BTreeMap<String, Open>);

#[derive(Debug)]
struct Open {
    /// The call it is about.
    tool: Option<String>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Permission(Always),
    /// Answers to all of these, which go into the input of the tool.
    Answers {
        input: Map<String, Value>,
        items: Vec<Item>,
    },
}

/// One of the questions that the model asks at once.
#[derive(Debug)]
struct Item {
    /// Its id for clients.
    id: String,
    text: String,
    options: Vec<String>,
    answer: Option<String>,
}

/// The input of the tool that asks.
#[derive(Debug, Deserialize)]
struct AskInput {
    questions: Vec<AskedItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedItem {
    question: String,
    #[serde(default)]
    multi_select: bool,
    #[serde(default)]
    options: Vec<AskedOption>,
}

#[derive(Debug, Deserialize)]
struct AskedOption {
    label: String,
    #[serde(default)]
    description: String,
}

impl Open {
    /// The questions that clients still see open.
    fn ids<'a>(&'a self, request: &'a str) -> Vec<String> {
        match &self.wanted {
            Wanted::Permission(_) => vec![request.to_owned()],
            Wanted::Answers { items, .. } => {
                let open = items.iter().filter(|item| item.answer.is_none());
                open.map(|item| item.id.clone()).collect()
            }
        }
    }
}

impl ClaudeCode {
    /// `control_request`
    pub(crate) fn asked(&mut self, line: RequestLine<'_>) {
        let (id, asked) = (line.request_id.to_string(), line.request);
        if &*asked.subtype != "can_use_tool" {
            let error = format!("{} is not answered here", &*asked.subtype);
            let response = json!({"subtype": "error", "request_id": id, "error": error});
            return self
                .effects
                .write_line(&json!({"type": "control_response", "response": response}));
        }
        if self.questions.0.len() == OPEN_AT_MOST {
            return self.write_answer(&id, &permissions::denial(NO_ANSWER));
        }
        let tool = asked.tool_use_id.as_ref().map(|id| id.to_string());
        let wanted = match ask_input(&asked) {
            Some((input, items)) => self.ask_user(&id, input, items),
            None => self.ask_permission(&id, &asked),
        };
        self.questions.0.insert(id, Open { tool, wanted });
    }

    fn ask_permission(&mut self, id: &str, asked: &Asked<'_>) -> Wanted {
        let always = Always::new(asked);
        // Claude leaves out of the question what it will fetch from elsewhere, such as a plan.
        let input = asked.input.map(RawValue::get).filter(|input| *input != "{}");
        let called_with = asked.tool_use_id.as_deref().and_then(|id| self.tools.input(id));
        let input = input.or(called_with).unwrap_or("{}");
        let name = asked.display_name.as_deref().unwrap_or(&asked.tool_name);
        let request = permissions::request(&asked.tool_name, input, &always);
        self.effects.event(Event::Question(Question {
            id: id.to_owned(),
            title: format!("Allow {name}?"),
            detail: detail(asked),
            kind: QuestionKind::Permission(request),
            expires_ms: None,
        }));
        Wanted::Permission(always)
    }

    fn ask_user(&mut self, id: &str, input: Map<String, Value>, asked: Vec<AskedItem>) -> Wanted {
        let several = asked.len() > 1;
        let mut items = Vec::new();
        for (at, item) in (1..).zip(asked) {
            let id = if several { format!("{id}.{at}") } else { id.to_owned() };
            let options: Vec<String> =
                item.options.iter().map(|option| option.label.clone()).collect();
            self.effects.event(Event::Question(Question {
                id: id.clone(),
                title: item.question.clone(),
                detail: item.detail(),
                kind: QuestionKind::Choose(options.clone()),
                expires_ms: None,
            }));
            items.push(Item { id, text: item.question, options, answer: None });
        }
        Wanted::Answers { input, items }
    }

    pub(crate) fn answer(&mut self, number: u64, question: &str, answer: Answer) {
        let request = self.questions.0.iter().find_map(|(request, open)| {
            open.ids(request).iter().any(|id| id == question).then(|| request.clone())
        });
        let open = request.as_ref().and_then(|request| self.questions.0.get_mut(request));
        let (Some(request), Some(open)) = (request, open) else {
            let message = "the question is not open, or no longer";
            return self.effects.refuse(number, FailureKind::NotFound, message);
        };
        match open.wanted.answer(question, answer) {
            Ok(None) => {}
            Ok(Some(response)) => {
                self.write_answer(&request, &response);
                self.close(&request, question);
            }
            Err(message) => return self.effects.refuse(number, FailureKind::Invalid, message),
        }
        self.effects.event(Event::QuestionSettled(question.to_owned()));
        self.effects.done(number);
    }

    fn write_answer(&mut self, request: &str, response: &Value) {
        let response = json!({"subtype": "success", "request_id": request, "response": response});
        self.effects.write_line(&json!({"type": "control_response", "response": response}));
    }

    /// `control_cancel_request`
    pub(crate) fn withdrawn(&mut self, line: CancelLine<'_>) {
        self.close(&line.request_id, "");
    }

    /// The tool gave something, so nobody asks any more whether it may be used.
    pub(crate) fn question_of_tool_is_over(&mut self, tool: &str) {
        let about = |open: &Open| open.tool.as_deref() == Some(tool);
        let over = self.questions.0.iter().find(|(_, open)| about(open));
        if let Some(request) = over.map(|(request, _)| request.clone()) {
            self.close(&request, "");
        }
    }

    /// The process is gone: nobody waits for answers any more.
    pub(crate) fn withdraw_questions(&mut self) {
        while let Some(request) = self.questions.0.keys().next().cloned() {
            self.close(&request, "");
        }
    }

    /// Tells clients that the questions of a request are settled, but for the one that was
    /// just answered.
    fn close(&mut self, request: &str, answered: &str) {
        if let Some(open) = self.questions.0.remove(request) {
            for id in open.ids(request).into_iter().filter(|id| id != answered) {
                self.effects.event(Event::QuestionSettled(id));
            }
        }
    }
}

impl Wanted {
    /// What to tell Claude; `None` while more answers are missing.
    ///
    /// # Errors
    /// The answer does not fit the question; the text says what does.
    fn answer(&mut self, question: &str, answer: Answer) -> Result<Option<Value>, String> {
        match answer {
            Answer::DenyWithGuidance(why) => return Ok(Some(permissions::denial(&why))),
            Answer::Dismiss => return Ok(Some(permissions::denial(NO_ANSWER))),
            Answer::Choice(_) | Answer::Confirm(_) | Answer::Text(_) => {}
        }
        match self {
            Self::Permission(always) => {
                let response = match &answer {
                    Answer::Choice(option) => permissions::answer(option, always),
                    _ => None,
                };
                response.map(Some).ok_or_else(|| "the question takes one of its options".to_owned())
            }
            Self::Answers { input, items } => {
                let item = items.iter_mut().find(|item| item.id == question);
                item.ok_or_else(String::new)?.accept(answer)?;
                Ok(complete(input, items))
            }
        }
    }
}

impl Item {
    fn accept(&mut self, answer: Answer) -> Result<(), String> {
        self.answer = match answer {
            Answer::Choice(choice) if self.options.contains(&choice) => Some(choice),
            // The model has to live with an answer in words, as it does in a terminal.
            Answer::Text(text) if !text.trim().is_empty() => Some(text),
            _ => {
                let options = self.options.join(", ");
                return Err(format!("the question takes text, or one of: {options}"));
            }
        };
        Ok(())
    }
}

/// Permission for the tool that asks, with all answers in its input.
fn complete(input: &Map<String, Value>, items: &[Item]) -> Option<Value> {
    let answers: Option<Map<String, Value>> = items
        .iter()
        .map(|item| item.answer.as_ref().map(|answer| (item.text.clone(), json!(answer))))
        .collect();
    let mut input = input.clone();
    input.insert("answers".to_owned(), Value::Object(answers?));
    Some(json!({"behavior": "allow", "updatedInput": input}))
}

/// What the model asks the user. `None` when it asks for permission.
fn ask_input(asked: &Asked<'_>) -> Option<(Map<String, Value>, Vec<AskedItem>)> {
    let asks = &*asked.tool_name == ASK;
    let items = member::<AskInput>(asked.input.filter(|_| asks))?.questions;
    Some((member(asked.input)?, items)).filter(|(_, items)| !items.is_empty())
}

fn detail(asked: &Asked<'_>) -> String {
    let path = asked.blocked_path.as_deref().map(|path| format!("path: {path}"));
    let agent = asked.agent_id.as_ref().map(|_| "asked by a sub-agent".to_owned());
    let description = asked.description.as_deref().map(str::to_owned);
    let lines: Vec<String> = description.into_iter().chain(path).chain(agent).collect();
    lines.join("\n")
}

impl AskedItem {
    fn detail(&self) -> String {
        let several = self.multi_select.then(|| "Several can be chosen, as text.".to_owned());
        let options = self.options.iter().filter(|option| !option.description.is_empty());
        let options = options.map(|option| format!("{}: {}", option.label, option.description));
        let lines: Vec<String> = options.chain(several).collect();
        lines.join("\n")
    }
}
