//! What a person has granted, kept by component and publisher.
//!
//! A grant remembers what was asked when it was given. A later version of the same publisher that
//! asks for no more is covered by it; one that asks for more waits until a person decides again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rp_protocol::component::{ComponentId, Manifest, Permit, PermitError, toml_problem};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::signature::{Publisher, SignatureError};
use crate::system::SystemPolicy;
use crate::text::read_text;

/// Above the file, for who opens it.
const HEADER: &str = "# What was granted to components: see `rp-host component grant --help`.\n";

/// What a person decided about one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who had published it; another publisher is another component.
    pub publisher: Publisher,
    /// Everything it asked for then.
    pub requested: Vec<Permit>,
    /// What it got of that.
    pub granted: Vec<Permit>,
    /// It is to stay off.
    pub disabled: bool,
    /// A person let it run, or nobody had to be asked. Without that only `disabled` counts.
    pub accepted: bool,
}

/// All grants of this machine's user.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    of: BTreeMap<ComponentId, Grant>,
}

/// Whether a component may run, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// With these permits, which is what it asks for, what the person granted and what the machine
    /// allows, all at once.
    Granted(Vec<Permit>),
    /// Not before a person has decided about these.
    Pending(Vec<Permit>),
    /// A person switched it off.
    Disabled,
    /// Its id belongs to somebody else: the text names both.
    Impostor(String),
}

/// Why grants could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The file is damaged; nothing is granted by guessing.
    #[error("{}: {reason}\nhint: correct it, or move it away and grant again", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be granted was not asked for.
    #[error("{id} does not ask for {permit}\nhint: it asks for {asked}")]
    NotAsked {
        /// The component.
        id: ComponentId,
        /// What was to be granted.
        permit: Permit,
        /// What it asks for.
        asked: String,
    },
    /// The machine's administrator forbids it.
    #[error("{} forbids the permission {permit}", .by.display())]
    Forbidden {
        /// What was to be granted.
        permit: Permit,
        /// The file that forbids it.
        by: PathBuf,
    },
    /// The system did not let the file be read or written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// One table of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    publisher: String,
    /// For who reads the file: two versions that ask for the same have the same hash.
    request_hash: String,
    requested: Vec<String>,
    granted: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    accepted: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_yes(accepted: &bool) -> bool {
    *accepted
}

impl Grants {
    /// Reads the file; without one nothing is granted.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, GrantError> {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(GrantError::Io { path: path.to_owned(), error }),
        };
        let syntax = |reason: String| GrantError::Syntax { path: path.to_owned(), reason };
        let written: BTreeMap<String, Written> =
            toml::from_str(&text).map_err(|error| syntax(toml_problem(&text, &error)))?;
        let mut of = BTreeMap::new();
        for (id, written) in written {
            let id = ComponentId::parse(&id).ok_or_else(|| syntax(format!("{id:?} is no id")))?;
            let grant = written.read().map_err(|reason| syntax(format!("{id}: {reason}")))?;
            of.insert(id, grant);
        }
        Ok(Grants { of })
    }

    /// What was decided about a component.
    #[must_use]
    pub fn get(&self, id: &ComponentId) -> Option<&Grant> {
        self.of.get(id)
    }

    /// Whether a package may run, and with what. One that ships with the program is granted what it
    /// asks until a person says otherwise. One that `takes_over` from such a one asks in any case.
    #[must_use]
    pub fn decide(
        &self,
        manifest: &Manifest,
        publisher: &Publisher,
        takes_over: bool,
        system: &SystemPolicy,
    ) -> Decision {
        let requested = manifest.permits();
        let known = self.of.get(&manifest.id).filter(|grant| {
            // What was decided about the one that ships says nothing of one in its place, and the
            // other way round.
            let ships = Publisher::BuiltIn;
            grant.publisher == *publisher || (grant.publisher != ships && *publisher != ships)
        });
        let grant = match known {
            Some(grant) if grant.publisher != *publisher => {
                return Decision::Impostor(impostor(&manifest.id, &grant.publisher, publisher));
            }
            Some(grant) if grant.disabled => return Decision::Disabled,
            Some(grant) if grant.accepted => grant,
            _ if *publisher == Publisher::BuiltIn || (requested.is_empty() && !takes_over) => {
                let allowed = requested.into_iter().filter(|permit| system.allows(permit));
                return Decision::Granted(allowed.collect());
            }
            _ => return Decision::Pending(requested),
        };
        let new: Vec<Permit> =
            requested.iter().filter(|permit| !grant.requested.contains(permit)).cloned().collect();
        if !new.is_empty() {
            return Decision::Pending(new);
        }
        let has = |permit: &Permit| grant.granted.contains(permit) && system.allows(permit);
        Decision::Granted(requested.into_iter().filter(has).collect())
    }

    /// Grants what `chosen` covers of what a component asks for, besides what it has already. With
    /// nothing chosen the component may run without any permission.
    ///
    /// # Errors
    /// Something was not asked for, or is forbidden on this machine.
    pub fn grant(
        &mut self,
        manifest: &Manifest,
        publisher: &Publisher,
        chosen: &[Permit],
        system: &SystemPolicy,
    ) -> Result<(), GrantError> {
        let requested = manifest.permits();
        for permit in chosen {
            let mut meant = requested.iter().filter(|asked| permit.covers(asked)).peekable();
            if meant.peek().is_none() {
                let asked = requested.iter().map(ToString::to_string).collect::<Vec<_>>();
                let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
                return Err(GrantError::NotAsked {
                    id: manifest.id.clone(),
                    permit: permit.clone(),
                    asked,
                });
            }
            if let Some(forbidden) = meant.find(|asked| !system.allows(asked)) {
                return Err(GrantError::Forbidden {
                    permit: forbidden.clone(),
                    by: system.path().to_owned(),
                });
            }
        }
        let before = self.of.get(&manifest.id).filter(|grant| grant.publisher == *publisher);
        let had = before.map(|grant| grant.granted.clone()).unwrap_or_default();
        let disabled = before.is_some_and(|grant| grant.disabled);
        let granted = requested
            .iter()
            .filter(|asked| had.contains(asked) || chosen.iter().any(|permit| permit.covers(asked)))
            .cloned()
            .collect();
        let publisher = publisher.clone();
        let grant = Grant { publisher, requested, granted, disabled, accepted: true };
        self.of.insert(manifest.id.clone(), grant);
        Ok(())
    }

    /// Takes back what `chosen` covers; everything if nothing is chosen. The component goes on
    /// without it. Tells what was taken.
    pub fn revoke(
        &mut self,
        manifest: &Manifest,
        publisher: &Publisher,
        chosen: &[Permit],
    ) -> Vec<Permit> {
        let grant = self.decided(manifest, publisher);
        let is_meant =
            |held: &Permit| chosen.is_empty() || chosen.iter().any(|permit| permit.covers(held));
        let (taken, kept) = std::mem::take(&mut grant.granted).into_iter().partition(is_meant);
        grant.granted = kept;
        taken
    }

    /// Switches a component off or on again.
    pub fn set_disabled(&mut self, manifest: &Manifest, publisher: &Publisher, disabled: bool) {
        self.decided(manifest, publisher).disabled = disabled;
    }

    /// What was decided about a component that runs, written out if it was not.
    fn decided(&mut self, manifest: &Manifest, publisher: &Publisher) -> &mut Grant {
        // What ships is granted what it asks; about others nobody decided yet.
        let accepted = *publisher == Publisher::BuiltIn;
        let requested = if accepted { manifest.permits() } else { Vec::new() };
        let undecided = Grant {
            publisher: publisher.clone(),
            granted: requested.clone(),
            requested,
            disabled: false,
            accepted,
        };
        let grant = self.of.entry(manifest.id.clone()).or_insert_with(|| undecided.clone());
        if grant.publisher != *publisher {
            *grant = undecided;
        }
        grant
    }

    /// Forgets everything about a component, whose id is free again for any publisher.
    pub fn forget(&mut self, id: &ComponentId) {
        self.of.remove(id);
    }

    /// The file's new content.
    #[must_use]
    pub fn to_text(&self) -> String {
        let written: BTreeMap<&str, Written> =
            self.of.iter().map(|(id, grant)| (id.as_str(), Written::from(grant))).collect();
        // A table of tables of texts always has a form in TOML.
        format!("{HEADER}{}", toml::to_string(&written).unwrap_or_default())
    }
}

fn impostor(id: &ComponentId, known: &Publisher, new: &Publisher) -> String {
    let owner = match known {
        Publisher::Key(key) => format!("the publisher {key}"),
        other => format!("an {other} package"),
    };
    format!(
        "the id {id} belongs to {owner}, and this package is of another publisher: {new}\nhint: if you trust the new one, `rp-host component remove {id}` first"
    )
}

/// Identifies a set of requests.
fn request_hash(requested: &[Permit]) -> String {
    let mut hash = Sha256::new();
    for permit in requested {
        hash.update(permit.to_string());
        hash.update("\n");
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Written {
    fn read(self) -> Result<Grant, String> {
        let permits = |texts: Vec<String>| -> Result<Vec<Permit>, PermitError> {
            texts.iter().map(|text| text.parse()).collect()
        };
        let publisher = self.publisher.parse();
        let requested = permits(self.requested).map_err(|error| error.to_string())?;
        if request_hash(&requested) != self.request_hash {
            return Err("request_hash does not fit what was requested".to_owned());
        }
        Ok(Grant {
            publisher: publisher.map_err(|error: SignatureError| error.to_string())?,
            requested,
            granted: permits(self.granted).map_err(|error| error.to_string())?,
            disabled: self.disabled,
            accepted: self.accepted,
        })
    }
}

impl From<&Grant> for Written {
    fn from(grant: &Grant) -> Self {
        let texts = |permits: &[Permit]| permits.iter().map(ToString::to_string).collect();
        Written {
            publisher: grant.publisher.to_string(),
            request_hash: request_hash(&grant.requested),
            requested: texts(&grant.requested),
            granted: texts(&grant.granted),
            disabled: grant.disabled,
            accepted: grant.accepted,
        }
    }
}
