//! Patterns for names: `*` stands for any characters, none included, `?` for exactly one.

use std::str::Chars;

/// Whether the whole text fits the pattern. There is no way to write a literal `*` or `?`.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last `*`, and where in the text what it stands for ends so far.
    let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let mut next = text.clone();
        match (pattern.next(), next.next()) {
            (Some('*'), _) => {
                star = Some((pattern.clone(), text.clone()));
                continue;
            }
            (Some(wanted), Some(letter)) if wanted == '?' || wanted == letter => {
                text = next;
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((behind, end)) = &mut star else { return false };
        if end.next().is_none() {
            return false;
        }
        (pattern, text) = (behind.clone(), end.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_text_or_not() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("web", "web", true),
            ("web", "Web", false),
            ("web", "web-1", false),
            ("web", "we", false),
            ("*", "", true),
            ("*", "any/thing", true),
            ("**", "a", true),
            ("web-*", "web-", true),
            ("web-*", "web-12", true),
            ("web-*", "my-web-12", false),
            ("*-12", "web-12-12", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*b", "ab", true),
            ("a*a", "a", false),
            ("?", "", false),
            ("?", "é", true),
            ("??", "é", false),
            ("api#?", "api#2", true),
            ("api#?", "api#12", false),
            ("/home/*/project", "/home/ann/deep/project", true),
            ("/home/*/project", "/home/project", false),
            ("*?", "", false),
            ("*?b", "aab", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_make_it_slow() {
        let text = "a".repeat(4096);
        assert!(!fits(&format!("{}b", "*a".repeat(128)), &text));
    }
}
