//! What the agent says and does, as it happens.

use std::ops::Deref;

use rp_sdk::Effects;
use rp_sdk::interface::Event;
use rp_sdk::json::{member, read};
use rp_sdk::session::Severity;
use serde_json::json;

use crate::decode::{Line, RawUpdate, SessionUpdate, Update};
use crate::harness::Status;
use crate::session::Acp;

/// The longest update that is passed on as it is, in bytes.
const PASSED_ON_AT_MOST: usize = 64 * 1024;

impl Acp {
    /// `session/update`
    pub(crate) fn session_update(&mut self, told: SessionUpdate<'_>, line: &str) {
        let session = told.session_id.deref();
        if self.coming.as_ref().is_some_and(|coming| coming.session == session) {
            return self.replayed(told.update);
        }
        if self.conversation.session == session {
            self.update(told.update, line);
        }
    }

    fn update(&mut self, update: Update<'_>, line: &str) {
        match update.session_update.deref() {
            "agent_message_chunk" => self.chunk(update),
            "agent_thought_chunk" => self.thought(update),
            "tool_call" => self.tool(&update, true),
            "tool_call_update" => self.tool(&update, false),
            "usage_update" => self.context_used(&update),
            "config_option_update" => {
                self.options.listed(update.config_options);
                self.tell_state(false);
                self.pass_update_on(&update, line);
            }
            "session_info_update" => {
                if let Some(title) = update.title.as_deref() {
                    self.known.title = Some(title.to_owned());
                    self.tell_state(false);
                }
            }
            // The prompt, which is told when the model sees it.
            "user_message_chunk" => {}
            _ => self.pass_update_on(&update, line),
        }
    }

    fn pass_update_on(&mut self, update: &Update<'_>, line: &str) {
        let params = read::<Line<'_>>(line).and_then(|line| line.params);
        if let Some(raw) = member::<RawUpdate<'_>>(params) {
            self.pass_on(&update.session_update, raw.update.get());
        }
    }

    /// Something only this agent has, for clients that know it.
    pub(crate) fn pass_on(&mut self, name: &str, json: &str) {
        if json.len() <= PASSED_ON_AT_MOST {
            self.effects.event(Event::Other((name.to_owned(), json.to_owned())));
        }
    }

    fn chunk(&mut self, mut update: Update<'_>) {
        let block = update.take_block();
        let id = update.message_id.as_deref();
        if block.kind.deref() == "image" {
            if self.turn.is_open() {
                self.model_shows_itself(id);
                self.conversation.image(id, &block, &mut self.effects);
            }
            return;
        }
        let text = block.into_text();
        if self.hello.as_deref() == Some(&*text) {
            return;
        }
        if let Some(status) = self.harness.status(&text) {
            return self.status(&status);
        }
        // Some say a last thing when the turn is over. It begins no other.
        if text.is_empty() || !self.turn.is_open() {
            return;
        }
        self.model_shows_itself(id);
        self.conversation.text(id, text.into_owned(), &mut self.effects);
    }

    /// What the agent said itself in the model's name.
    fn status(&mut self, status: &Status<'_>) {
        match status {
            Status::Dropped => {}
            Status::Retry(text) => {
                self.conversation.end_message(&mut self.effects);
                self.effects.notice(Severity::Warning, format!("the model failed. {text}"));
            }
            Status::Mode(mode) => {
                let update = json!({"currentModeId": mode}).to_string();
                self.pass_on("current_mode_update", &update);
            }
        }
    }

    fn thought(&mut self, mut update: Update<'_>) {
        let text = update.take_block().into_text();
        let thought = self.harness.thought(&text);
        if thought.is_empty() || !self.turn.is_open() {
            return;
        }
        // What it thinks has other ids than what it says.
        self.model_shows_itself(None);
        let id = update.message_id.as_deref();
        self.conversation.thought(id, thought, &mut self.effects);
    }

    fn tool(&mut self, update: &Update<'_>, announced: bool) {
        if !self.turn.is_open() {
            return;
        }
        if announced {
            self.model_shows_itself(None);
        }
        let ran = self.conversation.tools.any();
        self.conversation.tool(update, announced, &mut self.effects);
        if ran && !self.conversation.tools.any() {
            self.tools_ended();
            self.next_call_sees_all();
        }
    }

    /// The history of the session that is being loaded.
    fn replayed(&mut self, mut update: Update<'_>) {
        let Some(coming) = &mut self.coming else {
            return;
        };
        let text = update.take_block().into_text();
        let id = update.message_id.as_deref();
        // Nobody is told: who wants the history asks for it.
        let mut untold = Effects::default();
        match update.session_update.deref() {
            "user_message_chunk" if !text.is_empty() && !self.harness.made_up(&text) => {
                coming.user(id, text.into_owned(), Vec::new(), &mut untold);
            }
            "agent_message_chunk" if !text.is_empty() && self.harness.status(&text).is_none() => {
                coming.text(id, text.into_owned(), &mut untold);
            }
            "agent_thought_chunk" if !text.is_empty() => {
                coming.thought(id, self.harness.thought(&text), &mut untold);
            }
            "tool_call" => coming.tool(&update, true, &mut untold),
            "tool_call_update" => coming.tool(&update, false, &mut untold),
            _ => {}
        }
        self.history_goes_on();
    }
}
