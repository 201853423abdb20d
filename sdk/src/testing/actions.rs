//! Contexts that tests change as they need.

use serde_json::Value;

use crate::handler::{Context, Handler, Peer};
use crate::session::State;

/// A peer of this machine with this name.
#[must_use]
pub fn peer(name: &str) -> Peer {
    Peer {
        pc: None,
        address: format!("/home/ann/project@{name}"),
        name: name.to_owned(),
        cwd: "/home/ann/project".to_owned(),
        harness: Some("pi".to_owned()),
    }
}

/// The button was pressed for the agent `web`, which waits for a prompt and reaches nobody.
#[must_use]
pub fn context(parameters: &str) -> Context {
    Context {
        agent: peer("web"),
        state: State::default(),
        parameters: parameters.to_owned(),
        peers: Vec::new(),
    }
}

/// The actions whose schema allows parameters that it does not name, or has one that it does
/// not describe.
#[must_use]
pub fn with_loose_schemas<H: Handler>() -> Vec<String> {
    let is_strict = |schema: &Value| {
        let properties = schema.get("properties").and_then(Value::as_object);
        let described = properties.is_some_and(|all| {
            all.values().all(|one| one.get("description").is_some_and(Value::is_string))
        });
        described && schema.get("additionalProperties") == Some(&Value::Bool(false))
    };
    let is_loose = |text: &str| {
        text != "{}" && !serde_json::from_str(text).is_ok_and(|schema| is_strict(&schema))
    };
    let actions = H::actions().into_iter();
    actions.filter(|action| is_loose(&action.parameters)).map(|action| action.name).collect()
}
