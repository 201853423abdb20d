//! Strings of JSON, decoded in one step.
//!
//! A message can be tens of megabytes and the adapter has little memory, so a string is
//! decoded straight into a buffer of the right size. Half a surrogate pair, which JavaScript
//! can write, becomes the replacement character instead of an error.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON string as it stands in the line.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct JsonText<'a>(#[serde(borrow)] &'a RawValue);

impl JsonText<'_> {
    /// Bytes the decoded text has at most.
    pub(crate) fn len(self) -> usize {
        self.0.get().len()
    }

    /// The text; empty when the value is no string.
    pub(crate) fn decode(self) -> String {
        let mut text = String::with_capacity(self.len());
        self.decode_into(&mut text);
        text
    }

    /// Appends the text to another.
    pub(crate) fn decode_into(self, text: &mut String) {
        let raw = self.0.get();
        let Some(mut rest) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else {
            return;
        };
        while let Some((plain, escaped)) = rest.split_once('\\') {
            text.push_str(plain);
            let (character, behind) = unescape(escaped);
            text.push(character);
            rest = behind;
        }
        text.push_str(rest);
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
    use super::*;

    fn decoded(json: &str) -> String {
        serde_json::from_str::<JsonText<'_>>(json).unwrap().decode()
    }

    #[test]
    fn every_escape_of_json_is_decoded() {
        let json = r#""a\n\t\r\b\f\"\\\/\u0041\u00e9\u2028\ud83d\ude00 ü😀""#;
        assert_eq!(decoded(json), serde_json::from_str::<String>(json).unwrap());
    }

    #[test]
    fn half_a_pair_becomes_the_replacement_character() {
        assert_eq!(decoded(r#""a\ud83d""#), "a\u{fffd}");
        assert_eq!(decoded(r#""\ud83dx\ude00y""#), "\u{fffd}x\u{fffd}y");
        assert_eq!(decoded(r#""\ud83d\u0041""#), "\u{fffd}A");
    }

    #[test]
    fn what_is_no_string_has_no_text() {
        for json in ["7", "null", "{}", "[\"a\"]"] {
            assert_eq!(decoded(json), "");
        }
    }

    #[test]
    fn the_buffer_is_never_grown() {
        let json = format!("\"{}\"", "line\\n\\u00e9".repeat(1000));
        let text = decoded(&json);
        assert!(text.len() < text.capacity() && text.capacity() <= json.len());
    }
}
