//! One function per command: ask the daemon, show the answer.

use std::{path::Path, time::Duration};

use clap::CommandFactory;
use rp_protocol::session::{Prompt, Reply, Urgency};
use serde::Serialize;
use serde_json::Value;

use crate::{
    api, attach,
    cli::{Cli, Command, Component, Create, Daemon, Global, Send},
    client::Client,
    config::{Settings, did_you_mean},
    output,
    paths::StateRoot,
    problem::{Problem, While},
    render::{clock, count, duration, safe, table},
};

/// A daemon that was started in the background must answer within this time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs one command that talks to the daemon.
pub async fn run(root: &StateRoot, global: &Global, command: Command) -> Result<(), Problem> {
    let asking = Asking { root, json: global.json, no_start: global.no_start };
    match command {
        Command::Status => asking.status().await,
        Command::Peers => asking.peers().await,
        Command::Create(create) => asking.create(create).await,
        Command::Remove { agent } => asking.remove(&agent).await,
        Command::Daemons => asking.daemons(None).await,
        Command::Daemon(daemon) => asking.daemon(daemon).await,
        Command::Send(send) => asking.send(send).await,
        Command::Inbox { agent } => asking.inbox(&agent).await,
        Command::Trace { id } => asking.trace(&id).await,
        Command::Attach { agent, last } => {
            let client = asking.daemon_running().await?;
            let agent = asking.find(&client, &agent).await?;
            attach::attach(&client, &agent, last, asking.json).await
        }
        Command::Logs { component, lines } => asking.logs(component.as_deref(), lines),
        Command::Config => asking.config(),
        Command::Harnesses => asking.harnesses().await,
        Command::Component(Component::List) => asking.components().await,
        Command::Component(Component::Inspect { id }) => asking.component(&id).await,
        Command::Stop => asking.stop().await,
        Command::Serve
        | Command::Mcp
        | Command::DemoAgent
        | Command::Completions { .. }
        | Command::Manual { .. } => Err(Problem::failed("this command needs no daemon")),
    }
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rp-host", &mut script);
    output::raw(&script)
}

/// Writes the manual pages.
pub fn manual(folder: &Path) -> Result<(), Problem> {
    clap_mangen::generate_to(Cli::command(), folder)
        .doing(format!("write the manual pages into {}", folder.display()))
}

/// One command that is being answered.
struct Asking<'a> {
    root: &'a StateRoot,
    json: bool,
    no_start: bool,
}

impl Asking<'_> {
    fn client(&self) -> Client {
        Client::new(self.root.control_socket())
    }

    /// A client of a daemon that runs; starts one in the background if none does.
    async fn daemon_running(&self) -> Result<Client, Problem> {
        let client = self.client();
        if client.is_up().await {
            return Ok(client);
        }
        if self.no_start {
            return Err(Problem::unreachable("the daemon is not running")
                .hint("start it with `rp-host serve`, or leave out --no-start"));
        }
        output::note("starting the daemon in the background …");
        let mut daemon = start_in_background(self.root)?;
        if client.wait_until_up(START_LIMIT, &mut daemon).await {
            return Ok(client);
        }
        let log = self.root.daemon_log();
        let last = std::fs::read_to_string(&log).unwrap_or_default();
        let reason = last.lines().rev().find_map(|line| line.strip_prefix("error: "));
        Err(Problem::unreachable(match reason {
            Some(reason) => format!("the daemon did not start: {reason}"),
            None => "the daemon did not start".to_owned(),
        })
        .hint(format!("see {}, or run `rp-host serve` to watch it", log.display())))
    }

    /// The one agent that has this id, name or folder.
    async fn find(&self, client: &Client, wanted: &str) -> Result<api::Agent, Problem> {
        let status: api::Status = client.get("/v1/status").await?;
        let folder = Path::new(wanted).canonicalize().ok();
        let folder = folder.as_deref().and_then(Path::to_str);
        let by_id = |agent: &&api::Agent| agent.id == wanted;
        if let Some(agent) = status.agents.iter().find(by_id) {
            return Ok(agent.clone());
        }
        let matching: Vec<_> = status
            .agents
            .iter()
            .filter(|a| {
                a.name == wanted
                    || Some(a.cwd.as_str()) == folder
                    || a.address.as_deref() == Some(wanted)
            })
            .collect();
        match matching.as_slice() {
            [agent] => Ok((*agent).clone()),
            [] => Err(no_such_agent(wanted, &status.agents)),
            several => {
                let ids: Vec<_> = several.iter().map(|agent| agent.id.as_str()).collect();
                Err(Problem::usage(format!("{wanted} is the name of several agents"))
                    .hint(format!("name one by its id: {}", ids.join(", "))))
            }
        }
    }

    fn show<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Problem> {
        output::answer(self.json, value, human)
    }

    async fn status(&self) -> Result<(), Problem> {
        let client = self.client();
        if !client.is_up().await {
            return Err(Problem::unreachable("the daemon is not running")
                .hint("start it with `rp-host serve`, or create an agent with `rp-host create`"));
        }
        let status: api::Status = client.get("/v1/status").await?;
        self.show(&status, |status| {
            let mut text = format!(
                "rp-host {} runs as process {} since {}\nstate root  {}\nmesh        {}, {}, policy {}\n",
                status.version,
                status.pid,
                duration(status.uptime_ms),
                status.state_root,
                status.mesh.role,
                count(status.mesh.peers, "peer"),
                status.mesh.policy,
            );
            text.push_str(&format!("agents      {}\n", status.agents.len()));
            if !status.agents.is_empty() {
                text.push('\n');
                text.push_str(&agents_table(&status.agents));
            }
            text
        })
    }

    async fn peers(&self) -> Result<(), Problem> {
        let peers: api::Peers = self.daemon_running().await?.get("/v1/peers").await?;
        self.show(&peers, |peers| {
            let rows: Vec<_> = peers
                .peers
                .iter()
                .map(|peer| {
                    let harness = peer.harness.clone().unwrap_or_else(|| "—".to_owned());
                    let state = peer.state.clone().unwrap_or_else(|| "—".to_owned());
                    vec![safe(&peer.address), harness, state]
                })
                .collect();
            table(&["address", "harness", "state"], &rows)
        })
    }

    async fn create(&self, create: Create) -> Result<(), Problem> {
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
        let agent: api::Agent = self.daemon_running().await?.post("/v1/agents", &request).await?;
        self.show(&agent, |agent| {
            let address = agent.address.clone().unwrap_or_else(|| agent.name.clone());
            let mut text = format!(
                "created {} ({}, {}) as {}\n",
                agent.name,
                agent.id,
                agent.harness,
                safe(&address)
            );
            if let Some(detail) = &agent.detail {
                text.push_str(&format!("it is {}: {}\n", agent.state, safe(detail)));
            }
            text.push_str(&format!("watch it with `rp-host attach {}`\n", agent.id));
            text
        })
    }

    async fn remove(&self, wanted: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, wanted).await?;
        let removed: api::Agent = client.delete(&format!("/v1/agents/{}", agent.id)).await?;
        self.show(&removed, |agent| {
            format!("removed {} ({}); its folder {} is untouched", agent.name, agent.id, agent.cwd)
        })
    }

    async fn daemons(&self, wanted: Option<&str>) -> Result<(), Problem> {
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

    async fn daemon(&self, daemon: Daemon) -> Result<(), Problem> {
        match daemon {
            Daemon::Start { agent } => self.change("start", agent.as_deref()).await,
            Daemon::Stop { agent } => self.change("stop", agent.as_deref()).await,
            Daemon::Restart { agent } => self.change("restart", agent.as_deref()).await,
            Daemon::Status { agent } => self.daemons(agent.as_deref()).await,
            Daemon::Send { agent, text } => self.prompt(&agent, text.join(" ")).await,
        }
    }

    async fn change(&self, what: &str, wanted: Option<&str>) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let mut changed = Vec::new();
        for agent in self.chosen(&client, wanted).await? {
            let path = format!("/v1/agents/{}/{what}", agent.id);
            changed.push(client.post::<api::Agent>(&path, &()).await?);
        }
        self.show(&serde_json::json!({ "agents": changed }), |_| agents_table(&changed))
    }

    async fn prompt(&self, wanted: &str, text: String) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, wanted).await?;
        let prompt = Prompt { text, images: Vec::new(), urgency: Urgency::WhenIdle };
        let path = format!("/v1/agents/{}/commands", agent.id);
        let reply: Reply = client.post(&path, &api::RunCommand::Prompt(prompt)).await?;
        self.show(&reply, |_| format!("{} took the prompt", agent.name))
    }

    async fn send(&self, send: Send) -> Result<(), Problem> {
        let body = match &send.body {
            Some(json) => serde_json::from_str(json).map_err(|error| {
                Problem::usage(format!("--body is not JSON: {error}"))
                    .hint("leave out --body to send plain text")
            })?,
            None => Value::String(send.text.join(" ")),
        };
        let client = self.daemon_running().await?;
        let to = api::Destination::One(send.address);
        let request = api::Send { to, body, re: send.re };
        let sent: api::Sent = client.post("/v1/messages", &request).await?;
        if let Some(refused) = refusal(&sent) {
            return Err(refused);
        }
        if let Some(stage) = send.wait {
            let path = format!(
                "/v1/messages/{}/trace?until={}&wait_ms={}",
                sent.id,
                stage.name(),
                send.timeout.saturating_mul(1000)
            );
            let trace: api::Trace = client.get(&path).await?;
            if !trace.steps.iter().any(|step| step.stage == stage.name()) {
                return Err(Problem::failed(format!(
                    "the message was not {} within {} s",
                    stage.name(),
                    send.timeout
                ))
                .hint(format!("see how far it came with `rp-host trace {}`", sent.id)));
            }
        }
        self.show(&sent, |sent| {
            let lines: Vec<_> =
                sent.outcomes.iter().map(|o| format!("{}: {}", safe(&o.to), o.status)).collect();
            format!("{}\n{}", sent.id, lines.join("\n"))
        })
    }

    async fn inbox(&self, wanted: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let id = if wanted == "person" {
            "person".to_owned()
        } else {
            self.find(&client, wanted).await?.id
        };
        let inbox: api::Inbox = client.get(&format!("/v1/agents/{id}/inbox")).await?;
        self.show(&inbox, |inbox| {
            if inbox.messages.is_empty() {
                return "no messages".to_owned();
            }
            inbox.messages.iter().map(message_block).collect::<Vec<_>>().join("\n")
        })
    }

    async fn trace(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v1/messages/{}/trace", url_part(id)?);
        let trace: api::Trace = self.daemon_running().await?.get(&path).await?;
        if trace.steps.is_empty() {
            return Err(Problem::failed(format!("no message has the id {id}")).hint(
                "ids are printed by `rp-host send` and `rp-host inbox`; old traces are dropped",
            ));
        }
        self.show(&trace, |trace| {
            let first = trace.steps.first().map_or(0, |step| step.at_ms);
            let rows: Vec<_> = trace
                .steps
                .iter()
                .map(|step| {
                    vec![
                        clock(step.at_ms),
                        format!("+{}", duration(step.at_ms.saturating_sub(first))),
                        step.stage.clone(),
                        step.agent.clone().unwrap_or_default(),
                        safe(step.detail.as_deref().unwrap_or_default()),
                    ]
                })
                .collect();
            table(&["time (UTC)", "after", "stage", "agent", "detail"], &rows)
        })
    }

    fn logs(&self, component: Option<&str>, lines: usize) -> Result<(), Problem> {
        let file = match component {
            Some(id) => self.root.logs().join(format!("{}.log", url_part(id)?)),
            None => self.root.daemon_log(),
        };
        let text = std::fs::read(&file).map_err(|error| {
            Problem::failed(format!("could not read {}: {error}", file.display())).hint(
                "a daemon in the foreground logs to its terminal; one in the background to a file",
            )
        })?;
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        let last: Vec<_> = all.iter().skip(all.len().saturating_sub(lines)).copied().collect();
        self.show(&serde_json::json!({ "lines": last }), |_| last.join("\n"))
    }

    fn config(&self) -> Result<(), Problem> {
        let settings = Settings::load(&self.root.settings())?;
        self.show(&settings.all(), |settings| {
            let rows: Vec<_> = settings
                .iter()
                .map(|setting| {
                    let source = match setting.source {
                        crate::config::Source::Environment => setting.variable.to_owned(),
                        crate::config::Source::File => self.root.settings().display().to_string(),
                        crate::config::Source::Default => "default".to_owned(),
                    };
                    vec![
                        setting.key.to_owned(),
                        setting.value.clone(),
                        source,
                        setting.about.to_owned(),
                    ]
                })
                .collect();
            table(&["setting", "value", "from", "meaning"], &rows)
        })
    }

    async fn harnesses(&self) -> Result<(), Problem> {
        let listing: api::Harnesses = self.daemon_running().await?.get("/v1/harnesses").await?;
        self.show(&listing, |listing| {
            let rows: Vec<_> = listing.harnesses.iter().map(harness_row).collect();
            table(&["harness", "version", "tested with", "about"], &rows)
        })
    }

    async fn components(&self) -> Result<(), Problem> {
        let listing: api::Components = self.daemon_running().await?.get("/v1/components").await?;
        self.show(&listing, |listing| {
            let rows: Vec<_> = listing
                .components
                .iter()
                .map(|c| vec![c.id.clone(), c.kind.clone(), c.state.clone(), c.source.clone()])
                .collect();
            table(&["component", "kind", "state", "source"], &rows)
        })
    }

    async fn component(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v1/components/{}", url_part(id)?);
        let component: api::Component = self.daemon_running().await?.get(&path).await?;
        self.show(&component, |c| {
            let imports =
                if c.imports.is_empty() { "nothing".to_owned() } else { c.imports.join("\n         ") };
            format!(
                "id       {}\nkind     {}\nworld    {}\nstate    {}\nsource   {}\nsize     {} bytes\nsha256   {}\nimports  {imports}\n",
                c.id, c.kind, c.world, c.state, c.source, c.size, c.sha256
            )
        })
    }

    async fn stop(&self) -> Result<(), Problem> {
        let client = self.client();
        if !client.is_up().await {
            return Err(Problem::unreachable("the daemon is not running"));
        }
        let stopped: Value = client.post("/v1/stop", &()).await?;
        client.wait_until_down().await;
        self.show(&stopped, |_| "stopped".to_owned())
    }
}

/// Starts `rp-host serve` so that it outlives this command; it logs to a file.
fn start_in_background(root: &StateRoot) -> Result<std::process::Child, Problem> {
    use std::os::unix::process::CommandExt;

    let log = root.daemon_log();
    crate::files::private_folder(&root.logs())
        .doing(format!("create {}", root.logs().display()))?;
    let file = std::fs::File::create(&log).doing(format!("write {}", log.display()))?;
    let program = std::env::current_exe().doing("find this program")?;
    std::process::Command::new(program)
        .arg("serve")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()
        .doing("start the daemon")
}

fn no_such_agent(wanted: &str, agents: &[api::Agent]) -> Problem {
    let problem = Problem::failed(format!("no agent has the id, name or folder {wanted}"));
    if agents.is_empty() {
        return problem.hint("there are none yet; keep one with `rp-host create <folder>`");
    }
    let names = agents.iter().flat_map(|agent| [agent.id.as_str(), agent.name.as_str()]);
    problem.hint(did_you_mean(wanted, names, "`rp-host daemons` lists the agents"))
}

/// A message that reached nobody is a failure of `send`.
fn refusal(sent: &api::Sent) -> Option<Problem> {
    let reached =
        |outcome: &api::Outcome| matches!(outcome.status.as_str(), "received" | "sent" | "held");
    if sent.outcomes.iter().any(reached) {
        return None;
    }
    let outcome = sent.outcomes.first()?;
    let to = safe(&outcome.to);
    let problem = match outcome.status.as_str() {
        "unknown" => Problem::failed(format!("nobody on the mesh has the address {to}")),
        "timeout" => Problem::failed(format!("{to} did not acknowledge the message in time")),
        _ => Problem::failed(format!(
            "{to} was not given the message: {}",
            safe(outcome.reason.as_deref().unwrap_or("it was denied"))
        )),
    };
    Some(if outcome.closest.is_empty() {
        problem.hint("`rp-host peers` lists the addresses")
    } else {
        problem.hint(format!("did you mean {}?", safe(&outcome.closest.join(" or "))))
    })
}

fn agents_table(agents: &[api::Agent]) -> String {
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

fn message_block(message: &api::Message) -> String {
    let body = message.body.as_str().map_or_else(|| message.body.to_string(), str::to_owned);
    let re = message.re.as_ref().map(|re| format!("\n  answers {re}")).unwrap_or_default();
    let stage = message.stage.as_deref().unwrap_or_default();
    format!(
        "{} from {} ({stage})\n  id {}{re}\n  {}\n",
        clock(message.at_ms),
        safe(&message.from),
        message.id,
        safe(&body).replace('\n', "\n  ")
    )
}

fn harness_row(harness: &api::Harness) -> Vec<String> {
    let version = harness.version.clone();
    let about = match &version {
        Some(version) if harness.description.tested.contains(version) => {
            "tested version".to_owned()
        }
        Some(_) if harness.description.tested.is_empty() => "part of rp-host".to_owned(),
        Some(_) => "not a tested version; it may still work".to_owned(),
        None => format!("not installed: {}", harness.description.install),
    };
    vec![
        harness.description.name.clone(),
        version.map_or_else(|| "—".to_owned(), |version| safe(&version)),
        harness.description.tested.join(", "),
        about,
    ]
}

/// An absolute path without asking the disk, so that a missing folder keeps its name.
fn absolute(folder: &str) -> Result<String, Problem> {
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

/// A word that may stand in a path of the control API.
fn url_part(word: &str) -> Result<&str, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('.') {
        Ok(word)
    } else {
        Err(Problem::usage(format!("{word:?} is not an id")))
    }
}
