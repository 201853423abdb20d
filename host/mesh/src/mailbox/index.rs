//! Which messages wait, in memory: what is asked at every turn edge must not read the disk.
//!
//! It holds only messages that are on disk, and is ahead of the disk in one respect: a mark counts
//! here at once, so that nobody is handed a message that was just marked as injected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use super::stage::Stage;
use crate::agent::AgentId;

#[derive(Debug, Default)]
pub(super) struct Index {
    mailboxes: HashMap<AgentId, Waiting>,
    /// When messages expire that can still expire.
    expiries: BTreeSet<(u64, AgentId, u64)>,
    expiries_changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: BTreeMap<u64, Message>,
    arrivals: Arc<Notify>,
}

#[derive(Debug)]
struct Message {
    stage: Stage,
    expires_at_ms: Option<u64>,
}

impl Index {
    /// A message is on disk, or waits again.
    pub(super) fn insert(
        &mut self,
        agent: &AgentId,
        sequence: u64,
        stage: Stage,
        expires_at_ms: Option<u64>,
    ) {
        let can_expire = stage == Stage::Stored;
        if let Some(at) = expires_at_ms.filter(|_| can_expire) {
            self.expiries.insert((at, agent.clone(), sequence));
            self.expiries_changed.notify_one();
        }
        let message = Message { stage, expires_at_ms };
        // Cloning the id only for the first message of an agent.
        let waiting = match self.mailboxes.get_mut(agent) {
            Some(waiting) => waiting,
            None => self.mailboxes.entry(agent.clone()).or_default(),
        };
        waiting.messages.insert(sequence, message);
        waiting.arrivals.notify_one();
    }

    /// Moves messages to `stage`. The first list is of those for which the disk is to be asked: all
    /// but the ones that cannot go there. The second is of those that waited and were moved.
    pub(super) fn mark(
        &mut self,
        agent: &AgentId,
        sequences: &[u64],
        stage: &Stage,
    ) -> (Vec<u64>, Vec<u64>) {
        let mut legal = Vec::with_capacity(sequences.len());
        let mut moved = Vec::with_capacity(sequences.len());
        for &sequence in sequences {
            let waiting = self.mailboxes.get_mut(agent);
            let message = waiting.and_then(|waiting| waiting.messages.get_mut(&sequence));
            let Some(message) = message else {
                legal.push(sequence);
                continue;
            };
            if !message.stage.can_become(stage) {
                tracing::debug!(%agent, sequence, from = %message.stage, to = %stage, "mark ignored");
                continue;
            }
            legal.push(sequence);
            moved.push(sequence);
            let expires_at_ms = message.expires_at_ms;
            if *stage != Stage::Offered {
                self.remove(agent, sequence);
                if stage.is_waiting() {
                    self.insert(agent, sequence, stage.clone(), expires_at_ms);
                }
                continue;
            }
            message.stage = Stage::Offered;
            if let Some(at) = expires_at_ms {
                self.expiries.remove(&(at, agent.clone(), sequence));
            }
        }
        (legal, moved)
    }

    /// A message waits no more. False when it did not wait.
    pub(super) fn remove(&mut self, agent: &AgentId, sequence: u64) -> bool {
        let waiting = self.mailboxes.get_mut(agent);
        let removed = waiting.and_then(|waiting| waiting.messages.remove(&sequence));
        if let Some(at) = removed.as_ref().and_then(|message| message.expires_at_ms) {
            self.expiries.remove(&(at, agent.clone(), sequence));
        }
        removed.is_some()
    }

    /// A message waits no more because its time is up. False when it cannot expire any more.
    pub(super) fn expire(&mut self, agent: &AgentId, sequence: u64) -> bool {
        let waiting = self.mailboxes.get(agent);
        let message = waiting.and_then(|waiting| waiting.messages.get(&sequence));
        message.is_some_and(|message| message.stage == Stage::Stored)
            && self.remove(agent, sequence)
    }

    /// The agent is gone.
    pub(super) fn remove_mailbox(&mut self, agent: &AgentId) {
        self.mailboxes.remove(agent);
        self.expiries.retain(|(_, owner, _)| owner != agent);
    }

    /// The first messages that wait, in the order they were accepted.
    pub(super) fn first(&self, agent: &AgentId, limit: usize) -> Vec<(u64, Stage)> {
        let waiting = self.mailboxes.get(agent);
        let messages = waiting.into_iter().flat_map(|waiting| &waiting.messages);
        messages.take(limit).map(|(sequence, message)| (*sequence, message.stage.clone())).collect()
    }

    pub(super) fn count(&self, agent: &AgentId) -> usize {
        self.mailboxes.get(agent).map_or(0, |waiting| waiting.messages.len())
    }

    pub(super) fn arrivals(&mut self, agent: &AgentId) -> Arc<Notify> {
        let waiting = self.mailboxes.entry(agent.clone()).or_default();
        Arc::clone(&waiting.arrivals)
    }

    pub(super) fn expiries_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.expiries_changed)
    }

    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _, _)| *at)
    }

    /// Messages whose time is up.
    pub(super) fn overdue(&self, now_ms: u64) -> Vec<(AgentId, u64)> {
        self.expiries
            .iter()
            .take_while(|(at, _, _)| *at <= now_ms)
            .map(|(_, agent, sequence)| (agent.clone(), *sequence))
            .collect()
    }
}
