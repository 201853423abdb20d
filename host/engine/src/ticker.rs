//! The clock that bounds how long a component computes.
//!
//! Compiled guest code looks at the engine's epoch wherever it could loop. One thread of the
//! operating system advances the epoch, so that no busy executor can hold the clock up. It
//! ticks only while a call is running: an idle program has no timer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use crate::limits::TICK;

/// Owns the thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls in progress.
    running: AtomicUsize,
    /// The thread waits to be woken.
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// The epoch advances while one of these exists.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a State);

impl Ticker {
    pub(crate) fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("component-ticker".into())
            .spawn(move || run(&seen, &tick))?;
        Ok(Ticker { state, thread: Some(thread) })
    }

    /// Keeps the epoch advancing until the result is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.state.running.fetch_add(1, SeqCst);
        // The thread declares itself parked before it looks for calls a last time, and we
        // announce the call before we look whether it is parked: one of us sees the other.
        if self.state.parked.load(SeqCst) {
            self.wake();
        }
        Running(&self.state)
    }

    fn wake(&self) {
        if self.state.parked.swap(false, SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It can only have panicked, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

fn run(state: &State, tick: &impl Fn()) {
    while !state.stopped.load(SeqCst) {
        thread::sleep(TICK);
        tick();
        if state.running.load(SeqCst) == 0 {
            park(state);
        }
    }
}

fn park(state: &State) {
    state.parked.store(true, SeqCst);
    while state.parked.load(SeqCst)
        && state.running.load(SeqCst) == 0
        && !state.stopped.load(SeqCst)
    {
        thread::park();
    }
    state.parked.store(false, SeqCst);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_while_a_call_runs_and_rests_when_none_does() {
        let (sender, ticks) = mpsc::channel();
        let ticker = Ticker::start(move || {
            let _ = sender.send(());
        })
        .unwrap();
        let running = ticker.running();
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        drop(running);
        while !ticker.state.parked.load(SeqCst) {
            thread::yield_now();
        }
        while ticks.try_recv().is_ok() {}
        assert!(ticks.recv_timeout(TICK * 5).is_err(), "no tick comes while nothing runs");

        let _running = ticker.running();
        ticks.recv().unwrap();
    }

    #[test]
    fn dropping_it_ends_its_thread() {
        let (sender, ticks) = mpsc::channel::<()>();
        let ticker = Ticker::start(move || {
            let _ = &sender;
        })
        .unwrap();
        drop(ticker);
        assert_eq!(ticks.recv(), Err(mpsc::RecvError));
    }
}
