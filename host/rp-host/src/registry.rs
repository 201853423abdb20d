//! The agents that are kept on this machine: `R/daemons.json`.
//!
//! The file is Remote Pi's, `{"daemons":[{"cwd","name",…}]}`; what it does not know stands in
//! extra keys of an entry, and keys that we do not know are kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    files,
    problem::{Problem, While},
};

/// One kept agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Real, absolute path of its folder.
    pub cwd: String,
    /// Its name on the mesh; the folder's own name when the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The adapter that drives it. Entries of Remote Pi have none: they are Pi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<String>,
    /// The model it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Settings for the adapter.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// A person stopped it: it is not started with the daemon.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// Keys of other programs.
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Entry {
    /// An agent in a folder that exists; the path is made real and absolute.
    pub fn new(folder: &str, name: Option<String>, harness: String) -> Result<Self, Problem> {
        let cwd = real_folder(folder)?;
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Self {
            name: Some(name.unwrap_or_else(|| leaf(&cwd))),
            cwd,
            harness: Some(harness),
            model: None,
            settings: Map::new(),
            stopped: false,
            other: Map::new(),
        })
    }

    /// Its name on the mesh.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| leaf(&self.cwd))
    }

    /// The adapter that drives it.
    pub fn harness(&self) -> &str {
        self.harness.as_deref().unwrap_or("pi")
    }

    /// Eight hexadecimal digits of a hash of the folder, and of the name unless it is the
    /// folder's own: an agent that Remote Pi registered has the same id in both programs.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.cwd.as_bytes());
        let name = self.name();
        if name != leaf(&self.cwd) {
            hash.update([0]);
            hash.update(name.as_bytes());
        }
        hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The last component of a path, or `agent` for the root.
fn leaf(cwd: &str) -> String {
    Path::new(cwd)
        .file_name()
        .map_or_else(|| "agent".to_owned(), |leaf| leaf.to_string_lossy().into_owned())
}

fn real_folder(folder: &str) -> Result<String, Problem> {
    let given = folder;
    let expanded = match (given.strip_prefix('~'), std::env::var("HOME")) {
        (Some(rest), Ok(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(format!("{home}{rest}"))
        }
        _ => PathBuf::from(given),
    };
    let missing = |reason: String| {
        Problem::failed(format!("{} is not a folder: {reason}", expanded.display()))
            .hint("give the path of an existing folder; an agent lives in one")
    };
    let real = expanded.canonicalize().map_err(|error| missing(error.to_string()))?;
    if !real.is_dir() {
        return Err(missing("it is a file".to_owned()));
    }
    real.into_os_string()
        .into_string()
        .map_err(|_| Problem::failed("the folder's path is not valid UTF-8"))
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    /// In the order in which they were added.
    #[serde(default)]
    pub daemons: Vec<Entry>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Registry {
    /// Reads the file; a missing one is an empty registry. A broken one is an error, so that
    /// nothing is overwritten that a person could still mend.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(Problem::failed(format!("could not read {}: {error}", path.display())));
            }
        };
        serde_json::from_str(&text).map_err(|error| {
            Problem::failed(format!("{} is not a registry of agents: {error}", path.display()))
                .hint("mend the file, or move it away to start with no agents")
        })
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<(), Problem> {
        let mut text = serde_json::to_vec_pretty(self).doing("write the registry of agents")?;
        text.push(b'\n');
        files::write_atomically(path, &text).doing(format!("write {}", path.display()))
    }

    /// Adds an agent; the same name in the same folder is refused.
    pub fn add(&mut self, entry: Entry) -> Result<(), Problem> {
        let id = entry.id();
        if self.daemons.iter().any(|known| known.id() == id) {
            return Err(Problem::failed(format!(
                "there is already an agent named {} in {} (id {id})",
                entry.name(),
                entry.cwd
            ))
            .hint("choose another name with --name, or remove the old one first"));
        }
        self.daemons.push(entry);
        Ok(())
    }

    /// Removes an agent by id.
    pub fn remove(&mut self, id: &str) -> Option<Entry> {
        let place = self.daemons.iter().position(|entry| entry.id() == id)?;
        Some(self.daemons.remove(place))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_remote_pi_registered_has_the_same_id() {
        let entry: Entry = serde_json::from_str(r#"{"cwd":"/srv/demo/api"}"#).unwrap();
        // First eight hexadecimal digits of SHA-256 over the path alone.
        let expected: String =
            Sha256::digest(b"/srv/demo/api").iter().take(4).map(|b| format!("{b:02x}")).collect();
        assert_eq!(entry.id(), expected);
        assert_eq!((entry.name().as_str(), entry.harness()), ("api", "pi"));
    }

    #[test]
    fn keys_of_other_programs_survive_a_save() {
        let text = r#"{"daemons":[{"cwd":"/srv/demo","color":"red"}],"version":7}"#;
        let registry: Registry = serde_json::from_str(text).unwrap();
        let again = serde_json::to_value(&registry).unwrap();
        assert_eq!(again["version"], 7);
        assert_eq!(again["daemons"][0]["color"], "red");
    }

    #[test]
    fn the_same_name_in_the_same_folder_is_refused_and_another_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let entry = |name: &str| Entry::new(path, Some(name.to_owned()), "pi".to_owned()).unwrap();
        let mut registry = Registry::default();
        registry.add(entry("reviewer")).unwrap();
        registry.add(entry("writer")).unwrap();
        let refused = registry.add(entry("reviewer")).unwrap_err();
        assert!(refused.to_string().starts_with("there is already an agent named reviewer in /"));
        assert_eq!(registry.daemons.len(), 2);
    }

    #[test]
    fn a_folder_that_is_missing_or_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = |path: &Path| {
            Entry::new(path.to_str().unwrap(), None, "pi".to_owned()).unwrap_err().to_string()
        };
        assert!(refused(&file).ends_with("is not a folder: it is a file"));
        assert!(refused(&folder.path().join("none")).contains("is not a folder: No such file"));
    }

    #[test]
    fn a_broken_file_is_reported_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemons.json");
        std::fs::write(&path, "{").unwrap();
        let problem = Registry::load(&path).unwrap_err();
        assert!(problem.to_string().contains("is not a registry of agents"));
    }
}
