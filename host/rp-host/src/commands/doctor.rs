//! Looking for what is missing or wrong, without changing anything.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde::Serialize;

use super::{Asking, harnesses::about, remote::relay_line};
use crate::{
    api,
    client::Client,
    problem::Problem,
    render::{count, safe},
};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Health {
    Ok,
    /// Worth knowing; everything works.
    Note,
    /// Something does not work.
    Wrong,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    health: Health,
    about: String,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, health: Health, about: &str, found: impl Into<String>, hint: Option<&str>) {
        self.findings.push(Finding {
            health,
            about: about.to_owned(),
            found: found.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn wrong(&self) -> usize {
        self.findings.iter().filter(|finding| finding.health == Health::Wrong).count()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Finding { health, about, found, hint } in &self.findings {
            let mark = match health {
                Health::Ok => "ok   ",
                Health::Note => "note ",
                Health::Wrong => "WRONG",
            };
            text.push_str(&format!("{mark}  {about}: {}\n", safe(found)));
            if let Some(hint) = hint {
                text.push_str(&format!("       {}\n", safe(hint)));
            }
        }
        text
    }
}

impl Asking<'_> {
    pub(super) async fn doctor(&self) -> Result<(), Problem> {
        let mut findings = Findings::default();
        self.look_at_state(&mut findings);
        let client = self.client();
        if client.is_up().await {
            self.look_at_daemon(&client, &mut findings).await?;
        } else {
            let hint = "any command that needs it starts it; the rest is looked at when it runs";
            findings.add(Health::Note, "daemon", "not running", Some(hint));
        }
        self.show(&findings, Findings::text)?;
        match findings.wrong() {
            0 => Ok(()),
            wrong => Err(Problem::failed(format!("{} found", count(wrong, "problem")))
                .hint("the lines above that begin with WRONG say what to do")),
        }
    }

    fn look_at_state(&self, findings: &mut Findings) {
        let path = self.root.host();
        let shown = path.display().to_string();
        match path.metadata() {
            Err(_) => {
                findings.add(Health::Note, "state", format!("{shown} is not there yet"), None)
            }
            Ok(found) if found.permissions().mode() & 0o077 != 0 => findings.add(
                Health::Wrong,
                "state",
                format!("others on this machine can look into {shown}"),
                Some(&format!("chmod 700 {shown}")),
            ),
            Ok(_) => findings.add(Health::Ok, "state", shown, None),
        }
    }

    async fn look_at_daemon(
        &self,
        client: &Client,
        findings: &mut Findings,
    ) -> Result<(), Problem> {
        let status: api::Status = client.get("/v1/status").await?;
        let own = env!("CARGO_PKG_VERSION");
        if status.version == own {
            findings.add(Health::Ok, "daemon", format!("{own}, process {}", status.pid), None);
        } else {
            findings.add(
                Health::Wrong,
                "daemon",
                format!("it is {}, and this program is {own}", status.version),
                Some("`rp-host stop`; the next command starts the new one"),
            );
        }
        look_at_mesh(&status, findings);
        if let Some(relay) = &status.relay {
            look_at_relay(relay, findings);
        }
        look_at_agents(&status, findings);
        for harness in self.ask_harnesses(client).await?.harnesses {
            look_at_harness(&harness, &status, findings);
        }
        look_at_components(&client.get("/v1/components").await?, findings);
        look_at_policies(&client.get("/v1/policies").await?, findings);
        Ok(())
    }
}

fn look_at_relay(relay: &api::Relay, findings: &mut Findings) {
    let found = relay_line(relay);
    let (health, hint) = match (relay.state.as_str(), relay.transport.as_deref()) {
        ("connected", Some("legacy")) => {
            (Health::Note, Some("a relay of this project seals: see docs/self-hosting.md"))
        }
        ("connected", _) => (Health::Ok, None),
        ("off", _) => (Health::Note, Some("`rp-host mesh --help` says how machines get together")),
        ("stopped", _) => (Health::Note, Some("`rp-host relay start` connects")),
        ("connecting", _) => (Health::Note, None),
        _ => (Health::Wrong, Some("attempts go on; `rp-host relay url` names another relay")),
    };
    findings.add(health, "relay", found, hint);
    for warning in &relay.warnings {
        findings.add(Health::Note, "relay", warning, None);
    }
}

fn look_at_mesh(status: &api::Status, findings: &mut Findings) {
    let found = format!("{}, {}", status.mesh.role, count(status.mesh.peers, "peer"));
    if status.mesh.role == "searching" {
        let hint = "`rp-host logs` says what is in the way of the socket";
        return findings.add(Health::Wrong, "mesh", found, Some(hint));
    }
    findings.add(Health::Ok, "mesh", found, None);
    if status.held > 0 {
        let held = format!("{} held", count(status.held, "message"));
        findings.add(Health::Note, "mesh", held, Some("`rp-host held list` shows them"));
    }
}

fn look_at_agents(status: &api::Status, findings: &mut Findings) {
    for agent in &status.agents {
        let detail = agent.detail.as_deref().unwrap_or("");
        let about = format!("agent {}", agent.name);
        if !Path::new(&agent.cwd).is_dir() {
            let hint = format!("make the folder again, or `rp-host remove {}`", agent.id);
            let found = format!("its folder {} is gone", agent.cwd);
            findings.add(Health::Wrong, &about, found, Some(&hint));
        } else if matches!(agent.state.as_str(), "failed" | "backing-off") {
            let hint = format!("`rp-host daemon restart {}` when that is mended", agent.id);
            findings.add(Health::Wrong, &about, format!("{}: {detail}", agent.state), Some(&hint));
        }
    }
}

/// A harness that is not there is only wrong if an agent needs it.
fn look_at_harness(harness: &api::Harness, status: &api::Status, findings: &mut Findings) {
    let description = &harness.description;
    let is_used = status.agents.iter().any(|agent| agent.harness == description.name);
    let name = format!("harness {}", description.name);
    let is_there = harness.installed.is_some() || description.program.is_empty();
    if is_there {
        let health = match &harness.version {
            Some(version)
                if !description.tested.is_empty() && !description.tested.contains(version) =>
            {
                Health::Note
            }
            _ => Health::Ok,
        };
        let version = harness.version.as_ref().map(|version| format!("{version}, "));
        return findings.add(health, &name, version.unwrap_or_default() + &about(harness), None);
    }
    let health = if is_used { Health::Wrong } else { Health::Note };
    if on_own_path(&description.program) {
        let found = format!("{} is on your PATH, and not on the daemon's", description.program);
        let hint = "`rp-host stop`, then start it again from this terminal";
        return findings.add(health, &name, found, Some(hint));
    }
    findings.add(health, &name, "not installed", Some(&description.install));
}

fn on_own_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn look_at_components(components: &api::Components, findings: &mut Findings) {
    for refused in &components.refused {
        let name = format!("component {}", refused.name);
        findings.add(
            Health::Wrong,
            &name,
            refused.error.message.clone(),
            refused.error.hint.as_deref(),
        );
    }
    for component in &components.components {
        let name = format!("component {}", component.id);
        if component.state == "pending" {
            let hint =
                format!("`rp-host component inspect {}` shows what it asks for", component.id);
            findings.add(Health::Note, &name, "waits for your grant", Some(&hint));
        } else if component.state.starts_with("failed") {
            let hint = format!("`rp-host component restart {}`", component.id);
            findings.add(Health::Wrong, &name, component.state.clone(), Some(&hint));
        }
    }
}

fn look_at_policies(policies: &api::Policies, findings: &mut Findings) {
    if let Some(problem) = &policies.problem {
        let hint = format!("correct {}; it is read again at once", policies.settings);
        findings.add(Health::Wrong, "policies", problem.clone(), Some(&hint));
    }
    for policy in policies.policies.iter().filter(|policy| policy.state != "ready") {
        let name = format!("policy {}", policy.id);
        findings.add(Health::Wrong, &name, policy.state.clone(), None);
    }
}
