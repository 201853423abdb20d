//! Items of a turn: messages, thoughts and tool calls, live or from the history.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::json::{RawValue, Text, member};
use rp_sdk::session::{Image, Message, Role, ToolCall};
use serde::Deserialize;
use serde_json::json;

/// An item of any kind; each kind has some of the fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) id: Text<'a>,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at_ms: Option<u64>,
    // agentMessage, plan
    #[serde(borrow)]
    text: Option<Text<'a>>,
    // userMessage: parts; reasoning: strings
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    /// What the sender of a prompt named it.
    #[serde(borrow)]
    pub(crate) client_id: Option<Text<'a>>,
    // tools
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) command: Option<Text<'a>>,
    #[serde(borrow)]
    cwd: Option<Text<'a>>,
    #[serde(borrow)]
    aggregated_output: Option<Text<'a>>,
    pub(crate) exit_code: Option<i64>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
    #[serde(borrow)]
    server: Option<Text<'a>>,
    #[serde(borrow)]
    tool: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    content_items: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<Text<'a>>,
    #[serde(borrow)]
    query: Option<Text<'a>>,
    #[serde(borrow)]
    path: Option<Text<'a>>,
}

/// A part of a user's message, or of what a tool gave.
#[derive(Debug, Deserialize)]
struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct McpResult<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct McpError {
    message: String,
}

impl Item<'_> {
    /// The message that the item is, when it is complete; `None` for tools, and for messages
    /// that say nothing.
    pub(crate) fn into_message(self) -> Option<Message> {
        let message = Message {
            id: self.id.to_string(),
            role: Role::Assistant,
            text: String::new(),
            thinking: None,
            tool: None,
            images: Vec::new(),
            at_ms: self.started_at_ms.unwrap_or(0),
        };
        let message = match &*self.kind {
            "userMessage" => {
                let parts = parts(self.content);
                let images = parts.iter().filter_map(image).collect();
                Message { role: Role::User, text: text_of(&parts), images, ..message }
            }
            "agentMessage" | "plan" => Message { text: self.text?.into_owned(), ..message },
            "reasoning" => Message { thinking: self.thinking(), ..message },
            _ => return None,
        };
        let says_nothing = message.text.is_empty() && message.thinking.is_none();
        (!says_nothing || !message.images.is_empty()).then_some(message)
    }

    /// The text of a user's message.
    pub(crate) fn user_text(&self) -> String {
        text_of(&parts(self.content))
    }

    /// The summary of what the model thought, or the thoughts themselves where it gives those.
    fn thinking(&self) -> Option<String> {
        let paragraphs =
            |raw: Option<&RawValue>| -> Vec<String> { member(raw).unwrap_or_default() };
        let mut thoughts = paragraphs(self.summary);
        if thoughts.is_empty() {
            thoughts = paragraphs(self.content);
        }
        (!thoughts.is_empty()).then(|| thoughts.join("\n\n"))
    }

    /// The tool call that the item is, without its outcome. Tools have the names that the
    /// model calls them by.
    pub(crate) fn tool_call(&self) -> Option<ToolCall> {
        let tool = self.tool.as_deref().unwrap_or_default();
        let arguments = || self.arguments.map_or("{}", RawValue::get).to_owned();
        let (name, input) = match &*self.kind {
            "commandExecution" => {
                let input = json!({"command": self.command, "cwd": self.cwd});
                ("exec_command".to_owned(), input.to_string())
            }
            "fileChange" => {
                let changes = self.changes.map_or("[]", RawValue::get);
                ("apply_patch".to_owned(), format!(r#"{{"changes":{changes}}}"#))
            }
            "mcpToolCall" => {
                (mcp_tool(self.server.as_deref().unwrap_or_default(), tool), arguments())
            }
            "dynamicToolCall" => (tool.to_owned(), arguments()),
            "collabAgentToolCall" => (tool.to_owned(), json!({"prompt": self.prompt}).to_string()),
            "webSearch" => ("web_search".to_owned(), json!({"query": self.query}).to_string()),
            "imageView" => ("view_image".to_owned(), json!({"path": self.path}).to_string()),
            "imageGeneration" => ("image_generation".to_owned(), "{}".to_owned()),
            _ => return None,
        };
        Some(ToolCall { id: self.id.to_string(), name, input, output: None, failed: false })
    }

    pub(crate) fn failed(&self) -> bool {
        matches!(self.status.as_deref(), Some("failed" | "declined"))
    }

    /// What a tool gave, when it is complete.
    pub(crate) fn into_output(self) -> Option<String> {
        match &*self.kind {
            "commandExecution" => self.aggregated_output.map(Text::into_owned),
            "mcpToolCall" => match member::<McpError>(self.error) {
                Some(error) => Some(error.message),
                None => member::<McpResult<'_>>(self.result)
                    .map(|result| text_of(&parts(result.content))),
            },
            "dynamicToolCall" => self.content_items.map(|items| text_of(&parts(Some(items)))),
            _ => None,
        }
    }
}

/// The name that the model calls an MCP server's tool by.
pub(crate) fn mcp_tool(server: &str, tool: &str) -> String {
    format!("mcp__{server}__{tool}")
}

fn parts(raw: Option<&RawValue>) -> Vec<Part<'_>> {
    member(raw).unwrap_or_default()
}

fn text_of(parts: &[Part<'_>]) -> String {
    let texts = parts.iter().filter(|part| matches!(&*part.kind, "text" | "inputText"));
    texts.filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join("\n")
}

/// An image that stands in the message itself.
fn image(part: &Part<'_>) -> Option<Image> {
    let (mime, data) = part.url.as_deref()?.strip_prefix("data:")?.split_once(";base64,")?;
    Some(Image { mime: mime.to_owned(), data: STANDARD.decode(data).ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn item(text: &str) -> Item<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_users_message_has_its_texts_and_the_images_that_are_in_it() {
        let message = item(
            r#"{"type":"userMessage","id":"u","startedAtMs":7,"content":[{"type":"text","text":"a"},{"type":"image","url":"data:image/png;base64,AAEC"},{"type":"localImage","path":"/a.png"},{"type":"image","url":"data:image/png;base64,!!!"},{"type":"text","text":"b"}]}"#,
        )
        .into_message()
        .unwrap();
        assert_eq!((message.role, message.text.as_str(), message.at_ms), (Role::User, "a\nb", 7));
        assert_eq!(message.images, [Image { mime: "image/png".to_owned(), data: vec![0, 1, 2] }]);
    }

    #[test]
    fn thoughts_are_the_summary_and_else_the_thoughts_themselves() {
        let thinking = |text: &str| item(text).into_message().and_then(|message| message.thinking);
        assert_eq!(
            thinking(r#"{"type":"reasoning","summary":["a","b"],"content":["c"]}"#).unwrap(),
            "a\n\nb"
        );
        assert_eq!(thinking(r#"{"type":"reasoning","summary":[],"content":["c"]}"#).unwrap(), "c");
        assert_eq!(thinking(r#"{"type":"reasoning","summary":[],"content":[]}"#), None);
    }

    #[test]
    fn tools_have_the_names_that_the_model_uses() {
        for (text, name, input) in [
            (
                r#"{"type":"commandExecution","command":"ls","cwd":"/"}"#,
                "exec_command",
                r#"{"command":"ls","cwd":"/"}"#,
            ),
            (
                r#"{"type":"fileChange","changes":[{"path":"a"}]}"#,
                "apply_patch",
                r#"{"changes":[{"path":"a"}]}"#,
            ),
            (
                r#"{"type":"mcpToolCall","server":"mesh","tool":"list_peers","arguments":{"a":1}}"#,
                "mcp__mesh__list_peers",
                r#"{"a":1}"#,
            ),
            (r#"{"type":"webSearch","query":"q"}"#, "web_search", r#"{"query":"q"}"#),
        ] {
            let call = item(text).tool_call().unwrap();
            assert_eq!((call.name.as_str(), call.input.as_str()), (name, input));
        }
        for kind in ["userMessage", "reasoning", "contextCompaction", "somethingNew"] {
            assert!(item(&format!(r#"{{"type":"{kind}"}}"#)).tool_call().is_none(), "{kind}");
        }
    }

    #[test]
    fn an_mcp_tool_gives_its_text_or_its_error() {
        let output =
            |rest: &str| item(&format!(r#"{{"type":"mcpToolCall",{rest}}}"#)).into_output();
        assert_eq!(
            output(r#""result":{"content":[{"type":"text","text":"a"}]},"error":null"#).unwrap(),
            "a"
        );
        assert_eq!(output(r#""result":null,"error":{"message":"no"}"#).unwrap(), "no");
    }
}
