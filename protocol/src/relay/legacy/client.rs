//! What a client says once it is logged in.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::room::{DEFAULT_ROOM, MetaPatch};
use super::{opens_object, present, string};
use crate::key::PublicKey;

/// How deep an envelope between machines may be nested, the frame around it included.
pub const MAX_NESTING: usize = 128;

/// A frame that no client should send. It is dropped without an answer; the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not one JSON object, or a member that counts is there twice.
    #[error("the frame is not one JSON object")]
    NotAnObject,
    /// An outer envelope without `peer` or `ct`, or with a member that is not a string.
    #[error("the envelope lacks a peer, or its room or content is not a string")]
    Envelope,
    /// A `type` that no relay of this wire knows.
    #[error("the type of the frame is unknown")]
    UnknownType,
}

/// A frame of a client, borrowed from the message it came in.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// For the connections at (peer, room).
    Envelope(OuterEnvelope<'a>),
    /// Replaces what the sender watches the presence of.
    SubscribePresence(Vec<Cow<'a, str>>),
    /// Removes from what the sender watches the presence of.
    UnsubscribePresence(Vec<Cow<'a, str>>),
    /// Asks who is online.
    PresenceCheck(Vec<Cow<'a, str>>),
    /// Replaces what the sender watches the rooms of.
    SubscribeRooms(Vec<Cow<'a, str>>),
    /// Removes from what the sender watches the rooms of.
    UnsubscribeRooms(Vec<Cow<'a, str>>),
    /// Asks which rooms are open.
    RoomsCheck(Vec<Cow<'a, str>>),
    /// Changes the metadata of a room of the sender's own key.
    RoomMetaUpdate {
        /// The room; nothing means the connection's own.
        room: Option<Cow<'a, str>>,
        /// What changes.
        patch: MetaPatch,
    },
    /// For all connections of another machine.
    PiEnvelope(PiEnvelope<'a>),
}

/// An envelope between an app and a machine, as its sender wrote it.
#[derive(Debug)]
pub struct OuterEnvelope<'a> {
    /// Whom it is for: a key in canonical text, or it is for nobody.
    pub peer: Cow<'a, str>,
    /// The room at that peer.
    pub room: Cow<'a, str>,
    /// The content: what stands between the quotes of the JSON string, escapes included.
    pub ct: &'a str,
    /// How many bytes the content has once its escapes are resolved.
    pub ct_bytes: usize,
}

impl<'a> OuterEnvelope<'a> {
    /// The content with its escapes resolved.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        if memchr::memchr(b'\\', self.ct.as_bytes()).is_none() {
            return Cow::Borrowed(self.ct);
        }
        // The parser has resolved the same escapes before.
        Cow::Owned(serde_json::from_str(&format!("\"{}\"", self.ct)).unwrap_or_default())
    }

    /// Whether the content, read as base64, is larger than `max_bytes`. Padding counts.
    #[must_use]
    pub fn is_larger_than(&self, max_bytes: u64) -> bool {
        let encoded = u64::try_from(self.ct_bytes).unwrap_or(u64::MAX);
        encoded.saturating_mul(3) / 4 > max_bytes
    }
}

/// A request to pass an envelope on to another machine. What is wrong with it is for the sender
/// to know, so it is judged by [`PiEnvelope::target`] and not by the parser.
#[derive(Debug)]
pub struct PiEnvelope<'a> {
    to_pc: Option<Cow<'a, str>>,
    envelope: Option<&'a RawValue>,
}

/// An envelope between machines as it is passed on: the JSON object as the sender wrote it,
/// except that line ends between its tokens became spaces, since some readers cut at them.
#[derive(Debug)]
pub struct RelayedEnvelope<'a>(pub(super) Cow<'a, str>);

impl<'a> RelayedEnvelope<'a> {
    /// Reads an envelope that did not come in a frame of this wire. `None` when it is no JSON
    /// object or nested too deep.
    #[must_use]
    pub fn parse(json: &'a str) -> Option<Self> {
        Self::of(serde_json::from_str(json).ok()?)
    }

    fn of(raw: &'a RawValue) -> Option<Self> {
        let json = raw.get();
        let is_sound = json.starts_with('{') && nesting(json) < MAX_NESTING;
        is_sound.then(|| Self(without_line_ends(json)))
    }

    /// The JSON object.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    peer: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    room: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    ct: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    peers: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    room_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    to_pc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    envelope: Option<&'a RawValue>,
}

impl<'a> ClientFrame<'a> {
    /// Reads one text message.
    ///
    /// # Errors
    /// See [`Malformed`]; none of them is answered.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if !opens_object(text) {
            return Err(Malformed::NotAnObject);
        }
        let members: Members<'a> =
            serde_json::from_str(text).map_err(|_| Malformed::NotAnObject)?;
        match members.kind {
            Some(kind) if kind.get().starts_with('"') => {
                let kind = string(kind).ok_or(Malformed::NotAnObject)?;
                Self::control(&kind, &members)
            }
            _ => OuterEnvelope::from_members(&members).map(ClientFrame::Envelope),
        }
    }

    fn control(kind: &str, members: &Members<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            "subscribe_presence" => Self::SubscribePresence(peers(members.peers)),
            "unsubscribe_presence" => Self::UnsubscribePresence(peers(members.peers)),
            "presence_check" => Self::PresenceCheck(peers(members.peers)),
            "subscribe_rooms" => Self::SubscribeRooms(peers(members.peers)),
            "unsubscribe_rooms" => Self::UnsubscribeRooms(peers(members.peers)),
            "rooms_check" => Self::RoomsCheck(peers(members.peers)),
            "room_meta_update" => Self::RoomMetaUpdate {
                room: members.room_id.and_then(string),
                patch: members.meta.map(MetaPatch::parse).unwrap_or_default(),
            },
            "pi_envelope" => Self::PiEnvelope(PiEnvelope {
                to_pc: members.to_pc.and_then(string),
                envelope: members.envelope,
            }),
            _ => return Err(Malformed::UnknownType),
        })
    }
}

impl<'a> OuterEnvelope<'a> {
    fn from_members(members: &Members<'a>) -> Result<Self, Malformed> {
        let peer = members.peer.and_then(string).ok_or(Malformed::Envelope)?;
        let room = match members.room {
            None => Cow::Borrowed(DEFAULT_ROOM),
            Some(room) => string(room).ok_or(Malformed::Envelope)?,
        };
        let raw = members.ct.ok_or(Malformed::Envelope)?;
        let ct_bytes = string(raw).ok_or(Malformed::Envelope)?.len();
        let ct = raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Ok(Self { peer, room, ct: ct.ok_or(Malformed::Envelope)?, ct_bytes })
    }
}

impl<'a> PiEnvelope<'a> {
    /// Whom it is for and what to pass on, or nothing when it is a bad envelope: the target is no
    /// key, or the envelope is no JSON object or nested too deep.
    #[must_use]
    pub fn target(&self) -> Option<(PublicKey, RelayedEnvelope<'a>)> {
        let target = PublicKey::parse(self.to_pc.as_deref()?).ok()?;
        Some((target, RelayedEnvelope::of(self.envelope?)?))
    }

    /// Who the envelope says sent it and which id it has, for the error that is answered.
    pub(super) fn sender_and_id(&self) -> (Option<String>, Option<String>) {
        let parsed: Option<serde_json::Value> =
            self.envelope.and_then(|envelope| serde_json::from_str(envelope.get()).ok());
        let member = |name| parsed.as_ref()?.get(name)?.as_str().map(str::to_owned);
        (member("from"), member("id"))
    }
}

/// The key that `text` is the canonical text of. Every other spelling of a key is an unknown peer.
#[must_use]
pub fn canonical_key(text: &str) -> Option<PublicKey> {
    let mut bytes = [0u8; 33];
    if text.len() != 44 || STANDARD.decode_slice(text, &mut bytes).ok()? != 32 {
        return None;
    }
    bytes.first_chunk().copied().map(PublicKey::from_bytes)
}

/// The strings of an array; what else is in it is skipped, and what is no array is empty.
fn peers(raw: Option<&RawValue>) -> Vec<Cow<'_, str>> {
    let listed: Option<Vec<&RawValue>> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    listed.unwrap_or_default().into_iter().filter_map(string).collect()
}

/// Line ends in valid JSON stand between its tokens, where a space does as well.
fn without_line_ends(json: &str) -> Cow<'_, str> {
    match memchr::memchr2(b'\n', b'\r', json.as_bytes()) {
        None => Cow::Borrowed(json),
        Some(_) => Cow::Owned(json.replace(['\n', '\r'], " ")),
    }
}

/// How deep objects and arrays are nested in valid JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
