//! A session of the adapter on a bench: commands and lines in, rendered effects out.

use rp_adapter_pi::Pi;
use rp_sdk::Adapter;
use rp_sdk::interface::{Command, Effect, Event, Exit, Failure, LaunchRequest, Reply};
use rp_sdk::session::{Prompt, TurnEnd, Urgency};
use serde_json::Value;

/// What a session did since it was last asked.
pub(crate) struct Bench {
    pi: Pi,
    pub(crate) effects: Vec<Effect>,
}

#[allow(dead_code, reason = "no test file uses all of it")]
impl Bench {
    /// A session whose process runs, of a Pi of this version.
    pub(crate) fn new(version: Option<&str>) -> Self {
        let request = LaunchRequest {
            harness: "pi".to_owned(),
            cwd: "/home/user/project".to_owned(),
            agent: "user".to_owned(),
            model: None,
            resume: None,
            mesh: None,
            settings: "{}".to_owned(),
            version: version.map(str::to_owned),
        };
        let mut bench = Self { pi: Pi::new(request), effects: Vec::new() };
        bench.effects = bench.pi.started();
        bench
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.bytes(line.as_bytes());
    }

    pub(crate) fn bytes(&mut self, line: &[u8]) {
        let effects = self.pi.output(line);
        self.effects.extend(effects);
    }

    pub(crate) fn command(&mut self, number: u64, command: Command) {
        let effects = self.pi.command(number, command);
        self.effects.extend(effects);
    }

    pub(crate) fn prompt(&mut self, number: u64, text: &str, urgency: Urgency) {
        self.command(
            number,
            Command::Prompt(Prompt { text: text.to_owned(), images: Vec::new(), urgency }),
        );
    }

    pub(crate) fn diagnostics(&mut self, line: &str) {
        let effects = self.pi.diagnostics(line);
        self.effects.extend(effects);
    }

    pub(crate) fn wake(&mut self) {
        let effects = self.pi.wake();
        self.effects.extend(effects);
    }

    pub(crate) fn exited(&mut self, how: &Exit) {
        let effects = self.pi.exited(how);
        self.effects.extend(effects);
    }

    pub(crate) fn started(&mut self) {
        let effects = self.pi.started();
        self.effects.extend(effects);
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

    /// The lines written since the effects were last cleared, of one type.
    pub(crate) fn written(&self, kind: &str) -> Vec<Value> {
        let lines = self.effects.iter().filter_map(|effect| match effect {
            Effect::Write(bytes) => serde_json::from_slice::<Value>(bytes).ok(),
            _ => None,
        });
        lines.filter(|line| line["type"] == kind).collect()
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        let events = self.effects.iter().filter_map(|effect| match effect {
            Effect::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let texts = self.events().into_iter().filter_map(|event| match event {
            Event::Text((_, piece)) => Some(piece.clone()),
            _ => None,
        });
        texts.collect()
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        let notices = self.events().into_iter().filter_map(|event| match event {
            Event::Notice((_, text)) => Some(text.clone()),
            _ => None,
        });
        notices.collect()
    }

    pub(crate) fn turn_ends(&self) -> Vec<TurnEnd> {
        let ends = self.events().into_iter().filter_map(|event| match event {
            Event::TurnEnded(how) => Some(*how),
            _ => None,
        });
        ends.collect()
    }

    pub(crate) fn outcome(&self, wanted: u64) -> Option<&Result<Reply, Failure>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Settle((number, outcome)) if *number == wanted => Some(outcome),
            _ => None,
        })
    }

    pub(crate) fn is_done(&self, number: u64) -> bool {
        matches!(self.outcome(number), Some(Ok(Reply::Done)))
    }

    pub(crate) fn forget(&mut self) {
        self.effects.clear();
    }
}
