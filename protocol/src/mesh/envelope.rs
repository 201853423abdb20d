//! The envelope: the only thing peers exchange once they are registered.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::id::EnvelopeId;
use super::json::{MalformedJson, Scanner, decode_string, write_string};

/// One message. Parsed envelopes borrow from their line; the body stays JSON text throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The sender's address. What the sender wrote here counts for nothing: the broker puts the
    /// registered address in its place.
    pub from: Cow<'a, str>,
    /// Where it goes.
    pub to: Destination<'a>,
    /// Its id.
    pub id: EnvelopeId,
    /// The id it answers.
    pub re: Option<EnvelopeId>,
    /// Its content.
    pub body: Body<'a>,
}

/// The `to` of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination<'a> {
    /// An address, `broker` or `broadcast`.
    One(Cow<'a, str>),
    /// Exact addresses, at least one.
    Many(Vec<Cow<'a, str>>),
}

/// The first rule of the envelope that a line breaks, in the order they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The line is not JSON.
    #[error(transparent)]
    NotJson(#[from] MalformedJson),
    /// The line is JSON, but no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// `from` is missing or not a non-empty string.
    #[error("`from` must be a non-empty string")]
    From,
    /// `to` is missing or neither a non-empty string nor a non-empty array of such.
    #[error("`to` must be a non-empty string or a non-empty array of non-empty strings")]
    To,
    /// `id` is missing or not in the form of a UUID.
    #[error("`id` must be a hyphenated UUID")]
    Id,
    /// `re` is missing or neither null nor in the form of a UUID.
    #[error("`re` must be present: null or a hyphenated UUID")]
    Re,
    /// `body` is missing.
    #[error("`body` must be present")]
    Body,
}

impl<'a> Envelope<'a> {
    /// Reads one line. Unknown keys are ignored; of keys that occur twice the last counts.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn parse(line: &'a str) -> Result<Self, EnvelopeError> {
        let (mut from, mut to, mut id, mut re, mut body) = (None, None, None, None, None);
        let is_object = Scanner::new(line).whole_object(|key, value| {
            let field = match key {
                r#""from""# => &mut from,
                r#""to""# => &mut to,
                r#""id""# => &mut id,
                r#""re""# => &mut re,
                r#""body""# => &mut body,
                escaped if escaped.contains('\\') => match decode_string(escaped).as_deref() {
                    Some("from") => &mut from,
                    Some("to") => &mut to,
                    Some("id") => &mut id,
                    Some("re") => &mut re,
                    Some("body") => &mut body,
                    _ => return,
                },
                _ => return,
            };
            *field = Some(value);
        })?;
        if !is_object {
            return Err(EnvelopeError::NotAnObject);
        }
        Ok(Envelope {
            from: from.and_then(non_empty).ok_or(EnvelopeError::From)?,
            to: to.and_then(parse_destination).ok_or(EnvelopeError::To)?,
            id: id.and_then(parse_id).ok_or(EnvelopeError::Id)?,
            re: match re {
                Some("null") => None,
                Some(text) => Some(parse_id(text).ok_or(EnvelopeError::Re)?),
                None => return Err(EnvelopeError::Re),
            },
            body: Body(Cow::Borrowed(body.ok_or(EnvelopeError::Body)?)),
        })
    }

    /// Appends the envelope as one line, line feed included. The body is copied, not read.
    pub fn write(&self, out: &mut Vec<u8>) {
        let to_length = match &self.to {
            Destination::One(address) => address.len(),
            Destination::Many(addresses) => addresses.iter().map(|one| one.len() + 3).sum(),
        };
        out.reserve(self.from.len() + to_length + self.body.as_str().len() + 160);
        out.extend_from_slice(b"{\"from\":");
        write_string(out, &self.from);
        out.extend_from_slice(b",\"to\":");
        self.to.write(out);
        out.extend_from_slice(b",\"id\":\"");
        out.extend_from_slice(self.id.as_str().as_bytes());
        match &self.re {
            Some(re) => {
                out.extend_from_slice(b"\",\"re\":\"");
                out.extend_from_slice(re.as_str().as_bytes());
                out.extend_from_slice(b"\",\"body\":");
            }
            None => out.extend_from_slice(b"\",\"re\":null,\"body\":"),
        }
        out.extend_from_slice(self.body.as_str().as_bytes());
        out.extend_from_slice(b"}\n");
    }

    /// The same envelope, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Envelope<'static> {
        Envelope {
            from: Cow::Owned(self.from.into_owned()),
            to: self.to.into_owned(),
            id: self.id,
            re: self.re,
            body: self.body.into_owned(),
        }
    }

    /// The envelope as one line, line feed included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        self.write(&mut line);
        line
    }
}

fn non_empty(raw: &str) -> Option<Cow<'_, str>> {
    decode_string(raw).filter(|text| !text.is_empty())
}

fn parse_id(raw: &str) -> Option<EnvelopeId> {
    // Nobody writes ids with escapes, but they may.
    let plain = raw.strip_prefix('"')?.strip_suffix('"')?;
    EnvelopeId::parse(plain).or_else(|| EnvelopeId::parse(&decode_string(raw)?))
}

fn parse_destination(raw: &str) -> Option<Destination<'_>> {
    if !raw.starts_with('[') {
        return non_empty(raw).map(Destination::One);
    }
    let mut addresses = Vec::new();
    let mut all_are_strings = true;
    Scanner::new(raw)
        .whole_array(|element| {
            match non_empty(element) {
                Some(address) => addresses.push(address),
                None => all_are_strings = false,
            }
            all_are_strings
        })
        .ok()?;
    (all_are_strings && !addresses.is_empty()).then_some(Destination::Many(addresses))
}

impl Destination<'_> {
    /// Appends it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Destination::One(address) => write_string(out, address),
            Destination::Many(addresses) => {
                for (index, address) in addresses.iter().enumerate() {
                    out.push(if index == 0 { b'[' } else { b',' });
                    write_string(out, address);
                }
                out.push(b']');
            }
        }
    }

    /// As one text: the addresses of a list are joined with a line feed.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Destination::One(address) => Cow::Borrowed(address),
            Destination::Many(addresses) => Cow::Owned(addresses.join("\n")),
        }
    }

    /// The addresses: one, or all of a list.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Destination::One(address) => (Some(address.as_ref()), None),
            Destination::Many(addresses) => (None, Some(addresses)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(AsRef::as_ref))
    }

    /// The same destination, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Destination<'static> {
        let own = |address: Cow<'_, str>| Cow::Owned(address.into_owned());
        match self {
            Destination::One(address) => Destination::One(own(address)),
            Destination::Many(addresses) => {
                Destination::Many(addresses.into_iter().map(own).collect())
            }
        }
    }
}

/// The content of an envelope: one JSON value as text, free of line breaks outside strings, so
/// that it fits on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body<'a>(Cow<'a, str>);

impl<'a> Body<'a> {
    /// Checks that a text is JSON and makes it fit on a line.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(json: &'a str) -> Result<Self, MalformedJson> {
        Scanner::new(json).whole_value()?;
        Ok(Body(on_one_line(json)))
    }

    /// Takes JSON that is known to be valid and makes it fit on a line.
    #[must_use]
    pub fn from_raw(json: &'a RawValue) -> Self {
        Body(on_one_line(json.get()))
    }

    /// A text of this program's own that is JSON on one line.
    pub(crate) fn constant(json: &'static str) -> Body<'static> {
        Body(Cow::Borrowed(json))
    }

    /// A text that this program has written as JSON on one line.
    pub(crate) fn written(json: String) -> Body<'static> {
        Body(Cow::Owned(json))
    }

    /// The body `null`.
    #[must_use]
    pub fn null() -> Body<'static> {
        Body::constant("null")
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `type` of an object that has one and whose type is a string.
    #[must_use]
    pub fn type_name(&self) -> Option<Cow<'_, str>> {
        if !self.0.starts_with('{') {
            return None;
        }
        let mut found = None;
        Scanner::new(&self.0)
            .whole_object(|key, value| {
                if key == "\"type\""
                    || (key.contains('\\') && decode_string(key).as_deref() == Some("type"))
                {
                    found = Some(value);
                }
            })
            .ok()?;
        decode_string(found?)
    }

    /// The same body, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Body<'static> {
        Body(Cow::Owned(self.0.into_owned()))
    }
}

/// Replaces line breaks by spaces. In JSON they can only stand between tokens.
fn on_one_line(json: &str) -> Cow<'_, str> {
    let json = json.trim_matches([' ', '\t', '\r', '\n']);
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}
