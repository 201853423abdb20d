//! Buttons of an app and what pressing one does.
//!
//! These are the types of `wit/actions` in the form that clients of the control API see: JSON
//! objects, variants tagged by `type`, names in kebab-case. The meaning of each is documented in
//! the WIT package; only what differs is said here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::session::{Command, State};

/// Steps that one run of an action may have.
pub const MAX_STEPS: usize = 64;

/// Actions that one component may have.
pub const MAX_ACTIONS: usize = 100;

/// The longest name of an action, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A button.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Lower-case words joined by `-`, unique within the component.
    pub name: String,
    /// What the button says.
    pub title: String,
    /// One sentence that says what happens.
    pub summary: String,
    /// A name of an icon or a single character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// JSON Schema of the parameters, an object.
    pub parameters: Value,
    /// Clients ask before they run it.
    pub destructive: bool,
    /// The harnesses it makes sense for, by name; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harnesses: Vec<String>,
}

impl Action {
    /// Whether it makes sense for agents of this harness.
    #[must_use]
    pub fn suits(&self, harness: &str) -> bool {
        self.harnesses.is_empty() || self.harnesses.iter().any(|name| name == harness)
    }
}

/// Whether text can be the name of an action: lower-case words joined by `-`, at most 64 bytes.
#[must_use]
pub fn is_action_name(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_plain);
    text.len() <= MAX_NAME_BYTES && text.split('-').all(is_word)
}

/// An agent on the mesh, as the one the button was pressed for sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The machine, as this one names it; absent for peers of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc: Option<String>,
    /// What messages are sent to.
    pub address: String,
    /// The leaf name.
    pub name: String,
    /// Empty for a peer without a folder.
    pub cwd: String,
    /// The harness, when this host runs the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<String>,
}

/// What an action gets to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The agent the button was pressed for.
    pub agent: Peer,
    /// What its session is like.
    pub state: State,
    /// They fit the action's schema.
    pub parameters: Map<String, Value>,
    /// The other agents this one can reach.
    pub peers: Vec<Peer>,
}

/// Something the host does for an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Step {
    /// Give the agent's session a command.
    Command {
        /// The command.
        command: Command,
    },
    /// Give the agent a prompt and wait until the turn is over.
    Ask {
        /// The prompt's text.
        prompt: String,
    },
    /// Send a message in the agent's name.
    Send {
        /// The recipient's address.
        to: String,
        /// What it says.
        body: Value,
    },
    /// Show this to the person who pressed the button.
    Notify {
        /// What is shown.
        text: String,
    },
}

/// What an action does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Progress {
    /// It waits for the replies to these.
    Steps {
        /// They are done one after the other.
        steps: Vec<Step>,
    },
    /// It is over.
    Finished {
        /// For the person; empty for nothing.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words_joined_by_hyphens() {
        for name in ["compact", "new-session", "run-tests-2", "a"] {
            assert!(is_action_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", "-", "Compact", "new_session", "new--session", "a-", "a b", "ä", &long] {
            assert!(!is_action_name(name), "{name}");
        }
    }

    #[test]
    fn steps_are_objects_tagged_by_type() {
        let step = Step::Command { command: Command::Compact { instructions: None } };
        let json = serde_json::to_value(&step).unwrap_or_default();
        let expected = serde_json::json!({
            "type": "command",
            "command": { "type": "compact", "instructions": null },
        });
        assert_eq!(json, expected);
        let progress: Option<Progress> = serde_json::from_value(serde_json::json!({
            "type": "steps",
            "steps": [{ "type": "send", "to": "/p@web", "body": [1] }],
        }))
        .ok();
        let send = Step::Send { to: "/p@web".to_owned(), body: serde_json::json!([1]) };
        assert_eq!(progress, Some(Progress::Steps { steps: vec![send] }));
    }
}
