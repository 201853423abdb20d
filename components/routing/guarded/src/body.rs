//! What a message says, and texts that are looked for in it.

use std::str::Chars;

use rp_sdk::policy::Facts;

/// The longest body that is read, in bytes: what there is to look for must be found in time.
const READ_BYTES: usize = 128 << 10;

/// The body of one message, read when a rule first asks.
pub(crate) enum Body {
    /// As it is compared: without escapes, ASCII letters small.
    Read(String),
    /// Too long, or this policy is not allowed to see it.
    Unreadable,
}

/// A text that a body may have somewhere: `*` stands for any characters, small and capital ASCII
/// letters are the same. A question mark is one: messages are full of them.
#[derive(Debug)]
pub(crate) struct Text {
    /// What is between the stars, in order.
    parts: Vec<String>,
}

impl Body {
    pub(crate) fn of(facts: &Facts) -> Body {
        match &facts.body {
            Some(json) if json.len() <= READ_BYTES => {
                let mut text = without_escapes(json);
                text.make_ascii_lowercase();
                Body::Read(text)
            }
            _ => Body::Unreadable,
        }
    }

    /// Whether one of these is in it; `None` when that cannot be told.
    pub(crate) fn has_one_of(&self, texts: &[Text]) -> Option<bool> {
        match self {
            Body::Read(body) => Some(texts.iter().any(|text| text.is_in(body))),
            Body::Unreadable => None,
        }
    }
}

impl Text {
    /// `None` for a text of nothing but stars.
    pub(crate) fn parse(text: &str) -> Option<Text> {
        let parts = text.split('*').filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
        (!parts.is_empty()).then_some(Text { parts })
    }

    fn is_in(&self, body: &str) -> bool {
        let mut rest = body;
        self.parts.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    }
}

/// JSON text with the escapes of its strings resolved. It need not be JSON any more, but nothing
/// can hide in it.
fn without_escapes(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match rest.next() {
            Some('u') => {
                // A character can be escaped in two halves.
                let mut units = vec![unit(&mut rest)];
                while let Some(next) = rest.as_str().strip_prefix("\\u") {
                    rest = next.chars();
                    units.push(unit(&mut rest));
                }
                text.extend(char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')));
            }
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some(itself) => text.push(itself),
            None => {}
        }
    }
    text
}

/// The four digits of an escape.
fn unit(rest: &mut Chars<'_>) -> u16 {
    let digits: String = rest.by_ref().take(4).collect();
    u16::from_str_radix(&digits, 16).unwrap_or(0xfffd)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved() {
        let cases = [
            (r#""plain""#, "\"plain\""),
            (r#""rm\u0020-rf""#, "\"rm -rf\""),
            (r#""a\n\t\r\b\f\"\\\/""#, "\"a\n\t\r\u{8}\u{c}\"\\/\""),
            (r#""\u00e9 \u20AC""#, "\"é €\""),
            (r#""\ud83d\ude00!""#, "\"😀!\""),
            (r#""\ud83d!""#, "\"\u{fffd}!\""),
            (r#""\ud83d\n""#, "\"\u{fffd}\n\""),
            (r#""\ud83d\u0041""#, "\"\u{fffd}A\""),
            (r#""\ude00""#, "\"\u{fffd}\""),
            (r#""\ud83d\ud83d\ude00""#, "\"\u{fffd}😀\""),
            (r#"{"\u0061":[1]}"#, "{\"a\":[1]}"),
            ("\\", ""),
            ("\\u12", "\u{12}"),
        ];
        for (json, expected) in cases {
            assert_eq!(without_escapes(json), expected, "{json}");
        }
    }

    #[test]
    fn a_text_is_looked_for_anywhere() {
        let body = r#"{"run":"sudo rm -rf / --force","why":"are you sure?"}"#;
        let cases = [
            ("rm -rf", true),
            ("RM -RF", true),
            ("rm*--force", true),
            ("*rm*force*", true),
            ("force*rm", false),
            ("sure?", true),
            ("sur?\"", false),
            ("rf*rf", false),
            ("drop table", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Text::parse(text).unwrap().is_in(body), expected, "{text}");
        }
        assert!(Text::parse("**").is_none());
    }
}
