//! Lines of an agent, read in place.
//!
//! A chunk of text is the common line and can be of any length, so nothing of it is copied
//! before its text is: strings borrow from the line, and what belongs to one kind of line is
//! left as it stands until the kind is known.

use std::borrow::Cow;
use std::fmt;

use rp_sdk::json::{RawValue, Text, member, read};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A line of JSON-RPC: a request has a method and an id, a notification a method, an answer
/// an id.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Text<'a>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<RpcError<'a>>,
}

/// Why a request failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RpcError<'a> {
    pub(crate) code: i64,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RpcError<'_> {
    /// The agent wants a login first.
    pub(crate) const LOGIN: i64 = -32000;

    /// It does not know the method.
    pub(crate) const NO_METHOD: i64 = -32601;

    /// The agent did not even try: the request does not fit, or nobody is logged in.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self.code, -32700 | -32602..=-32600 | Self::LOGIN)
    }

    /// Everything the agent says about it, as one text.
    pub(crate) fn says(&self) -> String {
        // Some hand on what the model's server answered, as JSON inside the text.
        let inner = read::<Value>(&self.message)
            .and_then(|inner| inner.pointer("/error/message")?.as_str().map(str::to_owned));
        let message = inner.unwrap_or_else(|| self.message.to_string());
        let details = member::<Value>(self.data);
        let details = details
            .as_ref()
            .and_then(|data| data.as_str().or_else(|| data.get("details")?.as_str()));
        match details {
            Some(details) if message.is_empty() => details.to_owned(),
            Some(details) => format!("{message}: {details}"),
            None if message.is_empty() => format!("error {}", self.code),
            None => message,
        }
    }
}

/// The notification that nearly every line is, read in one go.
#[derive(Debug, Deserialize)]
pub(crate) struct UpdateLine<'a> {
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    params: SessionUpdate<'a>,
}

/// What a line tells of a session; `None` when it is any other line.
pub(crate) fn update(line: &str) -> Option<SessionUpdate<'_>> {
    /// How far the method is looked for. Other lines need not be read to their end for this.
    const METHOD_WITHIN: usize = 64;
    let start = line.get(..line.floor_char_boundary(METHOD_WITHIN)).unwrap_or_default();
    if !start.contains("session/update") {
        return None;
    }
    let line = read::<UpdateLine<'_>>(line)?;
    (&*line.method == "session/update").then_some(line.params)
}

/// Parameters of `session/update`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionUpdate<'a> {
    #[serde(borrow)]
    pub(crate) session_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) update: Update<'a>,
}

/// The same, with the update as it stands.
#[derive(Debug, Deserialize)]
pub(crate) struct RawUpdate<'a> {
    #[serde(borrow)]
    pub(crate) update: &'a RawValue,
}

/// An update of any kind, or the tool call of a question.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Update<'a> {
    #[serde(borrow)]
    pub(crate) session_update: Text<'a>,
    #[serde(borrow)]
    pub(crate) message_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(crate) tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) title: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) raw_input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) raw_output: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) locations: Option<&'a RawValue>,
    /// Tokens in the context.
    pub(crate) used: Option<u64>,
    /// Tokens the context can hold.
    pub(crate) size: Option<u64>,
    #[serde(borrow)]
    pub(crate) cost: Option<Cost<'a>>,
    #[serde(borrow)]
    pub(crate) config_options: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) current_mode_id: Option<Text<'a>>,
    #[serde(borrow, rename = "_meta")]
    pub(crate) meta: Option<&'a RawValue>,
}

/// What the session has cost so far.
#[derive(Debug, Deserialize)]
pub(crate) struct Cost<'a> {
    pub(crate) amount: f64,
    #[serde(borrow)]
    pub(crate) currency: Text<'a>,
}

/// What an update holds: one block of a message, or a list of what a tool shows.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Block(Block<'a>),
    Shown(Vec<Shown<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a block or a list")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Content<'de>, M::Error> {
        Block::deserialize(MapAccessDeserializer::new(map)).map(Content::Block)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Content<'de>, S::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Content::Shown)
    }
}

impl<'a> Update<'a> {
    /// Its block of a message; an empty one when it has none.
    pub(crate) fn take_block(&mut self) -> Block<'a> {
        match self.content.take() {
            Some(Content::Block(block)) => block,
            _ => Block::default(),
        }
    }

    /// What a tool shows, as text: `None` when that is nothing, or only a terminal.
    pub(crate) fn shown(&self) -> Option<String> {
        match &self.content {
            Some(Content::Shown(list)) => shown(list),
            _ => None,
        }
    }
}

/// A block of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) mime_type: Option<Text<'a>>,
    #[serde(borrow)]
    uri: Option<Text<'a>>,
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    uri: Option<Text<'a>>,
}

impl<'a> Block<'a> {
    /// Its text; that of a file, or its address, where it stands for one.
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        let resource = self.resource.unwrap_or_default();
        let text = self.text.or(resource.text).or(self.uri).or(resource.uri);
        text.unwrap_or_default().into_cow()
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// Something a tool shows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Shown<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    content: Option<Block<'a>>,
    #[serde(borrow)]
    path: Text<'a>,
    #[serde(borrow)]
    old_text: Option<Text<'a>>,
    #[serde(borrow)]
    new_text: Option<Text<'a>>,
}

fn shown(list: &[Shown<'_>]) -> Option<String> {
    let mut text = String::new();
    for shown in list {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        match &*shown.kind {
            "content" => text.push_str(shown.content.as_ref().map_or("", Block::text)),
            "diff" => {
                text.push_str(&shown.path);
                for (sign, side) in [('-', &shown.old_text), ('+', &shown.new_text)] {
                    for line in side.as_deref().unwrap_or_default().lines() {
                        text.extend(['\n', sign]);
                        text.push_str(line);
                    }
                }
            }
            _ => {}
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        read::<RpcError<'_>>(json).unwrap().says()
    }

    #[test]
    fn an_error_says_all_it_has_to_say() {
        assert_eq!(error(r#"{"code":-32603,"message":"Overloaded","data":{"a":1}}"#), "Overloaded");
        let details = r#"{"code":-32603,"message":"Internal error","data":{"details":"no file"}}"#;
        assert_eq!(error(details), "Internal error: no file");
        assert_eq!(error(r#"{"code":-32602,"message":"Invalid","data":"x"}"#), "Invalid: x");
        let inside =
            r#"{"code":400,"message":"{\"type\":\"error\",\"error\":{\"message\":\"too long\"}}"}"#;
        assert_eq!(error(inside), "too long");
        assert_eq!(error(r#"{"code":7}"#), "error 7");
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let line = r#"{"method":"session/update","params":{"sessionId":"s","update":{
            "sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"m"}}}}"#;
        let block = update(line).unwrap().update.take_block();
        assert!(matches!(block.into_text(), Cow::Borrowed("m")));
    }

    #[test]
    fn an_update_is_found_wherever_its_method_stands() {
        let update = r#"{"sessionId":"s","update":{"sessionUpdate":"plan"}}"#;
        let early = format!(r#"{{"jsonrpc":"2.0","method":"session/update","params":{update}}}"#);
        assert!(super::update(&early).is_some());
        let late = format!(r#"{{"params":{update},"method":"session/update"}}"#);
        assert!(super::update(&late).is_none() && read::<Line<'_>>(&late).is_some());
    }

    #[test]
    fn a_tool_shows_text_and_changes_of_files() {
        let shown = |list: &str| {
            let update = format!(r#"{{"content":{list}}}"#);
            read::<Update<'_>>(&update).unwrap().shown()
        };
        let text = r#"[{"type":"content","content":{"type":"text","text":"one\n"}}]"#;
        assert_eq!(shown(text).unwrap(), "one\n");
        let diff = r#"[{"type":"diff","path":"/a","oldText":"x\ny","newText":"z"}]"#;
        assert_eq!(shown(diff).unwrap(), "/a\n-x\n-y\n+z");
        assert_eq!(shown(r#"[{"type":"terminal","terminalId":"t"}]"#), None);
        assert_eq!(shown("[]"), None);
    }
}
