//! Two agents that answer each other for ever.
//!
//! A message with `re` answers another one. Back through those, from each to the one it answers,
//! goes a chain; it counts as far as the same two peers took turns and it is young enough.

use std::collections::HashMap;

use rp_sdk::policy::{Facts, Peer};

use crate::fields::Fields;
use crate::recent::{Recent, key};
use crate::verdict::{Action, Objection, shown};

const USUAL_REPLIES: u32 = 20;
const MOST_REPLIES: i32 = 1000;
const USUAL_MINUTES: u32 = 10;
const MOST_MINUTES: i32 = 24 * 60;
const MINUTE_MS: u64 = 60_000;
/// Messages that are remembered. Beyond that the oldest are forgotten early, which shortens the
/// chains of what is slow.
const REMEMBERED: usize = 8192;

/// The limit, and the messages that can be part of a chain.
#[derive(Debug)]
pub(crate) struct Replies {
    most: u32,
    minutes: u32,
    action: Action,
    delivered: Recent,
    messages: HashMap<u64, Message>,
}

#[derive(Debug)]
struct Message {
    sender: u64,
    recipient: u64,
    /// The message it answers.
    answers: Option<u64>,
}

impl Replies {
    /// The table `loop`; absent when it is switched off.
    pub(crate) fn read(settings: &mut Fields) -> Result<Option<Self>, String> {
        let Some(mut fields) = settings.table_or_off("loop")? else { return Ok(None) };
        let most = fields.count("replies", 2..=MOST_REPLIES, USUAL_REPLIES)?;
        let minutes = fields.count("minutes", 1..=MOST_MINUTES, USUAL_MINUTES)?;
        let action = Action::read(&mut fields, Action::Hold)?;
        fields.nothing_else()?;
        let delivered = Recent::new(u64::from(minutes) * MINUTE_MS, REMEMBERED);
        Ok(Some(Replies { most, minutes, action, delivered, messages: HashMap::new() }))
    }

    pub(crate) fn check(&mut self, facts: &Facts) -> Option<Objection> {
        self.forget(facts.now_ms);
        let is_loop = |peer: &&Peer| {
            answered(facts, peer).is_some_and(|answered| self.length(answered) >= self.most)
        };
        let recipient = facts.recipients.iter().find(is_loop)?;
        let what = format!(
            "{} and {} have answered each other {} times in {} minutes (limit {})",
            shown(&facts.sender),
            shown(recipient),
            self.most,
            self.minutes,
            self.most
        );
        Some(self.action.because("loop", &what))
    }

    /// How many replies there are from this message backwards, as far as it matters.
    fn length(&self, last: u64) -> u32 {
        let mut replies = 0;
        let mut next = Some(last);
        while replies < self.most {
            let Some(message) = next.and_then(|message| self.messages.get(&message)) else { break };
            next = message.answers;
            replies += u32::from(next.is_some());
        }
        replies
    }

    /// The envelope is delivered.
    pub(crate) fn delivered(&mut self, facts: &Facts) {
        for recipient in &facts.recipients {
            if facts.sender.person {
                self.start_over(key(&[&recipient.address]));
                continue;
            }
            self.forget(facts.now_ms);
            let id = message(&facts.id, &facts.sender, recipient);
            self.delivered.push(facts.now_ms, id);
            let message = Message {
                sender: key(&[&facts.sender.address]),
                recipient: key(&[&recipient.address]),
                answers: answered(facts, recipient),
            };
            self.messages.insert(id, message);
        }
    }

    /// Somebody looks after this peer: its chains begin anew.
    fn start_over(&mut self, peer: u64) {
        self.messages.retain(|_, message| message.sender != peer && message.recipient != peer);
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some(message) = self.delivered.pop_outdated(now_ms) {
            self.messages.remove(&message);
        }
    }
}

/// The message that a reply answers went the other way, or it is not one of these two.
fn answered(facts: &Facts, recipient: &Peer) -> Option<u64> {
    facts.re.as_ref().map(|re| message(re, recipient, &facts.sender))
}

fn message(id: &str, sender: &Peer, recipient: &Peer) -> u64 {
    key(&[id, &sender.address, &recipient.address])
}
