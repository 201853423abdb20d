//! How many messages one peer may send another in a minute.

use std::collections::HashMap;

use rp_sdk::policy::{Facts, Peer};

use crate::fields::Fields;
use crate::recent::{Recent, key};
use crate::verdict::{Action, Objection, shown};

const USUAL: u32 = 30;
const MOST: i32 = 10_000;
const MINUTE_MS: u64 = 60_000;
/// Messages that are remembered. Beyond that the oldest are forgotten early, which lets more
/// through: it takes many pairs that all send much.
const REMEMBERED: usize = 16_384;

/// The limit, and the messages of the last minute that count towards it.
#[derive(Debug)]
pub(crate) struct Rate {
    per_minute: u32,
    action: Action,
    delivered: Recent,
    /// How many of them each pair has.
    counts: HashMap<u64, u32>,
}

impl Rate {
    /// The table `rate`; absent when it is switched off.
    pub(crate) fn read(settings: &mut Fields) -> Result<Option<Self>, String> {
        let Some(mut fields) = settings.table_or_off("rate")? else { return Ok(None) };
        let rate = Rate {
            per_minute: fields.count("per_minute", 1..=MOST, USUAL)?,
            action: Action::read(&mut fields, Action::Deny)?,
            delivered: Recent::new(MINUTE_MS, REMEMBERED),
            counts: HashMap::new(),
        };
        fields.nothing_else()?;
        Ok(Some(rate))
    }

    pub(crate) fn check(&mut self, facts: &Facts) -> Option<Objection> {
        self.forget(facts.now_ms);
        let count = |peer: &Peer| self.counts.get(&pair(facts, peer)).copied().unwrap_or(0);
        let (count, recipient) = facts
            .recipients
            .iter()
            .map(|recipient| (count(recipient), recipient))
            .find(|(count, _)| *count >= self.per_minute)?;
        let what = format!(
            "{count} messages a minute from {} to {} (limit {})",
            shown(&facts.sender),
            shown(recipient),
            self.per_minute
        );
        Some(self.action.because("rate", &what))
    }

    /// The envelope is delivered.
    pub(crate) fn delivered(&mut self, facts: &Facts) {
        for recipient in &facts.recipients {
            self.forget(facts.now_ms);
            let pair = pair(facts, recipient);
            self.delivered.push(facts.now_ms, pair);
            *self.counts.entry(pair).or_default() += 1;
        }
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some(pair) = self.delivered.pop_outdated(now_ms) {
            let Some(count) = self.counts.get_mut(&pair) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&pair);
            }
        }
    }
}

fn pair(facts: &Facts, recipient: &Peer) -> u64 {
    key(&[&facts.sender.address, &recipient.address])
}
