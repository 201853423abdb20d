//! What the machine's administrator lets nobody grant: a file above every user's own grants.

use std::io;
use std::path::{Path, PathBuf};

use rp_protocol::component::{ComponentId, Permit, PermitError, toml_problem};
use serde::Deserialize;

use crate::signature::{Publisher, SignatureError};

/// The rules of the machine. Without a file there are none.
#[derive(Debug, Clone, Default)]
pub struct SystemPolicy {
    path: PathBuf,
    forbid_unsigned: bool,
    publishers: Option<Vec<Publisher>>,
    forbidden_components: Vec<String>,
    forbidden: Vec<Permit>,
}

/// Why the file was refused. It is not passed over: who wrote it wanted something forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct SystemPolicyError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    #[error(
        "{0}\nhint: its keys are forbid_unsigned, publishers, forbidden_components and forbidden_permissions"
    )]
    Syntax(String),
    #[error("{0}")]
    Permit(#[from] PermitError),
    #[error("{0}")]
    Publisher(#[from] SignatureError),
}

/// The file as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    forbid_unsigned: bool,
    publishers: Option<Vec<String>>,
    forbidden_components: Vec<String>,
    forbidden_permissions: Vec<String>,
}

impl SystemPolicy {
    /// Reads the file; no file means no rules.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, SystemPolicyError> {
        let wrong = |reason| SystemPolicyError { path: path.to_owned(), reason };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(error.into())),
        };
        Self::parse(path, &text).map_err(wrong)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Reason> {
        let written: Written =
            toml::from_str(text).map_err(|error| Reason::Syntax(toml_problem(text, &error)))?;
        let publishers = written
            .publishers
            .map(|keys| keys.iter().map(|key| key.parse()).collect::<Result<Vec<Publisher>, _>>());
        let forbidden = written.forbidden_permissions.iter().map(|text| text.parse());
        Ok(SystemPolicy {
            path: path.to_owned(),
            forbid_unsigned: written.forbid_unsigned,
            publishers: publishers.transpose()?,
            forbidden_components: written.forbidden_components,
            forbidden: forbidden.collect::<Result<_, _>>()?,
        })
    }

    /// Why a component may not be used at all on this machine.
    #[must_use]
    pub fn refuses(&self, id: &ComponentId, publisher: &Publisher) -> Option<String> {
        let by = self.path.display();
        if self.forbidden_components.iter().any(|forbidden| forbidden == id.as_str()) {
            return Some(format!("{by} forbids the component {id}"));
        }
        if self.forbid_unsigned && *publisher == Publisher::Unsigned {
            return Some(format!("{by} forbids unsigned components"));
        }
        match &self.publishers {
            Some(allowed) if *publisher != Publisher::BuiltIn && !allowed.contains(publisher) => {
                Some(format!("{by} does not list the publisher {publisher}"))
            }
            _ => None,
        }
    }

    /// Whether a permit may be granted.
    #[must_use]
    pub fn allows(&self, permit: &Permit) -> bool {
        !self.forbidden.iter().any(|forbidden| forbidden.covers(permit))
    }

    /// The file the rules are from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
