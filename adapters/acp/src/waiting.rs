//! Commands that wait: for a session, or for the end of a turn that they leave behind.

use std::collections::VecDeque;

use rp_sdk::interface::Command;
use rp_sdk::session::FailureKind;

use crate::opening::Stage;
use crate::requests::Opening;
use crate::session::Acp;

/// How many commands wait for a session.
const WAITING_AT_MOST: usize = 256;

impl Acp {
    pub(crate) fn wait_for_session(&mut self, number: u64, command: Command) {
        if self.waiting.len() >= WAITING_AT_MOST {
            let message = format!("{WAITING_AT_MOST} commands are waiting already");
            return self.effects.refuse(number, FailureKind::Busy, message);
        }
        self.waiting.push_back((number, command));
        if self.stage == Stage::Closed {
            self.begin();
        }
    }

    pub(crate) fn release_waiting(&mut self) {
        while self.is_ready()
            && let Some((number, command)) = self.waiting.pop_front()
        {
            self.dispatch(number, command);
        }
    }

    /// An abort takes back prompts that have not gone out.
    pub(crate) fn take_back_waiting(&mut self) {
        let (prompts, rest): (VecDeque<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, command)| matches!(command, Command::Prompt(_)));
        self.waiting = rest;
        for (number, _) in prompts {
            let message = "an abort took the prompt back before the agent had it";
            self.effects.refuse(number, FailureKind::Refused, message);
        }
    }

    /// Leaves the current session for another, once its turn is over.
    pub(crate) fn move_to(&mut self, number: u64, opening: Opening) {
        self.drop_held();
        if self.turn.is_open() {
            self.moving = Some((number, opening));
            self.cancel_turn();
        } else {
            self.cancel_questions();
            self.open(opening, Some(number));
        }
    }

    /// The turn is over: what waited for that comes now.
    pub(crate) fn after_turn(&mut self) {
        match self.moving.take() {
            Some((number, opening)) => self.open(opening, Some(number)),
            None => self.release_prompt(),
        }
    }
}
