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
        let invalid = |message: String| Failure {
            kind: FailureKind::Invalid,
            message,
            hint: Some(format!("the settings look like {example}")),
        };
        let settings: Self = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the settings do not fit: {error}")))?;
        let unknown: Vec<String> = settings
            .own
            .keys()
            .filter(|name| !own.contains(&name.as_str()))
            .map(|name| format!("`{name}`"))
            .collect();
        if unknown.is_empty() {
            return Ok(settings);
        }
        Err(invalid(format!("unknown settings: {}", unknown.join(", "))))
    }
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
