//! A WebSocket over a byte stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::frame::{Close, Decoder, Message, Opcode, Step, Violation, write_frame};
use super::outbox::{Outbox, Work};

/// What a thread reads into. Frames up to this size are handled where they were received.
const SCRATCH_BYTES: usize = 64 << 10;

/// How long a client has for taking a close frame and closing its side.
const PARTING: Duration = Duration::from_secs(2);

/// Memory kept for sending between two messages of a busy connection.
const KEPT_BYTES: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Why nothing more will be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client is gone.
    Gone,
    /// The client broke the protocol.
    Violation(Violation),
    /// The outbox was told to end the connection.
    Asked(Close),
}

/// One connection: what it received and has not handled, and what it sends. Without traffic it
/// holds no buffer.
#[derive(Debug)]
pub struct Socket<S> {
    stream: S,
    decoder: Decoder,
    outbox: Arc<Outbox>,
    /// The start of a frame that is not whole, or frames that were not asked for yet.
    inbox: Vec<u8>,
    /// How long `inbox` must be for its first frame to be whole.
    needed: usize,
    sending: Vec<u8>,
    sent: usize,
    /// What of the memory for all connections this one has for what it received.
    held: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A connection whose first bytes were received already.
    pub fn new(stream: S, received: &[u8], decoder: Decoder, outbox: Arc<Outbox>) -> Self {
        Self {
            stream,
            decoder,
            outbox,
            inbox: received.to_vec(),
            needed: 0,
            sending: Vec::new(),
            sent: 0,
            held: 0,
        }
    }

    /// The queue of what is to be sent.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// From now on takes messages of at most this many bytes.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.decoder.set_max_message(bytes);
    }

    /// Receives once and gives every whole message to `handle`, until that breaks. Ready means
    /// that there may be more; the task is woken otherwise.
    pub fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        handle: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Poll<Result<(), Ended>> {
        let received = ready!(self.poll_receive_once(context, handle));
        Poll::Ready(received.and_then(|()| self.account()))
    }

    /// Counts what is kept of messages that are not whole, when that is much.
    fn account(&mut self) -> Result<(), Ended> {
        let kept = self.inbox.capacity() + self.decoder.kept();
        let held = if kept > SCRATCH_BYTES { kept } else { 0 };
        let before = std::mem::replace(&mut self.held, held);
        match self.outbox.budget().exchange(before, held) {
            true => Ok(()),
            false => Err(Ended::Asked(Close::Abort)),
        }
    }

    fn poll_receive_once(
        &mut self,
        context: &mut Context<'_>,
        mut handle: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Poll<Result<(), Ended>> {
        if !self.inbox.is_empty() && self.inbox.len() >= self.needed {
            let mut bytes = std::mem::take(&mut self.inbox);
            let used = self.decode(&mut bytes, &mut handle).map_err(Ended::Violation)?;
            if used > 0 {
                // What is left is little, and so is then its memory.
                bytes = bytes.get(used..).map(<[u8]>::to_vec).unwrap_or_default();
            }
            self.inbox = bytes;
            return Poll::Ready(Ok(()));
        }
        if self.needed > SCRATCH_BYTES {
            return self.poll_receive_large(context);
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(SCRATCH_BYTES, 0);
        let outcome = self.poll_receive_into(&mut scratch, context, &mut handle);
        SCRATCH.set(scratch);
        outcome
    }

    fn poll_receive_into(
        &mut self,
        scratch: &mut [u8],
        context: &mut Context<'_>,
        handle: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Poll<Result<(), Ended>> {
        let before = self.inbox.len();
        let Some((front, back)) = scratch.split_at_mut_checked(before) else {
            return Poll::Ready(Err(Ended::Violation(Violation::TooLarge)));
        };
        let mut buffer = ReadBuf::new(back);
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
        let received = buffer.filled().len();
        if read.is_err() || received == 0 {
            return Poll::Ready(Err(Ended::Gone));
        }
        front.copy_from_slice(&self.inbox);
        let Some(bytes) = scratch.get_mut(..before + received) else {
            return Poll::Ready(Err(Ended::Gone));
        };
        let used = self.decode(bytes, handle).map_err(Ended::Violation)?;
        self.inbox = bytes.get(used..).map(<[u8]>::to_vec).unwrap_or_default();
        Poll::Ready(Ok(()))
    }

    /// A frame that is larger than a thread's buffer is gathered in one of its own, which grows
    /// with what really came and not with what was announced.
    fn poll_receive_large(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let missing = self.needed.saturating_sub(self.inbox.len());
        self.inbox.reserve(missing.min(self.inbox.len().max(SCRATCH_BYTES)));
        let stream = Pin::new(&mut self.stream);
        match ready!(poll_read_buf(stream, context, &mut self.inbox)) {
            Ok(0) | Err(_) => Poll::Ready(Err(Ended::Gone)),
            Ok(_) => Poll::Ready(Ok(())),
        }
    }

    /// Handles the whole frames in front, and returns how many bytes they took.
    fn decode(
        &mut self,
        bytes: &mut [u8],
        handle: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        self.needed = 0;
        while let Some(rest) = bytes.get_mut(used..).filter(|rest| !rest.is_empty()) {
            match self.decoder.next(rest)? {
                Step::Need(needed) => {
                    self.needed = needed;
                    break;
                }
                Step::Message(length, message) => {
                    used += length;
                    if handle(message).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(used)
    }

    /// Sends what waits. Never ready as long as the connection lasts; the task is woken when there
    /// is more to send.
    pub fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if let Some(rest) = self.sending.get(self.sent..).filter(|rest| !rest.is_empty()) {
                if self.outbox.is_aborted() {
                    return Poll::Ready(Ended::Asked(Close::Abort));
                }
                match ready!(Pin::new(&mut self.stream).poll_write(context, rest)) {
                    Ok(0) | Err(_) => return Poll::Ready(Ended::Gone),
                    Ok(written) => self.sent += written,
                }
                continue;
            }
            self.sent = 0;
            if self.sending.capacity() > KEPT_BYTES {
                self.sending = Vec::new();
            }
            match self.outbox.take(&mut self.sending, context) {
                Work::Send => {}
                Work::End(how) => return Poll::Ready(Ended::Asked(how)),
                Work::Nothing => {
                    return match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
                        Ok(()) => Poll::Pending,
                        Err(_) => Poll::Ready(Ended::Gone),
                    };
                }
            }
        }
    }

    /// Waits for one message, sending meanwhile what waits.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn receive<T>(&mut self, mut read: impl FnMut(Message<'_>) -> T) -> Result<T, Ended> {
        poll_fn(|context| {
            if let Poll::Ready(ended) = self.poll_send(context) {
                return Poll::Ready(Err(ended));
            }
            let mut got = None;
            while got.is_none() {
                let received = self.poll_receive(context, |message| {
                    got = Some(read(message));
                    ControlFlow::Break(())
                });
                ready!(received)?;
            }
            got.map_or(Poll::Pending, |got| Poll::Ready(Ok(got)))
        })
        .await
    }

    /// Lets go of memory that is not in use, when the connection seems idle.
    pub fn shrink(&mut self) {
        if self.sending.is_empty() {
            self.sending = Vec::new();
        }
        self.outbox.shrink();
    }

    /// Ends the connection, after what waits was sent and with the close frame that is due.
    pub async fn finish(mut self, how: Close) {
        self.outbox.close(how);
        if how == Close::Abort {
            return;
        }
        let parting = async {
            // Whoever asked first decides how.
            let Ended::Asked(how) = poll_fn(|context| self.poll_send(context)).await else {
                return;
            };
            let mut frame = Vec::new();
            match how {
                Close::Abort => return,
                Close::Code(code) => write_frame(&mut frame, Opcode::Close, &code.to_be_bytes()),
                Close::NoCode => write_frame(&mut frame, Opcode::Close, &[]),
            }
            if self.stream.write_all(&frame).await.is_err() || self.stream.shutdown().await.is_err()
            {
                return;
            }
            // Ending with something unread would reset the connection, and the client might
            // never see why.
            let mut rest = [0; 512];
            while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        // Whoever does not take it in time is cut off.
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
}

impl<S> Drop for Socket<S> {
    fn drop(&mut self) {
        self.outbox.budget().exchange(self.held, 0);
    }
}
