//! Items of the running turn, from their start over their pieces to their end.

use rp_sdk::interface::Event;
use rp_sdk::session::Severity;

use crate::item::Item;
use crate::session::Codex;
use crate::wire::{Delta, ItemLine, PartAdded};

impl Codex {
    /// Whether something belongs to the turn that is open. Commands can outlive their turn, and
    /// other threads of the process, such as those of agents that the model started, have
    /// turns of their own.
    fn is_current(&self, thread: &str, turn: &str) -> bool {
        self.turn.is_open() && turn == self.turn.id && thread == self.thread.id
    }

    /// `item/agentMessage/delta`
    pub(crate) fn text_went_on(&mut self, piece: Delta<'_>) {
        if self.is_current(&piece.thread_id, &piece.turn_id) && !piece.delta.is_empty() {
            self.effects.event(Event::Text((piece.item_id.into_owned(), piece.delta.into_owned())));
        }
    }

    /// `item/reasoning/summaryTextDelta` and `item/reasoning/textDelta`
    pub(crate) fn thinking_went_on(&mut self, piece: Delta<'_>) {
        if self.is_current(&piece.thread_id, &piece.turn_id) && !piece.delta.is_empty() {
            self.effects
                .event(Event::Thinking((piece.item_id.into_owned(), piece.delta.into_owned())));
        }
    }

    /// `item/reasoning/summaryPartAdded`
    pub(crate) fn thinking_part_added(&mut self, part: PartAdded<'_>) {
        if self.is_current(&part.thread_id, &part.turn_id) && part.summary_index > 0 {
            self.effects.event(Event::Thinking((part.item_id.into_owned(), "\n\n".to_owned())));
        }
    }

    /// `item/started`
    pub(crate) fn item_started(&mut self, line: ItemLine<'_>) {
        if !self.is_current(&line.thread_id, &line.turn_id) {
            return;
        }
        match line.item.kind.as_ref() {
            "userMessage" => return self.prompt_became_seen(&line.item),
            "contextCompaction" => {
                self.effects.notice(Severity::Info, "Codex shortens the context")
            }
            _ => self.tool_started(&line.item),
        }
        self.thread_is_saved();
    }

    /// `item/completed`
    pub(crate) fn item_completed(&mut self, line: ItemLine<'_>) {
        let item = line.item;
        if self.tools.is_left_running(&item.id) {
            return self.left_tool_ended(&item);
        }
        if !self.is_current(&line.thread_id, &line.turn_id) {
            return;
        }
        if item.kind == "contextCompaction" {
            return self.effects.notice(Severity::Info, "the context was shortened");
        }
        if item.tool_call().is_some() {
            return self.tool_ended(item);
        }
        self.message_ended(item);
    }

    fn message_ended(&mut self, item: Item<'_>) {
        if let Some(message) = item.into_message() {
            self.effects.event(Event::MessageEnded(message));
        }
    }

    /// Codex keeps a thread once the model has answered in it.
    fn thread_is_saved(&mut self) {
        if !std::mem::replace(&mut self.known.saved, true) {
            self.tell_state(false);
        }
    }
}
