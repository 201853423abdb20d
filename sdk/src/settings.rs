//! The settings a user can give to one agent, as most adapters have them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::interface::Failure;
use crate::session::FailureKind;

/// What every harness that is a program can be given besides what the adapter chooses.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Appended to the program's arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Added to the program's environment; the adapter's own variables win.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What only this adapter knows; [`Settings::parse`] refuses the names it was not told.
    #[serde(flatten)]
    pub own: BTreeMap<String, serde_json::Value>,
}

impl Settings {
    /// Reads the settings of a launch request. `own` names the settings only this adapter knows,
    /// `example` shows a person what they can look like.
    ///
    /// # Errors
    /// The text is no JSON object of this shape, or it has a name nobody knows.
    pub fn parse(text: &str, own: &[&str], example: &str) -> Result<Self, Failure> {
        let invalid = |message: String| {
            Failure::new(FailureKind::Invalid, message)
                .with_hint(format!("the settings look like {example}"))
        };
        let settings: Self = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the settings do not fit: {error}")))?;
        let unknown = settings.own.keys().filter(|name| !own.contains(&name.as_str()));
        refuse(unknown).map_err(invalid)?;
        Ok(settings)
    }
}

/// Makes sure that nothing is set, for a component that has no settings.
///
/// # Errors
/// The text is no JSON object, or it has a name; the text says which, for a person.
pub fn expect_none(text: &str) -> Result<(), String> {
    let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| format!("the settings are not a JSON object: {error}"))?;
    refuse(settings.keys())
}

fn refuse<'a>(unknown: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let names: Vec<String> = unknown.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("unknown settings: {}", names.join(", "))) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"args":["--fast"]}"#;

    #[test]
    fn nothing_set_is_nothing_added() {
        assert_eq!(Settings::parse("{}", &[], EXAMPLE).unwrap(), Settings::default());
    }

    #[test]
    fn a_component_without_settings_names_those_it_was_given() {
        assert_eq!(expect_none("{}"), Ok(()));
        assert_eq!(
            expect_none(r#"{"quiet":true,"loud":1}"#).unwrap_err(),
            "unknown settings: `loud`, `quiet`"
        );
        for text in ["", "null", "[]", "{"] {
            let refusal = expect_none(text).unwrap_err();
            assert!(refusal.starts_with("the settings are not a JSON object: "), "{text}");
        }
    }

    #[test]
    fn a_setting_of_the_adapters_own_is_kept() {
        let settings = Settings::parse(r#"{"mode":"plan"}"#, &["mode"], EXAMPLE).unwrap();
        assert_eq!(settings.own.get("mode"), Some(&serde_json::json!("plan")));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_names_and_an_example() {
        let refusal = |text: &str| Settings::parse(text, &["mode"], EXAMPLE).unwrap_err();
        assert_eq!(
            refusal(r#"{"arg":[],"colour":1}"#).message,
            "unknown settings: `arg`, `colour`"
        );
        assert_eq!(
            refusal("{\"arg\":[]}").hint.as_deref(),
            Some(r#"the settings look like {"args":["--fast"]}"#)
        );
        for text in ["[]", "null", r#"{"args":"--fast"}"#] {
            assert!(refusal(text).message.starts_with("the settings do not fit: "), "{text}");
        }
    }
}
