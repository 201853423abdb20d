//! Chat completions, which Pi and OpenCode are configured for.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Dialect, ENDLESS_WORD, Frame, Piece, Request, is, list, text_of};

pub(super) const DIALECT: Dialect = Dialect { parse, frames };

fn parse(body: Value) -> Request {
    let messages = list(&body, "messages");
    let content = |message: &Value| message.get("content").map(text_of).unwrap_or_default();
    let last_user = messages.iter().rposition(|message| is(message, "role", "user"));
    let (last_user_text, after) = match last_user.and_then(|at| messages.split_at_checked(at)) {
        Some((_, [user, after @ ..])) => (content(user), after),
        _ => (String::new(), messages),
    };
    let results = after.iter().filter(|message| is(message, "role", "tool"));
    let name = |tool: &Value| tool.pointer("/function/name")?.as_str().map(str::to_owned);
    Request {
        last_user_text,
        tool_results: results.map(content).collect(),
        tools: list(&body, "tools").iter().filter_map(name).collect(),
        length: messages.len(),
        body,
    }
}

fn frames(_: usize, request: &Request, pieces: Vec<Piece>) -> VecDeque<Frame> {
    let mut finish = "stop";
    let mut frames = VecDeque::new();
    for piece in pieces {
        frames.push_back(match piece {
            Piece::Text(text) => Frame::Data(delta(&json!({ "content": text }))),
            Piece::Thought(text) => Frame::Data(delta(&json!({ "reasoning_content": text }))),
            Piece::Call(call) => {
                finish = "tool_calls";
                let function = json!({ "name": call.tool, "arguments": call.arguments });
                let call = json!({
                    "index": 0, "id": call.id, "type": "function", "function": function,
                });
                Frame::Data(delta(&json!({ "tool_calls": [call] })))
            }
            Piece::Pause(pause) => Frame::Pause(pause),
            Piece::Cut => Frame::Cut,
            Piece::Endless => Frame::Endless(delta(&json!({ "content": ENDLESS_WORD }))),
        });
    }
    let prompt = request.tokens();
    let usage =
        json!({ "prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10 });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": finish }] });
    frames.push_back(Frame::Data(data(&end)));
    frames.push_back(Frame::Data(data(&json!({ "choices": [], "usage": usage }))));
    frames
}

fn delta(delta: &Value) -> String {
    data(&json!({ "choices": [{ "index": 0, "delta": delta }] }))
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}
