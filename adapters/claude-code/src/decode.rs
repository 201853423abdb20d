//! Lines of Claude, read no further than needed.
//!
//! Nearly all lines are pieces of a message, a few hundred bytes each, so [`line`] reads such
//! a line in one pass and copies nothing but escaped text. Of any other line it reads what
//! tells its kind; the structures below read the rest.

use rp_sdk::json::{RawValue, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What every line says.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) subtype: Option<Text<'a>>,
    /// Present on the lines of a sub-agent.
    pub(crate) parent_tool_use_id: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(crate) event: Option<StreamEvent<'a>>,
    abandoned_blocks: Option<Abandoned>,
}

impl Line<'_> {
    /// The first block of the streamed message that will not be part of the conversation.
    pub(crate) fn abandoned_from(&self) -> Option<u64> {
        self.abandoned_blocks.as_ref().map(|abandoned| abandoned.from_block_index)
    }
}

#[derive(Debug, Deserialize)]
struct Abandoned {
    #[serde(default)]
    from_block_index: u64,
}

/// An event of the model's stream.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(default)]
    pub(crate) index: u64,
    #[serde(borrow)]
    pub(crate) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(crate) message: Option<StartedMessage<'a>>,
    #[serde(borrow)]
    pub(crate) content_block: Option<StartedBlock<'a>>,
    pub(crate) usage: Option<Usage>,
}

/// The next piece of a block.
#[derive(Debug, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) thinking: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StartedMessage<'a> {
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    #[serde(default)]
    pub(crate) usage: Usage,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StartedBlock<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
}

/// Tokens of one model call. What is told while it runs is told again at its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(rename = "input_tokens")]
    pub(crate) input: Option<u64>,
    #[serde(rename = "output_tokens")]
    pub(crate) output: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    pub(crate) cache_read: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    pub(crate) cache_write: Option<u64>,
}

/// Reads what every line says. `None` when it is no JSON object.
pub(crate) fn line(text: &str) -> Option<Line<'_>> {
    if !text.starts_with('{') {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(line) => Some(line),
        // A known field has another shape: the line is of no kind that is known here.
        Err(_) => serde_json::from_str::<IgnoredAny>(text).ok().map(|_| Line::default()),
    }
}

/// `assistant`: blocks of a message, mostly one.
#[derive(Debug, Deserialize)]
pub(crate) struct AssistantLine<'a> {
    #[serde(borrow)]
    pub(crate) message: AssistantMessage<'a>,
    /// What went wrong, for a message that the model did not write.
    #[serde(borrow)]
    pub(crate) error: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) is_api_error_message: bool,
    /// Present when a command of Claude itself wrote it.
    pub(crate) local_command_source: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AssistantMessage<'a> {
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) content: Vec<Block<'a>>,
    pub(crate) usage: Option<Usage>,
}

/// `user`: what a tool gave, or what Claude says in the user's name.
#[derive(Debug, Deserialize)]
pub(crate) struct UserLine<'a> {
    #[serde(borrow)]
    pub(crate) message: UserMessage<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UserMessage<'a> {
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
}

/// One block of a message's content.
#[derive(Debug, Deserialize)]
pub(crate) struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) thinking: Option<Text<'a>>,
    // tool_use
    #[serde(borrow)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) input: Option<&'a RawValue>,
    // tool_result
    #[serde(borrow)]
    pub(crate) tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) is_error: bool,
    // tool_reference, inside a tool's result
    #[serde(borrow)]
    pub(crate) tool_name: Option<Text<'a>>,
}

/// `result`: the end of a turn.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultLine<'a> {
    #[serde(borrow, default)]
    pub(crate) subtype: Text<'a>,
    #[serde(default)]
    pub(crate) is_error: bool,
    #[serde(borrow)]
    pub(crate) terminal_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) result: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) errors: Vec<Text<'a>>,
    #[serde(borrow)]
    pub(crate) session_id: Option<Text<'a>>,
    /// US dollars, of the whole conversation.
    pub(crate) total_cost_usd: Option<f64>,
    #[serde(borrow, rename = "modelUsage")]
    pub(crate) model_usage: Option<&'a RawValue>,
}

/// `command_lifecycle`: what becomes of a message that Claude was given.
#[derive(Debug, Deserialize)]
pub(crate) struct Lifecycle<'a> {
    #[serde(borrow)]
    pub(crate) command_uuid: Text<'a>,
    #[serde(borrow)]
    pub(crate) state: Text<'a>,
}

/// `system` / `init`: stands at the start of every turn.
#[derive(Debug, Deserialize)]
pub(crate) struct Init<'a> {
    #[serde(borrow)]
    pub(crate) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow, rename = "permissionMode")]
    pub(crate) permission_mode: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) mcp_servers: Vec<McpServer<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct McpServer<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) status: Text<'a>,
}

/// The other lines of type `system` that are of use.
#[derive(Debug, Deserialize)]
pub(crate) struct System<'a> {
    // status
    #[serde(borrow)]
    pub(crate) status: Option<Text<'a>>,
    #[serde(borrow, rename = "permissionMode")]
    pub(crate) permission_mode: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) compact_error: Option<Text<'a>>,
    // compact_boundary
    pub(crate) compact_metadata: Option<Compaction>,
    // session_state_changed
    #[serde(borrow)]
    pub(crate) state: Option<Text<'a>>,
    // session_title_changed
    #[serde(borrow)]
    pub(crate) title: Option<Text<'a>>,
    // informational
    #[serde(borrow)]
    pub(crate) content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) level: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Compaction {
    pub(crate) pre_tokens: Option<u64>,
    pub(crate) post_tokens: Option<u64>,
}

/// `system` / `api_retry`.
#[derive(Debug, Deserialize)]
pub(crate) struct ApiRetry<'a> {
    #[serde(default)]
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) max_retries: u32,
    #[serde(default)]
    pub(crate) retry_delay_ms: f64,
    pub(crate) error_status: Option<u16>,
    #[serde(borrow)]
    pub(crate) error: Option<Text<'a>>,
}

/// `control_response`: the answer to a request.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponseLine<'a> {
    #[serde(borrow)]
    pub(crate) response: Response<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(borrow)]
    pub(crate) subtype: Text<'a>,
    #[serde(borrow)]
    pub(crate) request_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) error_code: Option<Text<'a>>,
}

/// `control_request`: Claude asks.
#[derive(Debug, Deserialize)]
pub(crate) struct RequestLine<'a> {
    #[serde(borrow)]
    pub(crate) request_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) request: Asked<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Asked<'a> {
    #[serde(borrow)]
    pub(crate) subtype: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) display_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) description: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) permission_suggestions: Vec<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) blocked_path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) agent_id: Option<Text<'a>>,
}

/// `control_cancel_request`: Claude does not want the answer any more.
#[derive(Debug, Deserialize)]
pub(crate) struct CancelLine<'a> {
    #[serde(borrow)]
    pub(crate) request_id: Text<'a>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_found_wherever_it_stands() {
        for text in [
            r#"{"type":"result","subtype":"success"}"#,
            r#"{"message":{"type":"message"},"subtype":"success","type":"result"}"#,
        ] {
            let line = line(text).unwrap();
            assert_eq!((&*line.kind, line.subtype.as_deref()), ("result", Some("success")));
        }
    }

    #[test]
    fn only_objects_are_lines() {
        for text in ["null", "[]", "\"type\"", "7", "", "   ", "not json", "{", r#"{"type"#] {
            assert!(line(text).is_none(), "{text}");
        }
        assert_eq!(&*line("{}").unwrap().kind, "");
        assert_eq!(&*line(r#"{"type":7}"#).unwrap().kind, "");
        assert_eq!(&*line(r#"{"type":"stream_event","event":7}"#).unwrap().kind, "");
    }

    #[test]
    fn a_piece_is_read_with_the_line_around_it() {
        let text = r#"{"type":"stream_event","event":{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"a\nb"}},"parent_tool_use_id":null,"uuid":"u"}"#;
        let line = line(text).unwrap();
        let event = line.event.unwrap();
        assert_eq!((&*event.kind, event.index), ("content_block_delta", 2));
        assert_eq!(&*event.delta.unwrap().text.unwrap(), "a\nb");
        assert!(line.parent_tool_use_id.is_none());
    }

    #[test]
    fn lines_of_a_sub_agent_are_told_apart() {
        let text = r#"{"type":"assistant","message":{},"parent_tool_use_id":"toolu_1"}"#;
        assert!(line(text).unwrap().parent_tool_use_id.is_some());
    }
}
