//! The conversation so far, as `get_messages` gives it.

use std::collections::BTreeMap;

use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Message, Role, ToolCall};
use serde::Deserialize;
use serde_json::json;

use crate::decode;
use crate::messages::{Ids, blocks, finished, text};

/// The data of `get_messages`.
#[derive(Deserialize)]
struct MessagesData<'a> {
    #[serde(borrow)]
    messages: Vec<decode::Message<'a>>,
}

/// `None` when the data cannot be read.
pub(crate) fn read(data: Option<&RawValue>) -> Option<Vec<Message>> {
    let data: MessagesData<'_> = member(data)?;
    let mut reader = Reader::default();
    Some(data.messages.iter().filter_map(|message| reader.message(message)).collect())
}

/// Reads messages in their order: a tool's result stands behind the message that called it.
#[derive(Default)]
struct Reader {
    user: Ids,
    assistant: Ids,
    tool: Ids,
    system: Ids,
    /// Arguments of tool calls by the id of the call.
    arguments: BTreeMap<String, String>,
}

impl Reader {
    fn message(&mut self, message: &decode::Message<'_>) -> Option<Message> {
        let at_ms = message.timestamp;
        match &*message.role {
            "user" => Some(finished(self.user.next("user", at_ms), Role::User, message)),
            "assistant" => {
                self.remember_arguments(message);
                let finished =
                    finished(self.assistant.next("assistant", at_ms), Role::Assistant, message);
                (!finished.text.is_empty() || finished.thinking.is_some()).then_some(finished)
            }
            "toolResult" => Some(self.tool_result(message)),
            "bashExecution" => Some(self.bash(message)),
            // Summaries of what was shortened or left, and messages of extensions. The
            // system prompt of the newer generation has no text here.
            _ => {
                let text =
                    message.summary.as_deref().map_or_else(|| text(message.content), str::to_owned);
                if text.is_empty() {
                    return None;
                }
                let id = self.system.next("system", at_ms);
                Some(Message { text, images: Vec::new(), ..finished(id, Role::System, message) })
            }
        }
    }

    fn remember_arguments(&mut self, message: &decode::Message<'_>) {
        for block in blocks(message.content).iter().filter(|block| block.kind == "toolCall") {
            if let (Some(id), Some(arguments)) = (&block.id, block.arguments) {
                self.arguments.insert(id.to_string(), arguments.get().to_owned());
            }
        }
    }

    fn tool_result(&mut self, message: &decode::Message<'_>) -> Message {
        let call = message.tool_call_id.as_deref().unwrap_or_default();
        let finished = finished(self.tool.next("tool", message.timestamp), Role::Tool, message);
        let tool = ToolCall {
            id: call.to_owned(),
            name: message.tool_name.as_deref().unwrap_or_default().to_owned(),
            input: self.arguments.remove(call).unwrap_or_else(|| "{}".to_owned()),
            output: Some(finished.text.clone()),
            failed: message.is_error,
        };
        Message { tool: Some(tool), ..finished }
    }

    /// A command that was run beside the model.
    fn bash(&mut self, message: &decode::Message<'_>) -> Message {
        let id = self.tool.next("tool", message.timestamp);
        let output = message.output.as_deref().unwrap_or_default().to_owned();
        let tool = ToolCall {
            id: id.clone(),
            name: "bash".to_owned(),
            input: json!({"command": message.command.as_deref().unwrap_or_default()}).to_string(),
            output: Some(output.clone()),
            failed: message.exit_code.is_some_and(|code| code != 0),
        };
        Message { text: output, tool: Some(tool), ..finished(id, Role::Tool, message) }
    }
}
