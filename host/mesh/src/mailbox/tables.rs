//! Changes of mailboxes inside one write transaction. [`Tables::finish`] belongs at the end of it.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use redb::{ReadableTable, Table, WriteTransaction};

use super::message::{HeldMessage, Incoming, MailboxLimits, TraceStep};
use super::record::{
    BODIES, COUNTERS, Counters, HELD, HELD_TOTALS, IDS, KEPT, MessageKey, Record, TRACE_ORDER,
    TRACES, TraceRecord, WAITING, decode, encode,
};
use super::stage::Stage;
use crate::agent::AgentId;

/// So many old messages or traces are forgotten at most for one that comes in, which bounds what
/// a write costs and still catches up.
const FORGET_AT_ONCE: usize = 64;

type Result<T> = std::result::Result<T, redb::Error>;

/// The open tables of a transaction.
pub(super) struct Tables<'a> {
    limits: MailboxLimits,
    waiting: Table<'a, MessageKey, &'static [u8]>,
    kept: Table<'a, MessageKey, &'static [u8]>,
    bodies: Table<'a, MessageKey, &'static str>,
    ids: Table<'a, (&'static [u8], u32), u64>,
    counters: Table<'a, u32, &'static [u8]>,
    /// Counters that were asked for, as they are now; the table gets them at the end.
    current: HashMap<AgentId, Counters>,
    traces: Table<'a, &'static str, &'static [u8]>,
    trace_order: Table<'a, u64, &'static str>,
    held: Table<'a, &'static str, &'static [u8]>,
    held_totals: Table<'a, u8, (u64, u64)>,
}

/// What became of a message.
pub(super) enum Taken {
    Stored { sequence: u64 },
    Duplicate,
    Full { waiting: u64, waiting_bytes: u64 },
}

/// What a mark did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// There is no such message any more, or it cannot go to that stage from where it is.
    Ignored,
    /// Noted; it waits or does not wait as before.
    Noted,
    /// It waits no more.
    Left,
    /// It waits again.
    Returned { expires_at_ms: Option<u64> },
}

/// All places of one agent.
pub(super) fn all_of(agent: &AgentId) -> RangeInclusive<(u32, u64)> {
    (agent.number(), 0)..=(agent.number(), u64::MAX)
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction, limits: MailboxLimits) -> Result<Self> {
        Ok(Self {
            limits,
            waiting: transaction.open_table(WAITING)?,
            kept: transaction.open_table(KEPT)?,
            bodies: transaction.open_table(BODIES)?,
            ids: transaction.open_table(IDS)?,
            counters: transaction.open_table(COUNTERS)?,
            current: HashMap::new(),
            traces: transaction.open_table(TRACES)?,
            trace_order: transaction.open_table(TRACE_ORDER)?,
            held: transaction.open_table(HELD)?,
            held_totals: transaction.open_table(HELD_TOTALS)?,
        })
    }

    /// Writes what was only changed in memory so far.
    pub(super) fn finish(mut self) -> Result<()> {
        for (agent, counters) in &self.current {
            self.counters.insert(agent.number(), encode(counters)?.as_slice())?;
        }
        Ok(())
    }

    pub(super) fn accept(
        &mut self,
        agent: &AgentId,
        message: &Incoming,
        accepted_at_ms: u64,
        stored_at_ms: u64,
    ) -> Result<Taken> {
        let name = agent.number();
        if self.ids.get((message.id.as_bytes(), name))?.is_some() {
            return Ok(Taken::Duplicate);
        }
        let record = Record::new(message, accepted_at_ms, stored_at_ms);
        let limits = self.limits;
        let counters = self.counters(agent)?;
        if counters.waiting >= limits.waiting
            || counters.waiting_bytes + record.bytes > limits.waiting_bytes
        {
            return Ok(Taken::Full {
                waiting: counters.waiting,
                waiting_bytes: counters.waiting_bytes,
            });
        }
        let sequence = counters.next_sequence;
        counters.next_sequence += 1;
        counters.waiting += 1;
        counters.waiting_bytes += record.bytes;
        let key = (name, sequence);
        self.waiting.insert(key, encode(&record)?.as_slice())?;
        self.bodies.insert(key, message.body.get())?;
        self.ids.insert((message.id.as_bytes(), name), sequence)?;
        self.forget_old(agent, accepted_at_ms)?;
        Ok(Taken::Stored { sequence })
    }

    pub(super) fn mark(
        &mut self,
        agent: &AgentId,
        sequence: u64,
        stage: &Stage,
        at_ms: u64,
        detail: Option<String>,
    ) -> Result<Marked> {
        let key = (agent.number(), sequence);
        let Some(mut record) = self.record(key)? else {
            return Ok(Marked::Ignored);
        };
        if record.stage == Stage::Answered && matches!(stage, Stage::Injected | Stage::TurnSeen) {
            record.note_late(stage.clone(), at_ms);
            self.kept.insert(key, encode(&record)?.as_slice())?;
            return Ok(Marked::Noted);
        }
        if !record.stage.can_become(stage) {
            return Ok(Marked::Ignored);
        }
        let waited = record.stage.is_waiting();
        record.advance(stage.clone(), at_ms, detail);
        match (waited, stage.is_waiting()) {
            (true, true) => {
                self.waiting.insert(key, encode(&record)?.as_slice())?;
                Ok(Marked::Noted)
            }
            (false, false) => {
                self.kept.insert(key, encode(&record)?.as_slice())?;
                Ok(Marked::Noted)
            }
            (true, false) => self.leave(agent, sequence, &record, at_ms),
            (false, true) => self.come_back(agent, sequence, &record),
        }
    }

    /// The message with the id `re` was answered, by the agent that has it in its mailbox or by
    /// somebody else. Tells the place when it waited until now.
    pub(super) fn answered(
        &mut self,
        by: Option<&AgentId>,
        re: &str,
        answer: &str,
        at_ms: u64,
    ) -> Result<Option<u64>> {
        let detail = Some(answer.to_owned());
        if let Some(agent) = by {
            let sequence =
                self.ids.get((re.as_bytes(), agent.number()))?.map(|place| place.value());
            if let Some(sequence) = sequence {
                let marked = self.mark(agent, sequence, &Stage::Answered, at_ms, detail)?;
                return Ok((marked == Marked::Left).then_some(sequence));
            }
        }
        if self.traces.get(re)?.is_some() {
            self.trace(
                re,
                TraceStep { stage: Stage::Answered, at_ms, agent: by.cloned(), detail },
            )?;
        }
        Ok(None)
    }

    /// Notes a step of a message that is in no mailbox.
    pub(super) fn trace(&mut self, id: &str, step: TraceStep) -> Result<()> {
        let at_ms = step.at_ms;
        let known = self.traces.get(id)?.map(|bytes| decode(bytes.value()));
        let mut record: TraceRecord = match known {
            Some(record) => record?,
            None => {
                self.forget_old_traces(at_ms)?;
                let last = self.trace_order.last()?.map(|(order, _)| order.value());
                self.trace_order.insert(last.map_or(0, |last| last + 1), id)?;
                TraceRecord::default()
            }
        };
        record.push(step);
        self.traces.insert(id, encode(&record)?.as_slice())?;
        Ok(())
    }

    /// False when there is no room for another held message.
    pub(super) fn hold(&mut self, held: &HeldMessage) -> Result<bool> {
        let id = held.message.id.as_str();
        if self.held.get(id)?.is_some() {
            return Ok(true);
        }
        let (count, bytes) = self.held_totals()?;
        let more = held.message.bytes() as u64;
        if count >= self.limits.held || bytes + more > self.limits.held_bytes {
            return Ok(false);
        }
        self.held.insert(id, encode(held)?.as_slice())?;
        self.held_totals.insert(0, (count + 1, bytes + more))?;
        let stage = Stage::Held { reason: held.reason.clone() };
        self.trace(id, TraceStep { stage, at_ms: held.held_at_ms, agent: None, detail: None })?;
        Ok(true)
    }

    pub(super) fn drop_held(&mut self, id: &str) -> Result<()> {
        let (count, bytes) = self.held_totals()?;
        let removed = self.held.remove(id)?.map(|held| decode(held.value()));
        if let Some(held) = removed {
            let held: HeldMessage = held?;
            let less = held.message.bytes() as u64;
            let totals = (count.saturating_sub(1), bytes.saturating_sub(less));
            self.held_totals.insert(0, totals)?;
        }
        Ok(())
    }

    /// Removes a message that was stored by a commit which then was reported as failed.
    pub(super) fn revoke(&mut self, agent: &AgentId, id: &str, accepted_at_ms: u64) -> Result<()> {
        let name = agent.number();
        let Some(sequence) = self.ids.get((id.as_bytes(), name))?.map(|place| place.value()) else {
            return Ok(());
        };
        let key = (name, sequence);
        let Some(record) = self.record(key)? else {
            return Ok(());
        };
        // Another message with this id may have been stored before, and is to stay.
        if record.stage != Stage::Stored || record.accepted_at_ms != accepted_at_ms {
            return Ok(());
        }
        let counters = self.counters(agent)?;
        counters.waiting = counters.waiting.saturating_sub(1);
        counters.waiting_bytes = counters.waiting_bytes.saturating_sub(record.bytes);
        self.waiting.remove(key)?;
        self.bodies.remove(key)?;
        self.ids.remove((id.as_bytes(), name))?;
        Ok(())
    }

    /// Removes a mailbox with all that is in it.
    pub(super) fn remove(&mut self, agent: &AgentId) -> Result<()> {
        let name = agent.number();
        for table in [&mut self.waiting, &mut self.kept] {
            for removed in table.extract_from_if(all_of(agent), |_, _| true)? {
                let record: Record = decode(removed?.1.value())?;
                self.ids.remove((record.id.as_bytes(), name))?;
            }
        }
        self.bodies.retain_in(all_of(agent), |_, _| false)?;
        self.counters.remove(name)?;
        self.current.remove(agent);
        Ok(())
    }

    fn leave(
        &mut self,
        agent: &AgentId,
        sequence: u64,
        record: &Record,
        at_ms: u64,
    ) -> Result<Marked> {
        let key = (agent.number(), sequence);
        let forget_at_ms = at_ms.saturating_add(self.limits.kept_ms);
        let counters = self.counters(agent)?;
        counters.waiting = counters.waiting.saturating_sub(1);
        counters.waiting_bytes = counters.waiting_bytes.saturating_sub(record.bytes);
        if counters.kept == 0 {
            counters.forget_at_ms = forget_at_ms;
        }
        counters.kept += 1;
        if sequence >= counters.first_body {
            counters.kept_bytes += record.bytes;
        } else {
            self.bodies.remove(key)?;
        }
        self.waiting.remove(key)?;
        self.kept.insert(key, encode(record)?.as_slice())?;
        self.forget_old(agent, at_ms)?;
        Ok(Marked::Left)
    }

    fn come_back(&mut self, agent: &AgentId, sequence: u64, record: &Record) -> Result<Marked> {
        let key = (agent.number(), sequence);
        let counters = self.counters(agent)?;
        if sequence < counters.first_body {
            return Ok(Marked::Ignored);
        }
        counters.kept = counters.kept.saturating_sub(1);
        counters.kept_bytes = counters.kept_bytes.saturating_sub(record.bytes);
        counters.waiting += 1;
        counters.waiting_bytes += record.bytes;
        self.kept.remove(key)?;
        self.waiting.insert(key, encode(record)?.as_slice())?;
        Ok(Marked::Returned { expires_at_ms: record.expires_at_ms })
    }

    /// Forgets kept messages beyond the limits, the oldest first; bodies go before records.
    fn forget_old(&mut self, agent: &AgentId, now_ms: u64) -> Result<()> {
        let limits = self.limits;
        let mut counters = *self.counters(agent)?;
        for _ in 0..FORGET_AT_ONCE {
            let is_due = counters.kept > 0 && counters.forget_at_ms < now_ms;
            if counters.kept <= limits.kept && !is_due {
                break;
            }
            let Some((sequence, oldest)) = self.oldest_kept(agent, 0)? else {
                break;
            };
            counters.forget_at_ms = oldest.changed_at_ms().saturating_add(limits.kept_ms);
            if counters.kept <= limits.kept && counters.forget_at_ms >= now_ms {
                break;
            }
            self.kept.remove((agent.number(), sequence))?;
            self.bodies.remove((agent.number(), sequence))?;
            self.ids.remove((oldest.id.as_bytes(), agent.number()))?;
            counters.kept = counters.kept.saturating_sub(1);
            if sequence >= counters.first_body {
                counters.kept_bytes = counters.kept_bytes.saturating_sub(oldest.bytes);
            }
        }
        for _ in 0..FORGET_AT_ONCE {
            if counters.kept_bytes <= limits.kept_bytes {
                break;
            }
            let Some((sequence, oldest)) = self.oldest_kept(agent, counters.first_body)? else {
                break;
            };
            self.bodies.remove((agent.number(), sequence))?;
            counters.first_body = sequence + 1;
            counters.kept_bytes = counters.kept_bytes.saturating_sub(oldest.bytes);
        }
        *self.counters(agent)? = counters;
        Ok(())
    }

    fn oldest_kept(&self, agent: &AgentId, from: u64) -> Result<Option<(u64, Record)>> {
        let name = agent.number();
        let mut kept = self.kept.range((name, from)..=(name, u64::MAX))?;
        let Some(entry) = kept.next() else {
            return Ok(None);
        };
        let (key, record) = entry?;
        Ok(Some((key.value().1, decode(record.value())?)))
    }

    fn forget_old_traces(&mut self, now_ms: u64) -> Result<()> {
        for _ in 0..FORGET_AT_ONCE {
            let newest = self.trace_order.last()?.map(|(order, _)| order.value());
            let oldest =
                self.trace_order.first()?.map(|(order, id)| (order.value(), id.value().to_owned()));
            let (Some(newest), Some((order, id))) = (newest, oldest) else {
                break;
            };
            let record: Option<Result<TraceRecord>> =
                self.traces.get(id.as_str())?.map(|bytes| decode(bytes.value()));
            let began_at_ms = match record {
                Some(record) => record?.steps.first().map_or(0, |step| step.at_ms),
                None => 0,
            };
            let is_old = began_at_ms.saturating_add(self.limits.kept_ms) < now_ms;
            if newest - order + 1 < self.limits.kept && !is_old {
                break;
            }
            self.trace_order.remove(order)?;
            self.traces.remove(id.as_str())?;
        }
        Ok(())
    }

    fn record(&self, key: (u32, u64)) -> Result<Option<Record>> {
        let found = match self.waiting.get(key)? {
            Some(found) => Some(found),
            None => self.kept.get(key)?,
        };
        found.map(|bytes| decode(bytes.value())).transpose()
    }

    fn counters(&mut self, agent: &AgentId) -> Result<&mut Counters> {
        if !self.current.contains_key(agent) {
            let stored = self.counters.get(agent.number())?;
            let stored = stored.map(|bytes| decode(bytes.value())).transpose()?;
            self.current.insert(agent.clone(), stored.unwrap_or_default());
        }
        Ok(self.current.entry(agent.clone()).or_default())
    }

    fn held_totals(&self) -> Result<(u64, u64)> {
        Ok(self.held_totals.get(0)?.map_or((0, 0), |totals| totals.value()))
    }
}
