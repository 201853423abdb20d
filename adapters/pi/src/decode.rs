//! Lines of Pi, read no further than needed.
//!
//! The old generation repeats the whole message twice in every piece of it, and both repeat
//! a run's messages at its end, so most bytes of most lines are of no use. [`head`] stops at
//! the first byte behind what it looks for; the rest is not even checked to be JSON.

use std::borrow::Cow;
use std::fmt;

use rp_sdk::json::{RawText, RawValue, Text, read};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// What kind of line it is, and the piece of text if it brings one.
#[derive(Debug, Default)]
pub(crate) struct Head<'a> {
    /// The value of `type`; empty when there is none.
    pub(crate) kind: Text<'a>,
    pub(crate) piece: Option<Piece<'a>>,
}

/// The next piece of an assistant message.
#[derive(Debug, Default)]
pub(crate) struct Piece<'a> {
    /// The value of `type`, such as `text_delta`.
    pub(crate) kind: Text<'a>,
    pub(crate) delta: Option<RawText<'a>>,
}

/// Reads as much of a line as its kind needs. `None` when it is no JSON object as far as it
/// was read.
pub(crate) fn head(line: &str) -> Option<Head<'_>> {
    let mut head = Head::default();
    let mut object = false;
    let mut json = serde_json::Deserializer::from_str(line);
    let outcome = HeadSeed { head: &mut head, object: &mut object }.deserialize(&mut json);
    // Stopping early is an error to the parser, so an error alone means nothing.
    (outcome.is_ok() || (object && !head.kind.is_empty())).then_some(head)
}

/// The name of a member.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct HeadSeed<'a, 'line> {
    head: &'a mut Head<'line>,
    object: &'a mut bool,
}

impl<'line> DeserializeSeed<'line> for HeadSeed<'_, 'line> {
    type Value = ();

    fn deserialize<D: Deserializer<'line>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'line> Visitor<'line> for HeadSeed<'_, 'line> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<M: MapAccess<'line>>(self, mut map: M) -> Result<(), M::Error> {
        *self.object = true;
        while let Some(Name(key)) = map.next_key()? {
            match key.as_ref() {
                "type" => {
                    let kind: Text<'line> = map.next_value()?;
                    let done = &*kind != "message_update" || self.head.piece.is_some();
                    self.head.kind = kind;
                    if done {
                        return Ok(());
                    }
                }
                "assistantMessageEvent" => {
                    let mut piece = Piece::default();
                    // An early stop in the piece is an error out here too: what was read stands.
                    let outcome = map.next_value_seed(PieceSeed(&mut piece));
                    self.head.piece = Some(piece);
                    if !self.head.kind.is_empty() {
                        return Ok(());
                    }
                    outcome?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct PieceSeed<'a, 'line>(&'a mut Piece<'line>);

impl<'line> DeserializeSeed<'line> for PieceSeed<'_, 'line> {
    type Value = ();

    fn deserialize<D: Deserializer<'line>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'line> Visitor<'line> for PieceSeed<'_, 'line> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<M: MapAccess<'line>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Name(key)) = map.next_key()? {
            match key.as_ref() {
                "type" => self.0.kind = map.next_value()?,
                "delta" => self.0.delta = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            let wanted = matches!(&*self.0.kind, "" | "text_delta" | "thinking_delta");
            if !wanted || (self.0.delta.is_some() && !self.0.kind.is_empty()) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// `response`: the answer to a command.
#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    /// What the command had as its id, which may be of any type.
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) command: Text<'a>,
    #[serde(default)]
    pub(crate) success: bool,
    #[serde(borrow, default)]
    pub(crate) error: Text<'a>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
}

/// `message_start` and `message_end`.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageLine<'a> {
    #[serde(borrow)]
    pub(crate) message: Message<'a>,
}

/// A message of the conversation, of any role.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message<'a> {
    #[serde(borrow, default)]
    pub(crate) role: Text<'a>,
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub(crate) timestamp: u64,
    // assistant
    #[serde(borrow)]
    pub(crate) stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) error_message: Option<Text<'a>>,
    pub(crate) usage: Option<Usage>,
    // toolResult
    #[serde(borrow)]
    pub(crate) tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) tool_name: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) is_error: bool,
    // bashExecution
    #[serde(borrow)]
    pub(crate) command: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) output: Option<Text<'a>>,
    pub(crate) exit_code: Option<i64>,
    // compactionSummary and branchSummary
    #[serde(borrow)]
    pub(crate) summary: Option<Text<'a>>,
}

/// One block of a message's content.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) text: Option<RawText<'a>>,
    #[serde(borrow)]
    pub(crate) thinking: Option<RawText<'a>>,
    // image
    #[serde(borrow)]
    pub(crate) data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) mime_type: Option<Text<'a>>,
    // toolCall
    #[serde(borrow)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
}

/// Tokens and money of one model call.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) total_tokens: u64,
    pub(crate) cost: Cost,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct Cost {
    /// US dollars.
    pub(crate) total: f64,
}

/// `tool_execution_start`, `_update` and `_end`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolLine<'a> {
    #[serde(borrow)]
    pub(crate) tool_call_id: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) args: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) partial_result: Option<ToolResult<'a>>,
    #[serde(borrow)]
    pub(crate) result: Option<ToolResult<'a>>,
    #[serde(default)]
    pub(crate) is_error: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolResult<'a> {
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
}

/// `agent_end`, but for its messages. Only the newer generation says whether it will retry.
pub(crate) fn will_retry(line: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct AgentEnd {
        #[serde(rename = "willRetry")]
        will_retry: Option<bool>,
    }
    // It stands last, behind every message of the run. A line ends with the brace that
    // closes the object, so what stands before that brace belongs to the object itself.
    if line.ends_with(r#","willRetry":false}"#) {
        return Some(false);
    }
    if line.ends_with(r#","willRetry":true}"#) {
        return Some(true);
    }
    read::<AgentEnd>(line).and_then(|end| end.will_retry)
}

/// `auto_retry_start` and `auto_retry_end`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Retry {
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    pub(crate) delay_ms: u64,
    pub(crate) success: bool,
    pub(crate) error_message: Option<String>,
    pub(crate) final_error: Option<String>,
}

/// `compaction_start` and `compaction_end`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Compaction {
    pub(crate) reason: String,
    pub(crate) aborted: bool,
    pub(crate) will_retry: bool,
    pub(crate) error_message: Option<String>,
    pub(crate) result: Option<CompactionResult>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CompactionResult {
    pub(crate) tokens_before: Option<u64>,
    pub(crate) estimated_tokens_after: Option<u64>,
}

/// `extension_ui_request`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Dialog {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) title: String,
    pub(crate) message: String,
    pub(crate) options: Vec<String>,
    pub(crate) placeholder: Option<String>,
    pub(crate) prefill: Option<String>,
    pub(crate) timeout: Option<u64>,
    pub(crate) notify_type: Option<String>,
}

/// `extension_error`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExtensionError {
    pub(crate) extension_path: String,
    pub(crate) error: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn kind(line: &str) -> Option<String> {
        head(line).map(|head| head.kind.into_owned())
    }

    #[test]
    fn the_type_is_found_wherever_it_stands() {
        assert_eq!(kind(r#"{"type":"agent_start"}"#).unwrap(), "agent_start");
        assert_eq!(
            kind(r#" { "id" : {"type":"inner"}, "type" : "response" } "#).unwrap(),
            "response"
        );
        assert_eq!(
            kind(r#"{"messages":[[1,{"a":"}"}]],"type":"agent_end"}"#).unwrap(),
            "agent_end"
        );
    }

    #[test]
    fn what_stands_behind_the_type_is_not_read() {
        assert_eq!(kind(r#"{"type":"agent_end","messages":[{{{"#).unwrap(), "agent_end");
    }

    #[test]
    fn only_objects_have_a_type() {
        for line in [
            "null",
            "[]",
            "\"type\"",
            "7",
            "",
            "   ",
            "not json",
            "{",
            r#"{"type"#,
            r#"{"type":7}"#,
        ] {
            assert_eq!(kind(line).filter(|kind| !kind.is_empty()), None, "{line}");
        }
        assert_eq!(kind("{}").unwrap(), "");
        assert_eq!(kind(r#"{"kind":"x"}"#).unwrap(), "");
    }

    #[test]
    fn a_piece_is_read_without_the_snapshots_around_it() {
        let old = r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"a\nb","partial":{"content":["#;
        let new = r#"{"type":"message_update","usage":{"input":0},"assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"a\nb"}}"#;
        let turned = r#"{"assistantMessageEvent":{"delta":"a\nb","type":"text_delta"},"type":"message_update"}"#;
        for line in [old, new, turned] {
            let piece = head(line).unwrap().piece.unwrap();
            let delta = piece.delta.unwrap().decode();
            assert_eq!((&*piece.kind, &*delta), ("text_delta", "a\nb"), "{line}");
        }
    }

    #[test]
    fn separators_of_lines_and_paragraphs_are_text_like_any_other() {
        let line = "{\"type\":\"message_update\",\"assistantMessageEvent\":{\"type\":\"text_delta\",\"delta\":\"a\u{2028}b\u{2029}c\u{85}d\"}}";
        assert_eq!(
            head(line).unwrap().piece.unwrap().delta.unwrap().decode(),
            "a\u{2028}b\u{2029}c\u{85}d"
        );
    }

    #[test]
    fn whether_a_run_will_be_retried_is_seen_without_reading_it() {
        assert_eq!(
            will_retry(r#"{"type":"agent_end","messages":[{{{],"willRetry":true}"#),
            Some(true)
        );
        assert_eq!(
            will_retry(r#"{"type":"agent_end","willRetry":false,"messages":[]}"#),
            Some(false)
        );
        assert_eq!(will_retry(r#"{"type":"agent_end","messages":[{"willRetry":true}]}"#), None);
        assert_eq!(will_retry(r#"{"type":"agent_end","messages":[]}"#), None);
    }
}
