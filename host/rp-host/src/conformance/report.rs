//! What was checked, and what came of it.

use std::fmt::Display;

use rp_protocol::component::Manifest;
use serde::Serialize;

use super::{Measured, Shown, Subject};
use crate::render::{count, safe, table};

/// Text from a component that is shown; the rest is left out.
const SHOWN: usize = 300;

/// One thing that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What must be so.
    pub check: String,
    /// It is so.
    pub ok: bool,
    /// What was found, where that tells more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What should have come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What came instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came: Option<String>,
}

/// Everything that was checked, in order.
#[derive(Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// It is so.
    pub fn ok(&mut self, check: impl Display, found: impl Display) {
        let found = Some(short(&found.to_string())).filter(|found| !found.is_empty());
        let check = check.to_string();
        self.0.push(Check { check, ok: true, found, expected: None, came: None });
    }

    /// It is not.
    pub fn failed(&mut self, check: impl Display, expected: impl Display, came: impl Display) {
        self.0.push(Check {
            check: check.to_string(),
            ok: false,
            found: None,
            expected: Some(expected.to_string()),
            came: Some(short(&came.to_string())),
        });
    }

    /// It is so if there is a finding, and not if there is an error.
    pub fn result<E: Display>(
        &mut self,
        check: impl Display,
        expected: impl Display,
        outcome: Result<impl Display, E>,
    ) {
        match outcome {
            Ok(found) => self.ok(check, found),
            Err(came) => self.failed(check, expected, came),
        }
    }
}

/// A component and all that was checked of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its id, or what was asked for when that could not be read.
    pub component: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of `component.wasm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// In order.
    pub checks: Vec<Check>,
    /// How many of them failed.
    pub failed: usize,
    /// Of an adapter: what its recordings show of each harness.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<Measured>,
}

impl Report {
    /// Of something that is not even a package.
    pub fn new(component: &str, checks: Checks) -> Self {
        let checks = checks.0;
        Report {
            component: component.to_owned(),
            version: None,
            kind: None,
            sha256: None,
            failed: checks.iter().filter(|check| !check.ok).count(),
            checks,
            abilities: Vec::new(),
        }
    }

    /// Of a component.
    pub fn of(subject: &Subject, checks: Checks) -> Self {
        let Manifest { id, version, kind, .. } = &subject.manifest;
        Report {
            version: Some(version.to_string()),
            kind: Some(kind.to_string()),
            sha256: Some(subject.sha256.clone()),
            ..Report::new(id.as_str(), checks)
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = safe(&self.component);
        if let (Some(version), Some(kind)) = (&self.version, &self.kind) {
            text.push_str(&format!(" {version}, {kind}"));
        }
        text.push('\n');
        for Check { check, ok, found, expected, came } in &self.checks {
            text.push_str(if *ok { "ok      " } else { "FAILED  " });
            text.push_str(&safe(check));
            if let Some(found) = found {
                text.push_str(&format!(": {}", on_one_line(found)));
            }
            text.push('\n');
            if let (Some(expected), Some(came)) = (expected, came) {
                let (expected, came) = (on_one_line(expected), on_one_line(came));
                text.push_str(&format!("        expected  {expected}\n        came      {came}\n"));
            }
        }
        if !self.abilities.is_empty() {
            text.push_str(&format!("\n{}", matrix(&self.abilities)));
        }
        let failed = match self.failed {
            0 => "none failed".to_owned(),
            failed => format!("{failed} failed"),
        };
        text.push_str(&format!("\n{}, {failed}\n", count(self.checks.len(), "check")));
        text
    }
}

/// A row for each ability and what is known of it.
fn matrix(measured: &[Measured]) -> String {
    let mut text = String::new();
    for (place, Measured { harness, recordings, abilities }) in measured.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        let told = |shown: &&Shown| shown.declared || shown.is_seen();
        let rows: Vec<Vec<String>> = abilities
            .iter()
            .filter(told)
            .map(|shown| {
                let declared = if shown.declared { "declared" } else { "·" };
                vec![shown.ability.name(), declared.to_owned(), shown.in_words(*recordings)]
            })
            .collect();
        let measured = match recordings {
            0 => format!("{harness}, measured"),
            some => format!("{harness}, measured in {}", count(*some, "recording")),
        };
        text.push_str(&table(&["ability", "adapter", &measured], &rows));
    }
    text
}

fn on_one_line(text: &str) -> String {
    safe(text).replace("\n\n", "\n").replace('\n', "; ")
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    match text.get(..end) {
        Some(start) if end < text.len() => format!("{start}…"),
        _ => text.to_owned(),
    }
}
