//! How what is for a connection reaches it.

use std::sync::Arc;

use rp_protocol::relay::legacy::{EnvelopeOrigin, Event};

use crate::limits::Pace;
use crate::websocket::{Opcode, Outbox};

/// A connection as others reach it.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    /// How fast its peer is read.
    pub pace: Arc<Pace>,
}

impl Recipient {
    /// Tells an event to all of them.
    pub fn tell_all(recipients: &[Self], event: &Event) {
        if recipients.is_empty() {
            return;
        }
        let text = event.to_json();
        for recipient in recipients {
            recipient.outbox.send(Opcode::Text, text.as_bytes());
        }
    }

    /// Hands an envelope over. False when the connection is ending.
    pub fn deliver(&self, origin: &EnvelopeOrigin, ct: &str) -> bool {
        self.outbox.send_text(origin.envelope_bytes(ct), |out| origin.write(out, ct))
    }

    /// Hands over a frame that is written already. False when the connection is ending.
    pub fn deliver_text(&self, text: &str) -> bool {
        self.outbox.send(Opcode::Text, text.as_bytes())
    }
}
