//! Questions that are not about permission: the model's own, and those of MCP servers.

use rp_sdk::interface::Failure;
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Answer, QuestionKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::approvals::Elicitation;
use crate::questions::{Asked, Wanted, invalid, takes_no_guidance};
use crate::session::Codex;

/// What a server asks for. Forms with more than one field are refused: there is no question
/// that holds several.
#[derive(Debug)]
pub(crate) struct Form {
    /// The only field; without one it is yes or no.
    field: Option<String>,
    kind: FieldKind,
}

#[derive(Debug)]
enum FieldKind {
    OneOf(Vec<String>),
    YesOrNo,
    Text,
}

/// One of the questions that the model asks at once.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// None when the answer is free.
    options: Vec<String>,
    /// Something else than the options can be said.
    is_other: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserInput {
    item_id: String,
    questions: Vec<UserQuestion>,
    /// Codex goes on without an answer after this many milliseconds.
    auto_resolution_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserQuestion {
    id: String,
    #[serde(default)]
    header: String,
    #[serde(default)]
    question: String,
    #[serde(default)]
    is_other: bool,
    options: Option<Vec<UserOption>>,
}

#[derive(Deserialize)]
struct UserOption {
    label: String,
    #[serde(default)]
    description: String,
}

impl Codex {
    /// `item/tool/requestUserInput`
    pub(crate) fn user_input(&self, params: Option<&RawValue>) -> Option<Vec<Asked>> {
        let request: UserInput = member(params)?;
        let (item, expires_ms) = (request.item_id, request.auto_resolution_ms);
        let asked = request.questions.into_iter().map(|question| {
            let options = question.options.unwrap_or_default();
            let described = options.iter().filter(|option| !option.description.is_empty());
            let described = described.map(|o| format!("\n{}: {}", o.label, o.description));
            let detail = question.question.clone() + &described.collect::<String>();
            let labels: Vec<String> = options.into_iter().map(|option| option.label).collect();
            let kind = match labels.is_empty() {
                true => QuestionKind::Text(None),
                false => QuestionKind::Choose(labels.clone()),
            };
            Asked {
                suffix: format!(".{}", question.id),
                item: Some(item.clone()),
                title: question.header,
                detail,
                kind,
                wanted: Wanted::Input(Input {
                    name: question.id,
                    options: labels,
                    is_other: question.is_other,
                }),
                expires_ms,
            }
        });
        let asked: Vec<Asked> = asked.collect();
        (!asked.is_empty()).then_some(asked)
    }
}

impl Input {
    pub(crate) fn result(&self, answer: Answer) -> Result<Value, Failure> {
        let free = self.options.is_empty() || self.is_other;
        let said = match answer {
            Answer::Choice(choice) if self.options.contains(&choice) => vec![choice],
            Answer::Text(text) if free => vec![text],
            Answer::Dismiss => Vec::new(),
            Answer::DenyWithGuidance(_) => return Err(takes_no_guidance()),
            _ if self.options.is_empty() => return Err(invalid("the question takes text")),
            _ => return Err(invalid(one_of(&self.options))),
        };
        Ok(json!({"answers": said}))
    }
}

/// `None` when no question can hold what the server asks for.
pub(crate) fn form(elicitation: Elicitation) -> Option<Asked> {
    let nothing = Map::new();
    let schema = elicitation.requested_schema.as_ref();
    let fields = schema.and_then(|schema| schema.get("properties")?.as_object());
    let mut fields = fields.unwrap_or(&nothing).iter();
    let form = match (fields.next(), fields.next()) {
        (None, _) => Form { field: None, kind: FieldKind::YesOrNo },
        (Some((name, field)), None) => Form { field: Some(name.clone()), kind: kind_of(field)? },
        (Some(_), Some(_)) => return None,
    };
    let kind = match &form.kind {
        FieldKind::OneOf(options) => QuestionKind::Choose(options.clone()),
        FieldKind::YesOrNo => QuestionKind::Confirm,
        FieldKind::Text => QuestionKind::Text(None),
    };
    Some(Asked {
        suffix: String::new(),
        item: None,
        title: elicitation.message,
        detail: elicitation.url.unwrap_or_default(),
        kind,
        wanted: Wanted::Form(form),
        expires_ms: None,
    })
}

fn kind_of(field: &Value) -> Option<FieldKind> {
    let words = field.get("enum").and_then(Value::as_array);
    match (field.get("type").and_then(Value::as_str)?, words) {
        ("string", Some(words)) => {
            let words = words.iter().filter_map(Value::as_str).map(str::to_owned);
            Some(FieldKind::OneOf(words.collect()))
        }
        ("string", None) => Some(FieldKind::Text),
        ("boolean", _) => Some(FieldKind::YesOrNo),
        _ => None,
    }
}

impl Form {
    pub(crate) fn result(&self, answer: Answer) -> Result<Value, Failure> {
        let value = match (&self.kind, answer) {
            (_, Answer::Dismiss) => return Ok(refusal("cancel")),
            (_, Answer::DenyWithGuidance(_)) => return Err(takes_no_guidance()),
            (FieldKind::YesOrNo, Answer::Confirm(false)) if self.field.is_none() => {
                return Ok(refusal("decline"));
            }
            (FieldKind::YesOrNo, Answer::Confirm(yes)) => json!(yes),
            (FieldKind::OneOf(options), Answer::Choice(choice)) if options.contains(&choice) => {
                json!(choice)
            }
            (FieldKind::Text, Answer::Text(text)) => json!(text),
            (FieldKind::YesOrNo, _) => return Err(invalid("the question takes yes or no")),
            (FieldKind::OneOf(options), _) => return Err(invalid(one_of(options))),
            (FieldKind::Text, _) => return Err(invalid("the question takes text")),
        };
        let content = self.field.iter().map(|name| (name.clone(), value.clone()));
        let content: Map<String, Value> = content.collect();
        Ok(json!({"action": "accept", "content": content, "_meta": null}))
    }
}

fn refusal(action: &str) -> Value {
    json!({"action": action, "content": null, "_meta": null})
}

fn one_of(options: &[String]) -> String {
    format!("the question takes one of: {}", options.join(", "))
}
