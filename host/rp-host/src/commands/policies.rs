//! Commands about the routing policies.

use super::Asking;
use crate::{
    api,
    cli::Policy,
    problem::{Problem, While},
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn policy(&self, policy: Policy) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        match policy {
            Policy::List => {
                let policies: api::Policies = client.get("/v1/policies").await?;
                self.show(&policies, policies_text)
            }
            Policy::Explain { from, to, text, body } => {
                let body = match body {
                    Some(body) => super::messages::json_body(&body)?,
                    None => serde_json::Value::String(text),
                };
                let explain = api::Explain { from, to, body };
                self.show(&client.post("/v1/policies/explain", &explain).await?, explanation_text)
            }
            Policy::Replay { since, settings } => {
                let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                let read = |path: std::path::PathBuf| {
                    let text = std::fs::read_to_string(&path);
                    text.doing(format!("read {}", path.display()))
                };
                let question =
                    api::ReplayPolicies { since_ms, settings: settings.map(read).transpose()? };
                let asked = client.post("/v1/policies/replay", &question);
                let replayed = self.patiently("asking the policies again", asked).await?;
                self.show(&replayed, replay_text)
            }
        }
    }
}

fn policies_text(policies: &api::Policies) -> String {
    let row = |policy: &api::PolicyInForce| {
        let reads = if policy.reads_bodies { "yes" } else { "no" };
        vec![policy.id.clone(), safe(&policy.state), reads.to_owned()]
    };
    let rows: Vec<_> = policies.policies.iter().map(row).collect();
    let mut text = table(&["policy", "state", "reads messages"], &rows);
    if let Some(problem) = &policies.problem {
        text.push_str(&format!("\nnot used: {}\n", safe(problem)));
    }
    text.push_str(&format!("\norder and settings: {}\n", policies.settings));
    text
}

fn explanation_text(explanation: &api::Explanation) -> String {
    let row = |step: &api::PolicySays| {
        vec![step.policy.clone(), step.decision.clone(), safe(step.reason.as_deref().unwrap_or(""))]
    };
    let rows: Vec<_> = explanation.policies.iter().map(row).collect();
    let who = match explanation.recipients.as_slice() {
        [] => "nobody who is here".to_owned(),
        recipients => safe(&recipients.join(", ")),
    };
    format!(
        "the message goes to {who}\n\n{}\ntogether: {}{}\n",
        table(&["policy", "decision", "reason"], &rows),
        explanation.decision,
        explanation.reason.as_ref().map(|reason| format!(": {}", safe(reason))).unwrap_or_default()
    )
}

fn replay_text(replay: &api::PolicyReplay) -> String {
    let row = |changed: &api::Changed| {
        vec![
            crate::render::clock(changed.at_ms),
            safe(&changed.from),
            safe(&changed.to),
            changed.decision.clone(),
            safe(changed.reason.as_deref().unwrap_or("")),
        ]
    };
    let rows: Vec<_> = replay.changed.iter().map(row).collect();
    let mut text = format!(
        "{} messages in the routing log, {} would have been delivered otherwise\n",
        replay.messages, replay.would_change
    );
    if !replay.left_out.is_empty() {
        text.push_str(&format!(
            "not asked, because the log does not have what messages say: {}\n",
            replay.left_out.join(", ")
        ));
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["at", "from", "to", "decision", "reason"], &rows));
    }
    if replay.would_change > replay.changed.len() {
        text.push_str(&format!("only the first {} are shown\n", replay.changed.len()));
    }
    text
}
