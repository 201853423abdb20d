//! What a user can set for one agent.

use rp_sdk::interface::Failure;
use rp_sdk::session::FailureKind;
use rp_sdk::settings::Settings;

/// What the settings of an agent can look like.
const EXAMPLE: &str = r#"{"approval":"untrusted","sandbox":"read-only","summary":"none","args":["-c","model_provider=\"own\""],"env":{"CODEX_HOME":"/home/ann/.codex-work"}}"#;

/// A setting that takes one of a few words.
#[derive(Debug)]
struct Choice {
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
}

/// When Codex asks before it does something. By default it works in its folder without asking
/// and asks for what its sandbox does not allow: whoever answers may be far away, and an agent
/// that asks before every `ls` waits most of its time.
const APPROVAL: Choice = Choice {
    name: "approval",
    words: &["untrusted", "on-request", "on-failure", "never"],
    default: "on-request",
};

/// What commands can touch. By default they write in the agent's folder and have no network.
const SANDBOX: Choice = Choice {
    name: "sandbox",
    words: &["read-only", "workspace-write", "danger-full-access"],
    default: "workspace-write",
};

/// How much of its thinking the model sums up. Not every account may ask for it; `none` is
/// for those.
const SUMMARY: Choice = Choice {
    name: "summary",
    words: &["auto", "concise", "detailed", "none"],
    default: "detailed",
};

/// The settings of an agent, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) approval: String,
    pub(crate) sandbox: String,
    pub(crate) summary: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            approval: APPROVAL.default.to_owned(),
            sandbox: SANDBOX.default.to_owned(),
            summary: SUMMARY.default.to_owned(),
        }
    }
}

impl Options {
    /// Reads the settings of a launch request, a JSON object.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let known = [APPROVAL.name, SANDBOX.name, SUMMARY.name];
        let settings = Settings::parse(text, &known, EXAMPLE)?;
        Ok(Self {
            approval: APPROVAL.of(&settings)?,
            sandbox: SANDBOX.of(&settings)?,
            summary: SUMMARY.of(&settings)?,
            args: settings.args,
            env: settings.env.into_iter().collect(),
        })
    }
}

impl Choice {
    fn of(&self, settings: &Settings) -> Result<String, Failure> {
        let Some(value) = settings.own.get(self.name) else {
            return Ok(self.default.to_owned());
        };
        match value.as_str().filter(|word| self.words.contains(word)) {
            Some(word) => Ok(word.to_owned()),
            None => {
                let message = format!("the setting `{}` cannot be {value}", self.name);
                Err(Failure::new(FailureKind::Invalid, message)
                    .with_hint(format!("it takes one of: {}", self.words.join(", "))))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn without_settings_it_works_in_its_folder_and_asks_for_more() {
        let options = Options::parse("{}").unwrap();
        assert_eq!(options, Options::default());
        assert_eq!(
            (options.approval.as_str(), options.sandbox.as_str(), options.summary.as_str()),
            ("on-request", "workspace-write", "detailed")
        );
    }

    #[test]
    fn each_setting_takes_its_own_words_only() {
        let options = Options::parse(r#"{"approval":"never","sandbox":"read-only"}"#).unwrap();
        assert_eq!((options.approval.as_str(), options.sandbox.as_str()), ("never", "read-only"));
        for (text, hint) in [
            (r#"{"approval":"always"}"#, "untrusted, on-request, on-failure, never"),
            (r#"{"sandbox":true}"#, "read-only, workspace-write, danger-full-access"),
            (r#"{"summary":""}"#, "auto, concise, detailed, none"),
        ] {
            let failure = Options::parse(text).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert_eq!(failure.hint.unwrap(), format!("it takes one of: {hint}"));
        }
        assert!(Options::parse(r#"{"aproval":"never"}"#).is_err());
    }

    #[test]
    fn the_example_is_one() {
        Options::parse(EXAMPLE).unwrap();
    }
}
