//! Questions of permission.

use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{PermissionEffect, PermissionOption, PermissionRequest, QuestionKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inputs;
use crate::item::mcp_tool;
use crate::questions::{Asked, Wanted};
use crate::session::Codex;

/// How much of a command stands in the label of an answer, in characters.
const LABEL_AT_MOST: usize = 60;

/// One of the answers, with what Codex is told then.
struct Choice {
    id: &'static str,
    label: String,
    effect: PermissionEffect,
    result: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommandApproval {
    item_id: String,
    reason: Option<String>,
    command: Option<String>,
    cwd: Option<String>,
    /// The beginning of a command; what begins like it would not be asked for again.
    proposed_execpolicy_amendment: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileChangeApproval {
    item_id: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PermissionsApproval {
    item_id: String,
    reason: Option<String>,
    permissions: Value,
}

/// `mcpServer/elicitation/request`: a server asks for something, or Codex for permission to
/// call one of its tools.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Elicitation {
    server_name: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(rename = "_meta")]
    meta: Option<ElicitationMeta>,
    pub(crate) requested_schema: Option<Value>,
    pub(crate) url: Option<String>,
}

#[derive(Deserialize)]
struct ElicitationMeta {
    codex_approval_kind: Option<String>,
    tool_name: Option<String>,
    tool_description: Option<String>,
    tool_params: Option<Value>,
    /// A word, or a list of words: how long a permission can be given for.
    persist: Option<Value>,
}

impl ElicitationMeta {
    fn persists(&self, how_long: &str) -> bool {
        match &self.persist {
            Some(Value::Array(words)) => words.iter().any(|word| word == how_long),
            Some(word) => word == how_long,
            None => false,
        }
    }
}

impl Codex {
    /// `item/commandExecution/requestApproval`. Codex takes `acceptForSession` and `decline`
    /// even where it does not list them.
    pub(crate) fn command_approval(&self, params: Option<&RawValue>) -> Option<Vec<Asked>> {
        let approval: CommandApproval = member(params)?;
        let mut choices = decisions();
        if let Some(start) = approval.proposed_execpolicy_amendment {
            let label = format!("Always allow commands that begin with `{}`", shown(&start));
            let amendment = json!({"execpolicy_amendment": start});
            let decision = json!({"acceptWithExecpolicyAmendment": amendment});
            choices.insert(2, choice("always", &label, PermissionEffect::AllowAlways, decision));
        }
        let input = json!({"command": approval.command, "cwd": approval.cwd}).to_string();
        let detail = [approval.reason, approval.command].into_iter().flatten();
        let detail = detail.collect::<Vec<_>>().join("\n");
        let request = ("exec_command".to_owned(), input);
        let denial = json!({"decision": "decline"});
        let title = "Run this command?".to_owned();
        Some(vec![permission(Some(approval.item_id), title, detail, request, choices, denial)])
    }

    /// `item/fileChange/requestApproval`. The changes were told with their item.
    pub(crate) fn file_change_approval(&self, params: Option<&RawValue>) -> Option<Vec<Asked>> {
        let approval: FileChangeApproval = member(params)?;
        let call = self.tools.call(&approval.item_id);
        let input = call.map_or_else(|| "{}".to_owned(), |call| call.input.clone());
        let detail = approval.reason.unwrap_or_else(|| paths(&input));
        let request = ("apply_patch".to_owned(), input);
        let denial = json!({"decision": "decline"});
        let title = "Change these files?".to_owned();
        let item = Some(approval.item_id);
        Some(vec![permission(item, title, detail, request, decisions(), denial)])
    }

    /// `item/permissions/requestApproval`. What is granted is named; nothing is a denial.
    pub(crate) fn permissions_approval(&self, params: Option<&RawValue>) -> Option<Vec<Asked>> {
        let approval: PermissionsApproval = member(params)?;
        let input = approval.permissions.to_string();
        let grant = |scope: &str| json!({"permissions": approval.permissions, "scope": scope});
        let denial = json!({"permissions": {}, "scope": "turn"});
        let choices = vec![
            Choice::new("allow", "Allow for this turn", PermissionEffect::AllowOnce, grant("turn")),
            Choice::new(
                "session",
                "Allow for this session",
                PermissionEffect::AllowAlways,
                grant("session"),
            ),
            Choice::new("deny", "Deny", PermissionEffect::DenyOnce, denial.clone()),
        ];
        let request = ("request_permissions".to_owned(), input);
        let title = "Grant these permissions?".to_owned();
        let detail = approval.reason.unwrap_or_default();
        Some(vec![permission(Some(approval.item_id), title, detail, request, choices, denial)])
    }

    /// `mcpServer/elicitation/request`
    pub(crate) fn elicitation(&self, params: Option<&RawValue>) -> Option<Vec<Asked>> {
        let elicitation: Elicitation = member(params)?;
        let approval = elicitation
            .meta
            .as_ref()
            .filter(|meta| meta.codex_approval_kind.as_deref() == Some("mcp_tool_call"));
        match approval {
            Some(meta) => Some(vec![tool_approval(&elicitation, meta)]),
            None => inputs::form(elicitation).map(|asked| vec![asked]),
        }
    }
}

fn tool_approval(elicitation: &Elicitation, meta: &ElicitationMeta) -> Asked {
    let accept = |persist: Value| json!({"action": "accept", "content": {}, "_meta": persist});
    let refuse = |action: &str| json!({"action": action, "content": null, "_meta": null});
    let mut choices =
        vec![Choice::new("allow", "Allow", PermissionEffect::AllowOnce, accept(Value::Null))];
    for (id, label) in [("session", "Allow for this session"), ("always", "Always allow")] {
        if meta.persists(id) {
            let result = accept(json!({"persist": id}));
            choices.push(Choice::new(id, label, PermissionEffect::AllowAlways, result));
        }
    }
    let denial = refuse("decline");
    choices.push(Choice::new("deny", "Deny", PermissionEffect::DenyOnce, denial.clone()));
    let tool = mcp_tool(&elicitation.server_name, meta.tool_name.as_deref().unwrap_or_default());
    let input = meta.tool_params.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
    let detail = meta.tool_description.clone().unwrap_or_default();
    permission(None, elicitation.message.clone(), detail, (tool, input), choices, denial)
}

/// What can be decided about a command or a change of files.
fn decisions() -> Vec<Choice> {
    let allow_always = PermissionEffect::AllowAlways;
    vec![
        choice("allow", "Allow", PermissionEffect::AllowOnce, json!("accept")),
        choice("session", "Allow for this session", allow_always, json!("acceptForSession")),
        choice("deny", "Deny", PermissionEffect::DenyOnce, json!("decline")),
        choice("cancel", "Deny and end the turn", PermissionEffect::DenyOnce, json!("cancel")),
    ]
}

fn choice(id: &'static str, label: &str, effect: PermissionEffect, decision: Value) -> Choice {
    Choice::new(id, label, effect, json!({"decision": decision}))
}

impl Choice {
    fn new(id: &'static str, label: &str, effect: PermissionEffect, result: Value) -> Self {
        Self { id, label: label.to_owned(), effect, result }
    }
}

fn permission(
    item: Option<String>,
    title: String,
    detail: String,
    (tool, input): (String, String),
    choices: Vec<Choice>,
    denial: Value,
) -> Asked {
    let option = |choice: &Choice| PermissionOption {
        id: choice.id.to_owned(),
        label: choice.label.clone(),
        effect: choice.effect,
    };
    let options = choices.iter().map(option).collect();
    Asked {
        suffix: String::new(),
        item,
        title,
        detail,
        kind: QuestionKind::Permission(PermissionRequest { tool, input, options }),
        wanted: Wanted::Decision {
            choices: choices.into_iter().map(|choice| (choice.id, choice.result)).collect(),
            denial,
        },
        expires_ms: None,
    }
}

/// The beginning of a command, on one line.
fn shown(words: &[String]) -> String {
    let text = words.join(" ");
    let mut shown: String =
        text.chars().take_while(|c| !c.is_control()).take(LABEL_AT_MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The files that a patch changes, one a line.
fn paths(input: &str) -> String {
    #[derive(Deserialize)]
    struct Changes {
        changes: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        path: String,
    }
    let changes = serde_json::from_str(input).unwrap_or(Changes { changes: Vec::new() });
    changes.changes.into_iter().map(|change| change.path).collect::<Vec<_>>().join("\n")
}
