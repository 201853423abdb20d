//! A session of the adapter on a bench: commands and lines in, effects out.

use rp_adapter_acp::Acp;
use rp_sdk::interface::{Command, LaunchRequest};
use rp_sdk::own_bench;
use rp_sdk::session::Urgency;
use rp_sdk::testing::{self, launch_request};
use serde_json::{Value, json};

/// The session that [`Bench::open`] opens.
pub(crate) const SESSION: &str = "s1";

own_bench!(Acp);

#[allow(dead_code, reason = "no test file uses all of it")]
impl Bench {
    /// A session whose process runs and was asked to introduce itself.
    pub(crate) fn start(request: LaunchRequest) -> Self {
        Self(testing::Bench::start(request))
    }

    /// A session that takes prompts.
    pub(crate) fn open(harness: &str) -> Self {
        let mut bench = Self::start(launch_request(harness));
        bench.introduce();
        bench.answer("session/new", json!({"sessionId": SESSION}));
        bench.forget();
        bench
    }

    /// A session in which a turn runs; its prompt is command 1.
    pub(crate) fn working(harness: &str) -> Self {
        let mut bench = Self::open(harness);
        bench.prompt(1, "work", Urgency::WhenIdle);
        bench.text("m1", "I am at it");
        bench
    }

    /// The agent introduces itself as one that can load sessions and take images.
    pub(crate) fn introduce(&mut self) {
        let capabilities = json!({
            "loadSession": true,
            "promptCapabilities": {"image": true},
            "sessionCapabilities": {"list": {}},
        });
        let result = json!({"protocolVersion": 1, "agentCapabilities": capabilities});
        self.answer("initialize", result);
    }

    pub(crate) fn other(&mut self, number: u64, name: &str, arguments: &Value) {
        self.command(number, Command::Other((name.to_owned(), arguments.to_string())));
    }

    /// The agent tells something about a session.
    pub(crate) fn update_of(&mut self, session: &str, update: &Value) {
        let params = json!({"sessionId": session, "update": update});
        self.line(
            &json!({"jsonrpc": "2.0", "method": "session/update", "params": params}).to_string(),
        );
    }

    pub(crate) fn update(&mut self, update: &Value) {
        self.update_of(SESSION, update);
    }

    /// The model goes on with this message.
    pub(crate) fn text(&mut self, message: &str, text: &str) {
        self.update(&chunk("agent_message_chunk", message, text));
    }

    /// A tool is announced, or goes on.
    pub(crate) fn tool(&mut self, id: &str, status: &str) {
        let kind = if status == "pending" { "tool_call" } else { "tool_call_update" };
        self.update(&json!({
            "sessionUpdate": kind, "toolCallId": id, "title": "ls", "kind": "execute",
            "status": status, "rawInput": {"command": "ls"},
        }));
    }

    /// The agent asks before it calls a tool, with this id of its own.
    pub(crate) fn ask(&mut self, id: &Value, tool: &str) {
        let options = json!([
            {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ]);
        let call =
            json!({"toolCallId": tool, "title": "ls", "kind": "execute", "status": "pending"});
        let params = json!({"sessionId": SESSION, "toolCall": call, "options": options});
        let method = "session/request_permission";
        self.line(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string(),
        );
    }

    /// The agent answers the last request of this method.
    pub(crate) fn answer(&mut self, method: &str, result: Value) {
        let id = self.last_id(method);
        self.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    }

    pub(crate) fn fail(&mut self, method: &str, code: i64, message: &str) {
        let (id, error) = (self.last_id(method), json!({"code": code, "message": message}));
        self.line(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
    }

    /// The agent ends the prompt that was sent last.
    pub(crate) fn stop(&mut self, reason: &str) {
        self.answer("session/prompt", json!({"stopReason": reason}));
    }

    fn last_id(&self, method: &str) -> Value {
        let written = self.written(method).pop();
        written.unwrap_or_else(|| panic!("no {method} was written"))["id"].clone()
    }

    pub(crate) fn written(&self, method: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["method"] == method).collect()
    }

    /// The texts of the prompts that were sent.
    pub(crate) fn prompts(&self) -> Vec<String> {
        let prompts = self.written("session/prompt").into_iter();
        prompts
            .map(|line| line["params"]["prompt"][0]["text"].as_str().unwrap_or("-").to_owned())
            .collect()
    }

    /// All of its notices.
    pub(crate) fn notices(&self) -> String {
        self.0.notices().join("\n")
    }
}

pub(crate) fn chunk(kind: &str, message: &str, text: &str) -> Value {
    json!({
        "sessionUpdate": kind, "messageId": message, "content": {"type": "text", "text": text},
    })
}
