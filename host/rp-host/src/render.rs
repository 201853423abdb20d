//! How things look on a terminal: tables, times, durations.

use std::fmt::Write;

use rp_protocol::session::QuestionEnd;

/// A table with a header line; columns are as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|cell| cell.to_uppercase()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A time of day in UTC with milliseconds, from milliseconds since the Unix epoch.
pub fn clock(at_ms: u64) -> String {
    let (seconds, millis) = (at_ms / 1000, at_ms % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}

/// A duration in the largest unit that fits: `340 ms`, `12 s`, `7 min`, `3 h`, `2 d`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// `1 agent`, `2 agents`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// How a question came to be no longer open.
pub fn settled_in_words(how: &QuestionEnd) -> String {
    match how {
        QuestionEnd::Answered { by, words, .. } => format!("answered by {by}: {words}"),
        QuestionEnd::Withdrawn => "withdrawn".to_owned(),
        QuestionEnd::Expired => "expired".to_owned(),
        QuestionEnd::Lost => "lost: what asked it ended".to_owned(),
    }
}

/// Text from somewhere else, made safe for a terminal: control characters other than line
/// feed and tab, and those that are invisible or turn the direction of writing, are shown as
/// `\u{…}` so that they cannot move the cursor or hide anything.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let harmless = matches!(character, '\n' | '\t');
        if !harmless && (character.is_control() || is_invisible(character)) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Zero-width characters, line separators, and marks that turn the direction of writing (Unicode
/// Technical Report 36, section 2.10).
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        // Joiners and marks that scripts need are left alone.
        '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_its_columns() {
        let rows = [vec!["a1".to_owned(), "idle".to_owned()], vec!["b".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["id", "state"], &rows), "ID  STATE\na1  idle\nb   x\n");
    }

    #[test]
    fn durations_use_the_largest_unit_that_fits() {
        let shown: Vec<String> =
            [340, 12_900, 420_000, 7_300_000, 180_000_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["340 ms", "12 s", "7 min", "2 h", "2 d"]);
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\u{d}\n");
    }
}
