//! The frames of `rp/1`, to the byte. What each is for stands in [the module above](super).

use super::answer::{Answer, Verdict};
use super::connection::{Close, Hello, Instance, Welcome};
use super::content::{Content, MAX_ROOM_BYTES, Presence, RoomDescription};
use super::fields::{Fields, FrameError, write_number, write_text};
use crate::key::{PublicKey, Signature};

/// The longest payload of a frame on the control stream, or in one WebSocket message, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// The longest content of a message, in bytes. A relay may allow less ([`Welcome::max_body`]).
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The longest payload of a frame that has a stream of its own or comes in parts, in bytes.
pub const MAX_LARGE_FRAME_BYTES: usize = MAX_BODY_BYTES + 1024;
/// Most keys in one [`Frame::Watch`].
pub const MAX_WATCHES: usize = 1024;

/// The id of a message, chosen by its sender. No two that wait for their final answer on one
/// connection have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

/// One frame. The number of each is its type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// 0x00, client: the first frame of a connection.
    Hello(Hello),
    /// 0x02, relay, WebSocket only: what the login has to sign.
    Challenge {
        /// 32 random bytes, new for each connection.
        nonce: [u8; 32],
    },
    /// 0x04, client: the proof that it holds the machine key.
    Login {
        /// See [`login`](super::login).
        signature: Signature,
    },
    /// 0x06, relay: the login is accepted.
    Welcome(Welcome),
    /// 0x08, both: the last frame of a connection.
    Close(Close<'a>),
    /// 0x0a, both: to be answered with a [`Frame::Pong`] of the same bytes.
    Ping([u8; 8]),
    /// 0x0c, both.
    Pong([u8; 8]),
    /// 0x0f, relay, may be skipped: this relay will end soon.
    Drain {
        /// After how many milliseconds this client should leave and connect again.
        reconnect_after_ms: u64,
    },
    /// 0x11, relay, may be skipped: another live connection has the same machine key.
    Clone {
        /// Its instance.
        instance: Instance,
        /// When it logged in, in milliseconds since 1970.
        since_ms: u64,
    },
    /// 0x12, client: opens a room of this machine, or describes an open one anew.
    Room {
        /// Its id: any text, of at most [`MAX_ROOM_BYTES`].
        room: &'a str,
        /// What apps show of it.
        description: RoomDescription<'a>,
    },
    /// 0x14, client: closes a room of this machine. One that is not open stays so.
    RoomClose {
        /// Its id.
        room: &'a str,
    },
    /// 0x16, client: from now on watches these machines, and no others.
    Watch(Vec<PublicKey>),
    /// 0x17, relay, may be skipped: an owner has published a membership that lists this machine, or
    /// the one before did. Whose it is the machine finds out by asking for those it follows.
    Membership,
    /// 0x19, relay, may be skipped: how a watched machine is connected.
    Presence {
        /// The machine.
        peer: PublicKey,
        /// How it is connected.
        presence: Presence,
        /// Since when, in milliseconds since 1970; 0 when the relay does not know.
        since_ms: u64,
    },
    /// 0x1a, client: a message to a machine or an app.
    Send {
        /// Chosen by the sender.
        id: MessageId,
        /// The recipient.
        to: PublicKey,
        /// What it is.
        content: Content<'a>,
    },
    /// 0x1c, relay: a message for this machine.
    Deliver {
        /// The sender's, or drawn by the relay for one from the old wire.
        id: MessageId,
        /// The sender, as it proved to the relay.
        from: PublicKey,
        /// What it is.
        content: Content<'a>,
    },
    /// 0x1e, client: the answer to a [`Frame::Deliver`].
    Received {
        /// The message's.
        id: MessageId,
        /// Whom it came from.
        from: PublicKey,
        /// What became of it.
        verdict: Verdict,
    },
    /// 0x20, relay: the answer to a [`Frame::Send`].
    Answer {
        /// The message's.
        id: MessageId,
        /// What became of it.
        answer: Answer,
    },
    /// 0x22, both, WebSocket only: a part of a frame that is too long for one message.
    Part {
        /// Whether it is the last one.
        last: bool,
        /// The next bytes of the frame, its type and length included.
        bytes: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Appends the frame: its type, the length of its payload as a number of four bytes, its payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_number(out, self.kind());
        let start = out.len();
        out.extend([0; 4]);
        self.write_payload(out);
        // No frame reaches 2^30 bytes, the limit of a number of four bytes.
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX >> 2) | 0x8000_0000;
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// The frame as bytes of its own.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads the payload of a frame of this type.
    ///
    /// # Errors
    /// When a field is missing, has another form, or something follows the last one;
    /// [`FrameError::Unknown`] for a type this side does not know, skippable or not.
    pub fn decode(kind: u64, payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        let frame = Frame::read_payload(kind, &mut fields)?;
        fields.end()?;
        Ok(frame)
    }

    /// Whether a frame of this type is to be passed over: the type is odd and not known here.
    #[must_use]
    pub fn is_skipped(kind: u64) -> bool {
        kind % 2 == 1 && !matches!(kind, 0x0f | 0x11 | 0x17 | 0x19)
    }

    fn kind(&self) -> u64 {
        match self {
            Frame::Hello(_) => 0x00,
            Frame::Challenge { .. } => 0x02,
            Frame::Login { .. } => 0x04,
            Frame::Welcome(_) => 0x06,
            Frame::Close(_) => 0x08,
            Frame::Ping(_) => 0x0a,
            Frame::Pong(_) => 0x0c,
            Frame::Drain { .. } => 0x0f,
            Frame::Clone { .. } => 0x11,
            Frame::Room { .. } => 0x12,
            Frame::RoomClose { .. } => 0x14,
            Frame::Watch(_) => 0x16,
            Frame::Membership => 0x17,
            Frame::Presence { .. } => 0x19,
            Frame::Send { .. } => 0x1a,
            Frame::Deliver { .. } => 0x1c,
            Frame::Received { .. } => 0x1e,
            Frame::Answer { .. } => 0x20,
            Frame::Part { .. } => 0x22,
        }
    }

    fn write_payload(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello(hello) => hello.write(out),
            Frame::Challenge { nonce } => out.extend_from_slice(nonce),
            Frame::Login { signature } => out.extend_from_slice(signature.as_bytes()),
            Frame::Welcome(welcome) => welcome.write(out),
            Frame::Close(close) => close.write(out),
            Frame::Ping(bytes) | Frame::Pong(bytes) => out.extend_from_slice(bytes),
            Frame::Drain { reconnect_after_ms } => write_number(out, *reconnect_after_ms),
            Frame::Clone { instance, since_ms } => {
                out.extend_from_slice(&instance.0);
                write_number(out, *since_ms);
            }
            Frame::Room { room, description } => {
                write_text(out, room);
                description.write(out);
            }
            Frame::RoomClose { room } => write_text(out, room),
            Frame::Watch(keys) => keys.iter().for_each(|key| out.extend_from_slice(key.as_bytes())),
            Frame::Membership => {}
            Frame::Presence { peer, presence, since_ms } => {
                out.extend_from_slice(peer.as_bytes());
                write_number(out, presence.number());
                write_number(out, *since_ms);
            }
            Frame::Send { id, to: peer, content } | Frame::Deliver { id, from: peer, content } => {
                out.extend_from_slice(&id.0);
                out.extend_from_slice(peer.as_bytes());
                content.write(out);
            }
            Frame::Received { id, from, verdict } => {
                out.extend_from_slice(&id.0);
                out.extend_from_slice(from.as_bytes());
                verdict.write(out);
            }
            Frame::Answer { id, answer } => {
                out.extend_from_slice(&id.0);
                answer.write(out);
            }
            Frame::Part { last, bytes } => {
                out.push(u8::from(*last));
                out.extend_from_slice(bytes);
            }
        }
    }

    fn read_payload(kind: u64, fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(match kind {
            0x00 => Frame::Hello(Hello::read(fields)?),
            0x02 => Frame::Challenge { nonce: fields.array("nonce")? },
            0x04 => Frame::Login { signature: Signature::from_bytes(fields.array("signature")?) },
            0x06 => Frame::Welcome(Welcome::read(fields)?),
            0x08 => Frame::Close(Close::read(fields)?),
            0x0a => Frame::Ping(fields.array("bytes")?),
            0x0c => Frame::Pong(fields.array("bytes")?),
            0x0f => Frame::Drain { reconnect_after_ms: fields.number("delay")? },
            0x11 => Frame::Clone {
                instance: Instance(fields.array("instance")?),
                since_ms: fields.number("time")?,
            },
            0x12 => Frame::Room {
                room: fields.text("room", MAX_ROOM_BYTES)?,
                description: RoomDescription::read(fields)?,
            },
            0x14 => Frame::RoomClose { room: fields.text("room", MAX_ROOM_BYTES)? },
            0x16 => Frame::Watch(read_keys(fields)?),
            0x17 => Frame::Membership,
            0x19 => Frame::Presence {
                peer: fields.key("peer")?,
                presence: Presence::read(fields)?,
                since_ms: fields.number("time")?,
            },
            0x1a => Frame::Send {
                id: MessageId(fields.array("id")?),
                to: fields.key("recipient")?,
                content: Content::read(fields)?,
            },
            0x1c => Frame::Deliver {
                id: MessageId(fields.array("id")?),
                from: fields.key("sender")?,
                content: Content::read(fields)?,
            },
            0x1e => Frame::Received {
                id: MessageId(fields.array("id")?),
                from: fields.key("sender")?,
                verdict: Verdict::read(fields)?,
            },
            0x20 => {
                Frame::Answer { id: MessageId(fields.array("id")?), answer: Answer::read(fields)? }
            }
            0x22 => {
                Frame::Part { last: fields.flag("mark of the last part")?, bytes: fields.rest() }
            }
            other => return Err(FrameError::Unknown(other)),
        })
    }
}

fn read_keys(fields: &mut Fields<'_>) -> Result<Vec<PublicKey>, FrameError> {
    let mut keys = Vec::new();
    while !fields.is_empty() {
        if keys.len() == MAX_WATCHES {
            return Err(FrameError::Malformed("number of keys"));
        }
        keys.push(fields.key("key")?);
    }
    Ok(keys)
}
