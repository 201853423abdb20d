//! A session of the adapter on a bench: commands and Codex's lines in, what it does out.

use rp_adapter_codex::Codex;
use rp_sdk::interface::{Effect, Exit, LaunchRequest};
use rp_sdk::own_bench;
use rp_sdk::session::Urgency;
use rp_sdk::testing::{self, launch_request};
use serde_json::{Value, json};

/// The thread that is current at first.
pub(crate) const THREAD: &str = "thread-1";
/// The turn that [`Bench::begin`] begins.
pub(crate) const TURN: &str = "turn-1";

own_bench!(Codex);

#[allow(dead_code, reason = "no test file uses all of it")]
impl Bench {
    /// A session whose process has just been started.
    pub(crate) fn started() -> Self {
        Self::launched(None)
    }

    /// A session that has been greeted and has no thread yet.
    pub(crate) fn greeted(resume: Option<&str>) -> Self {
        let mut bench = Self::launched(resume);
        bench.answer("initialize", json!({}));
        bench
    }

    fn launched(resume: Option<&str>) -> Self {
        let request = LaunchRequest {
            model: Some("own/model-1".to_owned()),
            resume: resume.map(str::to_owned),
            ..launch_request("codex")
        };
        Self(testing::Bench::start(request))
    }

    /// A session whose thread is open.
    pub(crate) fn open() -> Self {
        let mut bench = Self::greeted(None);
        bench.answer("thread/start", thread(THREAD));
        bench.forget();
        bench
    }

    /// A session in whose turn the model works on `prompt`, the command with the number 1.
    pub(crate) fn working() -> Self {
        let mut bench = Self::open();
        bench.prompt(1, "prompt", Urgency::WhenIdle);
        bench.answer("turn/start", turn(TURN, "inProgress"));
        bench.begin(TURN);
        bench.user_message(1, "prompt");
        bench.forget();
        bench
    }

    /// Codex tells something of the thread.
    pub(crate) fn tell(&mut self, method: &str, params: Value) {
        let mut line = json!({"method": method, "params": {"threadId": THREAD}});
        line["params"].as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        self.line(&line.to_string());
    }

    /// Codex asks something.
    pub(crate) fn ask(&mut self, id: u64, method: &str, params: Value) {
        self.line(&json!({"id": id, "method": method, "params": params}).to_string());
    }

    /// Codex answers the last request of this method.
    pub(crate) fn answer(&mut self, method: &str, result: Value) {
        let id = self.last(method)["id"].clone();
        self.line(&json!({"id": id, "result": result}).to_string());
    }

    /// Codex refuses the last request of this method.
    pub(crate) fn fail(&mut self, method: &str, message: &str) {
        let id = self.last(method)["id"].clone();
        let error = json!({"code": -32600, "message": message});
        self.line(&json!({"id": id, "error": error}).to_string());
    }

    pub(crate) fn begin(&mut self, id: &str) {
        self.tell("turn/started", turn(id, "inProgress"));
    }

    pub(crate) fn end(&mut self, id: &str, status: &str) {
        self.tell("turn/completed", turn(id, status));
    }

    /// A prompt becomes part of the turn.
    pub(crate) fn user_message(&mut self, number: u64, text: &str) {
        let content = json!([{"type": "text", "text": text}]);
        let client_id = format!("prompt-{number}");
        let item = json!({"type": "userMessage", "id": client_id, "clientId": client_id, "content": content});
        self.item("item/started", &item);
        self.item("item/completed", &item);
    }

    /// A command is started by the model.
    pub(crate) fn command_item(&mut self, method: &str, id: &str, rest: Value) {
        let mut item = json!({"type": "commandExecution", "id": id, "command": "make", "cwd": "/", "status": "inProgress"});
        item.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.item(method, &item);
    }

    pub(crate) fn item(&mut self, method: &str, item: &Value) {
        self.tell(method, json!({"turnId": TURN, "item": item}));
    }

    /// Ends the process and demands that nothing was left open or done wrong.
    pub(crate) fn close(mut self) {
        self.exited(&Exit::Code(0));
        self.finish();
    }

    /// Everything written with this method, in order.
    pub(crate) fn written(&self, method: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["method"] == method).collect()
    }

    pub(crate) fn last(&self, method: &str) -> Value {
        self.written(method).pop().unwrap_or_else(|| panic!("{method} was not written"))
    }

    /// The texts of the prompts written with this method.
    pub(crate) fn prompts(&self, method: &str) -> Vec<String> {
        let text = |line: &Value| line["params"]["input"][0]["text"].as_str().unwrap().to_owned();
        self.written(method).iter().map(text).collect()
    }

    pub(crate) fn stopped(&self) -> bool {
        self.effects().contains(&Effect::Stop)
    }

    /// All of its notices.
    pub(crate) fn notices(&self) -> String {
        self.0.notices().join("\n")
    }

    /// All that the model said.
    pub(crate) fn texts(&self) -> String {
        self.0.texts().concat()
    }
}

/// The answer that opens a thread.
pub(crate) fn thread(id: &str) -> Value {
    json!({"thread": {"id": id, "name": null}, "model": "model-1", "modelProvider": "own", "reasoningEffort": null})
}

/// A turn as its beginning, its end and the answer to its start tell it.
pub(crate) fn turn(id: &str, status: &str) -> Value {
    json!({"turn": {"id": id, "status": status, "error": null}})
}
