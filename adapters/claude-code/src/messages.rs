//! Messages of a turn, from their first piece to their end.
//!
//! Claude tells a message twice: as the pieces of its stream, and block by block when a block
//! is complete. Text is taken from the pieces, tool calls from the blocks. A message that
//! speaks, calls tools and speaks again is several messages to clients, so that everything
//! stands in the order in which it happened.

use rp_sdk::interface::Event;
use rp_sdk::session::{Message, Role};

use crate::decode::{AssistantLine, Block, StreamEvent, Usage};
use crate::session::ClaudeCode;

#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// The id of the message that the provider streams, or did last.
    streamed: String,
    /// What has not ended of it.
    open: Part,
    /// How many parts of it have ended.
    ended: u32,
    usage: Usage,
}

/// What a message said since it began or called a tool.
#[derive(Debug, Default)]
struct Part {
    id: String,
    text: String,
    thinking: String,
    /// The block it begins with.
    first_block: u64,
}

impl Messages {
    fn start(&mut self, id: &str) {
        *self = Self { streamed: id.to_owned(), ..Self::default() };
        self.open.id = id.to_owned();
    }

    /// What has not ended never will.
    pub(crate) fn turn_ended(&mut self) {
        *self = Self::default();
    }

    /// Ends the open part and begins another. `None` when it said nothing.
    fn end_part(&mut self) -> Option<Part> {
        if self.open.text.is_empty() && self.open.thinking.is_empty() {
            return None;
        }
        self.ended += 1;
        let next = format!("{}.{}", self.streamed, self.ended + 1);
        Some(std::mem::replace(&mut self.open, Part { id: next, ..Part::default() }))
    }
}

impl ClaudeCode {
    /// `stream_event`. A message that was `abandoned` from one of its blocks on goes on no
    /// further: what it said there is said again.
    pub(crate) fn streamed(&mut self, event: &StreamEvent<'_>, abandoned: Option<u64>) {
        if !self.turn.is_open() {
            return;
        }
        match &*event.kind {
            "content_block_delta" => self.piece(event),
            "content_block_start" => self.block_started(event),
            "message_start" => {
                if let Some(message) = &event.message {
                    self.messages.start(&message.id);
                    self.messages.usage = message.usage;
                    self.conversation_is_saved();
                }
            }
            "message_delta" => {
                let usage = complete(self.messages.usage, event.usage.unwrap_or_default());
                self.tell_usage(usage);
            }
            "message_stop" => {
                if abandoned.is_some_and(|from| from <= self.messages.open.first_block) {
                    self.messages.open = Part::default();
                }
                self.end_part();
            }
            _ => {}
        }
    }

    fn piece(&mut self, event: &StreamEvent<'_>) {
        let Some(delta) = &event.delta else {
            return;
        };
        let part = &mut self.messages.open;
        let told = if let Some(text) = delta.text.as_ref().filter(|text| !text.is_empty()) {
            part.text.push_str(text);
            Event::Text((part.id.clone(), text.to_string()))
        } else if let Some(text) = delta.thinking.as_ref().filter(|text| !text.is_empty()) {
            part.thinking.push_str(text);
            Event::Thinking((part.id.clone(), text.to_string()))
        } else {
            return;
        };
        self.effects.event(told);
    }

    fn block_started(&mut self, event: &StreamEvent<'_>) {
        let kind = event.content_block.as_ref().map(|block| &*block.kind);
        if kind == Some("tool_use") {
            self.end_part();
        } else if self.messages.open.text.is_empty() && self.messages.open.thinking.is_empty() {
            self.messages.open.first_block = event.index;
        }
    }

    fn end_part(&mut self) {
        if let Some(part) = self.messages.end_part() {
            self.message_ended(Role::Assistant, part);
        }
    }

    fn message_ended(&mut self, role: Role, part: Part) {
        let thinking = Some(part.thinking).filter(|text| !text.is_empty());
        let message = Message { thinking, ..Message::new(part.id, role, part.text) };
        self.effects.event(Event::MessageEnded(message));
    }

    /// `assistant`
    pub(crate) fn assistant_line(&mut self, line: AssistantLine<'_>) {
        let blocks = &line.message.content;
        if line.local_command_source.is_some() {
            return self.local_command_said(&line);
        }
        if !self.turn.is_open() {
            return;
        }
        if line.is_api_error_message {
            self.turn.limit_reached = line.error.as_deref() == Some("max_output_tokens");
            self.turn.error = Some(text_of(blocks));
            return;
        }
        if *line.message.id != *self.messages.streamed {
            // The provider did not stream it.
            self.messages.start(&line.message.id);
            self.conversation_is_saved();
            self.messages.open.text = text_of(blocks);
            self.messages.open.thinking = joined(blocks, |block| block.thinking.as_deref());
            self.end_part();
            self.tell_usage(line.message.usage.unwrap_or_default());
        }
        for block in blocks.iter().filter(|block| &*block.kind == "tool_use") {
            self.end_part();
            self.tool_started(block);
        }
    }

    /// A command of Claude itself says how it went.
    fn local_command_said(&mut self, line: &AssistantLine<'_>) {
        let text = text_of(&line.message.content);
        if self.turn.local_said(&text) || !self.turn.is_open() || text.is_empty() {
            return;
        }
        let part = Part { id: line.message.id.to_string(), text, ..Part::default() };
        self.message_ended(Role::System, part);
    }
}

/// What was told at the start of a message, with what its end tells anew.
fn complete(start: Usage, end: Usage) -> Usage {
    Usage {
        input: end.input.or(start.input),
        output: end.output.or(start.output),
        cache_read: end.cache_read.or(start.cache_read),
        cache_write: end.cache_write.or(start.cache_write),
    }
}

fn text_of(blocks: &[Block<'_>]) -> String {
    joined(blocks, |block| block.text.as_deref())
}

fn joined<'a>(blocks: &'a [Block<'_>], text: impl Fn(&'a Block<'_>) -> Option<&'a str>) -> String {
    blocks.iter().filter_map(text).collect()
}
