//! What the dialects have in common.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};

use super::Request;

/// How a provider's models are spoken to, and an answer that is being written.
pub(super) trait Dialect: Default + 'static {
    fn parse(body: Value) -> Request;

    /// Begins the answer with this number.
    fn begin(&mut self, number: usize, request: &Request);

    fn text(&mut self, text: &str);

    fn thought(&mut self, text: &str);

    fn call(&mut self, call: Call);

    fn end(&mut self);

    /// What is written so far.
    fn frames(&mut self) -> &mut Frames;
}

/// The body of the answer with this number.
pub(super) fn write<D: Dialect>(number: usize, request: &Request, pieces: Vec<Piece>) -> Frames {
    let mut answer = D::default();
    answer.begin(number, request);
    for piece in pieces {
        match piece {
            Piece::Text(text) => answer.text(&text),
            Piece::Thought(text) => answer.thought(&text),
            Piece::Call(call) => answer.call(call),
            Piece::Pause(pause) => answer.frames().0.push_back(Frame::Pause(pause)),
            Piece::Cut => answer.frames().0.push_back(Frame::Cut),
            Piece::Endless(word) => {
                answer.text(&word);
                answer.frames().repeat();
            }
        }
    }
    answer.end();
    std::mem::take(answer.frames())
}

/// What the model does.
pub(super) enum Piece {
    Text(String),
    Thought(String),
    Call(Call),
    Pause(Duration),
    Cut,
    /// Says this word until nobody listens.
    Endless(String),
}

/// A call of a tool.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) arguments: String,
}

/// A part of an answer's body.
pub(super) enum Frame {
    Data(String),
    Pause(Duration),
    Cut,
    Endless(String),
}

/// An answer's body.
#[derive(Default)]
pub(super) struct Frames(pub(super) VecDeque<Frame>);

impl Frames {
    /// Adds a value.
    pub(super) fn data(&mut self, value: &Value) {
        self.0.push_back(Frame::Data(format!("data: {value}\n\n")));
    }

    /// Adds an event of this kind, which stands beside it and in it.
    pub(super) fn event(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), json!(kind));
        }
        self.0.push_back(Frame::Data(format!("event: {kind}\ndata: {event}\n\n")));
    }

    /// What was added last comes again and again.
    fn repeat(&mut self) {
        if let Some(Frame::Data(text)) = self.0.pop_back() {
            self.0.push_back(Frame::Endless(text));
        }
    }
}

impl Request {
    /// Takes this for the last text the user said, unless the harness itself says it, in tags.
    pub(super) fn hear(&mut self, text: &str) {
        let text = text.trim_start();
        if !text.starts_with('<') || text.starts_with("<hook_prompt") {
            text.clone_into(&mut self.last_user_text);
            self.tool_results.clear();
        }
    }
}

/// The elements of an array, or none.
pub(super) fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn is(value: &Value, key: &str, text: &str) -> bool {
    value.get(key).and_then(Value::as_str) == Some(text)
}

/// A text under this key, whether it comes as a string or in parts.
pub(super) fn text(of: &Value, key: &str) -> String {
    match of.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let text = |part: &Value| part.get("text")?.as_str().map(str::to_owned);
            parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
