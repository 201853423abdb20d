//! Commands about the agents this machine keeps.

use futures_util::future::join_all;
use rp_protocol::session::{Prompt, Reply, Urgency};

use super::Asking;
use crate::{
    api,
    cli::{Create, Daemon},
    client::Client,
    config::did_you_mean,
    host::LIVE,
    problem::{Problem, While},
    render::{duration, safe, table},
};

const SEE_DAEMONS: &str = "`rp-host daemons` says why";

impl Asking<'_> {
    pub(super) async fn create(&self, create: Create) -> Result<(), Problem> {
        let settings = match &create.settings {
            None => serde_json::Map::new(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Problem::usage(format!("--settings is not a JSON object: {error}"))
                    .hint("for example --settings '{\"args\":[\"--verbose\"]}'")
            })?,
        };
        // The daemon may have another working folder: it gets the path from the root.
        let folder = absolute(&create.folder)?;
        let request = api::Create {
            folder,
            name: create.name,
            harness: create.harness,
            model: create.model,
            settings,
        };
        let client = self.daemon_running().await?;
        let created = self.patiently("starting the agent", client.post("/v1/agents", &request));
        let agent: api::Agent = created.await?;
        self.show(&agent, |agent| {
            let address = match &agent.address {
                Some(address) => format!(" as {}", safe(address)),
                None => "; it is not on the mesh yet".to_owned(),
            };
            let (name, id, harness) = (safe(&agent.name), &agent.id, &agent.harness);
            let mut text = format!("created {name} ({id}, {harness}){address}\n");
            if let Some(detail) = &agent.detail {
                text.push_str(&format!("it is {}: {}\n", agent.state, safe(detail)));
            }
            text.push_str(&format!("watch it with `rp-host attach {}`\n", agent.id));
            text
        })
    }

    pub(super) async fn remove(&self, wanted: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, wanted).await?;
        let path = format!("/v1/agents/{}", agent.id);
        let removed: api::Agent =
            self.patiently("waiting for the agent to end", client.delete(&path)).await?;
        self.show(&removed, |agent| {
            let (name, id, folder) = (safe(&agent.name), &agent.id, safe(&agent.cwd));
            format!("removed {name} ({id}); its folder {folder} is untouched")
        })
    }

    pub(super) async fn daemons(&self, wanted: Option<&str>) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agents = self.chosen(&client, wanted).await?;
        self.show(&serde_json::json!({ "agents": agents }), |_| {
            if agents.is_empty() {
                return "no agents; keep one with `rp-host create <folder>`".to_owned();
            }
            agents_table(&agents)
        })
    }

    async fn chosen(
        &self,
        client: &Client,
        wanted: Option<&str>,
    ) -> Result<Vec<api::Agent>, Problem> {
        match wanted {
            Some(wanted) => Ok(vec![self.find(client, wanted).await?]),
            None => Ok(client.get::<api::Status>("/v1/status").await?.agents),
        }
    }

    /// Those that are kept, without the ones that are live in a terminal.
    async fn kept(
        &self,
        client: &Client,
        wanted: Option<&str>,
    ) -> Result<Vec<api::Agent>, Problem> {
        let mut agents = self.chosen(client, wanted).await?;
        agents.retain(|agent| wanted.is_some() || agent.state != LIVE);
        Ok(agents)
    }

    pub(super) async fn daemon(&self, daemon: Daemon) -> Result<(), Problem> {
        match daemon {
            Daemon::Start { agent } => self.change("start", agent.as_deref()).await,
            Daemon::Stop { agent } => self.change("stop", agent.as_deref()).await,
            Daemon::Restart { agent } => self.change("restart", agent.as_deref()).await,
            Daemon::Status { agent } => self.daemons(agent.as_deref()).await,
            Daemon::Send { agent, text } => self.prompt(&agent, text.join(" ")).await,
        }
    }

    /// Does the same to one agent or to all, at the same time; what fails with one does not keep
    /// the others from it.
    async fn change(&self, what: &str, wanted: Option<&str>) -> Result<(), Problem> {
        let client = &self.daemon_running().await?;
        let chosen = self.kept(client, wanted).await?;
        let changing = chosen.iter().map(|agent| async move {
            let changed = client.post(&format!("/v1/agents/{}/{what}", agent.id), &()).await;
            changed.map_err(|problem: Problem| (agent.name.clone(), problem))
        });
        let outcomes =
            self.patiently(&format!("{what}: waiting for the agents"), join_all(changing)).await;
        let (mut changed, mut failed) = (Vec::<api::Agent>::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(agent) => changed.push(agent),
                Err(problem) => failed.push(problem),
            }
        }
        if !changed.is_empty() || failed.is_empty() {
            self.show(&serde_json::json!({ "agents": changed }), |_| agents_table(&changed))?;
        }
        match failed.as_slice() {
            [] => Ok(()),
            [(_, problem)] if wanted.is_some() => Err(problem.clone()),
            [(name, problem)] => {
                let message = format!("could not {what} {}: {problem}", safe(name));
                Err(Problem::failed(message).hint(problem.hint_text().unwrap_or(SEE_DAEMONS)))
            }
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| safe(name)).collect();
                Err(Problem::failed(format!("could not {what} {}", names.join(", ")))
                    .hint(SEE_DAEMONS))
            }
        }
    }

    async fn prompt(&self, wanted: &str, text: String) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, wanted).await?;
        let prompt = Prompt { text, images: Vec::new(), urgency: Urgency::WhenIdle };
        let path = format!("/v1/agents/{}/commands", agent.id);
        let command = api::RunCommand::Prompt(prompt);
        let taken = self.patiently("waiting for the harness", client.post(&path, &command));
        let reply: Reply = taken.await?;
        self.show(&reply, |_| format!("{} took the prompt", safe(&agent.name)))
    }
}

pub(super) fn no_such_agent(wanted: &str, agents: &[api::Agent]) -> Problem {
    let problem = Problem::failed(format!("no agent has the id, name or folder {wanted}"));
    if agents.is_empty() {
        return problem.hint("there are none yet; keep one with `rp-host create <folder>`");
    }
    let names = agents.iter().flat_map(|agent| [agent.id.as_str(), agent.name.as_str()]);
    problem.hint(did_you_mean(wanted, names, "`rp-host daemons` lists the agents"))
}

pub(super) fn agents_table(agents: &[api::Agent]) -> String {
    let rows: Vec<_> = agents
        .iter()
        .map(|agent| {
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "—".to_owned());
            let state = match &agent.detail {
                Some(detail) => format!("{}: {}", agent.state, safe(detail)),
                None => agent.state.clone(),
            };
            vec![
                agent.id.clone(),
                safe(&agent.name),
                agent.harness.clone(),
                or_dash(agent.pid.map(|pid| pid.to_string())),
                or_dash(agent.uptime_ms.map(duration)),
                agent.restarts.to_string(),
                agent.waiting.to_string(),
                safe(&agent.cwd),
                state,
            ]
        })
        .collect();
    table(&["id", "name", "harness", "pid", "up", "restarts", "waiting", "folder", "state"], &rows)
}

/// An absolute path without asking the disk, so that a missing folder keeps its name.
pub fn absolute(folder: &str) -> Result<String, Problem> {
    if folder.trim().is_empty() {
        return Err(Problem::usage("the folder is empty").hint("`.` is the current folder"));
    }
    if folder.starts_with('~') {
        return Ok(folder.to_owned());
    }
    let path = std::path::absolute(folder).doing("find the current folder")?;
    path.into_os_string()
        .into_string()
        .map_err(|_| Problem::usage("the folder's path is not valid UTF-8"))
}
