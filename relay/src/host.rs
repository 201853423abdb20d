//! A host that is connected by `rp/1`: one connection for all rooms and agents of a machine.

mod login;
mod quic;
mod reset_key;
mod session;
mod socket;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rp_protocol::key::PublicKey;
use rp_protocol::relay::{
    Answer, Close as ClosePayload, CloseCode, Content, Flight, Frame, Instance, MessageId,
    NotStarted, Welcome, is_large, parts,
};
use tokio::sync::Notify;

use crate::limits::Pace;
use crate::websocket::{Close, Held, Opcode, Outbox};

pub use quic::{QuicError, listen};
pub use reset_key::ResetKey;
pub use socket::serve;

/// How many messages may wait for the word of one host that it has them.
const MAX_AWAITING: usize = 65_536;

/// When to try again what a host has no room for.
const BUSY_MS: u64 = 1_000;

/// How frames are put on the connection.
#[derive(Debug)]
enum Carrier {
    /// Each in a binary message, large ones in parts.
    WebSocket,
    /// One after the other on the control stream; large ones wait here for a stream of their own.
    Quic(Large),
}

#[derive(Debug, Default)]
struct Large {
    frames: Mutex<VecDeque<Counted>>,
    is_there: Notify,
}

/// An encoded frame, counted among what all connections hold together.
#[derive(Debug)]
struct Counted {
    bytes: Vec<u8>,
    _held: Held,
}

/// A connected host.
#[derive(Debug)]
pub struct Host {
    /// Its machine key.
    pub key: PublicKey,
    /// Which run of the host it is.
    pub instance: Instance,
    /// When it logged in, in milliseconds since 1970.
    pub since_ms: u64,
    /// How fast its peer is read.
    pub pace: Arc<Pace>,
    outbox: Arc<Outbox>,
    carrier: Carrier,
    /// Told at everything that is received.
    heard: Notify,
    /// What it sent and has no final answer to.
    flight: Mutex<Flight<()>>,
    /// What it was sent and has not answered, with who sent it; nobody waits for the answer to
    /// what came from the old wire. None once the connection is over.
    awaiting: Mutex<Option<Awaiting>>,
}

/// By sender and id, who waits for the answer.
type Awaiting = HashMap<(PublicKey, MessageId), Option<Weak<Host>>>;

/// What became of a message for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// It is in the host's queue.
    Queued,
    /// There is no room for it now.
    Full,
    /// The host's connection is over, and the host is not among those that are connected any more.
    Gone,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(
        client: &rp_protocol::relay::login::Client,
        welcome: &Welcome,
        outbox: Arc<Outbox>,
        pace: Arc<Pace>,
        carrier: Carrier,
    ) -> Arc<Self> {
        Arc::new(Self {
            key: client.key,
            instance: client.instance,
            since_ms: welcome.clock_ms,
            pace,
            outbox,
            carrier,
            heard: Notify::new(),
            flight: Mutex::new(Flight::of(welcome)),
            awaiting: Mutex::new(Some(Awaiting::new())),
        })
    }

    /// Queues a frame. False when the connection is ending.
    pub fn say(&self, frame: &Frame<'_>) -> bool {
        self.carrier.put(&self.outbox, frame.to_bytes())
    }

    /// Ends the connection and says why, after what is queued.
    pub fn close(&self, code: CloseCode, note: &str) {
        let retry_after_ms = if code == CloseCode::Overloaded { BUSY_MS } else { 0 };
        self.say(&Frame::Close(ClosePayload { code, retry_after_ms, note }));
        self.outbox.close(transport_close(code));
    }

    /// Whether the host is heard within `patience` after a ping.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        let heard = self.heard.notified();
        let mut bytes = [0; 8];
        // Any bytes do: everything that comes shows that the host lives.
        let _ = getrandom::fill(&mut bytes);
        self.say(&Frame::Ping(bytes)) && tokio::time::timeout(patience, heard).await.is_ok()
    }

    fn has_room(&self, bytes: usize) -> bool {
        let large = match &self.carrier {
            Carrier::WebSocket => 0,
            Carrier::Quic(large) => lock(&large.frames).iter().map(|frame| frame.bytes.len()).sum(),
        };
        self.outbox.has_room(bytes.saturating_add(large))
    }

    /// Queues a message that nobody waits for the answer to: it came from the old wire.
    pub fn deliver_from_legacy(&self, from: PublicKey, content: Content<'_>) -> bool {
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        self.deliver(None, from, id, content) == Handover::Queued
    }

    /// Queues a message for this host if there is room for it.
    fn deliver(
        &self,
        sender: Option<&Arc<Self>>,
        from: PublicKey,
        id: MessageId,
        content: Content<'_>,
    ) -> Handover {
        // Locked until all is said: whatever comes of the message comes after the word that it was
        // accepted, and nothing is accepted once everything is lost.
        let mut guard = lock(&self.awaiting);
        let Some(awaiting) = guard.as_mut() else { return Handover::Gone };
        if awaiting.len() >= MAX_AWAITING || !self.has_room(content.len()) {
            return Handover::Full;
        }
        awaiting.insert((from, id), sender.map(Arc::downgrade));
        if let Some(sender) = sender {
            sender.say(&Frame::Answer { id, answer: Answer::Accepted });
        }
        let is_queued = self.say(&Frame::Deliver { id, from, content });
        drop(guard);
        if !is_queued {
            self.settle(from, id, Answer::Lost);
        }
        Handover::Queued
    }

    /// This host has answered a message, or will not any more.
    fn settle(&self, from: PublicKey, id: MessageId, answer: Answer) {
        let waiting = lock(&self.awaiting).as_mut().and_then(|all| all.remove(&(from, id)));
        let sender = waiting.flatten();
        if let Some(sender) = sender.and_then(|sender| sender.upgrade()) {
            sender.answer(id, answer);
        }
    }

    /// The final answer to a message that this host sent.
    fn answer(&self, id: MessageId, answer: Answer) {
        lock(&self.flight).settle(&id);
        self.say(&Frame::Answer { id, answer });
    }

    /// Counts a message that this host sends.
    fn start(&self, id: MessageId, to: PublicKey, bytes: usize) -> Result<(), NotStarted> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        lock(&self.flight).start(id, to, bytes, ())
    }

    /// Nothing that it was sent will be answered any more.
    fn lose_everything(&self) {
        let lost = lock(&self.awaiting).take();
        for ((_, id), sender) in lost.into_iter().flatten() {
            if let Some(sender) = sender.and_then(|sender| sender.upgrade()) {
                sender.answer(id, Answer::Lost);
            }
        }
    }
}

impl Carrier {
    fn put(&self, outbox: &Outbox, frame: Vec<u8>) -> bool {
        match self {
            Self::WebSocket if is_large(&frame) => {
                parts(&frame).all(|part| outbox.send(Opcode::Binary, &part))
            }
            Self::WebSocket => outbox.send(Opcode::Binary, &frame),
            Self::Quic(large) if is_large(&frame) => {
                let mut held = Held::new(outbox.budget());
                if !held.set(frame.len()) {
                    outbox.overflow();
                    return false;
                }
                lock(&large.frames).push_back(Counted { bytes: frame, _held: held });
                large.is_there.notify_one();
                true
            }
            Self::Quic(_) => outbox.send_bytes(&frame),
        }
    }
}

/// How the transport ends for this reason.
fn transport_close(code: CloseCode) -> Close {
    match code {
        CloseCode::GoingAway => Close::Code(1001),
        code => Close::Code(u16::try_from(code.number()).unwrap_or_default().saturating_add(4000)),
    }
}
