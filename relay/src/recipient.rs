//! How what is for a connection reaches it, whatever is spoken on it.

use std::sync::Arc;

use rp_protocol::key::PublicKey;
use rp_protocol::relay::Content;
use rp_protocol::relay::legacy::{EnvelopeOrigin, Event, OuterEnvelope};

use crate::host::Host;
use crate::limits::Pace;
use crate::websocket::{Opcode, Outbox};

/// A connection at a room as others reach it.
#[derive(Debug, Clone)]
pub enum Recipient {
    /// One of the old wire.
    Legacy {
        /// What waits for it.
        outbox: Arc<Outbox>,
        /// How fast its peer is read.
        pace: Arc<Pace>,
    },
    /// A room that a host has opened on its one connection.
    Room {
        /// The host.
        host: Arc<Host>,
        /// The room.
        room: Arc<str>,
    },
}

/// Who says something, and from which room.
#[derive(Debug)]
pub struct Sender {
    key: PublicKey,
    room: Box<str>,
    origin: EnvelopeOrigin,
}

impl Sender {
    /// This peer in this room.
    #[must_use]
    pub fn new(key: PublicKey, room: &str) -> Self {
        Self { key, room: room.into(), origin: EnvelopeOrigin::new(&key, room) }
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> &str {
        &self.room
    }
}

impl Recipient {
    /// Whether it speaks the old wire.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        matches!(self, Self::Legacy { .. })
    }

    /// How fast its peer is read.
    #[must_use]
    pub fn pace(&self) -> &Arc<Pace> {
        match self {
            Self::Legacy { pace, .. } => pace,
            Self::Room { host, .. } => &host.pace,
        }
    }

    /// Tells an event to all of them that speak the old wire. Hosts are told otherwise.
    pub fn tell_all(recipients: &[Self], event: &Event) {
        let mut text = None;
        for recipient in recipients {
            if let Self::Legacy { outbox, .. } = recipient {
                let text = text.get_or_insert_with(|| event.to_json());
                outbox.send(Opcode::Text, text.as_bytes());
            }
        }
    }

    /// Hands an envelope over. False when the connection is ending, or has no room for it.
    pub fn deliver(&self, sender: &Sender, envelope: &OuterEnvelope<'_>) -> bool {
        match self {
            Self::Legacy { outbox, .. } => {
                let (origin, ct) = (&sender.origin, envelope.ct);
                outbox.send_text(origin.envelope_bytes(ct), |out| origin.write(out, ct))
            }
            Self::Room { host, room } => {
                let text = envelope.text();
                let content = Content::App { from_room: &sender.room, to_room: room, text: &text };
                host.deliver_from_legacy(sender.key, content)
            }
        }
    }

    /// Hands over what a host says to a connection of the old wire. False when it is none, or is
    /// ending.
    pub fn deliver_clear(&self, sender: &Sender, text: &str) -> bool {
        match self {
            Self::Legacy { outbox, .. } => outbox.send(Opcode::Text, &sender.origin.to_json(text)),
            Self::Room { .. } => false,
        }
    }

    /// Hands over a frame of the old wire. False when the connection does not speak it, or is
    /// ending.
    pub fn deliver_text(&self, text: &str) -> bool {
        match self {
            Self::Legacy { outbox, .. } => outbox.send(Opcode::Text, text.as_bytes()),
            Self::Room { .. } => false,
        }
    }
}
