//! The process of the agent: standard error, end.

use rp_sdk::interface::Exit;
use rp_sdk::process::{Ending, LastWords, Noise};
use rp_sdk::session::FailureKind;
use rp_sdk::timers::Timers;

use crate::opening::{Agent, Stage};
use crate::session::{Acp, Wait};
use crate::turn::Turn;

/// What is known of the process that runs.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// It has said something that fits the protocol, so it started well.
    pub(crate) answers: bool,
    pub(crate) noise: Noise,
    pub(crate) last_words: LastWords,
}

impl Acp {
    pub(crate) fn process_exited(&mut self, how: &Exit) {
        let what = how.in_words(self.harness.title());
        self.explain_end(how);
        self.withdraw_questions();
        for sent in std::mem::take(&mut self.prompts.sent) {
            if !sent.settled {
                self.effects.refuse(sent.number, FailureKind::Harness, what.clone());
            }
        }
        let moving = self.moving.take().map(|(number, _)| number);
        let open: Vec<u64> = self.requests.drain().filter_map(|request| request.number()).collect();
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(number, _)| number);
        // A history that was still coming belongs to a request that was answered.
        let loading = self.timers.iter().find_map(|wait| match wait {
            Wait::History(number) => *number,
            Wait::Refusal => None,
        });
        for number in open.into_iter().chain(loading).chain(moving).chain(waiting) {
            self.effects.refuse(number, FailureKind::Harness, what.clone());
        }
        self.drop_held();
        self.close_turn();
        self.turn = Turn::default();
        self.agent = Agent::default();
        self.coming = None;
        self.timers = Timers::default();
        self.stage = Stage::Opening;
    }

    /// Says why the agent is gone, where a person would wonder.
    fn explain_end(&mut self, how: &Exit) {
        let ending = Ending {
            title: self.harness.title(),
            how,
            words: &self.process.last_words.text(),
            started: self.process.answers,
            working: self.turn.is_open() && !self.turn.abort_asked,
            install: self.harness.install(),
            hints: &[("", "check `args` and `env` in the agent's settings")],
        };
        ending.explain(&mut self.effects);
    }
}
