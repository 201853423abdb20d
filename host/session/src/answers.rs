//! What a person's words mean as the answer to a question, and which answers it takes.

use rp_protocol::session::{Answer, PermissionEffect, PermissionOption, QuestionKind};
use serde::{Deserialize, Serialize};

/// Characters of a text or a guidance that are shown of an answer.
const SHOWN: usize = 200;

/// An answer as it is given: exactly, or in words that mean one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// An option's effect (`allow`, `allow-always`, `deny`, `deny-always`), id, label or number
    /// from 1; yes or no; or the text itself.
    Words(String),
    /// The answer.
    Exact(Answer),
}

impl Said {
    /// The answer to a question of this kind; `None` when it takes no such answer.
    #[must_use]
    pub fn as_answer(&self, kind: &QuestionKind) -> Option<Answer> {
        match self {
            Self::Words(words) => read(kind, words),
            Self::Exact(answer) => takes(kind, answer).then(|| answer.clone()),
        }
    }

    /// As it was given, for the person who gave it.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Words(words) => shown(words),
            Self::Exact(Answer::Choice { choice }) => shown(choice),
            Self::Exact(Answer::Confirm { yes }) => yes_or_no(*yes).to_owned(),
            Self::Exact(Answer::Text { text }) => shown(text),
            Self::Exact(Answer::DenyWithGuidance { guidance }) => with_guidance(guidance),
            Self::Exact(Answer::Dismiss) => DISMISSED.to_owned(),
        }
    }
}

const DISMISSED: &str = "dismissed";

/// The word for what an option does.
#[must_use]
pub fn effect_word(effect: PermissionEffect) -> &'static str {
    match effect {
        PermissionEffect::AllowOnce => "allow",
        PermissionEffect::AllowAlways => "allow-always",
        PermissionEffect::DenyOnce => "deny",
        PermissionEffect::DenyAlways => "deny-always",
    }
}

/// The answers that a question of this kind takes, in the order of their numbers: the word to
/// say, and what it stands for where that says more. None for free text.
#[must_use]
pub fn possible(kind: &QuestionKind) -> Vec<(String, Option<String>)> {
    match kind {
        QuestionKind::Permission { options, .. } => (1..)
            .zip(options)
            .map(|(number, option)| {
                let word = match with_effect(options, effect_word(option.effect)) {
                    Some(_) => effect_word(option.effect).to_owned(),
                    None => format!("{number}"),
                };
                (word, Some(option.label.clone()))
            })
            .collect(),
        QuestionKind::Choose { options } => {
            let numbered = (1..).zip(options);
            numbered.map(|(number, text)| (format!("{number}"), Some(text.clone()))).collect()
        }
        QuestionKind::Confirm => vec![("yes".to_owned(), None), ("no".to_owned(), None)],
        QuestionKind::Text { .. } => Vec::new(),
    }
}

/// An answer that the question takes, as a person reads it.
#[must_use]
pub fn in_words(kind: &QuestionKind, answer: &Answer) -> String {
    match (kind, answer) {
        (QuestionKind::Permission { options, .. }, Answer::Choice { choice }) => {
            let option = options.iter().find(|option| option.id == *choice);
            shown(option.map_or(choice, |option| &option.label))
        }
        (_, answer) => Said::Exact(answer.clone()).in_words(),
    }
}

fn read(kind: &QuestionKind, words: &str) -> Option<Answer> {
    let choice = |choice: &String| Answer::Choice { choice: choice.clone() };
    let number = words.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match kind {
        QuestionKind::Permission { options, .. } => options
            .iter()
            .find(|option| option.id == words)
            .or_else(|| only(options.iter().filter(|option| is_same(&option.label, words))))
            .or_else(|| with_effect(options, words))
            .or_else(|| options.get(number?))
            .map(|option| choice(&option.id)),
        QuestionKind::Choose { options } => options
            .iter()
            .find(|option| *option == words)
            .or_else(|| only(options.iter().filter(|option| is_same(option, words))))
            .or_else(|| options.get(number?))
            .map(choice),
        QuestionKind::Confirm => {
            let means = |known: [&str; 3]| known.iter().any(|word| is_same(word, words));
            match (means(["yes", "y", "1"]), means(["no", "n", "2"])) {
                (true, _) => Some(Answer::Confirm { yes: true }),
                (_, true) => Some(Answer::Confirm { yes: false }),
                _ => None,
            }
        }
        QuestionKind::Text { .. } => Some(Answer::Text { text: words.to_owned() }),
    }
}

fn takes(kind: &QuestionKind, answer: &Answer) -> bool {
    match (kind, answer) {
        (_, Answer::Dismiss)
        | (QuestionKind::Permission { .. }, Answer::DenyWithGuidance { .. })
        | (QuestionKind::Confirm, Answer::Confirm { .. })
        | (QuestionKind::Text { .. }, Answer::Text { .. }) => true,
        (QuestionKind::Permission { options, .. }, Answer::Choice { choice }) => {
            options.iter().any(|option| option.id == *choice)
        }
        (QuestionKind::Choose { options }, Answer::Choice { choice }) => options.contains(choice),
        _ => false,
    }
}

/// The one option with the effect that this word names.
fn with_effect<'a>(options: &'a [PermissionOption], word: &str) -> Option<&'a PermissionOption> {
    only(options.iter().filter(|option| effect_word(option.effect) == word))
}

/// What there is exactly one of.
fn only<T>(mut found: impl Iterator<Item = T>) -> Option<T> {
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn with_guidance(guidance: &str) -> String {
    format!("deny, with the guidance: {}", shown(guidance))
}

fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut start: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(options: &[(&str, &str, PermissionEffect)]) -> QuestionKind {
        let option = |(id, label, effect): &(&str, &str, PermissionEffect)| PermissionOption {
            id: (*id).to_owned(),
            label: (*label).to_owned(),
            effect: *effect,
        };
        QuestionKind::Permission {
            tool: "bash".to_owned(),
            input: serde_json::Value::Null,
            options: options.iter().map(option).collect(),
        }
    }

    fn usual() -> QuestionKind {
        permission(&[
            ("o1", "Allow once", PermissionEffect::AllowOnce),
            ("o2", "Always allow", PermissionEffect::AllowAlways),
            ("o3", "Deny", PermissionEffect::DenyOnce),
        ])
    }

    fn chosen(kind: &QuestionKind, words: &str) -> Option<String> {
        match read(kind, words)? {
            Answer::Choice { choice } => Some(choice),
            _ => None,
        }
    }

    #[test]
    fn an_option_is_named_by_its_effect_its_id_its_label_or_its_number() {
        for (words, option) in [
            ("allow", Some("o1")),
            ("o2", Some("o2")),
            ("always ALLOW", Some("o2")),
            ("3", Some("o3")),
            ("0", None),
            ("4", None),
            ("deny-always", None),
            ("maybe", None),
        ] {
            assert_eq!(chosen(&usual(), words).as_deref(), option, "{words}");
        }
    }

    #[test]
    fn a_word_that_could_mean_two_options_means_none_of_them() {
        let kind = permission(&[
            ("s", "For this session", PermissionEffect::AllowAlways),
            ("r", "For this command", PermissionEffect::AllowAlways),
        ]);
        assert_eq!(chosen(&kind, "allow-always"), None);
        let words: Vec<_> = possible(&kind).into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["1", "2"], "so they are told apart by their numbers");
    }

    #[test]
    fn allow_never_becomes_always_allow() {
        let kind = permission(&[("a", "Always allow", PermissionEffect::AllowAlways)]);
        assert_eq!(chosen(&kind, "allow"), None);
    }

    #[test]
    fn an_option_that_is_a_number_goes_before_the_number_of_an_option() {
        let kind = QuestionKind::Choose { options: vec!["2".to_owned(), "1".to_owned()] };
        assert_eq!(chosen(&kind, "1").as_deref(), Some("1"));
    }

    #[test]
    fn each_kind_takes_its_own_answers_and_every_kind_can_be_dismissed() {
        let choose = QuestionKind::Choose { options: vec!["red".to_owned()] };
        let text = QuestionKind::Text { prefill: None };
        let guidance = Answer::DenyWithGuidance { guidance: "ask first".to_owned() };
        let kinds = [usual(), choose, QuestionKind::Confirm, text];
        let takers = |answer: Answer| kinds.iter().map(|kind| takes(kind, &answer)).collect();
        let rows: [Vec<bool>; 6] = [
            takers(Answer::Choice { choice: "o1".to_owned() }),
            takers(Answer::Choice { choice: "red".to_owned() }),
            takers(Answer::Confirm { yes: true }),
            takers(Answer::Text { text: "o1".to_owned() }),
            takers(guidance),
            takers(Answer::Dismiss),
        ];
        assert_eq!(
            rows,
            [
                [true, false, false, false],
                [false, true, false, false],
                [false, false, true, false],
                [false, false, false, true],
                [true, false, false, false],
                [true, true, true, true],
            ]
        );
    }

    #[test]
    fn an_answer_is_told_in_words_of_a_bounded_length() {
        let choice = Answer::Choice { choice: "o2".to_owned() };
        assert_eq!(in_words(&usual(), &choice), "Always allow");
        let guidance = Answer::DenyWithGuidance { guidance: "use git mv".to_owned() };
        assert_eq!(in_words(&usual(), &guidance), "deny, with the guidance: use git mv");
        let long = Answer::Text { text: "ä".repeat(500) };
        let text = in_words(&QuestionKind::Text { prefill: None }, &long);
        assert_eq!(text.chars().count(), SHOWN + 1);
    }
}
