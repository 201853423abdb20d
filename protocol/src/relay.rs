//! The wire between a host and a relay: the protocol `rp/1`.
//!
//! One connection carries everything of one machine: all its rooms, all its agents. Frames are the
//! same on both transports.
//!
//! | | QUIC | WebSocket |
//! |---|---|---|
//! | negotiated as | ALPN [`ALPN`] | sub-protocol [`SUBPROTOCOL`] |
//! | frames | on one bidirectional stream, opened by the client, one after the other ([`FrameReader`]) | one in each binary message ([`read_message`]) |
//! | frames of more than [`MAX_FRAME_BYTES`] | each on a unidirectional stream of its own, at most [`MAX_LARGE_STREAMS`] at a time ([`read_large`]) | in parts, one after the other ([`parts`], [`Parts`], [`read_large`]) |
//! | large frames may overtake others | yes | yes |
//!
//! A **frame** is its type, the length of its payload in bytes, and its payload. Type and length are
//! numbers ([`fields`] says how numbers and other fields are written); the payload is that of
//! [`Frame`]. A type that is odd may be skipped by a side that does not know it; any other unknown
//! type, and any frame that cannot be read or comes at the wrong time, ends the connection with
//! [`CloseCode::ProtocolError`]. Both sides may still read what they have when they end it.
//!
//! **Versions.** ALPN and sub-protocol name this framing and the login. What frames there are is the
//! version of [`Hello`]; this is version [`VERSION`].
//!
//! # What the client does
//! 1. Logs in ([`login`]): hello first, nothing else before the welcome.
//! 2. After the welcome of each connection opens its rooms with [`Frame::Room`] and names the
//!    machines it watches with [`Frame::Watch`]: a relay keeps neither when a connection ends. It
//!    stays below the limits of the welcome.
//! 3. Sends messages as [`Frame::Send`] with an id of its own and only while the window for that
//!    recipient has room ([`Flight`]). A message without a final answer when the connection ends may
//!    have arrived or not; sent again, it has the same id.
//! 4. Answers each [`Frame::Deliver`] with [`Frame::Received`], with any verdict, also for legacy
//!    content and for an id it has seen before. A message it means to keep is on disk before.
//! 5. Answers a [`Frame::Ping`] at once, sends one when it has received nothing for the keepalive,
//!    and ends a connection that was silent for three times as long.
//! 6. At a [`Frame::Drain`] leaves after the given time, which is another one for each client, and
//!    connects again. At a [`Frame::Close`] waits at least the given time.
//! 7. Tells its owner about a [`Frame::Clone`].
//! 8. At a [`Frame::Membership`] asks for the memberships it follows, but not more than once in two
//!    seconds.
//!
//! # What the relay does
//! 1. Ends a connection that is not logged in within [`login::LOGIN_DEADLINE_MS`].
//! 2. Hands out messages for a key to the connection that logged in with it last. When that has the
//!    same instance as an older one, it ends the older one with [`CloseCode::Replaced`]. With another
//!    instance it pings the older one: silent for five seconds, it is ended; alive, both get a
//!    [`Frame::Clone`] about the other and both stay.
//! 3. Answers each [`Frame::Send`]: [`Answer::Accepted`] when the message is in the recipient's
//!    queue, and then exactly one final answer; or at once the final answer. It forgets a message
//!    that the recipient has not answered when the recipient's connection ends ([`Answer::Lost`]). A
//!    message beyond the window or too much for a queue is [`Answer::Busy`], a second one with an id
//!    that is on its way is a [`CloseCode::ProtocolError`].
//! 4. Keeps the order of the messages from one sender to one recipient, but for large ones.
//! 5. At each [`Frame::Watch`] forgets the former watches and sends one [`Frame::Presence`] for each
//!    key, then one at every change. A key that this client may not know about is `Offline`; when a
//!    membership changes that, so does the presence.
//! 6. Shows rooms to clients of the old wire as if each were a connection of its own: announced at
//!    the first [`Frame::Room`], described anew at a later one, ended with [`Frame::RoomClose`] or the
//!    connection.
//! 7. Says [`Frame::Membership`] to the machines that a publication lists, or the one before it did.
//! 8. Ends every connection with a [`Frame::Close`] when it can, and gives its code to the transport
//!    as well ([`CloseCode`]).
//!
//! # Between this wire and the old one
//! | from | to | becomes |
//! |---|---|---|
//! | [`Content::Envelope`] | machine on the old wire | `pi_envelope_in`, `from_pc` the sender; answer [`Answer::Handed`] |
//! | [`Content::App`] | connection of the old wire in `to_room` | `peer` the sender, `room` = `from_room`, `ct` the text, unchanged; answer [`Answer::Handed`], or [`Answer::Offline`] |
//! | [`Content::Sealed`] | key that is only on the old wire | nothing; answer [`Refusal::LegacyOnly`] |
//! | `pi_envelope` | machine on this wire | [`Frame::Deliver`] of [`Content::Envelope`], the bytes of `envelope` unchanged, with an id the relay draws |
//! | outer envelope | machine on this wire that has opened the room | [`Frame::Deliver`] of [`Content::App`], from the connection's room to `room` |
//!
//! Between machines the relay asks whether an owner lists both, whatever the content; without it the
//! answer is [`Refusal::NotAuthorised`], and that is decided before presence.

pub mod fields;
pub mod legacy;
pub mod login;

mod answer;
mod connection;
mod content;
mod flight;
mod frame;
mod name;
mod reader;

pub use answer::{Answer, Refusal, Verdict};
pub use connection::{Close, CloseCode, Hello, Instance, MAX_NOTE_BYTES, MAX_VERSIONS, Welcome};
pub use content::{Content, MAX_DESCRIPTION_BYTES, MAX_ROOM_BYTES, Presence, RoomDescription};
pub use fields::FrameError;
pub use flight::{Flight, NotStarted, Sent};
pub use frame::{
    Frame, MAX_BODY_BYTES, MAX_FRAME_BYTES, MAX_LARGE_FRAME_BYTES, MAX_WATCHES, MessageId,
};
pub use name::{MAX_RELAY_NAME_BYTES, NotARelayName, RelayName};
pub use reader::{FrameReader, Parts, is_large, parts, read_large, read_message};

/// What QUIC negotiates in TLS.
pub const ALPN: &[u8] = b"rp/1";
/// What a WebSocket negotiates in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "rp.1";
/// The version of the frames of this page.
pub const VERSION: u64 = 1;
/// How many unidirectional streams with large frames either side may have open on a QUIC connection.
pub const MAX_LARGE_STREAMS: u32 = 4;
