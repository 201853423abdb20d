//! The frames of `rp/1`, to the byte. What each is for stands in [the module above](super).

use super::answer::{Answer, Verdict};
use super::fields::{Fields, FrameError, write_number, write_text};
use super::name::{MAX_RELAY_NAME_BYTES, RelayName};
use crate::key::{PublicKey, Signature};

/// The longest payload of a frame on the control stream, or in one WebSocket message, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// The longest content of a message, in bytes. A relay may allow less ([`Welcome::max_body`]).
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The longest payload of a frame that has a stream of its own or comes in parts, in bytes.
pub const MAX_LARGE_FRAME_BYTES: usize = MAX_BODY_BYTES + 1024;
/// Most versions a client may offer.
pub const MAX_VERSIONS: usize = 8;
/// The longest room id, in bytes.
pub const MAX_ROOM_BYTES: usize = 128;
/// The longest text in the description of a room, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 12 * 1024;
/// The longest explanation in [`Close`] and name of a program in [`Hello`], in bytes.
pub const MAX_NOTE_BYTES: usize = 256;
/// Most keys in one [`Frame::Watch`].
pub const MAX_WATCHES: usize = 1024;

/// The id of a message, chosen by its sender. No two that wait for their final answer on one
/// connection have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

/// What tells the runs of a host apart: drawn at random when the process starts. Two connections
/// with the same key and different instances are two hosts, of which one may be a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

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

/// What a client says first.
///
/// Bytes: how many versions as a number (1 to [`MAX_VERSIONS`]), each as a number; key (32);
/// instance (16); relay as a text; software as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The versions of the frames it speaks. This page describes [`VERSION`](super::VERSION).
    pub versions: Vec<u64>,
    /// Its machine key.
    pub key: PublicKey,
    /// This run of it.
    pub instance: Instance,
    /// The relay it means to talk to, from its own settings and never from what the relay says.
    pub relay: RelayName,
    /// Name and version of the program, for the relay's operator.
    pub software: String,
}

/// What a relay says when it has accepted a login. Eight numbers, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The version both speak from here on.
    pub version: u64,
    /// The relay's clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// After how long without any frame a side sends a [`Frame::Ping`], in milliseconds; after three
    /// times as long it ends the connection.
    pub keepalive_ms: u64,
    /// The longest content of a message, in bytes.
    pub max_body: u64,
    /// How many bytes of content may wait for their final answer for each recipient.
    pub window_bytes: u64,
    /// How many messages may wait for their final answer for each recipient.
    pub window_messages: u64,
    /// How many rooms may be open.
    pub max_rooms: u64,
    /// How many machines may be watched, at most [`MAX_WATCHES`].
    pub max_watches: u64,
}

/// The end of a connection. Bytes: code as a number, retry as a number, note as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why.
    pub code: CloseCode,
    /// How long to wait at least before connecting again, in milliseconds.
    pub retry_after_ms: u64,
    /// More about it, for a person.
    pub note: &'a str,
}

/// Why a connection ends. The number is also the error code when a QUIC connection is closed; a
/// WebSocket is closed with 4000 + the number, and for [`CloseCode::GoingAway`] with 1001.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 0: The side that says it has nothing more to do.
    Done,
    /// 1: The other side broke the rules of this protocol.
    ProtocolError,
    /// 2: No version in common.
    UnsupportedVersion,
    /// 3: The signature does not fit.
    LoginRefused,
    /// 4: The login is for a relay of another name.
    OtherRelay,
    /// 5: The other side was silent for too long.
    TooSlow,
    /// 6: Too many connections or logins; later there may be room.
    Overloaded,
    /// 7: This relay ends or has ended serving.
    GoingAway,
    /// 8: The same instance has logged in on another connection, which took the place of this one.
    Replaced,
    /// 9: More rooms, watches, or bytes than the relay allows.
    TooMuch,
    /// 10: The relay admits no client with this key.
    NotAdmitted,
    /// Any other number.
    Other(u64),
}

/// What apps show of a room.
///
/// Bytes: one byte of bits - 1 name, 2 folder, 4 model, 8 thinking, 16 working, the others 0 - then
/// each text whose bit is set, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomDescription<'a> {
    /// The agent's name.
    pub name: Option<&'a str>,
    /// The folder it works in.
    pub cwd: Option<&'a str>,
    /// The model it uses.
    pub model: Option<&'a str>,
    /// How much the model thinks.
    pub thinking: Option<&'a str>,
    /// Whether a turn is running.
    pub working: bool,
}

/// How a machine is connected to the relay. On the wire one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// 0: Not at all, or the relay does not tell this client about it.
    Offline,
    /// 1: By this protocol: it can be sent anything.
    Online,
    /// 2: By the old wire only: it can be sent nothing sealed.
    Legacy,
}

/// What a message carries. Begins with its kind as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// 0: Sealed from host to host ([`seal`](crate::seal)). The rest.
    Sealed(&'a [u8]),
    /// 1: An envelope between machines in the clear: the `envelope` of the old wire's `pi_envelope`,
    /// a JSON object, as it was written. The rest.
    Envelope(&'a str),
    /// 2: What passes between a room and an app on the old wire, in the clear. Two texts of at most
    /// [`MAX_ROOM_BYTES`], then the rest.
    App {
        /// The room it comes from.
        from_room: &'a str,
        /// The room it goes to.
        to_room: &'a str,
        /// The `ct` of the old wire, as it was written.
        text: &'a str,
    },
}

impl Content<'_> {
    /// How much it counts against a window: the bytes of the rest.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Content::Sealed(bytes) => bytes.len(),
            Content::Envelope(text) | Content::App { text, .. } => text.len(),
        }
    }

    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
        kind % 2 == 1 && !matches!(kind, 0x0f | 0x11 | 0x19)
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

impl Hello {
    /// Appends the payload: also a part of what a login signs.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(out, self.versions.len() as u64);
        self.versions.iter().for_each(|version| write_number(out, *version));
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.instance.0);
        write_text(out, self.relay.as_str());
        write_text(out, &self.software);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let count = fields.number("number of versions")?;
        if count == 0 || count > MAX_VERSIONS as u64 {
            return Err(FrameError::Malformed("number of versions"));
        }
        let versions = (0..count).map(|_| fields.number("version")).collect::<Result<_, _>>()?;
        let key = fields.key("key")?;
        let instance = Instance(fields.array("instance")?);
        let name = fields.text("relay", MAX_RELAY_NAME_BYTES)?;
        let relay = RelayName::parse(name).map_err(|_| FrameError::Malformed("relay"))?;
        if relay.as_str() != name {
            return Err(FrameError::Malformed("relay"));
        }
        let software = fields.text("software", MAX_NOTE_BYTES)?.to_owned();
        Ok(Hello { versions, key, instance, relay, software })
    }
}

impl Welcome {
    fn write(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.version,
            self.clock_ms,
            self.keepalive_ms,
            self.max_body,
            self.window_bytes,
            self.window_messages,
            self.max_rooms,
            self.max_watches,
        ];
        numbers.into_iter().for_each(|number| write_number(out, number));
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        Ok(Welcome {
            version: fields.number("version")?,
            clock_ms: fields.number("clock")?,
            keepalive_ms: fields.number("keepalive")?,
            max_body: fields.number("longest content")?,
            window_bytes: fields.number("window")?,
            window_messages: fields.number("window")?,
            max_rooms: fields.number("limit of rooms")?,
            max_watches: fields.number("limit of watches")?,
        })
    }
}

impl<'a> Close<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        write_number(out, self.code.number());
        write_number(out, self.retry_after_ms);
        write_text(out, self.note);
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(Close {
            code: CloseCode::of(fields.number("code")?),
            retry_after_ms: fields.number("delay")?,
            note: fields.text("note", MAX_NOTE_BYTES)?,
        })
    }
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            CloseCode::Done => 0,
            CloseCode::ProtocolError => 1,
            CloseCode::UnsupportedVersion => 2,
            CloseCode::LoginRefused => 3,
            CloseCode::OtherRelay => 4,
            CloseCode::TooSlow => 5,
            CloseCode::Overloaded => 6,
            CloseCode::GoingAway => 7,
            CloseCode::Replaced => 8,
            CloseCode::TooMuch => 9,
            CloseCode::NotAdmitted => 10,
            CloseCode::Other(number) => number,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        match number {
            0 => CloseCode::Done,
            1 => CloseCode::ProtocolError,
            2 => CloseCode::UnsupportedVersion,
            3 => CloseCode::LoginRefused,
            4 => CloseCode::OtherRelay,
            5 => CloseCode::TooSlow,
            6 => CloseCode::Overloaded,
            7 => CloseCode::GoingAway,
            8 => CloseCode::Replaced,
            9 => CloseCode::TooMuch,
            10 => CloseCode::NotAdmitted,
            other => CloseCode::Other(other),
        }
    }
}

impl<'a> RoomDescription<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        let texts = [self.name, self.cwd, self.model, self.thinking];
        let bit = |(place, text): (u8, &Option<&str>)| u8::from(text.is_some()) << place;
        let bits: u8 = (0..).zip(&texts).map(bit).sum();
        out.push(bits | u8::from(self.working) << 4);
        texts.iter().flatten().for_each(|text| write_text(out, text));
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let [bits] = fields.array("description")?;
        if bits >= 32 {
            return Err(FrameError::Malformed("description"));
        }
        let mut text = |place: u8| -> Result<Option<&'a str>, FrameError> {
            let is_there = bits & 1 << place != 0;
            is_there.then(|| fields.text("description", MAX_DESCRIPTION_BYTES)).transpose()
        };
        Ok(RoomDescription {
            name: text(0)?,
            cwd: text(1)?,
            model: text(2)?,
            thinking: text(3)?,
            working: bits & 16 != 0,
        })
    }
}

impl Presence {
    fn number(self) -> u64 {
        match self {
            Presence::Offline => 0,
            Presence::Online => 1,
            Presence::Legacy => 2,
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        match fields.number("presence")? {
            0 => Ok(Presence::Offline),
            1 => Ok(Presence::Online),
            2 => Ok(Presence::Legacy),
            _ => Err(FrameError::Malformed("presence")),
        }
    }
}

impl<'a> Content<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Content::Sealed(bytes) => {
                write_number(out, 0);
                out.extend_from_slice(bytes);
            }
            Content::Envelope(text) => {
                write_number(out, 1);
                out.extend_from_slice(text.as_bytes());
            }
            Content::App { from_room, to_room, text } => {
                write_number(out, 2);
                write_text(out, from_room);
                write_text(out, to_room);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(match fields.number("kind")? {
            0 => Content::Sealed(fields.rest()),
            1 => Content::Envelope(fields.rest_text("envelope")?),
            2 => Content::App {
                from_room: fields.text("room", MAX_ROOM_BYTES)?,
                to_room: fields.text("room", MAX_ROOM_BYTES)?,
                text: fields.rest_text("text")?,
            },
            _ => return Err(FrameError::Malformed("kind")),
        })
    }
}
