//! A session of the adapter on a bench: commands and lines in, rendered effects out.

use rp_adapter_pi::Pi;
use rp_sdk::interface::LaunchRequest;
use rp_sdk::own_bench;
use rp_sdk::testing::{self, launch_request};
use serde_json::Value;

own_bench!(Pi);

#[allow(dead_code, reason = "no test file uses all of it")]
impl Bench {
    /// A session whose process runs, of a Pi of this version.
    pub(crate) fn new(version: Option<&str>) -> Self {
        let version = version.map(str::to_owned);
        Self(testing::Bench::start(LaunchRequest { version, ..launch_request("pi") }))
    }

    /// Pi answers the last command of this type that was written.
    pub(crate) fn answer(&mut self, kind: &str, rest: &str) {
        let written = self.written(kind).pop().unwrap_or_else(|| panic!("no {kind} was written"));
        self.line(&format!(
            r#"{{"id":{},"type":"response","command":"{kind}",{rest}}}"#,
            written["id"]
        ));
    }

    /// A run starts with this prompt.
    pub(crate) fn run(&mut self, text: &str) {
        self.line(r#"{"type":"agent_start"}"#);
        let text = Value::String(text.to_owned());
        let message = format!(
            r#"{{"role":"user","content":[{{"type":"text","text":{text}}}],"timestamp":7}}"#
        );
        self.line(&format!(r#"{{"type":"message_start","message":{message}}}"#));
        self.line(&format!(r#"{{"type":"message_end","message":{message}}}"#));
    }

    /// The model's message ends, and the run with it.
    pub(crate) fn end_run(&mut self, stop: &str) {
        let message = format!(
            r#"{{"role":"assistant","content":[],"stopReason":"{stop}","errorMessage":"it broke","timestamp":8}}"#
        );
        self.line(&format!(r#"{{"type":"message_start","message":{message}}}"#));
        self.line(&format!(r#"{{"type":"message_end","message":{message}}}"#));
        self.line(r#"{"type":"agent_end","messages":[]}"#);
    }

    /// The lines written since the effects were last forgotten, of one type.
    pub(crate) fn written(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["type"] == kind).collect()
    }
}
