//! Just enough JSON for a router: it checks that a text is JSON and finds the pieces it needs,
//! but never builds a tree. What a router does not understand it can then copy as it came,
//! with numbers of any size and escapes of any kind intact.
//!
//! The accepted language is that of JavaScript's `JSON.parse`: no depth limit, and escapes of
//! lone surrogates are allowed.

use std::borrow::Cow;

/// A text that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON: unexpected input at byte {at}")]
pub struct MalformedJson {
    /// Bytes from the start of the text.
    pub at: usize,
}

/// Walks over a JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The containers around the current position, one bit each, so that a line of thirty million
/// brackets costs four megabytes and no stack.
#[derive(Default)]
struct Nesting {
    depth: usize,
    word: u64,
    full_words: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, container: Container) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.full_words.push(self.word);
        }
        self.word = (self.word << 1) | u64::from(container == Container::Object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.word >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.word = self.full_words.pop().unwrap_or_default();
        }
    }

    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.word & 1) {
            (0, _) => None,
            (_, 1) => Some(Container::Object),
            _ => Some(Container::Array),
        }
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// Visits the members of the object that is the whole text: key and value as raw text.
    /// `Ok(false)` when the text is JSON but no object.
    pub(super) fn whole_object(
        mut self,
        mut visit: impl FnMut(&'a str, &'a str),
    ) -> Result<bool, MalformedJson> {
        self.skip_whitespace();
        if self.peek() != Some(b'{') {
            self.value()?;
            self.end()?;
            return Ok(false);
        }
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.end()?;
            return Ok(true);
        }
        loop {
            let key = self.key()?;
            let value = self.value()?;
            visit(key, value);
            self.skip_whitespace();
            match self.next_byte() {
                Some(b',') => self.skip_whitespace(),
                Some(b'}') => break,
                _ => return Err(self.malformed()),
            }
        }
        self.end()?;
        Ok(true)
    }

    /// Visits the elements of the array that is the whole text, until `visit` says stop.
    pub(super) fn whole_array(
        mut self,
        mut visit: impl FnMut(&'a str) -> bool,
    ) -> Result<(), MalformedJson> {
        self.skip_whitespace();
        if self.next_byte() != Some(b'[') {
            return Err(self.malformed());
        }
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            let element = self.value()?;
            if !visit(element) {
                return Ok(());
            }
            self.skip_whitespace();
            match self.next_byte() {
                Some(b',') => {}
                Some(b']') => return self.end(),
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Checks that the whole text is one JSON value.
    pub(super) fn whole_value(mut self) -> Result<(), MalformedJson> {
        self.value()?;
        self.end()
    }

    /// Skips one value and returns its text without the white space around it.
    fn value(&mut self) -> Result<&'a str, MalformedJson> {
        self.skip_whitespace();
        let start = self.at;
        let mut nesting = Nesting::default();
        loop {
            self.skip_whitespace();
            match self.peek() {
                Some(b'"') => self.string()?,
                Some(b'{') => {
                    if self.opens(b'}') {
                        nesting.push(Container::Object);
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    if self.opens(b']') {
                        nesting.push(Container::Array);
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.malformed()),
            }
            if self.close_finished(&mut nesting)? {
                return self.text.get(start..self.at).ok_or_else(|| self.malformed());
            }
        }
    }

    /// Steps over an opening bracket. False when the closing one follows at once.
    fn opens(&mut self, closing: u8) -> bool {
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == Some(closing) {
            self.at += 1;
            return false;
        }
        true
    }

    /// After a value: leaves every container that ends here. True when none is left, false when
    /// another value follows.
    fn close_finished(&mut self, nesting: &mut Nesting) -> Result<bool, MalformedJson> {
        while let Some(container) = nesting.innermost() {
            self.skip_whitespace();
            match (self.next_byte(), container) {
                (Some(b','), Container::Array) => return Ok(false),
                (Some(b','), Container::Object) => {
                    self.skip_whitespace();
                    self.key()?;
                    return Ok(false);
                }
                (Some(b']'), Container::Array) | (Some(b'}'), Container::Object) => nesting.pop(),
                _ => return Err(self.malformed()),
            }
        }
        Ok(true)
    }

    /// A member's key, with its quotes, and the colon after it.
    fn key(&mut self) -> Result<&'a str, MalformedJson> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.malformed());
        }
        self.string()?;
        let key = self.text.get(start..self.at).ok_or_else(|| self.malformed())?;
        self.skip_whitespace();
        if self.next_byte() != Some(b':') {
            return Err(self.malformed());
        }
        Ok(key)
    }

    fn string(&mut self) -> Result<(), MalformedJson> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            self.at = find_special(bytes, self.at);
            match self.next_byte() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => match self.next_byte() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => {
                        let digits = bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
                        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                            return Err(self.malformed());
                        }
                        self.at += 4;
                    }
                    _ => return Err(self.malformed()),
                },
                _ => return Err(self.malformed()),
            }
        }
    }

    fn number(&mut self) -> Result<(), MalformedJson> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next_byte() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.malformed()),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), MalformedJson> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed());
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), MalformedJson> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }

    fn end(&mut self) -> Result<(), MalformedJson> {
        self.skip_whitespace();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed()),
        }
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn malformed(&self) -> MalformedJson {
        MalformedJson { at: self.at.min(self.text.len()) }
    }
}

/// Where the next quote, backslash or control character is, from `from` on; the length of
/// `bytes` when there is none. Eight bytes a step.
#[inline]
fn find_special(bytes: &[u8], from: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let quote = word ^ (LOW * 0x22);
        let backslash = word ^ (LOW * 0x5c);
        // The lowest bit set in each of the three is exact; borrows only disturb higher bytes.
        let hit = (quote.wrapping_sub(LOW) & !quote)
            | (backslash.wrapping_sub(LOW) & !backslash)
            | (word.wrapping_sub(LOW * 0x20) & !word);
        let hit = hit & HIGH;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            return at;
        }
        at += 1;
    }
    at.min(bytes.len())
}

/// The value of a raw JSON text when it is a string: what is between the quotes, decoded.
/// Halves of surrogate pairs that stand alone become U+FFFD.
pub(super) fn decode_string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let mut decoded = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let mut characters = escaped.chars();
        match characters.next()? {
            'b' => decoded.push('\u{8}'),
            'f' => decoded.push('\u{c}'),
            'n' => decoded.push('\n'),
            'r' => decoded.push('\r'),
            't' => decoded.push('\t'),
            'u' => {
                let (character, after) = decode_unicode_escape(characters.as_str())?;
                decoded.push(character);
                rest = after;
                continue;
            }
            other => decoded.push(other),
        }
        rest = characters.as_str();
    }
    decoded.push_str(rest);
    Some(Cow::Owned(decoded))
}

/// Decodes what follows `\u`, together with the second half of a pair when it is there.
fn decode_unicode_escape(text: &str) -> Option<(char, &str)> {
    let (first, rest) = hex_unit(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, rest));
    }
    if (0xd800..0xdc00).contains(&first)
        && let Some((second, after)) = rest.strip_prefix("\\u").and_then(hex_unit)
        && (0xdc00..0xe000).contains(&second)
    {
        let code_point = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(code_point)?, after));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// Appends `text` as a JSON string with its quotes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    loop {
        let at = find_special(bytes, written);
        out.extend_from_slice(bytes.get(written..at).unwrap_or_default());
        let Some(&byte) = bytes.get(at) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.push(digit(control >> 4));
                out.push(digit(control & 0xf));
            }
        }
        written = at + 1;
    }
    out.push(b'"');
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_json(text: &str) -> bool {
        Scanner::new(text).whole_value().is_ok()
    }

    fn json_like() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just(",".to_owned()),
            Just(":".to_owned()),
            Just("\"a\"".to_owned()),
            Just("\"\\ud800\"".to_owned()),
            Just("\"\\u12\"".to_owned()),
            Just("true".to_owned()),
            Just("nul".to_owned()),
            Just("-0.5e+3".to_owned()),
            Just("01".to_owned()),
            Just(" \t\r".to_owned()),
            "[0-9eE.+-]{0,4}",
            "\\PC{0,3}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn accepts_exactly_what_serde_json_accepts(text in json_like()) {
            let expected = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_json(&text), expected);
        }

        #[test]
        fn strings_survive_writing_and_decoding(text in any::<String>()) {
            let mut written = Vec::new();
            write_string(&mut written, &text);
            let written = String::from_utf8(written).unwrap();
            prop_assert_eq!(&serde_json::to_string(&text).unwrap(), &written);
            prop_assert_eq!(decode_string(&written).unwrap(), text);
        }

        #[test]
        fn escaped_strings_decode_as_serde_json_decodes_them(units in prop::collection::vec(0u16..0xd7ff, 0..20)) {
            let text: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
            let raw = format!("\"{text}\"");
            prop_assert_eq!(decode_string(&raw).unwrap(), serde_json::from_str::<String>(&raw).unwrap());
        }
    }

    #[test]
    fn depth_is_not_limited() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(is_json(&deep));
        let mixed = format!("{}1{}", "{\"a\":[".repeat(1000), "]}".repeat(1000));
        assert!(is_json(&mixed));
        let crossed = format!("{}1{}", "{\"a\":[".repeat(1000), "}]".repeat(1000));
        assert!(!is_json(&crossed));
    }

    #[test]
    fn surrogates_decode_in_pairs_and_alone_become_the_replacement_character() {
        assert_eq!(decode_string("\"\\ud83d\\ude00\"").unwrap(), "😀");
        assert_eq!(decode_string("\"a\\ud83db\"").unwrap(), "a\u{fffd}b");
        assert_eq!(decode_string("\"\\ude00\\ud83d\"").unwrap(), "\u{fffd}\u{fffd}");
        assert_eq!(decode_string("\"\\ud83d\\u0041\"").unwrap(), "\u{fffd}A");
    }
}
