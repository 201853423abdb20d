//! Calls that can wait: each computes in slices, and is bounded in what it computes, how long it
//! waits and what it returns.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use wasmtime::{Store, UpdateDeadline};

use crate::{
    CallError, KeyValue,
    engine::Shared,
    error::Bounds,
    host::Host,
    limits::{LimitReached, MostMemory, ticks},
    log::ComponentLog,
};

/// A component that was checked, compiled and linked, with all that its instances need.
pub(crate) struct Loaded<P> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pre: P,
    pub(crate) imports: Vec<String>,
    pub(crate) log: Arc<ComponentLog>,
    pub(crate) storage: Arc<dyn KeyValue>,
    /// Bytes of memory of one instance.
    pub(crate) memory: usize,
    /// The most that any instance has had.
    pub(crate) most: MostMemory,
}

impl<P> Loaded<P> {
    /// A store for one instance, whose calls may hand over `output` bytes at a time; `session`
    /// names the instance in its log.
    pub(crate) fn store(&self, session: &str, output: usize) -> Store<Host> {
        let storage = Arc::clone(&self.storage);
        let host =
            Host::new(Arc::clone(&self.log), session, storage, self.memory, self.most.clone());
        let mut store = host.into_store(&self.shared.wasmtime, output);
        store.epoch_deadline_callback(|mut store| {
            let host = store.data_mut();
            host.ticks_left = host.ticks_left.saturating_sub(1);
            match host.ticks_left {
                0 => Err(LimitReached::Time.into()),
                _ => Ok(UpdateDeadline::Yield(1)),
            }
        });
        store
    }

    /// What bounds the calls of an instance.
    pub(crate) fn limited<'a>(
        &'a self,
        session: &'a str,
        bounds: Bounds,
        wait: Duration,
    ) -> Limited<'a> {
        Limited { shared: &self.shared, log: &self.log, session, bounds, wait }
    }
}

/// Bounds the time of one call and explains its error.
pub(crate) struct Limited<'a> {
    shared: &'a Shared,
    log: &'a ComponentLog,
    session: &'a str,
    bounds: Bounds,
    /// Time the call may take, waiting included.
    wait: Duration,
}

impl Limited<'_> {
    /// Gives the next call all of its time.
    pub(crate) fn start(&self, store: &mut Store<Host>) {
        store.data_mut().ticks_left = ticks(self.bounds.time);
        store.set_epoch_deadline(1);
    }

    pub(crate) async fn run<T>(
        &self,
        call: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<T, CallError> {
        let running = self.shared.ticker.running();
        let outcome = timeout(self.wait, call).await;
        drop(running);
        self.log.settle();
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.bounds.explain(&error),
            Err(_elapsed) => CallError::Timeout { limit: self.wait },
        };
        Err(self.failed(error))
    }

    /// Notes in the log that the instance ended with this error.
    pub(crate) fn failed(&self, error: CallError) -> CallError {
        self.log.ended(self.session, &error);
        error
    }
}
