//! What can be granted to a component, one thing at a time, as a person types it.

use std::fmt;
use std::str::FromStr;

use super::PERMISSIONS;

/// A program's name in `run` that stands for the one an agent's own settings name as `command`:
/// the person who wrote the settings chose it.
pub const SETTINGS_COMMAND: &str = "{settings.command}";

/// One thing a component may do: `store`, or one value of a permission that has values, such as
/// `run=pi`. Without a value such a permission stands for all its values: `run`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permit {
    name: &'static str,
    value: Option<String>,
}

/// Why a text names nothing that can be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermitError {
    /// There is no permission of this name.
    #[error("there is no permission {name:?}\nhint: the permissions are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// The permission is given whole or not at all.
    #[error("the permission {name} has no values\nhint: write {name} alone")]
    NoValues {
        /// Its name.
        name: &'static str,
    },
    /// Nothing stands behind the equals sign.
    #[error("{name}= names no value\nhint: write {name} for all its values")]
    Empty {
        /// The permission's name.
        name: &'static str,
    },
}

impl Permit {
    pub(super) fn whole(name: &'static str) -> Self {
        Permit { name, value: None }
    }

    pub(super) fn one(name: &'static str, value: &str) -> Self {
        Permit { name, value: Some(value.to_owned()) }
    }

    /// The permission's name: `run`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value that is meant; `None` for all, and where there are none.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Whether who has this has the other as well.
    #[must_use]
    pub fn covers(&self, other: &Permit) -> bool {
        self.name == other.name && (self.value.is_none() || self.value == other.value)
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Permit {
    type Err = PermitError;

    fn from_str(text: &str) -> Result<Self, PermitError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let row = PERMISSIONS.iter().find(|row| row.name == name);
        let row = row.ok_or_else(|| PermitError::Unknown {
            name: name.to_owned(),
            known: PERMISSIONS.map(|row| row.name).join(", "),
        })?;
        match value {
            None => Ok(Permit::whole(row.name)),
            Some(_) if row.list.is_none() => Err(PermitError::NoValues { name: row.name }),
            Some("") => Err(PermitError::Empty { name: row.name }),
            Some(value) => Ok(Permit::one(row.name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn a_permit_is_written_as_it_is_read() {
        for text in ["store", "run", "run=pi", "send=*", "env=A=B"] {
            assert_eq!(text.parse::<Permit>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_permit_is_explained() {
        let refusal = |text: &str| text.parse::<Permit>().unwrap_err().to_string();
        assert_eq!(
            refusal("fly"),
            "there is no permission \"fly\"\nhint: the permissions are run, env, store, bodies, rewrite, redirect, send, command"
        );
        assert_eq!(
            refusal("store=a"),
            "the permission store has no values\nhint: write store alone"
        );
        assert_eq!(refusal("run="), "run= names no value\nhint: write run for all its values");
    }

    #[test]
    fn all_values_cover_each_of_them_and_not_the_other_way_round() {
        let permit = |text: &str| text.parse::<Permit>().unwrap();
        assert!(permit("run").covers(&permit("run=pi")));
        assert!(permit("run=pi").covers(&permit("run=pi")));
        assert!(!permit("run=pi").covers(&permit("run=sh")));
        assert!(!permit("run=pi").covers(&permit("run")));
        assert!(!permit("run").covers(&permit("env=pi")));
    }
}
