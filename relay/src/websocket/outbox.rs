//! What waits to be sent on one connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::frame::{Close, Opcode, write_frame, write_header};

/// With so little waiting a connection is not ended because of what all have together.
const SPARED_BYTES: usize = 64 << 10;

/// How many bytes all connections hold together, waiting to be sent or received in part, and how
/// many they may.
#[derive(Debug)]
pub struct MemoryBudget {
    max: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// At most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0) })
    }

    /// How many bytes wait now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there was room for so many more.
    fn take(&self, bytes: usize) -> bool {
        self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.max
    }

    /// Gives back what was taken before, and takes so much. Whether there was room for it.
    pub(super) fn exchange(&self, before: usize, after: usize) -> bool {
        if before == after {
            return true;
        }
        self.give_back(before);
        self.take(after)
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one holder has of a [`MemoryBudget`]; it is given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    #[must_use]
    pub fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// From now on so many bytes are held; little is not counted. Whether there is room for them.
    pub fn set(&mut self, bytes: usize) -> bool {
        let bytes = if bytes > SPARED_BYTES { bytes } else { 0 };
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.budget.exchange(before, bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The queue of one connection, bounded in bytes. Whoever has something to say appends it, and the
/// task of the connection takes all of it at once.
///
/// One that grows over its bound, or over what all may have together, ends the connection: a
/// client makes up for a lost connection, but not for a message that is missing in between.
#[derive(Debug)]
pub struct Outbox {
    max_bytes: usize,
    budget: Arc<MemoryBudget>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// What the task took last and is sending.
    in_flight: usize,
    end: Option<Close>,
    has_overflowed: bool,
    task: Option<Waker>,
}

/// What there is to do for the task of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Send what was taken.
    Send,
    /// Nothing; the task is woken when that changes.
    Nothing,
    /// End the connection, after everything before was sent.
    End(Close),
}

impl Outbox {
    /// An empty queue for at most this many bytes, those being sent included.
    #[must_use]
    pub fn new(max_bytes: usize, budget: Arc<MemoryBudget>) -> Arc<Self> {
        let state = State {
            waiting: Vec::new(),
            in_flight: 0,
            end: None,
            has_overflowed: false,
            task: None,
        };
        Arc::new(Self { max_bytes, budget, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all connections share.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Queues a whole message. False when the connection is ending, or ends because of this.
    pub fn send(&self, opcode: Opcode, payload: &[u8]) -> bool {
        self.append(|waiting| write_frame(waiting, opcode, payload))
    }

    /// Queues bytes as they are, for a connection that is no WebSocket.
    pub fn send_bytes(&self, bytes: &[u8]) -> bool {
        self.append(|waiting| waiting.extend_from_slice(bytes))
    }

    /// Whether so many bytes more would leave half of the room free: for those who would rather
    /// wait than have the connection ended.
    pub fn has_room(&self, bytes: usize) -> bool {
        let state = self.state();
        let waiting = state.waiting.len() + state.in_flight;
        waiting.saturating_add(bytes) <= self.max_bytes / 2
    }

    /// Exchanges `sent`, which was sent, for what waits. Ready with nothing when there is something
    /// to send, and with how the connection ends when that is asked for.
    pub fn poll_take(&self, sent: &mut Vec<u8>, context: &Context<'_>) -> Poll<Option<Close>> {
        match self.take(sent, context) {
            Work::Send => Poll::Ready(None),
            Work::End(how) => Poll::Ready(Some(how)),
            Work::Nothing => Poll::Pending,
        }
    }

    /// Queues a text message of `length` bytes that `write` appends.
    pub fn send_text(&self, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append(|waiting| {
            waiting.reserve(length + 16);
            write_header(waiting, Opcode::Text, length);
            write(waiting);
        })
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state();
        if state.end.is_some() {
            return false;
        }
        let before = state.waiting.len();
        write(&mut state.waiting);
        let added = state.waiting.len().saturating_sub(before);
        let has_room = self.budget.take(added);
        let own = state.waiting.len() + state.in_flight;
        // Those who have little do not pay for those who took everything.
        if own > self.max_bytes || (!has_room && own > SPARED_BYTES) {
            state.has_overflowed = true;
            self.end(&mut state, Close::Abort);
            return false;
        }
        if before == 0 {
            state.wake();
        }
        true
    }

    /// Ends the connection after what is queued was sent; with [`Close::Abort`] at once. Later
    /// calls change nothing, except that an abort overtakes everything.
    pub fn close(&self, how: Close) {
        let mut state = self.state();
        if state.end.is_none() || how == Close::Abort {
            self.end(&mut state, how);
        }
    }

    fn end(&self, state: &mut State, how: Close) {
        state.end = Some(how);
        if how == Close::Abort {
            self.budget.give_back(std::mem::take(&mut state.waiting).len());
        }
        state.wake();
    }

    /// Ends the connection at once, because more waits for its client than there is room for.
    pub fn overflow(&self) {
        let mut state = self.state();
        state.has_overflowed = true;
        self.end(&mut state, Close::Abort);
    }

    /// Whether the connection ended because its client read too slowly.
    pub fn has_overflowed(&self) -> bool {
        self.state().has_overflowed
    }

    /// Whether the connection has to end at once.
    pub(super) fn is_aborted(&self) -> bool {
        self.state().end == Some(Close::Abort)
    }

    /// Exchanges `sent`, which is on its way, for what waits. Its memory is used again.
    pub(super) fn take(&self, sent: &mut Vec<u8>, context: &Context<'_>) -> Work {
        sent.clear();
        let mut state = self.state();
        self.budget.give_back(std::mem::take(&mut state.in_flight));
        if !state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, sent);
            state.in_flight = sent.len();
            state.watch(context);
            return Work::Send;
        }
        match state.end {
            Some(how) => Work::End(how),
            None => {
                state.watch(context);
                Work::Nothing
            }
        }
    }

    /// Lets go of memory that nothing is in.
    pub(super) fn shrink(&self) {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.waiting = Vec::new();
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    fn watch(&mut self, context: &Context<'_>) {
        if self.task.as_ref().is_none_or(|task| !task.will_wake(context.waker())) {
            self.task = Some(context.waker().clone());
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(state.waiting.len() + state.in_flight);
    }
}
