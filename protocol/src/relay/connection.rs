//! The beginning and the end of a connection: hello, welcome, close.

use super::fields::{Fields, FrameError, write_number, write_text};
use super::name::{MAX_RELAY_NAME_BYTES, RelayName};
use crate::key::PublicKey;

/// Most versions a client may offer.
pub const MAX_VERSIONS: usize = 8;
/// The longest explanation in [`Close`] and name of a program in [`Hello`], in bytes.
pub const MAX_NOTE_BYTES: usize = 256;

/// What tells the runs of a host apart: drawn at random when the process starts. Two connections
/// with the same key and different instances are two hosts, of which one may be a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

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
    /// After how long without any frame a side sends a [ping](super::Frame::Ping), in milliseconds; after three
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
    /// How many machines may be watched, at most [`MAX_WATCHES`](super::MAX_WATCHES).
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

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
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
    pub(super) fn write(&self, out: &mut Vec<u8>) {
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

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
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
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(out, self.code.number());
        write_number(out, self.retry_after_ms);
        write_text(out, self.note);
    }

    pub(super) fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
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
