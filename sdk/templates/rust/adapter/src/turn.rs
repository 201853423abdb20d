//! The running turn, and what is unfinished in it.

use serde_json::{Map, Value};

use crate::effects::event;
use crate::exports::rp::harness::adapter::{Effect, Event};
use crate::rp::session::types::{Message, Role, Severity, ToolCall, TurnEnd};

#[derive(Default)]
pub(crate) struct Turn {
    runs: bool,
    message: Option<Message>,
    tool: Option<ToolCall>,
    ids: u64,
}

impl Turn {
    pub(crate) fn runs(&self) -> bool {
        self.runs
    }

    pub(crate) fn start(&mut self) {
        self.runs = true;
    }

    /// A line of the harness.
    pub(crate) fn line(&mut self, line: &Map<String, Value>) -> Vec<Effect> {
        let text = |key| line.get(key).and_then(Value::as_str);
        let is = |key| line.get(key).and_then(Value::as_bool).unwrap_or_default();
        if !self.runs {
            vec![]
        } else if let Some(piece) = text("say") {
            self.say(piece)
        } else if let (Some(tool), Some(input)) = (text("tool"), line.get("input")) {
            self.start_tool(tool, input)
        } else if line.contains_key("tool") {
            let output = Some(text("output").unwrap_or_default().into());
            Vec::from_iter(self.end_tool(output, is("failed")))
        } else if is("done") {
            let error = text("error");
            let ended = if error.is_some() { TurnEnd::Failed } else { TurnEnd::Completed };
            self.end(if is("aborted") { TurnEnd::Aborted } else { ended }, error)
        } else {
            vec![]
        }
    }

    /// Ends the turn, if one runs; the error is shown.
    pub(crate) fn end(&mut self, how: TurnEnd, error: Option<&str>) -> Vec<Effect> {
        if !std::mem::take(&mut self.runs) {
            return vec![];
        }
        let mut effects = self.end_unfinished();
        let notice = error.map(|error| Event::Notice((Severity::Error, error.into())));
        effects.extend(notice.map(event));
        effects.push(event(Event::TurnEnded(how)));
        effects
    }

    fn say(&mut self, piece: &str) -> Vec<Effect> {
        let Turn { message, ids, .. } = self;
        let message = message.get_or_insert_with(|| {
            *ids += 1;
            let (id, text, role) = (format!("m{ids}"), String::new(), Role::Assistant);
            Message { id, role, text, thinking: None, tool: None, images: vec![], at_ms: 0 }
        });
        message.text.push_str(piece);
        vec![event(Event::Text((message.id.clone(), piece.into())))]
    }

    fn start_tool(&mut self, name: &str, input: &Value) -> Vec<Effect> {
        let mut effects = self.end_unfinished();
        self.ids += 1;
        let (id, input) = (format!("t{}", self.ids), input.to_string());
        let tool = ToolCall { id, name: name.into(), input, output: None, failed: false };
        effects.push(event(Event::ToolStarted(tool.clone())));
        self.tool = Some(tool);
        effects
    }

    fn end_tool(&mut self, output: Option<String>, failed: bool) -> Option<Effect> {
        let tool = self.tool.take()?;
        Some(event(Event::ToolEnded(ToolCall { output, failed, ..tool })))
    }

    fn end_unfinished(&mut self) -> Vec<Effect> {
        let message = self.message.take().map(Event::MessageEnded).map(event);
        message.into_iter().chain(self.end_tool(None, true)).collect()
    }
}
