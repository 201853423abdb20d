//! Chat completions, which Pi and OpenCode are configured for.

use serde_json::{Value, json};

use super::{
    Request,
    dialect::{Call, Dialect, Frames, is, list, text},
};

#[derive(Default)]
pub(super) struct Chat {
    frames: Frames,
    prompt_tokens: usize,
    calls: bool,
}

impl Dialect for Chat {
    fn parse(body: Value) -> Request {
        let messages = list(&body, "messages");
        let content = |message: &Value| text(message, "content");
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

    fn begin(&mut self, _: usize, request: &Request) {
        self.prompt_tokens = request.tokens();
    }

    fn text(&mut self, text: &str) {
        self.delta(&json!({ "content": text }));
    }

    fn thought(&mut self, text: &str) {
        self.delta(&json!({ "reasoning_content": text }));
    }

    fn call(&mut self, call: Call) {
        self.calls = true;
        let function = json!({ "name": call.tool, "arguments": call.arguments });
        let call = json!({ "index": 0, "id": call.id, "type": "function", "function": function });
        self.delta(&json!({ "tool_calls": [call] }));
    }

    fn end(&mut self) {
        let reason = if self.calls { "tool_calls" } else { "stop" };
        let end = json!({ "index": 0, "delta": {}, "finish_reason": reason });
        self.frames.data(&json!({ "choices": [end] }));
        let (prompt, all) = (self.prompt_tokens, self.prompt_tokens + 10);
        let usage =
            json!({ "prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": all });
        self.frames.data(&json!({ "choices": [], "usage": usage }));
    }

    fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }
}

impl Chat {
    fn delta(&mut self, delta: &Value) {
        self.frames.data(&json!({ "choices": [{ "index": 0, "delta": delta }] }));
    }
}
