//! Responses as OpenAI's models speak them, which Codex needs.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Dialect, ENDLESS_WORD, Frame, Piece, Request, is, list, text_of};

pub(super) const DIALECT: Dialect = Dialect { parse, frames };

fn parse(body: Value) -> Request {
    let mut request = Request::default();
    let input = list(&body, "input");
    for item in input {
        if is(item, "role", "user") {
            request.hear(&item.get("content").map(text_of).unwrap_or_default());
        } else if is(item, "type", "function_call_output") {
            request.tool_results.push(item.get("output").map(text_of).unwrap_or_default());
        }
    }
    for tool in list(&body, "tools") {
        let Some(name) = tool.get("name").and_then(Value::as_str) else { continue };
        if !is(tool, "type", "namespace") {
            request.tools.push(name.to_owned());
            continue;
        }
        let inner = list(tool, "tools").iter().filter_map(|tool| tool.get("name")?.as_str());
        request.tools.extend(inner.map(|inner| format!("{name}/{inner}")));
    }
    request.length = input.len();
    request.body = body;
    request
}

fn frames(number: usize, request: &Request, pieces: Vec<Piece>) -> VecDeque<Frame> {
    let mut writer = Writer { number, ..Writer::default() };
    let id = format!("resp_{number}");
    writer.event("response.created", json!({ "response": { "id": id } }));
    for piece in pieces {
        match piece {
            Piece::Text(text) => writer.text(&text),
            Piece::Thought(text) => writer.thought(&text),
            Piece::Call(call) => {
                writer.close();
                let (namespace, name) = match call.tool.split_once('/') {
                    Some((namespace, name)) => (Some(namespace), name),
                    None => (None, call.tool.as_str()),
                };
                let item = json!({
                    "type": "function_call", "id": format!("fc_{number}"), "call_id": call.id,
                    "namespace": namespace, "name": name, "arguments": call.arguments,
                });
                writer.event("response.output_item.added", json!({ "item": &item }));
                writer.event("response.output_item.done", json!({ "item": item }));
            }
            Piece::Pause(pause) => writer.frames.push_back(Frame::Pause(pause)),
            Piece::Cut => writer.frames.push_back(Frame::Cut),
            Piece::Endless => {
                writer.text(ENDLESS_WORD);
                if let Some(Frame::Data(text)) = writer.frames.pop_back() {
                    writer.frames.push_back(Frame::Endless(text));
                }
            }
        }
    }
    writer.close();
    let input = request.tokens();
    let usage = json!({
        "input_tokens": input, "input_tokens_details": null, "output_tokens": 10,
        "output_tokens_details": null, "total_tokens": input + 10,
    });
    writer.event("response.completed", json!({ "response": { "id": id, "usage": usage } }));
    writer.frames
}

/// The item that is being said.
enum Open {
    Message(String),
    Reasoning(String),
}

#[derive(Default)]
struct Writer {
    frames: VecDeque<Frame>,
    number: usize,
    open: Option<Open>,
    items: usize,
}

impl Writer {
    fn event(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), json!(kind));
        }
        self.frames.push_back(Frame::Data(format!("event: {kind}\ndata: {event}\n\n")));
    }

    fn id(&self) -> String {
        format!("item_{}_{}", self.number, self.items)
    }

    fn text(&mut self, text: &str) {
        if !matches!(self.open, Some(Open::Message(_))) {
            self.close();
            self.open = Some(Open::Message(String::new()));
            let item = message(&self.id(), json!([]));
            self.event("response.output_item.added", json!({ "item": item }));
        }
        if let Some(Open::Message(said)) = &mut self.open {
            said.push_str(text);
        }
        let delta = json!({ "item_id": self.id(), "content_index": 0, "delta": text });
        self.event("response.output_text.delta", delta);
    }

    fn thought(&mut self, text: &str) {
        let id = self.id();
        if !matches!(self.open, Some(Open::Reasoning(_))) {
            self.close();
            self.open = Some(Open::Reasoning(String::new()));
            let item = reasoning(&self.id(), json!([]));
            self.event("response.output_item.added", json!({ "item": item }));
            let part = json!({ "item_id": id, "summary_index": 0 });
            self.event("response.reasoning_summary_part.added", part);
        }
        if let Some(Open::Reasoning(thought)) = &mut self.open {
            thought.push_str(text);
        }
        let delta = json!({ "item_id": self.id(), "summary_index": 0, "delta": text });
        self.event("response.reasoning_summary_text.delta", delta);
    }

    fn close(&mut self) {
        let item = match self.open.take() {
            None => return,
            Some(Open::Message(text)) => {
                message(&self.id(), json!([{ "type": "output_text", "text": text }]))
            }
            Some(Open::Reasoning(text)) => {
                reasoning(&self.id(), json!([{ "type": "summary_text", "text": text }]))
            }
        };
        self.event("response.output_item.done", json!({ "item": item }));
        self.items += 1;
    }
}

fn message(id: &str, content: Value) -> Value {
    json!({ "type": "message", "id": id, "role": "assistant", "content": content })
}

fn reasoning(id: &str, summary: Value) -> Value {
    json!({ "type": "reasoning", "id": id, "summary": summary })
}
