//! Failures that Pi tries again, and compactions.

use rp_sdk::session::Severity;

use crate::decode::{Compaction, Retry};
use crate::session::{Pi, Wait};
use crate::turn::{Compacting, Phase, Stop};

/// How long prompts are held back behind a compaction, in milliseconds. The old generation
/// loses those that come too early.
const AFTER_COMPACTION_MS: u64 = 50;

/// What Pi gives as the error when somebody ended the wait for the next try.
const RETRY_CANCELLED: &str = "Retry cancelled";

impl Pi {
    pub(crate) fn retry_started(&mut self, retry: Retry) {
        if !self.turn.is_open() {
            return;
        }
        self.timers.cancel(&Wait::TurnEnd);
        self.turn.phase = Phase::Retrying;
        self.turn.error = None;
        let error = retry.error_message.unwrap_or_else(|| "the model failed".to_owned());
        let seconds = retry.delay_ms as f64 / 1000.0;
        let (attempt, of) = (retry.attempt, retry.max_attempts);
        self.effects.notice(
            Severity::Warning,
            format!("{error}: trying again in {seconds} s ({attempt} of {of})"),
        );
    }

    pub(crate) fn retry_ended(&mut self, retry: Retry) {
        if retry.success || !self.turn.is_open() {
            return;
        }
        let cancelled = retry.final_error.as_deref() == Some(RETRY_CANCELLED);
        self.turn.last_stop = if cancelled { Stop::Aborted } else { Stop::Failed };
        if !cancelled {
            self.turn.error = retry.final_error;
        }
        if self.version.settles == Some(false) {
            self.finish_turn();
        } else {
            self.expect_turn_end();
        }
    }

    pub(crate) fn compaction_started(&mut self, compaction: Compaction) {
        self.timers.cancel(&Wait::TurnEnd);
        self.timers.cancel(&Wait::Release);
        if compaction.reason == "manual" {
            self.turn_was_dropped();
        }
        self.turn.compacting = Compacting::Yes;
        let why = if compaction.reason == "manual" { "" } else { ", which is nearly full" };
        self.effects.notice(Severity::Info, format!("Pi shortens the context{why}"));
    }

    pub(crate) fn compaction_ended(&mut self, compaction: Compaction) {
        self.turn.compacting = Compacting::JustEnded;
        let text = outcome(&compaction);
        let severity =
            if compaction.error_message.is_some() { Severity::Warning } else { Severity::Info };
        self.effects.notice(severity, text);
        if self.turn.phase == Phase::Ending {
            if compaction.will_retry {
                self.turn.phase = Phase::Retrying;
            } else {
                self.expect_turn_end();
            }
        }
        self.wait(Wait::Release, AFTER_COMPACTION_MS);
    }

    pub(crate) fn compaction_is_over(&mut self) {
        self.turn.compacting = Compacting::No;
        self.release_prompts();
    }
}

fn outcome(compaction: &Compaction) -> String {
    if compaction.aborted {
        return "the context was not shortened: somebody stopped it".to_owned();
    }
    if let Some(error) = &compaction.error_message {
        return format!("the context was not shortened: {error}");
    }
    let result = compaction.result.as_ref();
    match result.map(|result| (result.tokens_before, result.estimated_tokens_after)) {
        Some((Some(before), Some(after))) => {
            format!("the context was shortened from {before} to about {after} tokens")
        }
        Some((Some(before), None)) => format!("the context was shortened from {before} tokens"),
        _ => "the context was shortened".to_owned(),
    }
}
