//! Tools that run.

use rp_sdk::Effects;
use rp_sdk::interface::Event;
use rp_sdk::json::{Text, member, read};
use rp_sdk::session::{Message, Role, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::decode::Update;
use crate::harness::Harness;

/// How many calls are followed at once. One more is not followed.
const OPEN_AT_MOST: usize = 256;

/// How much is kept of an output that comes in pieces, in bytes. Its beginning goes first.
const OUTPUT_AT_MOST: usize = 4 << 20;

#[derive(Debug)]
struct Tool {
    call: ToolCall,
    /// What it is about to do, in the agent's words.
    title: String,
    kind: String,
    started: bool,
    /// All its output so far.
    output: String,
    /// It is over, and has failed or not. In the history more can follow.
    over: Option<bool>,
}

/// Calls that are announced or run, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Tools(Vec<Tool>);

impl Tools {
    fn find(&mut self, id: &str) -> Option<&mut Tool> {
        self.0.iter_mut().find(|tool| tool.call.id == id)
    }

    /// Whether one of them runs or is about to.
    pub(crate) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Name and arguments of a call, as far as they are known.
    pub(crate) fn about(&self, id: &str) -> Option<(String, String)> {
        let tool = self.0.iter().find(|tool| tool.call.id == id)?;
        Some((tool.call.name.clone(), tool.call.input.clone()))
    }
}

/// What pi-acp says of a command: the protocol's terminals are not for the agent's own ones.
#[derive(Debug, Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    terminal_output: Option<TerminalOutput<'a>>,
}

#[derive(Debug, Deserialize)]
struct TerminalOutput<'a> {
    #[serde(borrow)]
    data: Text<'a>,
}

impl Conversation {
    /// `tool_call`: a call is announced, or with `tool_call_update` goes on.
    pub(crate) fn tool(&mut self, update: &Update<'_>, announced: bool, out: &mut Effects) {
        let Some(id) = update.tool_call_id.as_deref() else {
            return;
        };
        if self.tools.find(id).is_none() {
            // A call nobody announced is one of an earlier turn.
            if !announced || self.tools.0.len() >= OPEN_AT_MOST {
                return;
            }
            self.announced(id, out);
        }
        let (harness, live) = (self.harness, self.live);
        let Some(tool) = self.tools.find(id) else {
            return;
        };
        let status = update.status.as_deref().unwrap_or_default();
        tool.over = tool.over.or(match status {
            "completed" => Some(false),
            "failed" => Some(true),
            _ => None,
        });
        tool.learn(update, harness, live);
        let waits = announced && status != "in_progress" && harness.arguments_come_late();
        if tool.over.is_some() || status == "in_progress" || (announced && !waits) {
            tool.start(out);
        }
        // What is shown with the announcement is what will be done, not what came of it.
        if !announced || tool.over.is_some() {
            tool.shows(update, out);
        }
        if live && tool.over.is_some() {
            self.end_tool(id, out);
        }
    }

    /// The agent asks before it calls a tool, which may be the first that is heard of the call.
    pub(crate) fn asked_about(&mut self, update: &Update<'_>, out: &mut Effects) {
        let Some(id) = update.tool_call_id.as_deref() else {
            return;
        };
        if self.tools.find(id).is_none() && self.tools.0.len() < OPEN_AT_MOST {
            self.announced(id, out);
        }
        let (harness, live) = (self.harness, self.live);
        if let Some(tool) = self.tools.find(id).filter(|tool| !tool.started) {
            tool.learn(update, harness, live);
        }
    }

    /// A person allowed the call, so it starts: not every agent says that it did.
    pub(crate) fn allowed(&mut self, id: &str, out: &mut Effects) {
        if let Some(tool) = self.tools.find(id) {
            tool.start(out);
        }
    }

    /// A person did not allow the call. One that was not said to run never will, unless the
    /// agent announces its calls early: that one tells the end of each.
    pub(crate) fn denied(&mut self, id: &str) {
        if !self.harness.arguments_come_late() {
            self.tools.0.retain(|tool| tool.started || tool.call.id != id);
        }
    }

    fn announced(&mut self, id: &str, out: &mut Effects) {
        self.end_message(out);
        self.tools.0.push(Tool {
            call: ToolCall {
                id: id.to_owned(),
                name: String::new(),
                input: "{}".to_owned(),
                output: None,
                failed: false,
            },
            title: String::new(),
            kind: String::new(),
            started: false,
            output: String::new(),
            over: None,
        });
    }

    fn end_tool(&mut self, id: &str, out: &mut Effects) {
        if let Some(at) = self.tools.0.iter().position(|tool| tool.call.id == id) {
            let tool = self.tools.0.remove(at);
            self.finished_tool(tool, out);
        }
    }

    fn finished_tool(&mut self, tool: Tool, out: &mut Effects) {
        if !tool.started {
            return;
        }
        let call = ToolCall {
            output: (!tool.output.is_empty()).then_some(tool.output),
            failed: tool.over.unwrap_or(true),
            ..tool.call
        };
        self.history.push(&Message {
            id: call.id.clone(),
            role: Role::Tool,
            text: call.output.clone().unwrap_or_default(),
            thinking: None,
            tool: Some(call.clone()),
            images: Vec::new(),
            at_ms: 0,
        });
        out.event(Event::ToolEnded(call));
    }

    /// Nothing more will be heard of these calls.
    pub(crate) fn end_tools(&mut self, out: &mut Effects) {
        for tool in std::mem::take(&mut self.tools.0) {
            self.finished_tool(tool, out);
        }
    }

    /// In the history something else begins, so all was said of the calls before it.
    pub(crate) fn replayed_tools_end(&mut self, out: &mut Effects) {
        if !self.live {
            self.end_tools(out);
        }
    }
}

impl Tool {
    fn start(&mut self, out: &mut Effects) {
        if !self.started {
            self.started = true;
            out.event(Event::ToolStarted(self.call.clone()));
        }
    }

    /// Takes over what is said of the call.
    fn learn(&mut self, update: &Update<'_>, harness: Harness, live: bool) {
        for (known, told) in [(&mut self.title, &update.title), (&mut self.kind, &update.kind)] {
            if let Some(told) = told {
                known.clear();
                known.push_str(told);
            }
        }
        if self.call.name.is_empty() {
            let name = harness.tool_name(&self.call.id, &self.title, &self.kind, live);
            self.call.name = name.to_owned();
        }
        match update.raw_input {
            Some(input) if input.get() == self.call.input => {}
            Some(input) if input.get().starts_with('{') => self.call.input = input.get().to_owned(),
            // Without its arguments the title says best what the call is about.
            None if self.call.input == "{}" && !self.started => {
                let paths: Vec<Value> = member(update.locations).unwrap_or_default();
                let paths: Vec<&Value> =
                    paths.iter().filter_map(|place| place.get("path")).collect();
                if paths.is_empty() {
                    self.call.input = json!({"title": self.title}).to_string();
                } else {
                    self.call.input = json!({"title": self.title, "paths": paths}).to_string();
                }
            }
            _ => {}
        }
    }

    /// Takes over what the tool has printed. Most agents give all of it each time.
    fn shows(&mut self, update: &Update<'_>, out: &mut Effects) {
        let terminal = member::<Meta<'_>>(update.meta).and_then(|meta| meta.terminal_output);
        let piece = if let Some(more) = terminal {
            self.output.push_str(&more.data);
            keep_end(&mut self.output);
            more.data.into_owned()
        } else if let Some(all) = update.shown() {
            let piece = all.strip_prefix(self.output.as_str()).unwrap_or_default().to_owned();
            self.output = all;
            piece
        } else if self.over.is_some() && self.output.is_empty() {
            self.output = raw_output(update).unwrap_or_default();
            return;
        } else {
            return;
        };
        // The end of a call repeats its output.
        if self.over.is_none() && !piece.is_empty() {
            out.event(Event::ToolProgress((self.call.id.clone(), piece)));
        }
    }
}

/// Cuts the beginning off an output that grew too long.
fn keep_end(output: &mut String) {
    if output.len() > OUTPUT_AT_MOST {
        let start = output.floor_char_boundary(output.len() - OUTPUT_AT_MOST / 2);
        output.drain(..start);
    }
}

/// The output of a tool that shows none: its text, or whatever it gave the model.
fn raw_output(update: &Update<'_>) -> Option<String> {
    let raw = update.raw_output?;
    let value: Value = read(raw.get())?;
    let text = value.as_str().or_else(|| value.get("output")?.as_str());
    Some(text.map_or_else(|| raw.get().to_owned(), str::to_owned))
}
