//! The manifest of a component, `component.toml`: what the component is and what it asks for.
//!
//! A manifest is read whole or refused: an unknown key is an error that names the closest known one,
//! so that a misspelt permission is never silently left out.

mod permit;

use std::fmt;

pub use permit::{Permit, PermitError, SETTINGS_COMMAND};
use semver::Version;
use toml::{Table, Value};

use crate::session::Command;

/// The longest id, in bytes: it names files and rows in listings.
const MAX_ID_BYTES: usize = 64;
/// The longest sentence a manifest may have, in bytes.
const MAX_TEXT_BYTES: usize = 500;
/// Memory a component may ask for, in MiB.
const MEMORY_MIB: std::ops::RangeInclusive<i64> = 1..=1024;

/// A name in `command` that is no command of a session: give a prompt and wait until the turn is
/// over.
pub const ASK: &str = "ask";

/// What a component is for, which says what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It translates one harness.
    Adapter,
    /// It decides about every envelope.
    Policy,
    /// It is the buttons of an app.
    Actions,
}

/// A component's id: lower-case letters, digits and hyphens, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(String);

/// The world a component was built for, with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Without its version, such as `rp:harness/harness-adapter`.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// Something a component can do only if a person grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Have these programs started, by name.
    Run(Vec<String>),
    /// Have these environment variables handed to them.
    Env(Vec<String>),
    /// Keep data between calls.
    Store,
    /// See the bodies of messages.
    Bodies,
    /// Put another body in place of a message's.
    Rewrite,
    /// Send a message to others than it was meant for.
    Redirect,
    /// Send messages to addresses that fit one of these patterns.
    Send(Vec<String>),
    /// Give sessions these commands.
    Command(Vec<String>),
}

/// A request with what it is for, in the words of the component's author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// What is asked for.
    pub request: Request,
    /// What for.
    pub reason: String,
}

/// What a component says of itself before any of its code runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Names the component on this machine.
    pub id: ComponentId,
    /// Its own version.
    pub version: Version,
    /// What it is for.
    pub kind: Kind,
    /// The world it was built for.
    pub world: World,
    /// Who made it.
    pub publisher: Option<String>,
    /// What it does, in a sentence.
    pub about: String,
    /// Memory of an instance in MiB, where the usual limit is too little.
    pub memory_mib: Option<u32>,
    /// What it asks for, in the order of [`Request`].
    pub permissions: Vec<Permission>,
}

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not TOML.
    #[error("the manifest is not TOML: {0}")]
    Syntax(String),
    /// A key that no manifest has.
    #[error("{key} is not a key of {place}\nhint: {hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands: `a manifest`, `[permissions]`, …
        place: String,
        /// The closest known key, or all of them.
        hint: String,
    },
    /// A key that every manifest has.
    #[error("{place} has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
        /// Where it should stand.
        place: String,
    },
    /// A value of the wrong kind, or outside what is possible.
    #[error("{key} must be {wanted}")]
    Wrong {
        /// The key, with its table.
        key: String,
        /// What is wanted there.
        wanted: String,
    },
    /// A command that no session has.
    #[error("there is no command {command}\nhint: {hint}")]
    UnknownCommand {
        /// Its name.
        command: String,
        /// The closest command, or all of them.
        hint: String,
    },
    /// A permission that components of this kind cannot have.
    #[error("{kind} cannot ask for the permission {permission}\nhint: it can ask for {possible}")]
    NotForKind {
        /// The kind, with its article.
        kind: &'static str,
        /// The permission.
        permission: &'static str,
        /// What this kind can ask for.
        possible: String,
    },
}

/// A permission as it stands in a manifest: its table, the key of its list, and who can have it.
struct Row {
    name: &'static str,
    list: Option<&'static str>,
    kinds: &'static [Kind],
    make: fn(Vec<String>) -> Request,
}

use Kind::{Actions, Adapter, Policy};

/// Every permission, in the order of [`Request`].
const PERMISSIONS: [Row; 8] = [
    Row { name: "run", list: Some("programs"), kinds: &[Adapter], make: Request::Run },
    Row { name: "env", list: Some("variables"), kinds: &[Adapter], make: Request::Env },
    Row { name: "store", list: None, kinds: &[Policy, Actions], make: |_| Request::Store },
    Row { name: "bodies", list: None, kinds: &[Policy], make: |_| Request::Bodies },
    Row { name: "rewrite", list: None, kinds: &[Policy], make: |_| Request::Rewrite },
    Row { name: "redirect", list: None, kinds: &[Policy], make: |_| Request::Redirect },
    Row { name: "send", list: Some("to"), kinds: &[Actions], make: Request::Send },
    Row { name: "command", list: Some("commands"), kinds: &[Actions], make: Request::Command },
];

impl Kind {
    const ALL: [Kind; 3] = [Adapter, Policy, Actions];

    /// Its name in manifests and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Adapter => "adapter",
            Policy => "policy",
            Actions => "actions",
        }
    }

    fn with_article(self) -> &'static str {
        match self {
            Adapter => "an adapter",
            Policy => "a policy",
            Actions => "an action handler",
        }
    }

    /// The world that components of this kind are built for, without its version.
    #[must_use]
    pub fn world(self) -> &'static str {
        match self {
            Adapter => "rp:harness/harness-adapter",
            Policy => "rp:routing/routing-policy",
            Actions => "rp:actions/app-actions",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ComponentId {
    /// `None` when the text is not an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let fits = text.len() <= MAX_ID_BYTES
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(is_plain);
        fits.then(|| ComponentId(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl fmt::Display for Permission {
    /// A sentence for the person who is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, of) = self.request.parts();
        f.write_str(match &self.request {
            Request::Run(_) => "start the program",
            Request::Env(_) => "hand over the environment variable",
            Request::Store => "keep data of its own",
            Request::Bodies => "read what messages say",
            Request::Rewrite => "change what messages say",
            Request::Redirect => "send messages to others than they were meant for",
            Request::Send(_) => "send messages to",
            Request::Command(_) => "give sessions the command",
        })?;
        for (place, name) in of.iter().enumerate() {
            let name = match name.as_str() {
                SETTINGS_COMMAND => "that an agent's settings name as its command",
                name => name,
            };
            write!(f, "{}{name}", if place == 0 { " " } else { " or " })?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What is wrong with a TOML file, and in which line. The error itself would draw the line too,
/// which is for terminals.
#[must_use]
pub fn toml_problem(text: &str, error: &toml::de::Error) -> String {
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {}", before.matches('\n').count() + 1, error.message()),
        None => error.message().to_owned(),
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// See [`ManifestError`]; the first that is met.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let table = text
            .parse::<Table>()
            .map_err(|error| ManifestError::Syntax(toml_problem(text, &error)))?;
        let mut fields = Fields { table, place: "a manifest".to_owned(), prefix: String::new() };
        let id = ComponentId::parse(&fields.text("id")?).ok_or_else(|| {
            fields.wrong("id", "lower-case letters, digits and hyphens, beginning with a letter")
        })?;
        let version = version(&fields.text("version")?)
            .ok_or_else(|| fields.wrong("version", "a version such as 1.2.3"))?;
        let kind = fields.text("kind")?;
        let kind = Kind::ALL
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or_else(|| fields.wrong("kind", "adapter, policy or actions"))?;
        let world = world(&fields.text("world")?, kind).ok_or_else(|| {
            let wanted = format!("{}@ and a version, for {}", kind.world(), kind.with_article());
            fields.wrong("world", &wanted)
        })?;
        let manifest = Manifest {
            id,
            version,
            kind,
            world,
            about: fields.text("about")?,
            publisher: fields.optional_text("publisher")?,
            memory_mib: fields.memory()?,
            permissions: fields.permissions(kind)?,
        };
        fields.nothing_else(&[
            "id",
            "version",
            "kind",
            "world",
            "about",
            "publisher",
            "memory_mib",
            "permissions",
        ])?;
        Ok(manifest)
    }

    /// What it asks for, one by one, without repetition, in ascending order.
    #[must_use]
    pub fn permits(&self) -> Vec<Permit> {
        let mut permits: Vec<_> =
            self.permissions.iter().flat_map(|permission| permission.request.permits()).collect();
        permits.sort();
        permits.dedup();
        permits
    }
}

impl Request {
    /// Its name in manifests, and the values it has there.
    fn parts(&self) -> (&'static str, &[String]) {
        match self {
            Request::Run(programs) => ("run", programs),
            Request::Env(variables) => ("env", variables),
            Request::Store => ("store", &[]),
            Request::Bodies => ("bodies", &[]),
            Request::Rewrite => ("rewrite", &[]),
            Request::Redirect => ("redirect", &[]),
            Request::Send(patterns) => ("send", patterns),
            Request::Command(commands) => ("command", commands),
        }
    }

    /// What of it can be granted on its own.
    #[must_use]
    pub fn permits(&self) -> Vec<Permit> {
        match self.parts() {
            (name, []) => vec![Permit::whole(name)],
            (name, values) => values.iter().map(|value| Permit::one(name, value)).collect(),
        }
    }
}

fn version(text: &str) -> Option<Version> {
    Version::parse(text).ok()
}

fn world(text: &str, kind: Kind) -> Option<World> {
    let (name, of) = text.split_once('@')?;
    (name == kind.world()).then_some(())?;
    Some(World { name: name.to_owned(), version: version(of)? })
}

/// A table that is emptied key by key: what is left in the end is unknown.
struct Fields {
    table: Table,
    /// For a person: `a manifest`, `[permissions.run]`.
    place: String,
    /// Before a key, to name it: ``, `permissions.run.`.
    prefix: String,
}

impl Fields {
    fn wrong(&self, key: &str, wanted: &str) -> ManifestError {
        ManifestError::Wrong { key: format!("{}{key}", self.prefix), wanted: wanted.to_owned() }
    }

    fn text(&mut self, key: &'static str) -> Result<String, ManifestError> {
        self.optional_text(key)?
            .ok_or_else(|| ManifestError::Missing { key, place: self.place.clone() })
    }

    fn optional_text(&mut self, key: &'static str) -> Result<Option<String>, ManifestError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if is_sentence(&text) => Ok(Some(text)),
            Some(_) => {
                let wanted = format!("one line of text, of at most {MAX_TEXT_BYTES} bytes");
                Err(self.wrong(key, &wanted))
            }
        }
    }

    fn list(&mut self, key: &'static str) -> Result<Vec<String>, ManifestError> {
        let wanted = "a list of texts, and not empty";
        match self.table.remove(key) {
            None => Err(ManifestError::Missing { key, place: self.place.clone() }),
            Some(Value::Array(items)) if !items.is_empty() => {
                let text = |item: &Value| {
                    item.as_str().filter(|text| is_sentence(text)).map(str::to_owned)
                };
                let texts: Option<Vec<String>> = items.iter().map(text).collect();
                texts.ok_or_else(|| self.wrong(key, wanted))
            }
            Some(_) => Err(self.wrong(key, wanted)),
        }
    }

    fn memory(&mut self) -> Result<Option<u32>, ManifestError> {
        let Some(value) = self.table.remove("memory_mib") else { return Ok(None) };
        let number = value.as_integer().filter(|number| MEMORY_MIB.contains(number));
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end());
                Err(self.wrong("memory_mib", &format!("a number from {least} to {most}")))
            }
        }
    }

    fn permissions(&mut self, kind: Kind) -> Result<Vec<Permission>, ManifestError> {
        let mut asked = match self.table.remove("permissions") {
            None => Table::new(),
            Some(Value::Table(asked)) => asked,
            Some(_) => return Err(self.wrong("permissions", "a table")),
        };
        let mut permissions = Vec::new();
        for row in &PERMISSIONS {
            let table = match asked.remove(row.name) {
                None => continue,
                Some(Value::Table(table)) => table,
                Some(_) => {
                    return Err(self.wrong(&format!("permissions.{}", row.name), "a table"));
                }
            };
            if !row.kinds.contains(&kind) {
                return Err(not_for(kind, row.name));
            }
            permissions.push(permission(row, table)?);
        }
        let names = PERMISSIONS.map(|row| row.name);
        Fields { table: asked, place: "[permissions]".to_owned(), prefix: String::new() }
            .nothing_else(&names)?;
        Ok(permissions)
    }

    fn nothing_else(&self, known: &[&'static str]) -> Result<(), ManifestError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let hint = did_you_mean(key, known, "keys");
        Err(ManifestError::UnknownKey { key: key.clone(), place: self.place.clone(), hint })
    }
}

/// Names the known word that looks most like this one, or all when none does.
fn did_you_mean(word: &str, known: &[&str], what: &str) -> String {
    const SIMILAR_ENOUGH: f64 = 0.75;
    let closest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name), *name))
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match closest {
        Some((_, name)) => format!("did you mean {name}?"),
        None => format!("the {what} are {}", known.join(", ")),
    }
}

fn permission(row: &Row, table: Table) -> Result<Permission, ManifestError> {
    let name = row.name;
    let mut fields = Fields {
        table,
        place: format!("[permissions.{name}]"),
        prefix: format!("permissions.{name}."),
    };
    let list = row.list.map(|key| fields.list(key)).transpose()?.unwrap_or_default();
    let reason = fields.text("reason")?;
    let known: Vec<&'static str> = row.list.into_iter().chain(["reason"]).collect();
    fields.nothing_else(&known)?;
    let request = (row.make)(list);
    if let Request::Command(commands) = &request {
        check_commands(commands)?;
    }
    Ok(Permission { request, reason })
}

/// A command that is misspelt could be granted, and would never be of use.
fn check_commands(commands: &[String]) -> Result<(), ManifestError> {
    let mut known = Command::NAMES.to_vec();
    // A question of an agent is for a person, and never for a component.
    known.retain(|command| *command != "answer");
    known.push(ASK);
    match commands.iter().find(|command| !known.contains(&command.as_str())) {
        None => Ok(()),
        Some(command) => Err(ManifestError::UnknownCommand {
            command: command.clone(),
            hint: did_you_mean(command, &known, "commands"),
        }),
    }
}

fn not_for(kind: Kind, permission: &'static str) -> ManifestError {
    let possible = PERMISSIONS.iter().filter(|row| row.kinds.contains(&kind));
    let possible: Vec<_> = possible.map(|row| row.name).collect();
    ManifestError::NotForKind {
        kind: kind.with_article(),
        permission,
        possible: possible.join(", "),
    }
}

/// Whether text can stand in a listing as it is.
fn is_sentence(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADAPTER: &str = r#"
        id = "codex"
        version = "1.2.0"
        kind = "adapter"
        world = "rp:harness/harness-adapter@0.1.0"
        about = "Drives Codex."
    "#;
    const POLICY: &str = r#"
        id = "guarded"
        version = "0.3.1"
        kind = "policy"
        world = "rp:routing/routing-policy@0.1.0"
        about = "Limits who writes to whom."
    "#;

    fn refusal(base: &str, more: &str) -> String {
        Manifest::parse(&format!("{base}\n{more}")).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_manifest_is_read_and_its_permissions_are_sentences() {
        let manifest = Manifest::parse(&format!(
            r#"{ADAPTER}
            publisher = "Ann"
            memory_mib = 128
            [permissions.env]
            variables = ["OPENAI_API_KEY"]
            reason = "it signs in with it"
            [permissions.run]
            programs = ["codex", "{{settings.command}}"]
            reason = "it is the harness"
            "#
        ))
        .unwrap();
        assert_eq!((manifest.id.as_str(), manifest.kind), ("codex", Kind::Adapter));
        assert_eq!(manifest.world.to_string(), "rp:harness/harness-adapter@0.1.0");
        assert_eq!((manifest.memory_mib, manifest.publisher.as_deref()), (Some(128), Some("Ann")));
        let permits: Vec<_> = manifest.permits().iter().map(ToString::to_string).collect();
        assert_eq!(permits, ["env=OPENAI_API_KEY", "run=codex", "run={settings.command}"]);
        let sentences: Vec<_> = manifest.permissions.iter().map(ToString::to_string).collect();
        assert_eq!(
            sentences,
            [
                "start the program codex or that an agent's settings name as its command: it is the harness",
                "hand over the environment variable OPENAI_API_KEY: it signs in with it",
            ]
        );
    }

    #[test]
    fn a_command_that_no_session_has_is_refused_with_the_closest() {
        let actions = r#"
            id = "core"
            version = "1.0.0"
            kind = "actions"
            world = "rp:actions/app-actions@0.1.0"
            about = "Buttons."
        "#;
        let asks = |commands: &str| {
            format!("[permissions.command]\ncommands = [{commands}]\nreason = 'x'")
        };
        assert_eq!(
            refusal(actions, &asks("'compact', 'new-sesion'")),
            "there is no command new-sesion\nhint: did you mean new-session?"
        );
        assert_eq!(
            refusal(actions, &asks("'fly'")),
            "there is no command fly\nhint: the commands are prompt, abort, new-session, resume, \
             compact, set-model, set-thinking, list-models, history, rename, refresh, other, ask"
        );
        let all = Command::NAMES.into_iter().filter(|name| *name != "answer");
        let all = all.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let text = format!("{actions}\n{}", asks(&format!("{all}, 'ask'")));
        assert_eq!(Manifest::parse(&text).unwrap().permits().len(), Command::NAMES.len());
    }

    #[test]
    fn a_manifest_that_is_wrong_is_refused_with_the_reason() {
        let cases = [
            (
                ADAPTER,
                "[permissions.runn]",
                "runn is not a key of [permissions]\nhint: did you mean run?",
            ),
            (
                ADAPTER,
                "colour = 1",
                "colour is not a key of a manifest\nhint: the keys are id, version, kind, world, about, publisher, memory_mib, permissions",
            ),
            (ADAPTER, "publisher = 7", "publisher must be one line of text, of at most 500 bytes"),
            (
                ADAPTER,
                "publisher = \"a\\nb\"",
                "publisher must be one line of text, of at most 500 bytes",
            ),
            (ADAPTER, "memory_mib = 0", "memory_mib must be a number from 1 to 1024"),
            (ADAPTER, "permissions = []", "permissions must be a table"),
            (ADAPTER, "[permissions]\nrun = true", "permissions.run must be a table"),
            (ADAPTER, "[permissions.run]\nreason = \"x\"", "[permissions.run] has no programs"),
            (
                ADAPTER,
                "[permissions.run]\nprograms = []\nreason = \"x\"",
                "permissions.run.programs must be a list of texts, and not empty",
            ),
            (ADAPTER, "[permissions.run]\nprograms = [\"a\"]", "[permissions.run] has no reason"),
            (
                ADAPTER,
                "[permissions.run]\nprograms = [\"a\"]\nreason = \"x\"\nprogram = 1",
                "program is not a key of [permissions.run]\nhint: did you mean programs?",
            ),
            (
                ADAPTER,
                "[permissions.bodies]\nreason = \"x\"",
                "an adapter cannot ask for the permission bodies\nhint: it can ask for run, env",
            ),
            (
                POLICY,
                "[permissions.run]\nprograms = [\"a\"]\nreason = \"x\"",
                "a policy cannot ask for the permission run\nhint: it can ask for store, bodies, rewrite, redirect",
            ),
            ("", "", "a manifest has no id"),
            (
                "",
                "id = \"Codex\"",
                "id must be lower-case letters, digits and hyphens, beginning with a letter",
            ),
            (
                "",
                "id = \"../x\"",
                "id must be lower-case letters, digits and hyphens, beginning with a letter",
            ),
            ("", "id = \"a\"\nversion = \"1\"", "version must be a version such as 1.2.3"),
            (
                "",
                "id = \"a\"\nversion = \"1.0.0\"\nkind = \"plugin\"",
                "kind must be adapter, policy or actions",
            ),
            (
                "",
                "id = \"a\"\nversion = \"1.0.0\"\nkind = \"policy\"\nworld = \"rp:harness/harness-adapter@0.1.0\"",
                "world must be rp:routing/routing-policy@ and a version, for a policy",
            ),
        ];
        for (base, more, expected) in cases {
            assert_eq!(refusal(base, more), expected, "{more}");
        }
        let cut = refusal("", "version = ");
        assert!(cut.starts_with("the manifest is not TOML: line 2: "), "{cut}");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s).{0,300}") {
            let _ = Manifest::parse(&text);
        }

        #[test]
        fn an_id_is_safe_in_a_path(text in ".{0,80}") {
            if let Some(id) = ComponentId::parse(&text) {
                prop_assert!(!id.as_str().contains(['/', '.', '\\', '\0']));
                prop_assert!(!id.as_str().is_empty());
            }
        }
    }
}
