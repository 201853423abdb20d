//! A session of the adapter on a bench: commands and lines in, effects out.

use rp_adapter_claude_code::ClaudeCode;
use rp_sdk::interface::{Event, LaunchRequest};
use rp_sdk::own_bench;
use rp_sdk::session::Urgency;
use rp_sdk::testing::{self, launch_request};
use serde_json::{Value, json};

own_bench!(ClaudeCode);

pub(crate) fn request() -> LaunchRequest {
    LaunchRequest {
        version: Some("2.1.329 (Claude Code)".to_owned()),
        ..launch_request("claude-code")
    }
}

#[allow(dead_code, reason = "no test file uses all of it")]
impl Bench {
    /// A session whose process runs and has answered.
    pub(crate) fn new() -> Self {
        let mut bench = Self::starting(request());
        bench.answers("initialize", r#"{"models":[{"value":"opus","resolvedModel":"claude-opus","displayName":"Opus","supportedEffortLevels":["low","high"]}],"pid":7,"current_permission_mode":"default"}"#);
        bench.answers("get_settings", r#"{"applied":{"model":"claude-opus","effort":"high"}}"#);
        bench.forget();
        bench
    }

    /// A session whose process was started and has not said anything.
    pub(crate) fn starting(request: LaunchRequest) -> Self {
        Self(testing::Bench::start(request))
    }

    // ---- what Claude says

    /// Claude answers the last request of this kind that was written.
    pub(crate) fn answers(&mut self, subtype: &str, data: &str) {
        let id = &self.asked(subtype)["request_id"];
        self.line(&format!(r#"{{"type":"control_response","response":{{"subtype":"success","request_id":{id},"response":{data}}}}}"#));
    }

    /// Claude refuses the last request of this kind that was written.
    pub(crate) fn refuses(&mut self, subtype: &str, error: &str, code: &str) {
        let id = &self.asked(subtype)["request_id"];
        self.line(&format!(r#"{{"type":"control_response","response":{{"subtype":"error","request_id":{id},"error":"{error}","error_code":"{code}"}}}}"#));
    }

    /// What becomes of the message with this text.
    pub(crate) fn lifecycle(&mut self, text: &str, state: &str) {
        let id = self.sent(text)["uuid"].clone();
        let line = json!({"type": "command_lifecycle", "command_uuid": id, "state": state});
        self.line(&line.to_string());
    }

    pub(crate) fn init(&mut self) {
        self.line(r#"{"type":"system","subtype":"init","session_id":"11111111-2222-4333-8444-555555555555","model":"claude-opus","permissionMode":"default","mcp_servers":[]}"#);
    }

    /// The message is taken and the model turns to it.
    pub(crate) fn begins(&mut self, text: &str) {
        self.lifecycle(text, "queued");
        self.lifecycle(text, "started");
        self.init();
    }

    /// A session in which a turn is open.
    pub(crate) fn working() -> Self {
        let mut bench = Self::new();
        bench.prompt(1, "work", Urgency::WhenIdle);
        bench.begins("work");
        bench.forget_all_but_lines();
        bench
    }

    pub(crate) fn calls(&mut self, id: &str, tool: &str, input: &str) {
        self.line(&format!(r#"{{"type":"assistant","message":{{"id":"msg_1","content":[{{"type":"tool_use","id":"{id}","name":"{tool}","input":{input}}}]}},"parent_tool_use_id":null}}"#));
    }

    pub(crate) fn asks(&mut self, id: &str, fields: &str) {
        self.line(&format!(r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"can_use_tool",{fields}}}}}"#));
    }

    pub(crate) fn result(&mut self, fields: &str) {
        self.line(&format!(r#"{{"type":"result",{fields}}}"#));
    }

    pub(crate) fn completes(&mut self) {
        self.result(r#""subtype":"success","is_error":false,"terminal_reason":"completed""#);
    }

    pub(crate) fn is_aborted(&mut self) {
        self.result(r#""subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_streaming""#);
    }

    // ---- what the session did

    /// The requests of this kind.
    pub(crate) fn requests(&self, subtype: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["request"]["subtype"] == subtype).collect()
    }

    /// The last request of this kind.
    pub(crate) fn asked(&self, subtype: &str) -> Value {
        self.requests(subtype).pop().unwrap_or_else(|| panic!("{subtype} was not asked"))
    }

    /// The texts of the messages that were sent.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let messages = self.lines().into_iter().filter(|line| line["type"] == "user");
        messages.map(|line| line["message"]["content"].clone()).collect()
    }

    /// The last message with this text.
    pub(crate) fn sent(&self, text: &str) -> Value {
        let sent = self.lines().into_iter().rfind(|line| line["message"]["content"] == text);
        sent.unwrap_or_else(|| panic!("{text:?} was not sent"))
    }

    /// The answers to questions.
    pub(crate) fn answered(&self) -> Vec<Value> {
        let answers = self.lines().into_iter().filter(|line| line["type"] == "control_response");
        answers.map(|line| line["response"]["response"].clone()).collect()
    }

    /// Pieces of text, and ends of messages with their text.
    pub(crate) fn said(&self) -> Vec<String> {
        let said = self.events().into_iter().filter_map(|event| match event {
            Event::Text((_, piece)) => Some(piece.clone()),
            Event::MessageEnded(message) => Some(format!("{}: {}", message.id, message.text)),
            Event::ToolStarted(call) => Some(format!("{} starts", call.name)),
            _ => None,
        });
        said.collect()
    }
}
