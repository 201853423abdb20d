//! Tools that run. Claude tells nothing of what a tool prints before it is done.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::json::{RawValue, Text, member};
use rp_sdk::session::ToolCall;

use crate::decode::{Block, UserLine};
use crate::session::ClaudeCode;

/// Running tools by the id of their call.
#[derive(Debug, Default)]
pub(crate) struct Tools(BTreeMap<String, ToolCall>);

impl Tools {
    /// What the tool was called with, as JSON.
    pub(crate) fn input(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(|call| call.input.as_str())
    }
}

impl ClaudeCode {
    pub(crate) fn tool_started(&mut self, block: &Block<'_>) {
        let Some(id) = block.id.as_deref().filter(|id| !self.tools.0.contains_key(*id)) else {
            return;
        };
        let name = block.name.as_deref().unwrap_or_default();
        let call = ToolCall::new(id, name, block.input.map_or("{}", RawValue::get));
        self.tools.0.insert(id.to_owned(), call.clone());
        self.effects.event(Event::ToolStarted(call));
    }

    /// `user`: what tools gave. Anything else that Claude says in the user's name is its own
    /// affair.
    pub(crate) fn user_line(&mut self, line: UserLine<'_>) {
        let blocks: Vec<Block<'_>> = member(line.message.content).unwrap_or_default();
        for block in blocks.iter().filter(|block| &*block.kind == "tool_result") {
            let id = block.tool_use_id.as_deref().unwrap_or_default();
            self.question_of_tool_is_over(id);
            if let Some(call) = self.tools.0.remove(id) {
                let output = Some(output(block.content));
                self.effects.event(Event::ToolEnded(ToolCall {
                    output,
                    failed: block.is_error,
                    ..call
                }));
            }
        }
    }

    /// The turn ended without a word about these.
    pub(crate) fn end_open_tools(&mut self) {
        for (_, call) in std::mem::take(&mut self.tools.0) {
            self.effects.event(Event::ToolEnded(ToolCall { failed: true, ..call }));
        }
    }
}

/// What a tool gave, as text.
fn output(content: Option<&RawValue>) -> String {
    if let Some(text) = member::<Text<'_>>(content) {
        return text.into_owned();
    }
    let blocks: Vec<Block<'_>> = member(content).unwrap_or_default();
    let texts: Vec<&str> = blocks
        .iter()
        .map(|block| match &*block.kind {
            "text" => block.text.as_deref().unwrap_or_default(),
            "tool_reference" => block.tool_name.as_deref().unwrap_or_default(),
            "image" => "[image]",
            _ => "",
        })
        .filter(|text| !text.is_empty())
        .collect();
    texts.join("\n")
}
