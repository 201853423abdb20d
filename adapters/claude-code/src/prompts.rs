//! What Claude was given to do, and when it does it.
//!
//! Claude takes messages at any time and queues them. It says of each, by the id it was given,
//! that it is `queued`, when it has `started`, and that it was `cancelled`. A message with an
//! id that is already part of the conversation is `completed` at once, which means dropped,
//! also when it was another process that used the id. So ids are made of what names the start of
//! the process, which no other has.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_sdk::interface::Event;
use rp_sdk::session::{FailureKind, Message, Prompt, Role, Urgency};
use serde_json::{Value, json};

use crate::decode::Lifecycle;
use crate::session::ClaudeCode;

/// How many prompts can wait with Claude.
const WAITING_AT_MOST: usize = 256;

/// A command of Claude itself, which is given to it like a prompt.
#[derive(Debug, Clone)]
pub(crate) enum Local {
    /// Starts a new conversation.
    Clear,
    /// Shortens the context, keeping what these instructions name.
    Compact(Option<String>),
}

#[derive(Debug, Clone)]
enum What {
    Prompt(Prompt),
    Local(Local),
}

/// Something that waits with Claude.
#[derive(Debug)]
struct Waiting {
    number: u64,
    id: String,
    what: What,
    priority: &'static str,
    /// Claude has said that it has it.
    accepted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    waiting: VecDeque<Waiting>,
    /// Claude says what becomes of messages. Until it has said so of one, what it holds is
    /// taken to be part of the next turn.
    tells: bool,
}

impl Prompts {
    pub(crate) fn any_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn clear_waits(&self) -> bool {
        self.waiting.iter().any(Waiting::is_clear)
    }

    pub(crate) fn clear_is_next(&self) -> bool {
        self.waiting.front().is_some_and(Waiting::is_clear)
    }
}

impl ClaudeCode {
    pub(crate) fn prompt(&mut self, number: u64, prompt: Prompt) {
        if prompt.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the prompt is empty");
        }
        if self.prompts.waiting.len() >= WAITING_AT_MOST {
            let message = format!("{WAITING_AT_MOST} prompts are waiting already");
            return self.effects.refuse(number, FailureKind::Busy, message);
        }
        let priority = match prompt.urgency {
            // It must not overtake the new conversation that it is meant for.
            Urgency::Interrupt if self.prompts.clear_waits() => "next",
            Urgency::Interrupt => {
                self.interrupt();
                "now"
            }
            Urgency::AfterTools => "next",
            Urgency::WhenIdle => "later",
        };
        self.send(number, What::Prompt(prompt), priority);
    }

    pub(crate) fn send_local(&mut self, number: u64, local: Local) {
        let priority = if matches!(local, Local::Clear) { "next" } else { "later" };
        self.send(number, What::Local(local), priority);
    }

    fn send(&mut self, number: u64, what: What, priority: &'static str) {
        let id = message_id(&self.request.launch, number);
        let waiting = Waiting { number, id, what, priority, accepted: false };
        self.effects.write_line(&waiting.line());
        self.prompts.waiting.push_back(waiting);
    }

    /// `command_lifecycle`
    pub(crate) fn lifecycle(&mut self, line: Lifecycle<'_>) {
        self.prompts.tells = true;
        let id = &*line.command_uuid;
        match &*line.state {
            "queued" => self.accepted(id),
            "started" => self.begins(id),
            // One that still waits when Claude is through with it never was part of a turn.
            "completed" | "cancelled" => self.dropped(id),
            _ => {}
        }
    }

    /// Claude has the message.
    fn accepted(&mut self, id: &str) {
        let waiting = self.prompts.waiting.iter_mut().find(|waiting| waiting.id == id);
        let Some(waiting) = waiting.filter(|waiting| !waiting.accepted) else {
            return;
        };
        waiting.accepted = true;
        // What a command of Claude itself comes to is known later.
        if matches!(waiting.what, What::Prompt(_)) {
            let number = waiting.number;
            self.effects.done(number);
        }
    }

    fn take(&mut self, id: &str) -> Option<Waiting> {
        let at = self.prompts.waiting.iter().position(|waiting| waiting.id == id)?;
        self.prompts.waiting.remove(at)
    }

    /// Claude turns to the message: the model sees it.
    fn begins(&mut self, id: &str) {
        self.accepted(id);
        let Some(waiting) = self.take(id) else {
            return;
        };
        match waiting.what {
            What::Local(_) => self.begin_local(waiting.number),
            What::Prompt(prompt) => {
                self.begin_turn();
                self.effects.event(Event::PromptSeen(waiting.number));
                let message = Message::new(waiting.id, Role::User, prompt.text);
                let message = Message { images: prompt.images, ..message };
                self.effects.event(Event::MessageEnded(message));
            }
        }
    }

    /// The message will not be part of a turn.
    pub(crate) fn dropped(&mut self, id: &str) {
        let Some(waiting) = self.take(id) else {
            return;
        };
        let number = waiting.number;
        if waiting.accepted && matches!(waiting.what, What::Prompt(_)) {
            return self.effects.dropped(vec![number]);
        }
        self.effects.refuse(
            number,
            FailureKind::Refused,
            "it was taken back before Claude came to it",
        );
    }

    /// A turn or a command of Claude itself begins, and Claude did not say for which message.
    pub(crate) fn work_begins(&mut self) {
        let next = self.prompts.waiting.front().filter(|_| !self.prompts.tells);
        match next.map(|waiting| (&waiting.what, waiting.id.clone())) {
            Some((What::Local(_), id)) => self.begins(&id),
            Some((What::Prompt(_), _)) => {
                let prompts =
                    self.prompts.waiting.iter().take_while(|w| matches!(w.what, What::Prompt(_)));
                let ids: Vec<String> = prompts.map(|waiting| waiting.id.clone()).collect();
                for id in ids {
                    self.begins(&id);
                }
            }
            None => self.begin_turn(),
        }
    }

    /// The process is gone, and with it what waited there.
    pub(crate) fn forget_prompts(&mut self, what: &str) {
        self.prompts.tells = false;
        let mut dropped = Vec::new();
        for waiting in std::mem::take(&mut self.prompts.waiting) {
            if waiting.accepted && matches!(waiting.what, What::Prompt(_)) {
                dropped.push(waiting.number);
            } else {
                self.effects.refuse(waiting.number, FailureKind::Harness, what);
            }
        }
        self.effects.dropped(dropped);
    }
}

impl Waiting {
    fn is_clear(&self) -> bool {
        matches!(self.what, What::Local(Local::Clear))
    }

    fn line(&self) -> Value {
        let content = match &self.what {
            What::Prompt(prompt) => content(prompt),
            What::Local(Local::Clear) => json!("/clear"),
            What::Local(Local::Compact(None)) => json!("/compact"),
            What::Local(Local::Compact(Some(text))) => {
                // A command is one line.
                let words: Vec<&str> = text.split_whitespace().collect();
                json!(format!("/compact {}", words.join(" ")).trim_end())
            }
        };
        json!({
            "type": "user",
            "message": {"role": "user", "content": content},
            "parent_tool_use_id": null,
            "session_id": "",
            "priority": self.priority,
            "uuid": self.id,
        })
    }
}

fn content(prompt: &Prompt) -> Value {
    if prompt.images.is_empty() {
        return json!(prompt.text);
    }
    let text = (!prompt.text.is_empty()).then(|| json!({"type": "text", "text": prompt.text}));
    let images = prompt.images.iter().map(|image| {
        let data = STANDARD.encode(&image.data);
        json!({"type": "image", "source": {"type": "base64", "media_type": image.mime, "data": data}})
    });
    text.into_iter().chain(images).collect()
}

/// A UUID (version 8) made of these two: their FNV-1a hash, 128 bits wide.
fn message_id(launch: &str, number: u64) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    let text = format!("{launch} {number}");
    let hash =
        text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    let hash = hash & !(0xf << 76) & !(0b11 << 62) | (0x8 << 76) | (0b10 << 62);
    let hex = format!("{hash:032x}");
    let ends = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    let groups = ends.map(|(from, to)| hex.get(from..to).unwrap_or_default());
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::message_id;

    #[test]
    fn an_id_has_the_shape_of_a_uuid_and_differs_with_all_it_is_made_of() {
        let id = message_id("launch", 1);
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(id.chars().nth(14), Some('8'));
        assert!(matches!(id.chars().nth(19), Some('8' | '9' | 'a' | 'b')));
        assert_eq!(id, message_id("launch", 1));
        for other in [message_id("another", 1), message_id("launch", 2)] {
            assert_ne!(id, other);
        }
    }
}
