//! What is said about machines and rooms, and what messages carry.

use super::fields::{Fields, FrameError, write_number, write_text};

/// The longest room id, in bytes.
pub const MAX_ROOM_BYTES: usize = 128;
/// The longest text in the description of a room, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 12 * 1024;

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

impl<'a> RoomDescription<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let texts = [self.name, self.cwd, self.model, self.thinking];
        let bit = |(place, text): (u8, &Option<&str>)| u8::from(text.is_some()) << place;
        let bits: u8 = (0..).zip(&texts).map(bit).sum();
        out.push(bits | u8::from(self.working) << 4);
        texts.iter().flatten().for_each(|text| write_text(out, text));
    }

    pub(super) fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
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
    pub(super) fn number(self) -> u64 {
        match self {
            Presence::Offline => 0,
            Presence::Online => 1,
            Presence::Legacy => 2,
        }
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        match fields.number("presence")? {
            0 => Ok(Presence::Offline),
            1 => Ok(Presence::Online),
            2 => Ok(Presence::Legacy),
            _ => Err(FrameError::Malformed("presence")),
        }
    }
}

impl<'a> Content<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
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

    pub(super) fn read(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
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
