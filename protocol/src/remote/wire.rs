//! Envelopes between machines: prefixes, receipts, and errors that only the relay may tell.

use std::borrow::Cow;

use serde::Deserialize;

use super::bridge::{Kind, Outgoing};
use super::inventory::InventoryError;
use crate::key::PublicKey;
use crate::mesh::{
    AckStatus, BROADCAST, BROKER, Body, Destination, Envelope, EnvelopeId, TransportError,
    write_json_string,
};

/// Who speaks for a machine's inventory, behind its label.
pub const INVENTORY_ENDPOINT: &str = "_broker_remote";
/// Who the relay itself is, where a machine's key would stand.
pub const RELAY: &str = "_relay";

/// Why something that came from the relay was dropped. Nobody is told; the log gets no more than
/// this: no address, no content, no whole key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// The sender's key cannot be read.
    #[error("invalid_from_pc")]
    FromPc,
    /// The sender is no sibling of this machine.
    #[error("unknown_from_pc {fingerprint}")]
    UnknownMachine {
        /// Of the sender's key.
        fingerprint: String,
    },
    /// `to` is not one address.
    #[error("invalid_to")]
    To,
    /// `from` or `to` has no label, or nothing behind it.
    #[error("invalid_cross_pc_address")]
    Address,
    /// It is no envelope.
    #[error("invalid_envelope")]
    Envelope,
    /// It claims to be the relay's, and is not what a relay says.
    #[error("invalid_relay_error")]
    RelayError,
    /// The inventory is wrong, and the one before it stays.
    #[error("invalid_inventory: {0}")]
    Inventory(#[from] InventoryError),
}

/// The address behind a label. The label that is expected comes off as a whole, for it may hold
/// colons; in front of any other the text ends at the first colon. Which label it was counts for
/// nothing.
#[must_use]
pub fn strip_label<'a>(address: &'a str, expected: &str) -> Option<&'a str> {
    let behind_expected = address.strip_prefix(expected).and_then(|rest| rest.strip_prefix(':'));
    let (label, rest) = match behind_expected {
        Some(rest) => (expected, rest),
        None => address.split_once(':')?,
    };
    (!label.is_empty() && !rest.is_empty()).then_some(rest)
}

/// What the relay answers with when it cannot carry an envelope, as it stands in a frame whose
/// sender is [`RELAY`].
#[derive(Deserialize)]
struct RelayError {
    from: String,
    to: String,
    id: String,
    re: String,
    body: RelayErrorBody,
}

#[derive(Deserialize)]
struct RelayErrorBody {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
}

/// Reads an error of the relay and makes of it what the local router says to the sender. The
/// frame's sender must have been exactly [`RELAY`]: nothing else may settle a message this way.
///
/// # Errors
/// [`Dropped::RelayError`]
pub fn read_relay_error(envelope: &str, own_label: &str) -> Result<Envelope<'static>, Dropped> {
    let error: RelayError = serde_json::from_str(envelope).map_err(|_| Dropped::RelayError)?;
    let genuine = error.from == RELAY && error.body.kind == "transport_error";
    let known =
        [TransportError::Offline, TransportError::NotAuthorized, TransportError::BadEnvelope];
    let reason = known.into_iter().find(|reason| reason.as_str() == error.body.reason);
    let id = EnvelopeId::parse(&error.id).or_else(|| with_hyphens(&error.id));
    let re = EnvelopeId::parse(&error.re);
    let to = strip_label(&error.to, own_label).filter(|to| *to != BROADCAST);
    match (genuine, reason, id, re, to) {
        (true, Some(reason), Some(id), Some(re), Some(to)) => {
            Ok(transport_error(to, id, re, reason))
        }
        _ => Err(Dropped::RelayError),
    }
}

/// What the local router says to the sender `to` of the envelope `re` that could not be carried.
#[must_use]
pub fn transport_error(
    to: &str,
    id: EnvelopeId,
    re: EnvelopeId,
    reason: TransportError,
) -> Envelope<'static> {
    let body = format!("{{\"type\":\"transport_error\",\"reason\":\"{}\"}}", reason.as_str());
    Envelope {
        from: Cow::Borrowed(BROKER),
        to: Destination::One(Cow::Owned(to.to_owned())),
        id,
        re: Some(re),
        body: Body::written(body),
    }
}

/// Relays of old wrote ids as 32 lower-case digits.
fn with_hyphens(id: &str) -> Option<EnvelopeId> {
    let lower = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if id.len() != 32 || !id.bytes().all(lower) {
        return None;
    }
    let part = |range| id.get(range);
    EnvelopeId::parse(&format!(
        "{}-{}-{}-{}-{}",
        part(0..8)?,
        part(8..12)?,
        part(12..16)?,
        part(16..20)?,
        part(20..32)?
    ))
}

/// The receipt that a sender on another machine waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub(super) machine: PublicKey,
    pub(super) from: String,
    /// Where the envelope came from, as it stood on the wire: old senders compare it.
    pub(super) to: String,
    pub(super) re: EnvelopeId,
    pub(super) target: String,
}

impl Receipt {
    /// Says what became of the envelope.
    #[must_use]
    pub fn write(self, status: AckStatus, id: EnvelopeId) -> Outgoing {
        let mut body = format!("{{\"type\":\"ack\",\"status\":\"{}\",\"target\":", status.as_str())
            .into_bytes();
        write_json_string(&mut body, &self.target);
        body.push(b'}');
        let body = String::from_utf8_lossy(&body).into_owned();
        let envelope = Envelope {
            from: Cow::Owned(self.from),
            to: Destination::One(Cow::Owned(self.to)),
            id,
            re: Some(self.re),
            body: Body::written(body),
        };
        Outgoing::new(self.machine, Kind::Receipt, &envelope)
    }
}
