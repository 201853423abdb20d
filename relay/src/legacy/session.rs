//! A connection that is logged in.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::key::PublicKey;
use rp_protocol::relay::Content;
use rp_protocol::relay::legacy::{
    ClientFrame, Hello, OuterEnvelope, PiEnvelope, PresenceState, RelayedEnvelope, TransportReason,
    canonical_key, write_pi_envelope_in, write_presence, write_rooms, write_transport_error,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answers::Answers;
use crate::conversation::{Conversation, converse};
use crate::hub::Hub;
use crate::limits::Pace;
use crate::permissions::Permissions;
use crate::recipient::Sender;
use crate::registry::ConnectionId;
use crate::websocket::{Close, Ended, Message, Opcode, Socket};

/// After how many pings without a sign of the client it is taken for gone: 75 to 100 s.
const SILENT_PINGS: u8 = 3;

/// One connection and what it knows of itself.
pub(super) struct Session<'a, S> {
    socket: Socket<S>,
    state: State<'a>,
}

struct State<'a> {
    hub: &'a Hub,
    outbox: Arc<crate::websocket::Outbox>,
    pace: Arc<Pace>,
    key: PublicKey,
    id: ConnectionId,
    sender: Sender,
    answers: Option<Box<Answers>>,
    permissions: Option<Box<Permissions>>,
    received: Received,
    /// How many pings went out since the client was heard.
    silent_pings: u8,
}

/// What was received since it was counted last.
#[derive(Default)]
struct Received {
    frames: u32,
    bytes: u32,
    forwarded: u32,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    /// Registers a connection that has proven its key.
    pub(super) fn open(
        hub: &'a Hub,
        mut socket: Socket<S>,
        hello: Hello,
    ) -> Result<Self, (Socket<S>, Close)> {
        socket.set_max_message(hub.limits.message_bytes());
        let outbox = Arc::clone(socket.outbox());
        let (id, pace) = match hub.register(&hello, &outbox) {
            Ok(registered) => registered,
            Err(refused) => {
                tracing::info!(peer = ?hello.key, %refused, "a connection was refused");
                return Err((socket, Close::Code(1008)));
            }
        };
        hub.metrics.logins.add(1);
        tracing::debug!(peer = ?hello.key, "connected");
        let state = State {
            hub,
            outbox,
            pace,
            key: hello.key,
            sender: Sender::new(hello.key, &hello.room),
            id,
            answers: None,
            permissions: None,
            received: Received::default(),
            silent_pings: 0,
        };
        if hub.ending.is_cancelled() {
            // Whoever ends all connections may have passed by already.
            state.outbox.close(Close::Code(1001));
        }
        Ok(Self { socket, state })
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(self) {
        let Self { mut socket, mut state } = self;
        let ended = converse(&mut socket, &mut state).await;
        let metrics = &state.hub.metrics;
        let how = match ended {
            Ended::Gone => Close::Abort,
            Ended::Violation(violation) => {
                metrics.protocol_violations.add(1);
                violation.close()
            }
            Ended::Asked(how) => {
                metrics.slow_readers.add(u64::from(state.outbox.has_overflowed()));
                how
            }
        };
        tracing::debug!(peer = ?state.key, ?ended, "disconnected");
        // Before the parting: nobody should be told that the peer is there while it leaves.
        drop(state);
        Box::pin(socket.finish(how)).await;
    }
}

impl Conversation for State<'_> {
    fn handle(&mut self, message: Message<'_>) -> ControlFlow<()> {
        match message {
            Message::Text(text) => {
                self.received.frames += 1;
                self.received.bytes = self
                    .received
                    .bytes
                    .saturating_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
                self.handle_text(text);
            }
            Message::Ping(payload) => {
                self.received.frames += 1;
                self.outbox.send(Opcode::Pong, payload);
            }
            Message::Binary(bytes) => {
                self.received.frames += 1;
                self.received.bytes = self
                    .received
                    .bytes
                    .saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            Message::Pong | Message::Piece => {}
            Message::Close => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn charge(&mut self) -> Duration {
        let Received { frames, bytes, forwarded } = std::mem::take(&mut self.received);
        self.silent_pings = 0;
        if frames == 0 {
            return Duration::ZERO;
        }
        let metrics = &self.hub.metrics;
        metrics.frames_received.add(u64::from(frames));
        metrics.bytes_received.add(u64::from(bytes));
        metrics.envelopes_forwarded.add(u64::from(forwarded));
        let pause = self.pace.charge(frames, bytes, std::time::Instant::now());
        metrics.paced.add(u64::from(!pause.is_zero()));
        pause
    }

    fn beat(&mut self) -> bool {
        self.silent_pings += 1;
        if self.silent_pings > SILENT_PINGS {
            self.hub.metrics.silent_clients.add(1);
            return false;
        }
        self.outbox.send(Opcode::Ping, &[]);
        true
    }
}

impl State<'_> {
    fn handle_text(&mut self, text: &str) {
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(reason) => {
                self.hub.metrics.frames_dropped.add(1);
                tracing::debug!(peer = ?self.key, bytes = text.len(), %reason, "a frame was dropped");
                return;
            }
        };
        match frame {
            ClientFrame::Envelope(envelope) => self.forward(&envelope),
            ClientFrame::PiEnvelope(envelope) => self.forward_to_machine(&envelope),
            ClientFrame::SubscribePresence(peers) => {
                self.hub.subscribe_presence(&self.key, &keys(&peers));
            }
            ClientFrame::UnsubscribePresence(peers) => {
                self.hub.unsubscribe_presence(&self.key, &keys(&peers));
            }
            ClientFrame::SubscribeRooms(peers) => {
                self.hub.subscribe_rooms(&self.key, &keys(&peers));
            }
            ClientFrame::UnsubscribeRooms(peers) => {
                self.hub.unsubscribe_rooms(&self.key, &keys(&peers));
            }
            ClientFrame::PresenceCheck(peers) => self.answer_presence(&peers),
            ClientFrame::RoomsCheck(peers) => self.answer_rooms(&peers),
            ClientFrame::RoomMetaUpdate { room, patch } => {
                let room = room.as_deref().unwrap_or(self.sender.room());
                self.hub.update_meta(&self.key, room, &patch);
            }
        }
    }

    fn forward(&mut self, envelope: &OuterEnvelope<'_>) {
        let metrics = &self.hub.metrics;
        if envelope.is_larger_than(self.hub.limits.content_bytes) {
            metrics.frames_dropped.add(1);
            tracing::debug!(peer = ?self.key, bytes = envelope.ct_bytes, "an envelope is too large");
            return;
        }
        let mut reached = 0;
        if let Some(peer) = canonical_key(&envelope.peer) {
            let registry = self.hub.registry();
            for recipient in registry.at_room(&peer, &envelope.room, Some(self.id)) {
                reached += u32::from(recipient.deliver(&self.sender, envelope));
            }
        }
        self.received.forwarded += reached;
        if reached == 0 {
            metrics.envelopes_undeliverable.add(1);
        }
    }

    fn forward_to_machine(&mut self, request: &PiEnvelope<'_>) {
        let refused = match request.target() {
            None => Some(TransportReason::BadEnvelope),
            Some((target, _)) if !self.may_write_to(&target) => {
                Some(TransportReason::NotAuthorized)
            }
            Some((target, envelope)) => self.deliver_to_machine(&target, &envelope),
        };
        let metrics = &self.hub.metrics;
        match refused {
            None => metrics.pi_envelopes_forwarded.add(1),
            Some(reason) => {
                metrics.pi_envelopes_refused.add(1);
                let answer = write_transport_error(request, reason, uuid::Uuid::new_v4());
                self.outbox.send(Opcode::Text, answer.as_bytes());
            }
        }
    }

    fn may_write_to(&mut self, target: &PublicKey) -> bool {
        let permissions = self.permissions.get_or_insert_default();
        permissions.allow(&self.hub.memberships, &self.key, target)
    }

    fn deliver_to_machine(
        &self,
        target: &PublicKey,
        envelope: &RelayedEnvelope<'_>,
    ) -> Option<TransportReason> {
        let text = write_pi_envelope_in(&self.key, envelope);
        let host = self.hub.hosts().newest(target).cloned();
        let mut is_reached = host.is_some_and(|host| {
            host.deliver_from_legacy(self.key, Content::Envelope(envelope.as_str()))
        });
        let registry = self.hub.registry();
        for recipient in registry.connections_of(target) {
            is_reached |= recipient.deliver_text(&text);
        }
        (!is_reached).then_some(TransportReason::Offline)
    }

    fn answer_presence(&mut self, peers: &[Cow<'_, str>]) {
        let answer = {
            let registry = self.hub.registry();
            let state = |peer| {
                let key = canonical_key(peer);
                PresenceState {
                    peer,
                    online: key.is_some_and(|key| registry.is_online(&key)),
                    since_ts: key.and_then(|key| registry.offline_since(&key)),
                }
            };
            let asked = peers.iter().take(self.hub.limits.subscriptions);
            let states: Vec<_> = asked.map(|peer| state(peer)).collect();
            write_presence(&states)
        };
        let metrics = &self.hub.metrics;
        if self.answers.get_or_insert_default().is_new_presence(&answer) {
            metrics.presence_emitted.add(1);
            self.outbox.send(Opcode::Text, answer.as_bytes());
        } else {
            metrics.presence_suppressed.add(1);
        }
    }

    fn answer_rooms(&mut self, peers: &[Cow<'_, str>]) {
        for peer in peers.iter().take(self.hub.limits.subscriptions) {
            let rooms = match canonical_key(peer) {
                Some(key) => self.hub.registry().rooms_of(&key),
                None => Vec::new(),
            };
            let answer = write_rooms(peer, &rooms);
            let metrics = &self.hub.metrics;
            if self.answers.get_or_insert_default().is_new_rooms(peer, &answer) {
                metrics.rooms_emitted.add(1);
                self.outbox.send(Opcode::Text, answer.as_bytes());
            } else {
                metrics.rooms_suppressed.add(1);
            }
        }
    }
}

impl Drop for State<'_> {
    /// On every way out, also when the task is dropped or panics.
    fn drop(&mut self) {
        self.hub.unregister(&self.key, self.sender.room(), self.id);
    }
}

/// Those that are keys. Whatever is not the canonical text of one is never online.
fn keys(peers: &[Cow<'_, str>]) -> Vec<PublicKey> {
    peers.iter().filter_map(|peer| canonical_key(peer)).collect()
}
