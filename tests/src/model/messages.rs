//! Messages as Anthropic's models speak them, which Claude Code needs.

use serde_json::{Value, json};

use super::{
    Request,
    dialect::{Call, Dialect, Frames, is, list, text},
};

#[derive(Default)]
pub(super) struct Messages {
    frames: Frames,
    open: Option<Block>,
    index: usize,
    calls: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    Text,
    Thinking,
    Call,
}

impl Dialect for Messages {
    /// The harness puts several things that were said into one message, and text of its own
    /// beside them: what was said last is the last block.
    fn parse(body: Value) -> Request {
        let mut request = Request::default();
        let messages = list(&body, "messages");
        for message in messages.iter().filter(|message| is(message, "role", "user")) {
            if let Some(text) = message.get("content").and_then(Value::as_str) {
                request.hear(text);
            }
            for block in list(message, "content") {
                if let Some(text) = block.get("text").and_then(Value::as_str) {
                    request.hear(text);
                } else if is(block, "type", "tool_result") {
                    request.tool_results.push(text(block, "content"));
                }
            }
        }
        let name = |tool: &Value| tool.get("name")?.as_str().map(str::to_owned);
        request.tools = list(&body, "tools").iter().filter_map(name).collect();
        request.length = messages.len();
        request.body = body;
        request
    }

    fn begin(&mut self, number: usize, request: &Request) {
        let usage = json!({ "input_tokens": request.tokens(), "output_tokens": 1 });
        let message = json!({
            "id": format!("msg_{number}"), "type": "message", "role": "assistant", "content": [],
            "model": request.body.get("model"), "stop_reason": null, "stop_sequence": null,
            "usage": usage,
        });
        self.frames.event("message_start", json!({ "message": message }));
    }

    fn text(&mut self, text: &str) {
        self.open(Block::Text, json!({ "type": "text", "text": "" }));
        self.delta(json!({ "type": "text_delta", "text": text }));
    }

    fn thought(&mut self, text: &str) {
        let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
        self.open(Block::Thinking, block);
        self.delta(json!({ "type": "thinking_delta", "thinking": text }));
    }

    fn call(&mut self, call: Call) {
        self.calls = true;
        self.close();
        let block = json!({ "type": "tool_use", "id": call.id, "name": call.tool, "input": {} });
        self.open(Block::Call, block);
        self.delta(json!({ "type": "input_json_delta", "partial_json": call.arguments }));
    }

    fn end(&mut self) {
        self.close();
        let reason = if self.calls { "tool_use" } else { "end_turn" };
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        let end = json!({ "delta": delta, "usage": { "output_tokens": 10 } });
        self.frames.event("message_delta", end);
        self.frames.event("message_stop", json!({}));
    }

    fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }
}

impl Messages {
    /// Goes on with a block of this kind, or begins one.
    fn open(&mut self, kind: Block, content: Value) {
        if self.open != Some(kind) {
            self.close();
            let start = json!({ "index": self.index, "content_block": content });
            self.frames.event("content_block_start", start);
            self.open = Some(kind);
        }
    }

    fn delta(&mut self, delta: Value) {
        let delta = json!({ "index": self.index, "delta": delta });
        self.frames.event("content_block_delta", delta);
    }

    fn close(&mut self) {
        if self.open == Some(Block::Thinking) {
            self.delta(json!({ "type": "signature_delta", "signature": "c2lnbmVk" }));
        }
        if self.open.take().is_some() {
            self.frames.event("content_block_stop", json!({ "index": self.index }));
            self.index += 1;
        }
    }
}
