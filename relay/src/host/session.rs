//! What a host that is logged in says, and what comes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rp_protocol::key::PublicKey;
use rp_protocol::relay::legacy::{MetaPatch, Patch, RelayedEnvelope, RoomMeta};
use rp_protocol::relay::{
    Answer, CloseCode, Content, Frame, MAX_BODY_BYTES, MAX_WATCHES, MessageId, NotStarted, Refusal,
    RoomDescription,
};

use super::{BUSY_MS, Handover, Host};
use crate::hub::Hub;
use crate::permissions::Permissions;
use crate::recipient::{Recipient, Sender};
use crate::registry::ConnectionId;

/// After how many beats without a sign of the host it is taken for gone.
const SILENT_BEATS: u8 = 3;

/// How many keys of a list to watch cost as much as a frame: each is looked up.
const KEYS_PER_FRAME: usize = 32;

/// A host that broke the rules: how its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) CloseCode, pub(super) &'static str);

/// One connection of a host.
pub(super) struct HostSession {
    pub(super) hub: Arc<Hub>,
    pub(super) host: Arc<Host>,
    permissions: Permissions,
    rooms: HashMap<Box<str>, ConnectionId>,
    frames: u32,
    /// How many frames what was asked for costs beyond those in which it was asked.
    further: u32,
    bytes: u32,
    silent_beats: u8,
}

impl HostSession {
    pub(super) fn new(hub: Arc<Hub>, host: Arc<Host>) -> Self {
        Self {
            hub,
            host,
            permissions: Permissions::default(),
            rooms: HashMap::new(),
            frames: 0,
            further: 0,
            bytes: 0,
            silent_beats: 0,
        }
    }

    /// Counts bytes that were received, with what is around the frames.
    pub(super) fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.silent_beats = 0;
        self.host.heard.notify_waiters();
    }

    /// How long to leave the host unread.
    pub(super) fn charge(&mut self) -> Duration {
        let (frames, bytes) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes));
        if frames == 0 {
            return Duration::ZERO;
        }
        let metrics = &self.hub.metrics;
        metrics.frames_received.add(u64::from(frames));
        metrics.bytes_received.add(u64::from(bytes));
        let frames = frames.saturating_add(std::mem::take(&mut self.further));
        let pause = self.host.pace.charge(frames, bytes, Instant::now());
        metrics.paced.add(u64::from(!pause.is_zero()));
        pause
    }

    /// Shows the host that the relay is there. False when the host was silent for too long.
    pub(super) fn beat(&mut self) -> bool {
        self.silent_beats += 1;
        if self.silent_beats > SILENT_BEATS {
            self.hub.metrics.silent_clients.add(1);
            self.host.close(CloseCode::TooSlow, "no sign of life");
            return false;
        }
        self.host.say(&Frame::Ping([0; 8]));
        true
    }

    /// Takes a frame.
    pub(super) fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), Broken> {
        match frame {
            Frame::Send { id, to, content } => self.on_send(id, to, content)?,
            Frame::Received { id, from, verdict } => self.host.settle(from, id, verdict.into()),
            Frame::Ping(bytes) => {
                self.host.say(&Frame::Pong(bytes));
            }
            Frame::Pong(_) => {}
            Frame::Room { room, description } => self.on_room(room, &description)?,
            Frame::RoomClose { room } => {
                if let Some(id) = self.rooms.remove(room) {
                    self.hub.unregister(&self.host.key, room, id);
                }
            }
            Frame::Watch(keys) => self.on_watch(&keys)?,
            Frame::Close(_) => return Err(Broken(CloseCode::Done, "")),
            _ => return Err(Broken(CloseCode::ProtocolError, "a frame that clients do not send")),
        }
        Ok(())
    }

    fn on_send(
        &mut self,
        id: MessageId,
        to: PublicKey,
        content: Content<'_>,
    ) -> Result<(), Broken> {
        let started = self.host.start(id, to, content.len());
        let answer = match started {
            Err(NotStarted::SameId) => {
                return Err(Broken(CloseCode::ProtocolError, "a message id is on its way already"));
            }
            Err(NotStarted::WindowFull) => {
                // It is not counted, so nothing is to be settled.
                let answer = Answer::Busy { retry_after_ms: BUSY_MS };
                self.host.say(&Frame::Answer { id, answer });
                return Ok(());
            }
            Ok(()) if content.len() > MAX_BODY_BYTES => Some(Answer::Refused(Refusal::TooLarge)),
            Ok(()) => match content {
                Content::App { from_room, to_room, text } => {
                    self.send_to_room(id, to, from_room, to_room, text)
                }
                content => self.send_to_machine(id, to, content),
            },
        };
        if let Some(answer) = answer {
            self.host.answer(id, answer);
        }
        Ok(())
    }

    fn may_write_to(&mut self, to: &PublicKey) -> bool {
        self.permissions.allow(&self.hub.memberships, &self.host.key, to)
    }

    /// A message to another machine; the final answer, or nothing when it comes later.
    fn send_to_machine(
        &mut self,
        id: MessageId,
        to: PublicKey,
        content: Content<'_>,
    ) -> Option<Answer> {
        if !self.may_write_to(&to) {
            return Some(Answer::Refused(Refusal::NotAuthorised));
        }
        if let Some(answer) = self.hand_over(&to, id, content) {
            return answer;
        }
        let registry = self.hub.registry();
        let mut legacy = registry.connections_of(&to).filter(|one| one.is_legacy()).peekable();
        if legacy.peek().is_none() {
            drop(legacy);
            return Some(Answer::Offline { since_ms: self.hub.offline_since(&registry, &to) });
        }
        let Content::Envelope(text) = content else {
            return Some(Answer::Refused(Refusal::LegacyOnly));
        };
        let Some(envelope) = RelayedEnvelope::parse(text) else {
            return Some(Answer::Refused(Refusal::Malformed));
        };
        let text = rp_protocol::relay::legacy::write_pi_envelope_in(&self.host.key, &envelope);
        let reached = legacy.filter(|one| one.deliver_text(&text)).count();
        self.hub.metrics.pi_envelopes_forwarded.add(u64::from(reached > 0));
        Some(if reached > 0 { Answer::Handed } else { Answer::Lost })
    }

    /// A message between a room and an app; the final answer, or nothing when it comes later.
    fn send_to_room(
        &mut self,
        id: MessageId,
        to: PublicKey,
        from_room: &str,
        to_room: &str,
        text: &str,
    ) -> Option<Answer> {
        let sender = Sender::new(self.host.key, from_room);
        let reached = {
            let registry = self.hub.registry();
            let legacy = registry.at_room(&to, to_room, None).filter(|one| one.is_legacy());
            legacy.filter(|one| one.deliver_clear(&sender, text)).count()
        };
        self.hub.metrics.envelopes_forwarded.add(u64::try_from(reached).unwrap_or(u64::MAX));
        if reached > 0 {
            return Some(Answer::Handed);
        }
        // Another machine, then; whether it is there is for those only who may write to it.
        let content = Content::App { from_room, to_room, text };
        let handed = if self.may_write_to(&to) { self.hand_over(&to, id, content) } else { None };
        handed.unwrap_or_else(|| {
            Some(Answer::Offline { since_ms: self.hub.offline_since(&self.hub.registry(), &to) })
        })
    }

    /// A message to the newest host of a machine; nothing when the machine has none. Otherwise the
    /// final answer, or nothing when that comes later.
    fn hand_over(
        &self,
        to: &PublicKey,
        id: MessageId,
        content: Content<'_>,
    ) -> Option<Option<Answer>> {
        loop {
            let target = self.hub.hosts().newest(to).cloned()?;
            match target.deliver(Some(&self.host), self.host.key, id, content) {
                Handover::Queued => {
                    self.hub.metrics.messages_forwarded.add(1);
                    return Some(None);
                }
                Handover::Full => return Some(Some(Answer::Busy { retry_after_ms: BUSY_MS })),
                // It went after it was looked for; the next look does not find it.
                Handover::Gone => {}
            }
        }
    }

    fn on_room(&mut self, room: &str, description: &RoomDescription<'_>) -> Result<(), Broken> {
        if self.rooms.contains_key(room) {
            let text =
                |text: Option<&str>| text.map_or(Patch::Clear, |text| Patch::Set(text.into()));
            let patch = MetaPatch {
                model: text(description.model),
                thinking: text(description.thinking),
                working: Some(description.working),
            };
            self.hub.update_meta(&self.host.key, room, &patch);
            return Ok(());
        }
        let text = |text: Option<&str>| text.map(Box::from);
        let meta = RoomMeta {
            name: text(description.name),
            cwd: text(description.cwd),
            model: text(description.model),
            thinking: text(description.thinking),
            working: description.working,
        };
        let recipient = Recipient::Room { host: Arc::clone(&self.host), room: room.into() };
        let opened = self.hub.register_recipient(self.host.key, room, meta, recipient);
        let id = opened.map_err(|_| Broken(CloseCode::TooMuch, "too many rooms"))?;
        self.rooms.insert(room.into(), id);
        Ok(())
    }

    fn on_watch(&mut self, keys: &[PublicKey]) -> Result<(), Broken> {
        let bound = self.hub.limits.subscriptions.min(MAX_WATCHES);
        if keys.len() > bound {
            return Err(Broken(CloseCode::TooMuch, "too many watches"));
        }
        let further = u32::try_from(keys.len() / KEYS_PER_FRAME).unwrap_or(u32::MAX);
        self.further = self.further.saturating_add(further);
        self.hub.watch(&self.host.key, keys);
        Ok(())
    }
}

impl Drop for HostSession {
    /// On every way out, also when the task is dropped or panics.
    fn drop(&mut self) {
        for (room, id) in self.rooms.drain() {
            self.hub.unregister(&self.host.key, &room, id);
        }
        self.hub.remove_host(&self.host);
        self.host.lose_everything();
        tracing::debug!(peer = ?self.host.key, "a host disconnected");
    }
}
