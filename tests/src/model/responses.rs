//! Responses as OpenAI's models speak them, which Codex needs.

use serde_json::{Value, json};

use super::{
    Request,
    dialect::{Call, Dialect, Frames, is, list, text},
};

#[derive(Default)]
pub(super) struct Responses {
    frames: Frames,
    number: usize,
    input_tokens: usize,
    open: Option<Item>,
    items: usize,
}

/// What is being said, with all of it so far.
enum Item {
    Message(String),
    Reasoning(String),
}

impl Dialect for Responses {
    fn parse(body: Value) -> Request {
        let mut request = Request::default();
        let input = list(&body, "input");
        for item in input {
            if is(item, "role", "user") {
                request.hear(&text(item, "content"));
            } else if is(item, "type", "function_call_output") {
                request.tool_results.push(text(item, "output"));
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

    fn begin(&mut self, number: usize, request: &Request) {
        self.number = number;
        self.input_tokens = request.tokens();
        let response = json!({ "id": format!("resp_{number}") });
        self.frames.event("response.created", json!({ "response": response }));
    }

    fn text(&mut self, text: &str) {
        if !matches!(self.open, Some(Item::Message(_))) {
            self.open(Item::Message(String::new()));
        }
        if let Some(Item::Message(said)) = &mut self.open {
            said.push_str(text);
        }
        let delta = json!({ "item_id": self.id(), "content_index": 0, "delta": text });
        self.frames.event("response.output_text.delta", delta);
    }

    fn thought(&mut self, text: &str) {
        if !matches!(self.open, Some(Item::Reasoning(_))) {
            self.open(Item::Reasoning(String::new()));
            let part = json!({ "item_id": self.id(), "summary_index": 0 });
            self.frames.event("response.reasoning_summary_part.added", part);
        }
        if let Some(Item::Reasoning(thought)) = &mut self.open {
            thought.push_str(text);
        }
        let delta = json!({ "item_id": self.id(), "summary_index": 0, "delta": text });
        self.frames.event("response.reasoning_summary_text.delta", delta);
    }

    fn call(&mut self, call: Call) {
        self.close();
        let (namespace, name) = match call.tool.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, call.tool.as_str()),
        };
        let item = json!({
            "type": "function_call", "id": self.id(), "call_id": call.id,
            "namespace": namespace, "name": name, "arguments": call.arguments,
        });
        self.frames.event("response.output_item.added", json!({ "item": &item }));
        self.frames.event("response.output_item.done", json!({ "item": item }));
        self.items += 1;
    }

    fn end(&mut self) {
        self.close();
        let usage = json!({
            "input_tokens": self.input_tokens, "input_tokens_details": null, "output_tokens": 10,
            "output_tokens_details": null, "total_tokens": self.input_tokens + 10,
        });
        let response = json!({ "id": format!("resp_{}", self.number), "usage": usage });
        self.frames.event("response.completed", json!({ "response": response }));
    }

    fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }
}

impl Responses {
    fn id(&self) -> String {
        format!("item_{}_{}", self.number, self.items)
    }

    fn open(&mut self, item: Item) {
        self.close();
        let added = json!({ "item": item.shown(&self.id()) });
        self.frames.event("response.output_item.added", added);
        self.open = Some(item);
    }

    fn close(&mut self) {
        if let Some(item) = self.open.take() {
            let done = json!({ "item": item.shown(&self.id()) });
            self.frames.event("response.output_item.done", done);
            self.items += 1;
        }
    }
}

impl Item {
    fn shown(&self, id: &str) -> Value {
        let parts = |kind: &str, text: &str| match text {
            "" => json!([]),
            text => json!([{ "type": kind, "text": text }]),
        };
        match self {
            Self::Message(text) => json!({
                "type": "message", "id": id, "role": "assistant",
                "content": parts("output_text", text),
            }),
            Self::Reasoning(text) => {
                json!({ "type": "reasoning", "id": id, "summary": parts("summary_text", text) })
            }
        }
    }
}
