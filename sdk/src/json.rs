//! JSON that a harness writes, read in place.
//!
//! Most of what a harness writes is short lines with a piece of text in each, so strings borrow
//! from the line where they can. A line can also be tens of megabytes, and an adapter has little
//! memory: what belongs to one kind of line is kept as it stands ([`RawValue`]) until the kind is
//! known, and a long string is decoded straight into a buffer of the right size ([`RawText`]).
//!
//! JavaScript can write half a surrogate pair, as when a model's token ends in the middle of an
//! emoji. A parser refuses the whole line for it; here each half becomes U+FFFD.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected};
pub use serde_json::value::RawValue;

/// A line as text. What a crash mixed into it must not cost the whole line: bytes that are no
/// UTF-8 become U+FFFD.
#[must_use]
pub fn text(line: &[u8]) -> Cow<'_, str> {
    // Checked in one go, which is many times as fast as looking for what is wrong.
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

/// Reads a value of a known shape. `None` when it has another.
pub fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// The same for a member that may be missing.
pub fn member<'a, T: Deserialize<'a>>(json: Option<&'a RawValue>) -> Option<T> {
    read(json?.get())
}

/// A string, decoded. It borrows from the line where it has no escapes, in an `Option` or a `Vec`
/// too; mark the field with `#[serde(borrow)]`. It reads from JSON text only.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// The string, which may borrow from the line.
    #[must_use]
    pub fn into_cow(self) -> Cow<'a, str> {
        self.0
    }

    /// The string, copied if it borrows from the line.
    #[must_use]
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl<T: AsRef<str>> PartialEq<T> for Text<'_> {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = RawText::deserialize(from)?;
        if !raw.is_string() {
            return Err(D::Error::invalid_type(Unexpected::Other("something else"), &"a string"));
        }
        Ok(Self(raw.decode()))
    }
}

/// A string as it stands in the line, to be decoded later or not at all.
#[derive(Debug, Clone, Copy)]
pub struct RawText<'a>(&'a RawValue);

impl<'a> RawText<'a> {
    /// Bytes the decoded text has at most.
    #[must_use]
    pub fn max_len(self) -> usize {
        self.0.get().len()
    }

    /// Whether the value is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.get().starts_with('"')
    }

    /// The text, which borrows from the line where it has no escapes; empty when the value is no
    /// string.
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        let quoted = self.quoted();
        if !quoted.contains('\\') {
            return Cow::Borrowed(quoted);
        }
        let mut text = String::with_capacity(quoted.len());
        self.decode_into(&mut text);
        Cow::Owned(text)
    }

    /// Appends the text to another.
    pub fn decode_into(self, text: &mut String) {
        let mut rest = self.quoted();
        while let Some((plain, escaped)) = rest.split_once('\\') {
            text.push_str(plain);
            let (character, behind) = unescape(escaped);
            text.push(character);
            rest = behind;
        }
        text.push_str(rest);
    }

    /// What stands between the quotation marks.
    fn quoted(self) -> &'a str {
        let raw = self.0.get();
        raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or_default()
    }
}

impl<'a> From<&'a RawValue> for RawText<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self(raw)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawText<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(from).map(Self)
    }
}

/// The character whose escape stands behind a backslash, and what stands behind that.
fn unescape(escaped: &str) -> (char, &str) {
    let mut characters = escaped.chars();
    let character = match characters.next() {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('u') => return unescape_unit(characters.as_str()),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, characters.as_str())
}

/// One or two UTF-16 units in hexadecimal; the first `\u` is gone already.
fn unescape_unit(escaped: &str) -> (char, &str) {
    let Some((high, behind)) = unit(escaped) else {
        return (char::REPLACEMENT_CHARACTER, escaped);
    };
    let pair = behind.strip_prefix("\\u").and_then(unit);
    if let Some((low, behind)) = pair
        && let Some(Ok(character)) = char::decode_utf16([high, low]).next()
        && character.len_utf16() == 2
    {
        return (character, behind);
    }
    (char::from_u32(high.into()).unwrap_or(char::REPLACEMENT_CHARACTER), behind)
}

fn unit(escaped: &str) -> Option<(u16, &str)> {
    let (digits, behind) = escaped.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn text(json: &str) -> Text<'_> {
        read(json).unwrap()
    }

    #[test]
    fn every_escape_of_json_is_decoded() {
        let json = r#""a\n\t\r\b\f\"\\\/\u0041\u00e9\u2028\ud83d\ude00 ü😀""#;
        assert_eq!(&*text(json), serde_json::from_str::<String>(json).unwrap());
    }

    #[test]
    fn half_a_pair_becomes_the_replacement_character() {
        let cases = [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ud83dx\ude00y""#, "\u{fffd}x\u{fffd}y"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
        ];
        for (json, expected) in cases {
            assert_eq!(&*text(json), expected, "{json}");
        }
    }

    #[test]
    fn a_string_without_escapes_is_not_copied_wherever_it_stands() {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            kind: Option<Text<'a>>,
            #[serde(borrow)]
            names: Vec<Text<'a>>,
        }
        let line: Line<'_> = read("{\"kind\":\"a\u{2028}b\",\"names\":[\"ü😀\"]}").unwrap();
        let texts = line.kind.into_iter().chain(line.names).map(Text::into_cow);
        assert!(texts.collect::<Vec<_>>().iter().all(|text| matches!(text, Cow::Borrowed(_))));
    }

    #[test]
    fn a_long_string_is_decoded_into_a_buffer_that_never_grows() {
        let json = format!("\"{}\"", "line\\n\\u00e9".repeat(1000));
        let text = text(&json).into_owned();
        assert!(text.len() < text.capacity() && text.capacity() <= json.len());
    }

    #[test]
    fn what_is_no_string_is_no_text() {
        for json in ["7", "null", "{}", "[\"a\"]"] {
            assert_eq!(read::<Text<'_>>(json), None, "{json}");
            let raw: RawText<'_> = read(json).unwrap();
            assert!(!raw.is_string() && raw.decode().is_empty(), "{json}");
        }
        assert_eq!(read::<Option<Text<'_>>>("null"), Some(None));
    }
}
