//! The conversation so far: what a loaded session brought, and what was said since.

use std::collections::VecDeque;

use rp_sdk::session::{Message, Role};

/// How much text is kept, in bytes. The oldest messages go first.
const KEPT_AT_MOST: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct History {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl History {
    /// Images are left out: a client that was there has them, and they are large.
    pub(crate) fn push(&mut self, message: &Message) {
        let message = Message { images: Vec::new(), ..message.clone() };
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.bytes > KEPT_AT_MOST
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= size(&oldest);
        }
    }

    /// Appends to the newest message if that is the user's and has this id. Gives whether it was.
    pub(crate) fn extend_user(&mut self, id: &str, text: &str) -> bool {
        match self.messages.back_mut() {
            Some(message) if message.role == Role::User && message.id == id => {
                message.text.push_str(text);
                self.bytes += text.len();
                true
            }
            _ => false,
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<Message> {
        self.messages.iter().cloned().collect()
    }
}

fn size(message: &Message) -> usize {
    let tool = message.tool.as_ref().map_or(0, |tool| {
        tool.input.len() + tool.output.as_ref().map_or(0, String::len) + tool.name.len()
    });
    message.id.len() + message.text.len() + message.thinking.as_ref().map_or(0, String::len) + tool
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, length: usize) -> Message {
        Message {
            id: id.to_owned(),
            role: Role::User,
            text: "x".repeat(length),
            thinking: None,
            tool: None,
            images: Vec::new(),
            at_ms: 0,
        }
    }

    #[test]
    fn the_oldest_messages_go_when_there_is_too_much() {
        let mut history = History::default();
        for id in ["1", "2", "3"] {
            history.push(&message(id, KEPT_AT_MOST / 2 - 10));
        }
        let ids: Vec<String> = history.to_vec().into_iter().map(|message| message.id).collect();
        assert_eq!(ids, ["2", "3"]);
    }

    #[test]
    fn a_message_in_pieces_is_one_message() {
        let mut history = History::default();
        history.push(&message("1", 1));
        assert!(history.extend_user("1", "y") && !history.extend_user("2", "z"));
        assert_eq!(
            history.to_vec().into_iter().map(|message| message.text).collect::<String>(),
            "xy"
        );
    }
}
