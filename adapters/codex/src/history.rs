//! The conversation so far, as `thread/read` gives it.

use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Message, Role, ToolCall};
use serde::Deserialize;

use crate::item::Item;

/// The answer to `thread/read`.
#[derive(Deserialize)]
struct ReadAnswer<'a> {
    #[serde(borrow)]
    thread: ThreadRead<'a>,
}

#[derive(Deserialize)]
struct ThreadRead<'a> {
    #[serde(borrow)]
    turns: Vec<TurnRead<'a>>,
}

#[derive(Deserialize)]
struct TurnRead<'a> {
    /// One that cannot be read costs only itself.
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// `None` when the answer cannot be read.
pub(crate) fn read(result: Option<&RawValue>) -> Option<Vec<Message>> {
    let answer = member::<ReadAnswer<'_>>(result)?;
    let items = answer.thread.turns.into_iter().flat_map(|turn| turn.items);
    Some(items.filter_map(|item| member::<Item<'_>>(Some(item))).filter_map(message).collect())
}

fn message(item: Item<'_>) -> Option<Message> {
    let Some(call) = item.tool_call() else {
        return item.into_message();
    };
    let at_ms = item.started_at_ms.unwrap_or(0);
    let failed = item.failed();
    let output = item.into_output();
    Some(Message {
        id: call.id.clone(),
        role: Role::Tool,
        text: output.clone().unwrap_or_default(),
        thinking: None,
        tool: Some(ToolCall { output, failed, ..call }),
        images: Vec::new(),
        at_ms,
    })
}
