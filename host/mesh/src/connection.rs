//! The sending side of one connection: a bounded byte queue that anybody appends to and that is
//! written to the socket in as few system calls as possible.
//!
//! Whoever appends to an idle queue gets the turn to write: it finishes what else it has to
//! append, then calls [`Connection::flush`], which writes straight to the socket. Nobody else
//! writes meanwhile; they append, and the writer takes that along. When the socket takes no
//! more, the turn goes to [`Connection::drain`], which waits for room. So nobody ever waits for
//! a peer that does not read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

/// Buffers larger than this are given back when they have been written.
const KEPT_CAPACITY: usize = 64 * 1024;
/// How many buffers one call of [`Connection::flush`] writes before the rest goes to the drain.
const BUFFERS_PER_FLUSH: usize = 8;

/// Locks a mutex whose data stays valid whatever happened to a thread that held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose turn it is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nobody's: nothing waits.
    Idle,
    /// Somebody who appended writes now or will soon.
    Taken,
    /// The drain's: the socket is full.
    Drain,
}

#[derive(Debug)]
struct Queue {
    turn: Turn,
    pending: Vec<u8>,
    /// An empty buffer to reuse.
    spare: Vec<u8>,
    /// What was taken from `pending` and could not be written, and how much of it was.
    unwritten: Vec<u8>,
    unwritten_from: usize,
    /// Bytes taken from `pending` and not written yet.
    in_flight: usize,
    /// Bytes of the longest line appended since the queue was last empty.
    longest: usize,
}

/// What became of bytes that were to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// They wait, and the caller has the turn: it must call [`Connection::flush`].
    FlushNeeded,
    /// They wait; somebody else writes them.
    Queued,
    /// The peer did not read what was sent before: its connection is now closed.
    Overflowed,
    /// The connection was closed already.
    Closed,
}

/// The sending side of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedWriteHalf,
    queue: Mutex<Queue>,
    /// Rings for the drain: it has the turn, or the connection was closed.
    bell: Notify,
    closed: AtomicBool,
    limit: usize,
}

impl Connection {
    pub(crate) fn new(socket: OwnedWriteHalf, limit: usize) -> Self {
        Connection {
            socket,
            queue: Mutex::new(Queue {
                turn: Turn::Idle,
                pending: Vec::new(),
                spare: Vec::new(),
                unwritten: Vec::new(),
                unwritten_from: 0,
                in_flight: 0,
                longest: 0,
            }),
            bell: Notify::new(),
            closed: AtomicBool::new(false),
            limit,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the connection in both directions. What the kernel has of it can still be read by
    /// the peer; what waits here is dropped. The task that reads sees the end of its stream.
    pub(crate) fn close(&self) {
        self.close_locked(&mut lock(&self.queue));
    }

    fn close_locked(&self, queue: &mut Queue) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        queue.pending = Vec::new();
        queue.spare = Vec::new();
        queue.unwritten = Vec::new();
        // An error means that the peer closed it before.
        let _ = rustix::net::shutdown(self.socket.as_ref(), rustix::net::Shutdown::Both);
        self.bell.notify_one();
    }

    /// Lets `write` append one line.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Appended {
        let mut queue = lock(&self.queue);
        if self.is_closed() {
            return Appended::Closed;
        }
        let before = queue.pending.len();
        write(&mut queue.pending);
        let length = queue.pending.len().saturating_sub(before);
        queue.longest = queue.longest.max(length);
        let waiting = queue.in_flight + queue.pending.len();
        // Of the longest line a part may be written already.
        if waiting.saturating_sub(queue.longest) > self.limit {
            self.close_locked(&mut queue);
            return Appended::Overflowed;
        }
        if queue.turn == Turn::Idle {
            queue.turn = Turn::Taken;
            return Appended::FlushNeeded;
        }
        Appended::Queued
    }

    /// Writes what waits, as far as the socket takes it. Only for whoever has the turn.
    pub(crate) fn flush(&self) {
        let Some((mut buffer, mut from)) = self.next_buffer(Vec::new()) else {
            return;
        };
        for round in 1.. {
            match self.write_now(&buffer, &mut from) {
                Ok(()) if round < BUFFERS_PER_FLUSH => match self.next_buffer(buffer) {
                    Some(next) => (buffer, from) = next,
                    None => return,
                },
                Ok(()) => return self.leave_to_drain(buffer, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.leave_to_drain(buffer, from);
                }
                Err(_) => return self.close(),
            }
        }
    }

    fn write_now(&self, buffer: &[u8], from: &mut usize) -> io::Result<()> {
        while let Some(rest) = buffer.get(*from..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => *from += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives back a written buffer and takes the next one. `None`: nothing waits any more, or the
    /// connection is closed; the turn is over.
    fn next_buffer(&self, mut written: Vec<u8>) -> Option<(Vec<u8>, usize)> {
        let mut queue = lock(&self.queue);
        if self.is_closed() {
            return None;
        }
        if written.capacity() > 0 && written.capacity() <= KEPT_CAPACITY {
            written.clear();
            queue.spare = written;
        }
        if !queue.unwritten.is_empty() {
            return Some((std::mem::take(&mut queue.unwritten), queue.unwritten_from));
        }
        if queue.pending.is_empty() {
            queue.in_flight = 0;
            queue.longest = 0;
            queue.turn = Turn::Idle;
            return None;
        }
        let spare = std::mem::take(&mut queue.spare);
        let taken = std::mem::replace(&mut queue.pending, spare);
        queue.in_flight = taken.len();
        Some((taken, 0))
    }

    fn leave_to_drain(&self, buffer: Vec<u8>, from: usize) {
        let mut queue = lock(&self.queue);
        if self.is_closed() {
            return;
        }
        queue.in_flight = buffer.len() - from;
        if queue.in_flight > 0 {
            queue.unwritten = buffer;
            queue.unwritten_from = from;
        }
        queue.turn = Turn::Drain;
        self.bell.notify_one();
    }

    /// Writes whenever the socket has room again. Ends when the connection is closed.
    pub(crate) async fn drain(&self) {
        while !self.is_closed() {
            if lock(&self.queue).turn != Turn::Drain {
                self.bell.notified().await;
                continue;
            }
            tokio::select! {
                () = self.bell.notified() => {}
                writable = self.socket.writable() => {
                    if writable.is_err() {
                        self.close();
                        return;
                    }
                    lock(&self.queue).turn = Turn::Taken;
                    self.flush();
                }
            }
        }
    }
}
