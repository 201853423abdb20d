//! Lines of Codex, read no further than needed.
//!
//! A line is read twice at most: once to see what it is, and what it carries once more if that
//! is of use. Most lines of a busy turn are pieces of text; they are read in one go.

use rp_sdk::json::{RawValue, Text, read};
use serde::Deserialize;

/// Any line: a request or a notification has a method, an answer has none.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    /// A number or a string. Codex counts its own requests, so one id may name two requests,
    /// one in each direction.
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Text<'a>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

/// Why Codex did not do what it was asked.
pub(crate) fn error_message(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct RpcError {
        message: String,
    }
    read::<RpcError>(error.get()).map_or_else(|| error.get().to_owned(), |error| error.message)
}

/// The piece in a line that is known to carry one.
pub(crate) fn piece(text: &str) -> Option<Delta<'_>> {
    #[derive(Deserialize)]
    struct PieceLine<'a> {
        #[serde(borrow)]
        params: Delta<'a>,
    }
    read::<PieceLine<'_>>(text).map(|line| line.params)
}

/// The next piece of a text or of an output.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delta<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) turn_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) item_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) delta: Text<'a>,
}

/// `item/reasoning/summaryPartAdded`: what follows is another paragraph.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartAdded<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) turn_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) item_id: Text<'a>,
    /// Counts from 0.
    #[serde(default)]
    pub(crate) summary_index: u64,
}

/// `item/started` and `item/completed`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemLine<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) turn_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) item: crate::item::Item<'a>,
}

/// `turn/started` and `turn/completed`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnLine<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) turn: TurnData<'a>,
}

/// A turn as Codex tells it, with or without its items.
#[derive(Debug, Deserialize)]
pub(crate) struct TurnData<'a> {
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) status: Text<'a>,
    /// A [`TurnError`]. A turn ends even if it says in a new way why.
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

/// Why a turn failed, or a call of the model.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnError<'a> {
    #[serde(default)]
    pub(crate) message: String,
    /// A word, or an object named after one.
    #[serde(borrow)]
    pub(crate) codex_error_info: Option<&'a RawValue>,
    pub(crate) additional_details: Option<String>,
}

impl TurnError<'_> {
    /// The context is full, or the account has used up what it may.
    pub(crate) fn is_limit(&self) -> bool {
        let info = self.codex_error_info.map(RawValue::get);
        matches!(info, Some("\"contextWindowExceeded\"" | "\"usageLimitExceeded\""))
    }
}

/// `error`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorLine<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) error: TurnError<'a>,
    #[serde(default)]
    pub(crate) will_retry: bool,
}

/// `warning`
#[derive(Debug, Deserialize)]
pub(crate) struct Warning {
    pub(crate) message: String,
}

/// `mcpServer/startupStatus/updated`
#[derive(Debug, Deserialize)]
pub(crate) struct ServerStatus {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) error: Option<String>,
}

/// `thread/name/updated`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NameLine {
    pub(crate) thread_id: String,
    pub(crate) thread_name: Option<String>,
}

/// `thread/settings/updated`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsLine {
    pub(crate) thread_id: String,
    pub(crate) thread_settings: ThreadSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreadSettings {
    pub(crate) model: String,
    pub(crate) model_provider: String,
    pub(crate) effort: Option<String>,
}

/// `thread/tokenUsage/updated`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageLine {
    pub(crate) thread_id: String,
    pub(crate) token_usage: TokenUsage,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenUsage {
    /// Of the whole thread.
    pub(crate) total: Tokens,
    /// Of the last call of the model. Behind a compaction: what the context holds.
    pub(crate) last: Tokens,
    pub(crate) model_context_window: Option<u32>,
}

/// Tokens. Those read from a cache or written to one are part of the input.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(crate) struct Tokens {
    pub(crate) total_tokens: u64,
    pub(crate) input_tokens: u64,
    pub(crate) cached_input_tokens: u64,
    pub(crate) cache_write_input_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// The thread that a request of Codex comes from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfThread<'a> {
    #[serde(borrow)]
    pub(crate) thread_id: Text<'a>,
}

/// `serverRequest/resolved`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resolved<'a> {
    #[serde(borrow)]
    pub(crate) request_id: &'a RawValue,
}

/// The answer to `thread/start` and `thread/resume`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreadOpened {
    pub(crate) thread: ThreadData,
    #[serde(default)]
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) model_provider: String,
    pub(crate) reasoning_effort: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ThreadData {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
}

/// The answer to `turn/start`.
#[derive(Debug, Deserialize)]
pub(crate) struct TurnAccepted<'a> {
    #[serde(borrow)]
    pub(crate) turn: TurnData<'a>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_is_does_not_depend_on_the_order_of_its_parts() {
        for text in [
            r#"{"method":"m","params":{"a":1},"id":0}"#,
            r#"{"id":0,"params":{"a":1},"emittedAtMs":1,"method":"m"}"#,
        ] {
            let line = read::<Line<'_>>(text).unwrap();
            assert_eq!(line.method, "m");
            assert_eq!(line.id.unwrap().get(), "0");
            assert_eq!(line.params.unwrap().get(), r#"{"a":1}"#);
        }
    }

    #[test]
    fn only_objects_are_lines() {
        for text in ["null", "[]", "\"m\"", "7", "", "not json", "{", r#"{"method":7}"#] {
            assert!(read::<Line<'_>>(text).is_none(), "{text}");
        }
        assert_eq!(read::<Line<'_>>("{}").unwrap().method, "");
    }

    #[test]
    fn a_limit_is_told_from_other_failures() {
        let is_limit = |info: &str| {
            let text = format!(r#"{{"message":"m","codexErrorInfo":{info}}}"#);
            serde_json::from_str::<TurnError<'_>>(&text).unwrap().is_limit()
        };
        assert!(is_limit("\"contextWindowExceeded\"") && is_limit("\"usageLimitExceeded\""));
        for info in ["\"other\"", "null", r#"{"httpConnectionFailed":{"httpStatusCode":529}}"#] {
            assert!(!is_limit(info), "{info}");
        }
    }
}
