//! Messages as Anthropic's models speak them, which Claude Code needs.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Dialect, ENDLESS_WORD, Frame, Piece, Request, is, list, text_of};

pub(super) const DIALECT: Dialect = Dialect { parse, frames };

/// The harness puts several things that were said into one message, and text of its own beside
/// them: what was said last is the last block.
fn parse(body: Value) -> Request {
    let mut request = Request::default();
    let messages = list(&body, "messages");
    for message in messages.iter().filter(|message| is(message, "role", "user")) {
        let content = message.get("content").unwrap_or(&Value::Null);
        if let Value::String(text) = content {
            request.hear(text);
        }
        for block in content.as_array().into_iter().flatten() {
            if let Some(text) = block.get("text").and_then(Value::as_str) {
                request.hear(text);
            } else if is(block, "type", "tool_result") {
                request.tool_results.push(block.get("content").map(text_of).unwrap_or_default());
            }
        }
    }
    let name = |tool: &Value| tool.get("name")?.as_str().map(str::to_owned);
    request.tools = list(&body, "tools").iter().filter_map(name).collect();
    request.length = messages.len();
    request.body = body;
    request
}

fn frames(number: usize, request: &Request, pieces: Vec<Piece>) -> VecDeque<Frame> {
    let mut writer = Writer::default();
    let usage = json!({ "input_tokens": request.tokens(), "output_tokens": 1 });
    let message = json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "content": [],
        "model": request.body.get("model"), "stop_reason": null, "stop_sequence": null,
        "usage": usage,
    });
    writer.event("message_start", json!({ "message": message }));
    let mut reason = "end_turn";
    for piece in pieces {
        match piece {
            Piece::Text(text) => writer.text(&text),
            Piece::Thought(text) => {
                writer.block(Block::Thinking, json!({ "thinking": "", "signature": "" }));
                writer.delta(json!({ "type": "thinking_delta", "thinking": text }));
            }
            Piece::Call(call) => {
                reason = "tool_use";
                writer.close();
                let block = json!({ "id": call.id, "name": call.tool, "input": {} });
                writer.block(Block::Call, block);
                let json = call.arguments;
                writer.delta(json!({ "type": "input_json_delta", "partial_json": json }));
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
    let delta = json!({ "stop_reason": reason, "stop_sequence": null });
    writer.event("message_delta", json!({ "delta": delta, "usage": { "output_tokens": 10 } }));
    writer.event("message_stop", json!({}));
    writer.frames
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    Text,
    Thinking,
    Call,
}

#[derive(Default)]
struct Writer {
    frames: VecDeque<Frame>,
    open: Option<Block>,
    index: usize,
}

impl Writer {
    fn event(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), json!(kind));
        }
        self.frames.push_back(Frame::Data(format!("event: {kind}\ndata: {event}\n\n")));
    }

    /// Goes on with a block of this kind, or begins one.
    fn block(&mut self, kind: Block, mut content: Value) {
        if self.open == Some(kind) {
            return;
        }
        self.close();
        let name = match kind {
            Block::Text => "text",
            Block::Thinking => "thinking",
            Block::Call => "tool_use",
        };
        if let Some(content) = content.as_object_mut() {
            content.insert("type".to_owned(), json!(name));
        }
        let start = json!({ "index": self.index, "content_block": content });
        self.event("content_block_start", start);
        self.open = Some(kind);
    }

    fn text(&mut self, text: &str) {
        self.block(Block::Text, json!({ "text": "" }));
        self.delta(json!({ "type": "text_delta", "text": text }));
    }

    fn delta(&mut self, delta: Value) {
        self.event("content_block_delta", json!({ "index": self.index, "delta": delta }));
    }

    fn close(&mut self) {
        if self.open == Some(Block::Thinking) {
            self.delta(json!({ "type": "signature_delta", "signature": "c2lnbmVk" }));
        }
        if self.open.take().is_some() {
            self.event("content_block_stop", json!({ "index": self.index }));
            self.index += 1;
        }
    }
}
