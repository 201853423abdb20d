//! Messages of a run, from their start over their pieces to their end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::interface::Event;
use rp_sdk::json::{RawText, RawValue, member};
use rp_sdk::session::{Image, Message, Role};

use crate::decode::{self, Block, MessageLine, Piece};
use crate::session::Pi;
use crate::turn::Stop;

/// Ids of messages. Pi gives them none, so they are made of role and time; a later one with
/// the same gets a number. The history gives a message the id it had when it was new.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    last: String,
    same: u32,
}

impl Ids {
    pub(crate) fn next(&mut self, role: &str, at_ms: u64) -> String {
        let id = format!("{role}-{at_ms}");
        self.same = if id == self.last { self.same + 1 } else { 1 };
        let numbered = if self.same == 1 { id.clone() } else { format!("{id}.{}", self.same) };
        self.last = id;
        numbered
    }
}

#[derive(Debug, Default)]
pub(crate) struct Messages {
    user: Ids,
    assistant: Ids,
    /// The id of the message the model is writing.
    writing: Option<String>,
}

impl Messages {
    /// A message that has not ended never will.
    pub(crate) fn turn_ended(&mut self) {
        self.writing = None;
    }
}

impl Pi {
    pub(crate) fn message_started(&mut self, line: MessageLine<'_>) {
        match &*line.message.role {
            "user" => self.prompt_became_seen(&text(line.message.content)),
            "assistant" => {
                self.messages.writing =
                    Some(self.messages.assistant.next("assistant", line.message.timestamp));
            }
            _ => {}
        }
    }

    pub(crate) fn piece(&mut self, piece: &Piece<'_>) {
        let (Some(id), Some(delta)) = (self.messages.writing.clone(), piece.delta) else {
            return;
        };
        let delta = delta.decode().into_owned();
        match &*piece.kind {
            _ if delta.is_empty() => {}
            "text_delta" => self.effects.event(Event::Text((id, delta))),
            "thinking_delta" => self.effects.event(Event::Thinking((id, delta))),
            _ => {}
        }
    }

    pub(crate) fn message_ended(&mut self, line: MessageLine<'_>) {
        if !self.turn.is_open() {
            return;
        }
        match &*line.message.role {
            "user" => {
                let id = self.messages.user.next("user", line.message.timestamp);
                let message = finished(id, Role::User, &line.message);
                self.effects.event(Event::MessageEnded(message));
            }
            "assistant" => self.assistant_message_ended(&line.message),
            _ => {}
        }
    }

    fn assistant_message_ended(&mut self, message: &decode::Message<'_>) {
        let id = match self.messages.writing.take() {
            Some(id) => id,
            None => self.messages.assistant.next("assistant", message.timestamp),
        };
        let finished = finished(id, Role::Assistant, message);
        // One that only calls tools says nothing, and neither does one that failed at once.
        if !finished.text.is_empty() || finished.thinking.is_some() {
            self.effects.event(Event::MessageEnded(finished));
        }
        if let Some(usage) = message.usage {
            self.tell_usage(usage);
        }
        self.remember_stop(message);
        if self.known.saved() {
            self.tell_state(false);
        }
    }

    fn remember_stop(&mut self, message: &decode::Message<'_>) {
        self.turn.last_stop = match message.stop_reason.as_deref() {
            Some("error") => Stop::Failed,
            Some("aborted") => Stop::Aborted,
            Some("length") => Stop::Limit,
            Some("toolUse") => Stop::Tools,
            _ => Stop::Done,
        };
        self.turn.error = match self.turn.last_stop {
            Stop::Failed => message.error_message.as_deref().map(str::to_owned),
            _ => None,
        };
    }
}

/// A message in the shape clients see.
pub(crate) fn finished(id: String, role: Role, message: &decode::Message<'_>) -> Message {
    let blocks = blocks(message.content);
    let thinking = joined(blocks.iter().filter_map(|block| block.thinking));
    Message {
        id,
        role,
        text: plain(message.content).unwrap_or_else(|| text_of(&blocks)),
        thinking: (!thinking.is_empty()).then_some(thinking),
        tool: None,
        images: blocks.iter().filter_map(image).collect(),
        at_ms: message.timestamp,
    }
}

/// The blocks of a message's content; none when it is plain text.
pub(crate) fn blocks(content: Option<&RawValue>) -> Vec<Block<'_>> {
    member(content).unwrap_or_default()
}

/// The text of a message's content, whether that is plain text or blocks.
pub(crate) fn text(content: Option<&RawValue>) -> String {
    plain(content).unwrap_or_else(|| text_of(&blocks(content)))
}

/// The content, if it is plain text.
fn plain(content: Option<&RawValue>) -> Option<String> {
    let text = RawText::from(content?);
    text.is_string().then(|| text.decode().into_owned())
}

fn text_of(blocks: &[Block<'_>]) -> String {
    joined(blocks.iter().filter(|block| block.kind == "text").filter_map(|block| block.text))
}

fn joined<'a>(texts: impl Iterator<Item = RawText<'a>> + Clone) -> String {
    let mut joined = String::with_capacity(texts.clone().map(RawText::max_len).sum());
    texts.for_each(|text| text.decode_into(&mut joined));
    joined
}

fn image(block: &Block<'_>) -> Option<Image> {
    if block.kind != "image" {
        return None;
    }
    let data = STANDARD.decode(block.data.as_deref()?).ok()?;
    Some(Image {
        mime: block.mime_type.as_deref().unwrap_or("application/octet-stream").to_owned(),
        data,
    })
}
