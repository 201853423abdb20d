//! Permission for a tool call, as clients see it and as Claude wants it answered.

use rp_sdk::session::{PermissionEffect, PermissionOption, PermissionRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::decode::Asked;

const ALLOW_ONCE: &str = "allow-once";
const ALLOW_ALWAYS: &str = "allow-always";
const DENY_ONCE: &str = "deny-once";

/// What the model is told of a call that was denied without a word.
const DENIED: &str = "The user did not allow this.";

/// A change of Claude's permissions, such as it suggests with a question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    behavior: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
    mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    tool_name: String,
    rule_content: Option<String>,
}

/// The changes behind "always".
#[derive(Debug, Default)]
pub(crate) struct Always {
    changes: Vec<Value>,
    /// What they allow, for a person.
    label: String,
}

impl Always {
    /// Claude suggests several changes of which one is enough. A rule for calls like this one
    /// allows the least; another mode, which allows much more, is taken only where it is all
    /// there is.
    pub(crate) fn new(asked: &Asked<'_>) -> Self {
        let suggested = asked.permission_suggestions.iter();
        let suggested: Vec<(Change, Value)> = suggested
            .filter_map(|raw| {
                let change = serde_json::from_str(raw.get()).ok()?;
                Some((change, serde_json::from_str(raw.get()).ok()?))
            })
            .collect();
        let is_rule = |change: &Change| {
            change.kind == "addRules" && change.behavior.as_deref() == Some("allow")
        };
        let any_rule = suggested.iter().any(|(change, _)| is_rule(change));
        let taken = suggested.into_iter().filter(|(change, _)| !any_rule || is_rule(change));
        let (changes, values): (Vec<Change>, Vec<Value>) = taken.unzip();
        Self { label: label(&changes), changes: values }
    }
}

fn label(changes: &[Change]) -> String {
    let rules: Vec<String> = changes
        .iter()
        .flat_map(|change| &change.rules)
        .map(|rule| match &rule.rule_content {
            Some(content) => format!("{}({content})", rule.tool_name),
            None => rule.tool_name.clone(),
        })
        .collect();
    let mode = changes.iter().find_map(|change| change.mode.as_deref());
    match (rules.is_empty(), mode) {
        (false, _) => format!("Always allow {}", rules.join(", ")),
        (true, Some(mode)) => format!("Allow, and go on in the mode {mode}"),
        (true, None) => "Always allow".to_owned(),
    }
}

/// What a person is asked. `input` is what the tool was called with.
pub(crate) fn request(tool: &str, input: &str, always: &Always) -> PermissionRequest {
    let option = |id: &str, label: &str, effect| PermissionOption {
        id: id.to_owned(),
        label: label.to_owned(),
        effect,
    };
    let lasting = (!always.changes.is_empty())
        .then(|| option(ALLOW_ALWAYS, &always.label, PermissionEffect::AllowAlways));
    let options = [option(ALLOW_ONCE, "Allow once", PermissionEffect::AllowOnce)]
        .into_iter()
        .chain(lasting)
        .chain([option(DENY_ONCE, "Deny", PermissionEffect::DenyOnce)]);
    PermissionRequest { tool: tool.to_owned(), input: input.to_owned(), options: options.collect() }
}

/// Claude's answer for an option. `None` when there is no such option.
pub(crate) fn answer(option: &str, always: &Always) -> Option<Value> {
    match option {
        ALLOW_ONCE => Some(json!({"behavior": "allow"})),
        ALLOW_ALWAYS if !always.changes.is_empty() => {
            Some(json!({"behavior": "allow", "updatedPermissions": always.changes}))
        }
        DENY_ONCE => Some(denial(DENIED)),
        _ => None,
    }
}

/// Says no, and to the model why. The turn goes on.
pub(crate) fn denial(why: &str) -> Value {
    json!({"behavior": "deny", "message": why})
}
