//! Envelope ids.

use std::fmt;

/// The id of an envelope: a UUID of any version in its hyphenated form. The case of its digits
/// is kept and counts in comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvelopeId([u8; 36]);

impl EnvelopeId {
    /// Reads 8-4-4-4-12 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 36] = text.as_bytes().try_into().ok()?;
        let well_formed = bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        well_formed.then_some(EnvelopeId(bytes))
    }

    /// A version 7 UUID: `unix_ms` in front (48 bits), then 74 of the random bits given.
    #[must_use]
    pub fn v7(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut text = [b'-'; 36];
        uuid::Builder::from_unix_timestamp_millis(unix_ms, &random)
            .into_uuid()
            .hyphenated()
            .encode_lower(&mut text);
        EnvelopeId(text)
    }

    /// The id as it stands in an envelope.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same id with lower-case digits, as transport errors refer to it.
    #[must_use]
    pub fn to_lowercase(self) -> Self {
        EnvelopeId(self.0.map(|byte| byte.to_ascii_lowercase()))
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::str::FromStr for EnvelopeId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        EnvelopeId::parse(text).ok_or(NotAnId)
    }
}

/// A text that is no envelope id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope id has the form 8-4-4-4-12 hexadecimal digits")]
pub struct NotAnId;
