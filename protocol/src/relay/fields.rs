//! The fields that frames are made of.
//!
//! | field | bytes |
//! |---|---|
//! | number | a variable-length integer of RFC 9000, section 16: 1, 2, 4 or 8 bytes, up to 2^62 - 1 |
//! | key, id, nonce | as many bytes as it has |
//! | text | its length in bytes as a number, then UTF-8 |
//! | flag | one byte, 0 or 1 |
//! | the rest | whatever follows up to the end of the frame; only as the last field |
//!
//! Numbers are written in the fewest bytes, but for the length of a frame; any length is read.

use crate::key::PublicKey;

/// The largest number a frame can hold: 2^62 - 1.
pub const MAX_NUMBER: u64 = (1 << 62) - 1;

/// A frame that cannot be read. The connection it came on is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type that this side does not know and may not skip.
    #[error("frames of type {0} are not known here")]
    Unknown(u64),
    /// A field is missing, has another form, or something follows the last one.
    #[error("the frame's {0} cannot be read")]
    Malformed(&'static str),
    /// Longer than its place allows.
    #[error("a frame of {length} bytes came where at most {limit} are allowed")]
    TooLong {
        /// The length of the payload in bytes, as far as it is known.
        length: u64,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Appends a number in the fewest bytes. Larger ones than [`MAX_NUMBER`] are written as that.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    let number = number.min(MAX_NUMBER);
    let bytes = number.to_be_bytes();
    let (length, mark) = match number {
        0..=0x3f => (1, 0x00),
        0x40..=0x3fff => (2, 0x40),
        0x4000..=0x3fff_ffff => (4, 0x80),
        _ => (8, 0xc0),
    };
    let start = out.len();
    out.extend(bytes.iter().skip(8 - length));
    if let Some(first) = out.get_mut(start) {
        *first |= mark;
    }
}

/// The number that the bytes begin with, and how many bytes it takes. `None` while bytes of it are
/// missing.
#[must_use]
pub fn read_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let number =
        rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte));
    Some((number, length))
}

/// Appends a text with its length.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes the fields of a payload one after the other.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins at the start of a payload.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Fields { rest: payload }
    }

    /// A number.
    ///
    /// # Errors
    /// When the payload ends within it. `what` names it, as for the other fields.
    pub fn number(&mut self, what: &'static str) -> Result<u64, FrameError> {
        let (number, length) = read_number(self.rest).ok_or(FrameError::Malformed(what))?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(number)
    }

    /// This many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(FrameError::Malformed(what))?;
        self.rest = rest;
        Ok(*array)
    }

    /// This many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], FrameError> {
        let split = self.rest.split_at_checked(length).ok_or(FrameError::Malformed(what))?;
        self.rest = split.1;
        Ok(split.0)
    }

    /// A key, which need not be a point of the curve.
    ///
    /// # Errors
    /// When bytes are missing.
    pub fn key(&mut self, what: &'static str) -> Result<PublicKey, FrameError> {
        self.array(what).map(PublicKey::from_bytes)
    }

    /// A text of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, incomplete, or no UTF-8.
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, FrameError> {
        let malformed = FrameError::Malformed(what);
        let length = usize::try_from(self.number(what)?).map_err(|_| malformed)?;
        if length > limit {
            return Err(malformed);
        }
        std::str::from_utf8(self.bytes(what, length)?).map_err(|_| malformed)
    }

    /// A flag.
    ///
    /// # Errors
    /// When it is neither 0 nor 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, FrameError> {
        match self.array(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(FrameError::Malformed(what)),
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Everything that is left, as a text.
    ///
    /// # Errors
    /// When it is no UTF-8.
    pub fn rest_text(&mut self, what: &'static str) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.rest()).map_err(|_| FrameError::Malformed(what))
    }

    /// Ends the payload.
    ///
    /// # Errors
    /// When something is left.
    pub fn end(self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::Malformed("end")) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_number(&mut out, number);
        out
    }

    #[test]
    fn numbers_are_written_as_in_the_examples_of_rfc_9000() {
        let examples: [(u64, &[u8]); 4] = [
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ];
        for (number, bytes) in examples {
            assert_eq!(written(number), bytes);
            assert_eq!(read_number(bytes), Some((number, bytes.len())));
        }
        assert_eq!(read_number(&[0x40, 0x25]), Some((37, 2)));
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written_and_not_before_its_last_byte(
            number in prop_oneof![0..=MAX_NUMBER, 0..70_000_u64],
        ) {
            let bytes = written(number);
            prop_assert_eq!(read_number(&bytes), Some((number, bytes.len())));
            prop_assert_eq!(read_number(bytes.split_last().unwrap().1), None);
        }
    }
}
