//! The wire of the Remote Pi relay: one JSON document in each WebSocket text message.
//!
//! A connection opens with [`Hello`], is sent a [`Challenge`], and answers with [`Auth`]. After
//! that a client says [`ClientFrame`]s and is told [`Event`]s, envelopes and answers to checks.
//! What two clients say to each other, `ct` and `envelope`, is passed on as it was written.

mod client;
mod deliver;
mod event;
mod login;
mod room;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use client::{
    ClientFrame, MAX_NESTING, Malformed, OuterEnvelope, PiEnvelope, RelayedEnvelope, canonical_key,
};
pub use deliver::{EnvelopeOrigin, TransportReason, write_pi_envelope_in, write_transport_error};
pub use event::{Event, PresenceState, write_presence, write_rooms};
pub use login::{Auth, Challenge, Hello, LoginError, NONCE_BYTES};
pub use room::{DEFAULT_ROOM, MetaPatch, Patch, RoomMeta, RoomState};

/// Whether `text`, if it is JSON, is an object. serde would read an array as a structure too.
fn opens_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// The string that `raw` is, or nothing when it is another JSON value or has an escape that
/// stands for no character.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

/// Keeps a member that is written as `null` apart from one that is absent.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// Appends `text` as a JSON string with its quotes.
fn write_string(out: &mut Vec<u8>, text: &str) {
    crate::mesh::write_json_string(out, text);
}
