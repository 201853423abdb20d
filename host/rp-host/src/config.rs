//! Settings: each from a flag, the environment, the file or its default, in this order.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An environment variable.
    Environment,
    /// `R/host/config.json`.
    File,
    /// Nobody said otherwise.
    Default,
}

/// One setting with its value and where that comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Its value as text.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
    /// The environment variable that overrides the file.
    pub variable: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// Key, environment variable, default and meaning of every setting: the only table of them.
const SETTINGS: [(&str, &str, &str, &str); 8] = [
    ("harness", "RP_HOST_HARNESS", "pi", "harness of agents created without --harness"),
    ("log", "RP_HOST_LOG", "info", "what the daemon logs, as a tracing filter"),
    (
        "mailbox_messages",
        "RP_HOST_MAILBOX_MESSAGES",
        "10000",
        "most messages that wait for one agent",
    ),
    ("mailbox_bytes", "RP_HOST_MAILBOX_BYTES", "67108864", "most bytes that wait for one agent"),
    (
        "relay",
        "RP_HOST_RELAY",
        "auto",
        "connect to the relay: auto (as soon as this machine has an owner), on or off",
    ),
    (
        "more_relays",
        "RP_HOST_MORE_RELAYS",
        "",
        "URLs of relays, with spaces in between, tried in this order while the first does not answer",
    ),
    (
        "relay_certificate",
        "RP_HOST_RELAY_CERTIFICATE",
        "",
        "SHA-256 of the relay's certificate, when it made its own",
    ),
    (
        "clear_machines",
        "RP_HOST_CLEAR_MACHINES",
        "allow",
        "machines that cannot seal, such as those of Remote Pi: allow or refuse",
    ),
];

/// All settings of this machine.
#[derive(Debug, Clone)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// Reads the file and the environment.
    pub fn load(file: &Path) -> Result<Self, Problem> {
        Self::from(file, |variable| std::env::var(variable).ok())
    }

    fn from(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Problem> {
        let stored = read(file)?;
        let unknown = stored.keys().find(|key| !SETTINGS.iter().any(|row| row.0 == key.as_str()));
        if let Some(unknown) = unknown {
            let names = SETTINGS.map(|row| row.0);
            let all = format!("the settings are {}", names.join(", "));
            let hint = did_you_mean(unknown, names.into_iter(), &all);
            return Err(Problem::failed(format!("{}: unknown setting {unknown}", file.display()))
                .hint(hint));
        }
        let setting = |(key, name, default, about): (_, _, &str, _)| {
            let (value, source) = if let Some(value) = variable(name).filter(|v| !v.is_empty()) {
                (value, Source::Environment)
            } else if let Some(value) = stored.get(key) {
                (value.as_str().map_or_else(|| value.to_string(), str::to_owned), Source::File)
            } else {
                (default.to_owned(), Source::Default)
            };
            Setting { key, value, source, variable: name, about }
        };
        Ok(Self(SETTINGS.into_iter().map(setting).collect()))
    }

    /// Every setting, in the order of the table.
    pub fn all(&self) -> &[Setting] {
        &self.0
    }

    /// The value of a setting.
    pub fn text(&self, key: &str) -> &str {
        self.0.iter().find(|setting| setting.key == key).map_or("", |setting| &setting.value)
    }

    /// The value of a setting that is a number.
    pub fn number(&self, key: &str) -> Result<u64, Problem> {
        let text = self.text(key);
        text.parse().map_err(|_| {
            Problem::failed(format!("the setting {key} is {text:?}, which is not a number"))
                .hint("see `rp-host config` for where the value comes from")
        })
    }
}

fn read(file: &Path) -> Result<Map<String, Value>, Problem> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => {
            return Err(Problem::failed(format!("could not read {}: {error}", file.display())));
        }
    };
    serde_json::from_str(&text).map_err(|error| {
        Problem::failed(format!("{} is not a JSON object: {error}", file.display()))
    })
}

/// The name that looks most like `wanted`, if one looks like it at all.
pub fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR_ENOUGH: f64 = 0.6;
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// A hint that names what looks most like `wanted`, then says where they all are.
pub fn did_you_mean<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match closest(wanted, names) {
        Some(name) => format!("did you mean {name}? {otherwise}"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn settings(file: &str, variable: Option<(&str, &str)>) -> Result<Settings, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, file).unwrap();
        Settings::from(&path, |name| {
            variable.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        })
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let of = |settings: Settings| {
            let found = settings.all().iter().find(|s| s.key == "harness").unwrap().clone();
            (found.value, found.source)
        };
        let file = r#"{"harness":"demo"}"#;
        let variable = Some(("RP_HOST_HARNESS", "codex"));
        assert_eq!(of(settings("{}", None).unwrap()), ("pi".into(), Source::Default));
        assert_eq!(of(settings(file, None).unwrap()), ("demo".into(), Source::File));
        assert_eq!(of(settings(file, variable).unwrap()), ("codex".into(), Source::Environment));
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_closest_name() {
        let problem = settings(r#"{"harnes":"pi"}"#, None).unwrap_err();
        assert!(problem.to_string().ends_with("config.json: unknown setting harnes"));
        assert_eq!(
            problem.hint_text(),
            Some(
                "did you mean harness? the settings are harness, log, mailbox_messages, mailbox_bytes, relay, more_relays, relay_certificate, clear_machines"
            )
        );
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let settings = settings(r#"{"mailbox_messages":"many"}"#, None).unwrap();
        assert_eq!(
            settings.number("mailbox_messages").unwrap_err().to_string(),
            "the setting mailbox_messages is \"many\", which is not a number"
        );
    }
}
