//! One function per command: ask the daemon, show the answer.

use std::{io::IsTerminal, path::Path, time::Duration};

use clap::CommandFactory;
use serde::Serialize;
use serde_json::Value;

use self::agents::{agents_table, no_such_agent};
use crate::{
    api, attach,
    cli::{Cli, Command, Global, Harness},
    client::Client,
    output,
    paths::StateRoot,
    problem::{Problem, While},
    render::{count, duration, safe},
    serve::IN_USE,
};

mod actions;
pub mod agents;
mod author;
mod components;
mod conformance;
mod develop;
mod doctor;
mod harnesses;
mod machine;
mod messages;
mod policies;
mod questions;
mod remote;

/// A daemon that was started in the background must answer within this time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A longer log is set aside when the next daemon starts, in place of the one set aside before.
const LONGEST_LOG: u64 = 8 << 20;

/// A daemon that was asked to stop must be gone after this time: more than it gives its agents.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Files are being written as long as they change more often than this.
const SETTLING: Duration = Duration::from_millis(100);

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
        Command::Mesh(mesh) => asking.mesh(mesh).await,
        Command::Relay(relay) => asking.relay(relay.command).await,
        Command::SetRelay { url } => asking.set_relay(&url).await,
        Command::Attach { agent, last } => {
            let client = asking.daemon_running().await?;
            let agent = asking.find(&client, &agent).await?;
            attach::attach(&client, &agent, last, asking.json).await
        }
        Command::Questions(wanted) => asking.questions(wanted).await,
        Command::Question { id } => asking.question(&id).await,
        Command::Answer(answer) => asking.answer(answer).await,
        Command::Action(action) => asking.action(action).await,
        Command::Held(held) => asking.held(held).await,
        Command::Logs { lines, follow } => {
            let hint = "a daemon in the foreground logs to its terminal, not to a file";
            asking.logs(&root.daemon_log(), lines, follow, hint).await
        }
        Command::Config => asking.config(),
        Command::Harness { command } => {
            let abilities = matches!(command, Some(Harness::List { abilities: true }));
            asking.harnesses(abilities).await
        }
        Command::Doctor => asking.doctor().await,
        Command::Component(component) => asking.component(component).await,
        Command::Policy(policy) => asking.policy(policy).await,
        Command::Stop => asking.stop().await,
        Command::Serve
        | Command::Mcp { .. }
        | Command::Claude(_)
        | Command::Codex(_)
        | Command::Pi(_)
        | Command::Opencode(_)
        | Command::Gemini(_)
        | Command::Hook
        | Command::Become { .. }
        | Command::DemoAgent
        | Command::CompileComponents
        | Command::Completions { .. }
        | Command::Manual { .. } => Err(Problem::failed("this command needs no daemon")),
    }
}

/// A client of a daemon that runs; starts one in the background if none does.
pub async fn daemon_running(root: &StateRoot, global: &Global) -> Result<Client, Problem> {
    Asking { root, json: global.json, no_start: global.no_start }.daemon_running().await
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
        let (mut daemon, said_before) = start_in_background(self.root)?;
        let log = self.root.daemon_log();
        let said = |prefix: &str| {
            let said = std::fs::read(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(said.get(said_before..).unwrap_or_default());
            said.lines().rev().find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
        };
        let reason = || said("error: ");
        // One that somebody else started a moment ago holds the database and is not ready yet.
        let is_hopeless = || {
            let has_ended = !matches!(daemon.try_wait(), Ok(None));
            has_ended && !reason().is_some_and(|reason| reason.contains(IN_USE))
        };
        if client.wait_until_up(START_LIMIT, is_hopeless).await {
            return Ok(client);
        }
        Err(Problem::unreachable(match reason() {
            Some(reason) => format!("the daemon did not start: {reason}"),
            None => "the daemon did not start".to_owned(),
        })
        .hint(said("hint: ").unwrap_or_else(|| {
            format!("see {}, or run `rp-host serve` to watch it", log.display())
        })))
    }

    /// The one agent that has this id, name or folder.
    async fn find(&self, client: &Client, wanted: &str) -> Result<api::Agent, Problem> {
        let status: api::Status = client.get("/v1/status").await?;
        // A folder that is gone is still named by its path.
        let real = Path::new(wanted).canonicalize();
        let folder = real.or_else(|_| std::path::absolute(wanted)).ok();
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

    /// Does something that may take a while; a person at a terminal is told what after a second.
    async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut work).await {
            return done;
        }
        if std::io::stderr().is_terminal() {
            output::note(&format!("{what} …"));
        }
        work.await
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
                "rp-host {} runs as process {} for {}\nstate root  {}\nmesh        {}, {}, policy {}\n",
                status.version,
                status.pid,
                duration(status.uptime_ms),
                status.state_root,
                status.mesh.role,
                count(status.mesh.peers, "peer"),
                status.mesh.policy,
            );
            if let Some(relay) = status.relay.as_ref().filter(|relay| relay.state != "off") {
                text.push_str(&format!("relay       {}\n", remote::relay_line(relay)));
                for warning in &relay.warnings {
                    text.push_str(&format!("warning     {}\n", safe(warning)));
                }
            }
            if status.unread > 0 {
                text.push_str(&format!("inbox       {} new\n", status.unread));
            }
            if status.held > 0 {
                text.push_str(&format!("held        {}\n", count(status.held, "message")));
            }
            if status.questions > 0 {
                text.push_str(&format!("questions   {} open\n", status.questions));
            }
            text.push_str(&format!("agents      {}\n", status.agents.len()));
            if !status.agents.is_empty() {
                text.push('\n');
                text.push_str(&agents_table(&status.agents));
            }
            text
        })
    }

    async fn stop(&self) -> Result<(), Problem> {
        let client = self.client();
        if !client.is_up().await {
            return Err(Problem::unreachable("the daemon is not running"));
        }
        let stopped: Value = client.post("/v1/stop", &()).await?;
        let down = self.patiently("waiting for the agents to end", client.wait_until_down());
        if tokio::time::timeout(STOP_LIMIT, down).await.is_err() {
            let seconds = STOP_LIMIT.as_secs();
            return Err(Problem::failed(format!("the daemon has not ended within {seconds} s"))
                .hint("`rp-host logs` may say why"));
        }
        self.show(&stopped, |_| "stopped".to_owned())
    }
}

/// Starts `rp-host serve` so that it outlives this command. It logs to a file; how long that
/// was before is told.
fn start_in_background(root: &StateRoot) -> Result<(std::process::Child, usize), Problem> {
    use std::os::unix::process::CommandExt;

    let log = root.daemon_log();
    crate::serve::prepare_folder(&root.logs())?;
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if length(&log) > LONGEST_LOG {
        let _ = std::fs::rename(&log, log.with_extension("log.1"));
    }
    let said_before = usize::try_from(length(&log)).unwrap_or(usize::MAX);
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&log);
    let file = file.doing(format!("write {}", log.display()))?;
    let program = std::env::current_exe().doing("find this program")?;
    std::process::Command::new(program)
        .arg("serve")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()
        .doing("start the daemon")
        .map(|daemon| (daemon, said_before))
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
