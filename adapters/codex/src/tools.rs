//! Tools that run, and commands that go on behind their turn.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::session::{Severity, ToolCall, TurnEnd};

use crate::item::Item;
use crate::session::Codex;
use crate::wire::Delta;

/// How much output of a running tool is kept, in bytes, for the case that its turn ends first.
const KEPT_AT_MOST: usize = 64 * 1024;

/// How many commands are remembered that go on behind their turn.
const LEFT_RUNNING_AT_MOST: usize = 64;

#[derive(Debug)]
struct Tool {
    call: ToolCall,
    /// The command, where the tool is one.
    command: Option<String>,
    /// The beginning of its output.
    output: String,
}

#[derive(Debug, Default)]
pub(crate) struct Tools {
    open: BTreeMap<String, Tool>,
    /// Commands by the ids of their items.
    left_running: BTreeMap<String, String>,
}

impl Tools {
    pub(crate) fn is_left_running(&self, id: &str) -> bool {
        self.left_running.contains_key(id)
    }

    pub(crate) fn forget_left_running(&mut self) {
        self.left_running.clear();
    }

    /// Commands end with the process.
    pub(crate) fn process_is_gone(&mut self) {
        for tool in self.open.values_mut() {
            tool.command = None;
        }
    }

    /// The name and the input of a running tool.
    pub(crate) fn call(&self, id: &str) -> Option<&ToolCall> {
        self.open.get(id).map(|tool| &tool.call)
    }
}

impl Codex {
    pub(crate) fn tool_started(&mut self, item: &Item<'_>) {
        let Some(call) = item.tool_call() else {
            return;
        };
        let command = item.command.as_deref().map(str::to_owned);
        let tool = Tool { call: call.clone(), command, output: String::new() };
        if self.tools.open.insert(call.id.clone(), tool).is_none() {
            self.effects.event(Event::ToolStarted(call));
        }
    }

    /// `item/commandExecution/outputDelta`. Output of a command whose turn is over is dropped.
    pub(crate) fn tool_went_on(&mut self, piece: Delta<'_>) {
        let Some(tool) = self.tools.open.get_mut(piece.item_id.as_ref()) else {
            return;
        };
        if tool.output.len() + piece.delta.len() <= KEPT_AT_MOST {
            tool.output.push_str(&piece.delta);
        }
        if !piece.delta.is_empty() {
            let piece = (piece.item_id.into_owned(), piece.delta.into_owned());
            self.effects.event(Event::ToolProgress(piece));
        }
    }

    pub(crate) fn tool_ended(&mut self, item: Item<'_>) {
        // Some tools are told only when they have ended.
        self.tool_started(&item);
        let Some(tool) = self.tools.open.remove(item.id.as_ref()) else {
            return;
        };
        let failed = item.failed();
        let output = item.into_output();
        self.effects.event(Event::ToolEnded(ToolCall { output, failed, ..tool.call }));
    }

    /// The turn ended without a word about these. A command that was not waiting for
    /// permission goes on: neither the end of its turn nor an abort ends it.
    pub(crate) fn end_open_tools(&mut self, how: TurnEnd) {
        for (id, tool) in std::mem::take(&mut self.tools.open) {
            let running = tool.command.filter(|_| !self.questions.is_about(&id));
            let failed = how != TurnEnd::Completed || running.is_none();
            let output = (!tool.output.is_empty()).then_some(tool.output);
            self.effects.event(Event::ToolEnded(ToolCall { output, failed, ..tool.call }));
            if let Some(command) = running {
                self.command_goes_on(id, command, how);
            }
        }
    }

    fn command_goes_on(&mut self, id: String, command: String, how: TurnEnd) {
        let severity = match how {
            TurnEnd::Completed => Severity::Info,
            _ => Severity::Warning,
        };
        self.effects.notice(severity, format!("a command goes on behind its turn: {command}"));
        if self.tools.left_running.len() < LEFT_RUNNING_AT_MOST {
            self.tools.left_running.insert(id, command);
        }
    }

    pub(crate) fn left_tool_ended(&mut self, item: &Item<'_>) {
        let Some(command) = self.tools.left_running.remove(item.id.as_ref()) else {
            return;
        };
        let how = match item.exit_code {
            Some(code) => format!("with exit code {code}"),
            None => "without an exit code".to_owned(),
        };
        let text = format!("a command that went on behind its turn ended {how}: {command}");
        self.effects.notice(Severity::Info, text);
    }
}
