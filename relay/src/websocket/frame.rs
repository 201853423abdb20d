//! Frames on the wire (RFC 6455 section 5), without I/O.

use std::ops::Range;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with the message before it.
    Continuation,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// Ends the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// How a client broke the protocol. The connection ends with the [code](Violation::close).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit or opcode, a frame that is not masked, a control frame that is too long or
    /// cut in pieces, or a continuation of nothing.
    #[error("the frame breaks the protocol")]
    Protocol,
    /// A text that is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A message with more bytes than are taken.
    #[error("the message is too large")]
    TooLarge,
}

impl Violation {
    /// What the client is told when the connection ends because of this.
    #[must_use]
    pub const fn close(self) -> Close {
        match self {
            Self::Protocol => Close::Code(1002),
            Self::NotUtf8 => Close::Code(1007),
            Self::TooLarge => Close::Code(1009),
        }
    }
}

/// How a connection is closed (RFC 6455 section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// With a close frame that gives this code.
    Code(u16),
    /// With a close frame that gives none.
    NoCode,
    /// Without a close frame: the connection just ends.
    Abort,
}

/// Something whole that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client closes the connection.
    Close,
    /// A piece of a message that is not whole yet.
    Piece,
}

/// The outcome of [`Decoder::next`].
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A frame was read: how many bytes it took, and what it was.
    Message(usize, Message<'a>),
    /// The frame at the front is not whole: at least this many bytes are needed, counted from its
    /// start.
    Need(usize),
}

/// The longest header of a frame.
const MAX_HEADER: usize = 14;

/// The shortest header of a client's frame.
const MIN_HEADER: usize = 6;

/// The largest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// Reads the frames of one client.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    /// What kind of message is coming in pieces.
    unfinished: Option<Opcode>,
    /// The pieces of it so far, or all of the one that was whole last.
    pieces: Vec<u8>,
}

struct Header {
    is_final: bool,
    opcode: Opcode,
    payload: Range<usize>,
    mask: [u8; 4],
}

impl Decoder {
    /// Takes messages of at most this many bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self { max_message, unfinished: None, pieces: Vec::new() }
    }

    /// From now on takes messages of at most this many bytes.
    pub const fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// How many bytes of a message in pieces are kept.
    #[must_use]
    pub const fn kept(&self) -> usize {
        self.pieces.capacity()
    }

    /// Reads one frame from the front of `bytes`, unmasking it in place. After an error the
    /// connection cannot be read any further.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub fn next<'a>(&'a mut self, bytes: &'a mut [u8]) -> Result<Step<'a>, Violation> {
        if self.unfinished.is_none() && !self.pieces.is_empty() {
            self.pieces = Vec::new();
        }
        let header = match self.header(bytes)? {
            Ok(header) => header,
            Err(needed) => return Ok(Step::Need(needed)),
        };
        let end = header.payload.end;
        let Some(payload) = bytes.get_mut(header.payload) else { return Ok(Step::Need(end)) };
        unmask(payload, header.mask);
        let message = match (header.opcode, header.is_final) {
            (Opcode::Ping, _) => Message::Ping(payload),
            (Opcode::Pong, _) => Message::Pong,
            (Opcode::Close, _) => Message::Close,
            (Opcode::Continuation, is_final) => {
                self.pieces.extend_from_slice(payload);
                match self.unfinished.take_if(|_| is_final) {
                    Some(opcode) => whole(opcode, &self.pieces)?,
                    None => Message::Piece,
                }
            }
            (opcode, true) => whole(opcode, payload)?,
            (opcode, false) => {
                self.unfinished = Some(opcode);
                self.pieces.extend_from_slice(payload);
                Message::Piece
            }
        };
        Ok(Step::Message(end, message))
    }

    /// The header at the front, or how many bytes are needed for more.
    fn header(&self, bytes: &[u8]) -> Result<Result<Header, usize>, Violation> {
        let &[first, second, ..] = bytes else { return Ok(Err(MIN_HEADER)) };
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Violation::Protocol)?;
        let is_final = first & 0x80 != 0;
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Violation::Protocol);
        }
        let (length, at) = match second & 0x7F {
            126 => match bytes.get(2..4).and_then(|length| length.first_chunk()) {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(Err(8)),
            },
            127 => match bytes.get(2..10).and_then(|length| length.first_chunk()) {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(Err(MAX_HEADER)),
            },
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).map_err(|_| Violation::TooLarge)?;
        self.check(opcode, is_final, length)?;
        let start = at + 4;
        match bytes.get(at..start).and_then(|mask| mask.first_chunk()) {
            Some(mask) => {
                let payload = start..start + length;
                Ok(Ok(Header { is_final, opcode, payload, mask: *mask }))
            }
            None => Ok(Err(start)),
        }
    }

    fn check(&self, opcode: Opcode, is_final: bool, length: usize) -> Result<(), Violation> {
        if opcode.is_control() {
            let is_sound = is_final && length <= MAX_CONTROL;
            return if is_sound { Ok(()) } else { Err(Violation::Protocol) };
        }
        let is_continuation = opcode == Opcode::Continuation;
        if is_continuation != self.unfinished.is_some() {
            return Err(Violation::Protocol);
        }
        let before = if is_continuation { self.pieces.len() } else { 0 };
        if length > self.max_message.saturating_sub(before) {
            return Err(Violation::TooLarge);
        }
        Ok(())
    }
}

fn whole(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Violation> {
    match opcode {
        Opcode::Text => {
            std::str::from_utf8(payload).map(Message::Text).map_err(|_| Violation::NotUtf8)
        }
        _ => Ok(Message::Binary(payload)),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends the header of a whole message with a payload of this many bytes.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
}

/// Appends a whole message.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(MAX_HEADER + payload.len());
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}
