//! One session of the agent: the message that is being written, and what was said before.
//!
//! The protocol has chunks and no ends: a message ends where something else begins. It often
//! has no ids either; then messages are numbered, in a loaded session from its beginning, so
//! that the history gives a message the id it had when it was new.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::Effects;
use rp_sdk::interface::Event;
use rp_sdk::session::{Image, Message, Role};

use crate::decode::Block;
use crate::harness::Harness;
use crate::history::History;
use crate::tools::Tools;

#[derive(Debug)]
struct Writing {
    id: String,
    /// The agent's id of its text. What it thinks can have another.
    text_id: Option<String>,
    text: String,
    thinking: String,
    images: Vec<Image>,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) harness: Harness,
    /// The agent's id of it; empty while there is none.
    pub(crate) session: String,
    /// What is said is new, not out of the history.
    pub(crate) live: bool,
    last_number: u64,
    writing: Option<Writing>,
    /// Ids of messages that ended in this turn. An agent may go on under one of them.
    ended: BTreeSet<String>,
    pub(crate) tools: Tools,
    pub(crate) history: History,
}

impl Conversation {
    pub(crate) fn new(harness: Harness, session: String, live: bool) -> Self {
        Self {
            harness,
            session,
            live,
            last_number: 0,
            writing: None,
            ended: BTreeSet::new(),
            tools: Tools::default(),
            history: History::default(),
        }
    }

    /// The next piece of the model's text.
    pub(crate) fn text(&mut self, id: Option<&str>, piece: String, out: &mut Effects) {
        let writing = self.writing_text(id, out);
        writing.text.push_str(&piece);
        out.event(Event::Text((writing.id.clone(), piece)));
    }

    /// An image in the model's message.
    pub(crate) fn image(&mut self, id: Option<&str>, block: &Block<'_>, out: &mut Effects) {
        if let Some(image) = image(block) {
            self.writing_text(id, out).images.push(image);
        }
    }

    /// The next piece of what the model thinks.
    pub(crate) fn thought(&mut self, id: Option<&str>, piece: &str, out: &mut Effects) {
        if self.writing.as_ref().is_some_and(|writing| !writing.text.is_empty()) {
            self.end_message(out);
        }
        let whole = self.harness.thoughts_are_whole();
        let writing = self.writing_or_new(id, out);
        let piece = match whole && !writing.thinking.is_empty() {
            true => format!("\n{piece}"),
            false => piece.to_owned(),
        };
        writing.thinking.push_str(&piece);
        out.event(Event::Thinking((writing.id.clone(), piece)));
    }

    /// The message with the text of this id.
    fn writing_text(&mut self, id: Option<&str>, out: &mut Effects) -> &mut Writing {
        let other = self.writing.as_ref().is_some_and(|writing| {
            matches!((writing.text_id.as_deref(), id), (Some(old), Some(new)) if old != new)
        });
        if other {
            self.end_message(out);
        }
        let writing = self.writing_or_new(id, out);
        if writing.text_id.is_none() {
            writing.text_id = id.map(str::to_owned);
        }
        writing
    }

    fn writing_or_new(&mut self, id: Option<&str>, out: &mut Effects) -> &mut Writing {
        if self.writing.is_none() {
            self.replayed_tools_end(out);
        }
        let (session, last, ended) = (&self.session, &mut self.last_number, &self.ended);
        self.writing.get_or_insert_with(|| Writing {
            id: match id {
                Some(id) if !ended.contains(id) => id.to_owned(),
                _ => numbered(session, last),
            },
            text_id: None,
            text: String::new(),
            thinking: String::new(),
            images: Vec::new(),
        })
    }

    /// Something else began, so the message is complete.
    pub(crate) fn end_message(&mut self, out: &mut Effects) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        if self.live {
            self.ended.insert(writing.id.clone());
        }
        self.finished(
            Message {
                id: writing.id,
                role: Role::Assistant,
                text: writing.text,
                thinking: (!writing.thinking.is_empty()).then_some(writing.thinking),
                tool: None,
                images: writing.images,
                at_ms: 0,
            },
            out,
        );
    }

    /// A message of the user: a prompt that the model sees now, or one out of the history.
    pub(crate) fn user(
        &mut self,
        id: Option<&str>,
        text: String,
        images: Vec<Image>,
        out: &mut Effects,
    ) {
        if id.is_some_and(|id| self.history.extend_user(id, &text)) {
            return;
        }
        self.end_message(out);
        self.replayed_tools_end(out);
        // Counted even where the agent has an id: it tells that only when the session is loaded.
        let made_up = numbered(&self.session, &mut self.last_number);
        let id = id.map_or(made_up, str::to_owned);
        let role = Role::User;
        let message = Message { id, role, text, thinking: None, tool: None, images, at_ms: 0 };
        self.finished(message, out);
    }

    fn finished(&mut self, message: Message, out: &mut Effects) {
        self.history.push(&message);
        out.event(Event::MessageEnded(message));
    }

    /// The turn, or the history of a loaded session, is over: nothing in it goes on.
    pub(crate) fn turn_ended(&mut self, out: &mut Effects) {
        self.end_message(out);
        self.end_tools(out);
        self.ended.clear();
    }
}

fn numbered(session: &str, last: &mut u64) -> String {
    *last += 1;
    format!("{session}.{last}")
}

fn image(block: &Block<'_>) -> Option<Image> {
    let data = STANDARD.decode(block.data.as_deref()?).ok()?;
    let mime = block.mime_type.as_deref().unwrap_or("application/octet-stream").to_owned();
    Some(Image { mime, data })
}
