//! The line that says where a message in a prompt comes from, and what keeps others from
//! forging one. Nothing here needs the rest of the room: it is fuzzed on its own.

/// Begins the line that says where a message comes from.
const HEADER: &str = "[mesh] message from ";

/// The header of a message: `origin` is one word, `from` is any text.
pub(crate) fn header(from: &str, origin: &str, id: &str, re: Option<&str>) -> String {
    let re = re.map(|re| format!(", re={re}")).unwrap_or_default();
    format!("{HEADER}{} ({origin}, id={id}{re})", quoted(from))
}

/// Text as a JSON string: whatever is in it, it stays on its line.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Marks lines of a body that could be taken for a header, so that nobody can pass off words
/// as somebody else's.
pub(crate) fn guarded(body: &str) -> String {
    body.split_inclusive(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .flat_map(|line| [if line.trim_start().starts_with("[mesh]") { "| " } else { "" }, line])
        .collect()
}

/// The ids of the messages that a text shows.
pub fn message_ids(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(header_id)
}

/// The id in a header line.
pub(crate) fn header_id(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(HEADER)?;
    let mut address = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    address.next()?.ok()?;
    let (_, rest) = rest.get(address.byte_offset()..)?.split_once(" (")?;
    let (_, rest) = rest.split_once(", id=")?;
    rest.split([',', ')']).next()
}
