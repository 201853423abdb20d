//! Text that is kept in a file and compared.

use std::path::Path;

/// How many lines of a difference are shown from each side.
const SHOWN: usize = 30;

/// Compares with the file. With `UPDATE_GOLDEN=1` in the environment the file is written
/// instead.
///
/// # Errors
/// They differ, or the file cannot be read or written: a text that shows where.
pub fn compare(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let folder = path.parent().unwrap_or(path);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text));
        return written.map_err(|error| format!("{}: {error}", path.display()));
    }
    let hint = "hint: run the test with UPDATE_GOLDEN=1, then read what changed";
    let kept = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}\n{hint}", path.display()))?;
    if kept == text {
        return Ok(());
    }
    Err(format!("{} differs:\n{}{hint}", path.display(), difference(&kept, text)))
}

/// The lines between the first and the last that differ.
fn difference(kept: &str, text: &str) -> String {
    let kept: Vec<&str> = kept.lines().collect();
    let text: Vec<&str> = text.lines().collect();
    let same_at_start = kept.iter().zip(&text).take_while(|(a, b)| a == b).count();
    let rest = |lines: &[&str]| {
        lines.iter().skip(same_at_start).map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let (mut kept_rest, mut text_rest) = (rest(&kept), rest(&text));
    while !kept_rest.is_empty() && kept_rest.last() == text_rest.last() {
        kept_rest.pop();
        text_rest.pop();
    }
    let mut shown = format!("  from line {}:\n", same_at_start + 1);
    for (sign, lines) in [('-', &kept_rest), ('+', &text_rest)] {
        for line in lines.iter().take(SHOWN) {
            shown.push_str(&format!("  {sign} {line}\n"));
        }
        if lines.len() > SHOWN {
            shown.push_str(&format!("  {sign} … and {} lines more\n", lines.len() - SHOWN));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn only_the_lines_that_differ_are_shown() {
        let shown = difference("a\nb\nc\nd\n", "a\nx\nc\nd\n");
        assert_eq!(shown, "  from line 2:\n  - b\n  + x\n");
    }
}
