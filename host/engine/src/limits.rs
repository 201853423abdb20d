//! What a component may use, and the meter that holds it to its memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use wasmtime::{ResourceLimiter, Result};

/// How often the epoch advances while a component runs; times below are whole ticks of it.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Table elements of one store together. Tables hold a program's function pointers.
const TABLE_ELEMENTS: usize = 20_000;

/// Core instances, memories and tables of one store, each.
const INSTANCES: usize = 64;

/// Bounds on what one component may use. A component that reaches one is ended.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of a `.wasm` file in bytes.
    pub component_bytes: u64,
    /// Memory of an adapter's session in bytes.
    pub adapter_memory: usize,
    /// Time one call of an adapter may compute. A call computes in slices of one tick, and
    /// lets others run between them.
    pub adapter_call: Duration,
    /// Time one call of an adapter may take, waiting included.
    pub adapter_wait: Duration,
    /// Effects one call of an adapter may return.
    pub adapter_effects: usize,
    /// Bytes of text and data one call of an adapter may return.
    pub adapter_output: usize,
    /// Memory of an action handler in bytes.
    pub actions_memory: usize,
    /// Time one call of an action handler may compute. A call computes in slices of one tick,
    /// and lets others run between them.
    pub actions_call: Duration,
    /// Time one call of an action handler may take, waiting included.
    pub actions_wait: Duration,
    /// Bytes of text one call of an action handler may return.
    pub actions_output: usize,
    /// Memory of a policy in bytes.
    pub policy_memory: usize,
    /// Time one call of a policy may compute. Time in which the machine was busy with
    /// something else does not count.
    pub policy_call: Duration,
    /// Time one call of a policy may wait for WASI. It holds up a thread of the host.
    pub policy_wait: Duration,
    /// Calls after which a policy gets a fresh instance.
    pub policy_calls: u32,
    /// Bytes of a decision's reason or of its addresses together.
    pub policy_text: usize,
    /// Bytes of a body that a policy rewrote.
    pub policy_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            component_bytes: 64 << 20,
            adapter_memory: 64 << 20,
            adapter_call: Duration::from_secs(2),
            adapter_wait: Duration::from_secs(30),
            adapter_effects: 100_000,
            adapter_output: 32 << 20,
            actions_memory: 64 << 20,
            actions_call: Duration::from_secs(5),
            actions_wait: Duration::from_secs(30),
            actions_output: 8 << 20,
            policy_memory: 32 << 20,
            policy_call: Duration::from_millis(50),
            policy_wait: Duration::from_millis(200),
            policy_calls: 10_000,
            policy_text: 64 << 10,
            policy_body: 8 << 20,
        }
    }
}

/// The whole ticks that cover `time`.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
}

/// Why the engine ended a call. Travels through the runtime as the cause of a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("out of time")]
    Time,
    #[error("out of memory")]
    Memory { wanted: usize, limit: usize },
    #[error("out of table elements")]
    Table { wanted: usize, limit: usize },
    #[error("too much output")]
    Output,
}

/// The most memory that any instance of a component has had, in bytes. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct MostMemory(Arc<AtomicUsize>);

impl MostMemory {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the memory of one store: the sum over all its memories, not each by itself.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: usize,
    memory: Growth,
    table: Growth,
    most: MostMemory,
}

/// What is in use, and the last step, in case it has to be taken back.
#[derive(Debug, Default)]
struct Growth {
    used: usize,
    last: usize,
}

impl Growth {
    /// Takes the step from `current` to `desired`, or says what would then be in use.
    fn grow(&mut self, current: usize, desired: usize, limit: usize) -> Result<(), usize> {
        let step = desired.saturating_sub(current);
        let wanted = self.used.saturating_add(step);
        if wanted > limit {
            return Err(wanted);
        }
        self.used = wanted;
        self.last = step;
        Ok(())
    }

    fn undo(&mut self) {
        self.used = self.used.saturating_sub(std::mem::take(&mut self.last));
    }
}

impl Meter {
    pub(crate) fn new(limit: usize, most: MostMemory) -> Self {
        Meter { limit, memory: Growth::default(), table: Growth::default(), most }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let limit = self.limit;
        match self.memory.grow(current, desired, limit) {
            Ok(()) => {
                self.most.0.fetch_max(self.memory.used, Ordering::Relaxed);
                Ok(true)
            }
            Err(wanted) => Err(LimitReached::Memory { wanted, limit }.into()),
        }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.memory.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        match self.table.grow(current, desired, TABLE_ELEMENTS) {
            Ok(()) => Ok(true),
            Err(wanted) => Err(LimitReached::Table { wanted, limit: TABLE_ELEMENTS }.into()),
        }
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.table.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        INSTANCES
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut meter = Meter::new(100, MostMemory::default());
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        let error = meter.memory_growing(40, 41, None).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&LimitReached::Memory { wanted: 101, limit: 100 }));
    }

    #[test]
    fn growth_that_failed_is_given_back() {
        let mut meter = Meter::new(100, MostMemory::default());
        assert!(meter.memory_growing(0, 100, None).unwrap());
        meter.memory_grow_failed(LimitReached::Output.into()).unwrap();
        assert!(meter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn a_started_tick_counts_whole() {
        assert_eq!(ticks(Duration::from_millis(50)), 5);
        assert_eq!(ticks(Duration::from_millis(51)), 6);
    }
}
