//! Envelopes as their recipients get them, and what the relay says when it cannot pass one on.

use uuid::Uuid;

use super::client::{PiEnvelope, RelayedEnvelope};
use super::write_string;
use crate::key::PublicKey;

/// Where the envelopes of one connection come from: what stands in front of the content in each
/// of them, written once.
#[derive(Debug, Clone)]
pub struct EnvelopeOrigin {
    head: Box<[u8]>,
}

impl EnvelopeOrigin {
    /// The origin of everything that this peer says in this room.
    #[must_use]
    pub fn new(peer: &PublicKey, room: &str) -> Self {
        let mut head = format!(r#"{{"peer":"{peer}","room":"#).into_bytes();
        write_string(&mut head, room);
        head.extend_from_slice(br#","ct":""#);
        Self { head: head.into() }
    }

    /// How many bytes [`EnvelopeOrigin::write`] appends for this content.
    #[must_use]
    pub fn envelope_bytes(&self, ct: &str) -> usize {
        self.head.len() + ct.len() + 2
    }

    /// The envelope with a content that is not written as JSON yet.
    #[must_use]
    pub fn to_json(&self, text: &str) -> Vec<u8> {
        // The head ends with the quote that the text brings along.
        let mut out = self.head.strip_suffix(b"\"").unwrap_or(&self.head).to_vec();
        write_string(&mut out, text);
        out.push(b'}');
        out
    }

    /// Appends the envelope. `ct` is what stands between the quotes of a JSON string.
    pub fn write(&self, out: &mut Vec<u8>, ct: &str) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(ct.as_bytes());
        out.extend_from_slice(br#""}"#);
    }
}

/// An envelope of another machine as the target gets it.
#[must_use]
pub fn write_pi_envelope_in(from: &PublicKey, envelope: &RelayedEnvelope<'_>) -> String {
    format!(r#"{{"type":"pi_envelope_in","from_pc":"{from}","envelope":{}}}"#, envelope.0)
}

/// Why an envelope to another machine was not passed on. The set is closed: clients drop every
/// other word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportReason {
    /// The target has no connection.
    Offline,
    /// No owner lists both machines.
    NotAuthorized,
    /// The request is malformed.
    BadEnvelope,
}

impl TransportReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::NotAuthorized => "not_authorized",
            Self::BadEnvelope => "bad_envelope",
        }
    }
}

/// The answer to the sender of an envelope that was not passed on. `id` names the answer and is
/// a random (version 4) UUID.
#[must_use]
pub fn write_transport_error(failed: &PiEnvelope<'_>, reason: TransportReason, id: Uuid) -> String {
    let (sender, answered) = failed.sender_and_id();
    let sender = sender.filter(|sender| !sender.is_empty());
    let answered = answered.filter(|id| is_dashed_hex(id));
    let envelope = serde_json::json!({
        "from": "_relay",
        "to": sender.as_deref().unwrap_or("_unknown"),
        "id": id.hyphenated().to_string(),
        "re": answered,
        "body": { "type": "transport_error", "reason": reason.as_str() },
    });
    format!(r#"{{"type":"pi_envelope_in","from_pc":"_relay","envelope":{envelope}}}"#)
}

/// 36 characters: hexadecimal digits with dashes in the places of a UUID, of any version.
fn is_dashed_hex(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
