//! The control layer: what can be asked of this machine's host, typed, whoever asks.
//!
//! It wires the rooms together and keeps the registry of agents. The command line, the tools
//! in a model's hands and every later transport call these functions and nothing below them.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{Stream, future::join_all, stream};
use rp_mesh::{
    AgentId, JoinError, Letter, MailboxLimits, Mailboxes, Mesh, MeshConfig, Recipients, Role,
    Sender,
};
use rp_protocol::{
    mesh::EnvelopeId,
    session::{Command, Failure, FailureKind, McpServer, MeshAccess, Reply},
};
use rp_session::{
    AgentConfig, HistoryItem, HistoryLimits, Phase, Session, Sessions, SessionsConfig, Timing,
};
use rp_store::Database;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Notify};

use crate::{
    api,
    catalogue::Catalogue,
    config::{Settings, did_you_mean},
    paths::StateRoot,
    problem::{Problem, While},
    registry::{Entry, Registry},
    tokens::Tokens,
};

/// All agents must have ended this long after the daemon was asked to stop.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The person whose machine this is.
    Person,
    /// An agent, by id.
    Agent(String),
}

/// This machine's host.
pub struct Host {
    root: StateRoot,
    started: Instant,
    default_harness: String,
    catalogue: Catalogue,
    mailboxes: Mailboxes,
    mesh: Mesh,
    sessions: Sessions,
    tokens: Tokens,
    program: PathBuf,
    /// The file and what is in it change together, one request at a time.
    registry: Mutex<Registry>,
    stop: Notify,
}

impl Host {
    /// Opens everything; no agent runs yet.
    pub async fn open(
        root: StateRoot,
        settings: &Settings,
        started: Instant,
    ) -> Result<Arc<Self>, Problem> {
        let registry = Registry::load(&root.registry())?;
        let limits = MailboxLimits {
            waiting: settings.number("mailbox_messages")?,
            waiting_bytes: settings.number("mailbox_bytes")?,
            ..MailboxLimits::default()
        };
        let database = open_database(&root).await?;
        let mailboxes = open_mailboxes(database.clone(), limits).await?;
        let program = std::env::current_exe().doing("find this program")?;
        let catalogue = Catalogue::load(&root).await?;
        let mesh_config = MeshConfig {
            audit: root.audit(),
            ..MeshConfig::in_directory(root.broker_socket().parent().unwrap_or(root.path()))
        };
        let mesh = Mesh::start(mesh_config, mailboxes.clone(), catalogue.routing_policy())
            .await
            .doing("join the local mesh")?;
        let (sessions, orphans) = Sessions::new(SessionsConfig {
            database,
            mailboxes: mailboxes.clone(),
            run_dir: root.sessions(),
            host_program: program.clone(),
            timing: Timing::default(),
            history: HistoryLimits::default(),
        })
        .await
        .doing("prepare the sessions")?;
        if !orphans.is_empty() {
            tracing::warn!(count = orphans.len(), "ended what an earlier daemon left running");
        }
        Ok(Arc::new(Self {
            root,
            started,
            default_harness: settings.text("harness").to_owned(),
            catalogue,
            mailboxes,
            mesh,
            sessions,
            tokens: Tokens::default(),
            program,
            registry: Mutex::new(registry),
            stop: Notify::new(),
        }))
    }

    /// Starts the agents of the registry, all at the same time, without waiting for them.
    pub fn start_kept_agents(self: &Arc<Self>) {
        let host = Arc::clone(self);
        tokio::spawn(async move {
            let entries = host.registry.lock().await.daemons.clone();
            join_all(entries.iter().map(|entry| host.bring_up(entry))).await;
        });
    }

    async fn bring_up(&self, entry: &Entry) {
        let started = async {
            let session = self.admit(entry).await?;
            if !entry.stopped {
                session.start().await.map_err(problem)?;
            }
            Ok::<_, Problem>(())
        };
        if let Err(error) = started.await {
            tracing::warn!(agent = entry.id(), %error, "a kept agent did not start");
        }
    }

    /// Gives an agent its session and its place on the mesh.
    async fn admit(&self, entry: &Entry) -> Result<Session, Problem> {
        let id = agent_id(&entry.id())?;
        let adapter = self.catalogue.adapter(entry.harness())?.clone();
        let program = adapter.describe().program.clone();
        let session = self
            .sessions
            .add(AgentConfig {
                id: id.clone(),
                name: entry.name(),
                cwd: PathBuf::from(&entry.cwd),
                adapter,
                programs: vec![program],
                model: entry.model.clone(),
                mesh: Some(self.mesh_access(&entry.id())),
                settings: serde_json::to_string(&entry.settings).doing("read its settings")?,
                environment: Vec::new(),
                keep_running: true,
            })
            .await
            .doing(format!("prepare the session of {}", entry.name()))?;
        let agent = rp_mesh::Agent {
            id,
            cwd: entry.cwd.clone(),
            name: entry.name(),
            harness: Some(entry.harness().to_owned()),
        };
        match self.mesh.join(agent).await {
            Ok(_) | Err(JoinError::Waiting) => Ok(session),
            Err(refused) => {
                self.sessions.remove(session.id(), false).await.doing("take the session back")?;
                Err(Problem::failed(refused.to_string()))
            }
        }
    }

    fn mesh_access(&self, agent: &str) -> MeshAccess {
        let socket = self.root.control_socket().display().to_string();
        let token = self.tokens.of(agent);
        MeshAccess {
            server: McpServer {
                name: "mesh".to_owned(),
                command: self.program.display().to_string(),
                args: vec!["mcp".to_owned()],
                env: vec![
                    ("RP_HOST_SOCKET".to_owned(), socket.clone()),
                    ("RP_AGENT_ID".to_owned(), agent.to_owned()),
                    ("RP_AGENT_TOKEN".to_owned(), token.clone()),
                ],
            },
            socket,
            agent_id: agent.to_owned(),
            token,
        }
    }

    /// The agent a token belongs to.
    pub fn agent_with_token(&self, token: &str) -> Option<Caller> {
        self.tokens.agent(token).map(Caller::Agent)
    }

    /// What runs, and how it is.
    pub async fn status(&self) -> api::Status {
        let entries = self.registry.lock().await.daemons.clone();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_root: self.root.path().display().to_string(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            mesh: api::MeshStatus {
                role: match self.mesh.role() {
                    Role::Leader => "leader",
                    Role::Follower => "follower",
                    Role::Searching => "searching",
                }
                .to_owned(),
                socket: self.root.broker_socket().display().to_string(),
                peers: self.mesh.peers().await.len(),
                policy: self.catalogue.policy_id().to_owned(),
            },
            agents: entries.iter().map(|entry| self.describe(entry)).collect(),
        }
    }

    /// One agent.
    pub async fn agent(&self, id: &str) -> Result<api::Agent, Problem> {
        Ok(self.describe(&self.entry(id).await?))
    }

    async fn entry(&self, id: &str) -> Result<Entry, Problem> {
        let registry = self.registry.lock().await;
        registry.daemons.iter().find(|entry| entry.id() == id).cloned().ok_or_else(|| {
            Problem::failed(format!("no agent has the id {id}"))
                .hint("`rp-host daemons` lists the agents")
        })
    }

    fn describe(&self, entry: &Entry) -> api::Agent {
        let id = entry.id();
        let agent = id.parse::<AgentId>().ok();
        let session = agent.as_ref().and_then(|id| self.sessions.get(id));
        let status = session.map(|session| session.status()).unwrap_or_default();
        let (state, detail) = phase(&status.phase);
        api::Agent {
            name: entry.name(),
            address: agent.as_ref().and_then(|id| self.mesh.address(id)),
            cwd: entry.cwd.clone(),
            harness: entry.harness().to_owned(),
            version: status.version,
            state: state.to_owned(),
            detail,
            pid: status.pid,
            uptime_ms: status.started_at_ms.map(|at| now_ms().saturating_sub(at)),
            restarts: status.restarts,
            waiting: agent.as_ref().map_or(0, |id| self.mailboxes.waiting(id)),
            questions: status.questions,
            model: status.state.model.map(|model| model.reference.id),
            id,
        }
    }

    /// Keeps a new agent and starts it. An agent that does not start is kept all the same if
    /// its harness is there: what is wrong is in its state.
    pub async fn create(&self, create: api::Create) -> Result<api::Agent, Problem> {
        let harness = create.harness.unwrap_or_else(|| self.default_harness.clone());
        let adapter = self.catalogue.adapter(&harness)?;
        let (program, _) = self.sessions.installed(adapter, &[]).await;
        if program.is_none() {
            let description = adapter.describe();
            return Err(Problem::failed(format!(
                "{} is not installed: there is no program {} on PATH",
                description.title, description.program
            ))
            .hint(description.install.clone()));
        }
        let mut entry = Entry::new(&create.folder, create.name, harness)?;
        entry.model = create.model;
        entry.settings = create.settings;
        {
            let mut registry = self.registry.lock().await;
            let mut changed = registry.clone();
            changed.add(entry.clone())?;
            changed.save(&self.root.registry())?;
            *registry = changed;
        }
        let session = match self.admit(&entry).await {
            Ok(session) => session,
            Err(error) => {
                self.forget(&entry.id()).await?;
                return Err(error);
            }
        };
        match session.start().await {
            Err(failure) if failure.kind == FailureKind::Invalid => {
                self.take_down(&entry).await?;
                self.forget(&entry.id()).await?;
                Err(problem(failure))
            }
            _ => Ok(self.describe(&entry)),
        }
    }

    /// Stops an agent and keeps it no longer. Its history and its mailbox go too.
    pub async fn remove(&self, id: &str) -> Result<api::Agent, Problem> {
        let entry = self.entry(id).await?;
        self.take_down(&entry).await?;
        self.forget(id).await?;
        Ok(self.describe(&entry))
    }

    async fn take_down(&self, entry: &Entry) -> Result<(), Problem> {
        let id = agent_id(&entry.id())?;
        self.mesh.leave(&id);
        self.sessions.remove(&id, true).await.doing(format!("stop {}", entry.name()))?;
        self.mailboxes.remove(&id).await.doing(format!("empty the mailbox of {}", entry.name()))?;
        self.tokens.forget(&entry.id());
        Ok(())
    }

    async fn forget(&self, id: &str) -> Result<(), Problem> {
        self.change_registry(|registry| {
            registry.remove(id);
        })
        .await
    }

    async fn change_registry(&self, change: impl FnOnce(&mut Registry)) -> Result<(), Problem> {
        let mut registry = self.registry.lock().await;
        let mut changed = registry.clone();
        change(&mut changed);
        changed.save(&self.root.registry())?;
        *registry = changed;
        Ok(())
    }

    /// Remembers whether a person wants an agent to run.
    async fn set_stopped(&self, id: &str, stopped: bool) -> Result<(), Problem> {
        self.change_registry(|registry| {
            for entry in registry.daemons.iter_mut().filter(|entry| entry.id() == id) {
                entry.stopped = stopped;
            }
        })
        .await
    }

    fn session(&self, entry: &Entry) -> Result<Session, Problem> {
        let id = agent_id(&entry.id())?;
        self.sessions.get(&id).ok_or_else(|| {
            Problem::failed(format!("{} has no session", entry.name()))
                .hint("its harness may be unknown to this version; the log says more")
        })
    }

    /// Starts an agent.
    pub async fn start(&self, id: &str) -> Result<api::Agent, Problem> {
        let entry = self.entry(id).await?;
        self.session(&entry)?.start().await.map_err(problem)?;
        self.set_stopped(id, false).await?;
        Ok(self.describe(&entry))
    }

    /// Stops an agent; it stays kept, and stays stopped when the daemon starts again.
    pub async fn stop(&self, id: &str) -> Result<api::Agent, Problem> {
        let entry = self.entry(id).await?;
        self.session(&entry)?.stop().await.map_err(problem)?;
        self.set_stopped(id, true).await?;
        Ok(self.describe(&entry))
    }

    /// Stops and starts an agent.
    pub async fn restart(&self, id: &str) -> Result<api::Agent, Problem> {
        let entry = self.entry(id).await?;
        self.session(&entry)?.restart().await.map_err(problem)?;
        self.set_stopped(id, false).await?;
        Ok(self.describe(&entry))
    }

    /// Tells an agent's session something.
    pub async fn command(&self, id: &str, command: Command) -> Result<Reply, Problem> {
        self.session(&self.entry(id).await?)?.command(command).await.map_err(problem)
    }

    /// The number of the newest event of an agent's session.
    pub async fn last_event(&self, id: &str) -> Result<api::LastEvent, Problem> {
        let session = self.session(&self.entry(id).await?)?;
        Ok(api::LastEvent { sequence: session.last_event() })
    }

    /// The events of an agent's session after a number, then the live ones. Numbers that are
    /// no longer kept are passed over: the next number tells.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
    ) -> Result<impl Stream<Item = api::NumberedEvent> + use<>, Problem> {
        let reader = self.session(&self.entry(id).await?)?.events_after(after);
        Ok(stream::unfold(reader, |mut reader| async move {
            loop {
                if let HistoryItem::Event(recorded) = reader.next().await? {
                    let event = api::NumberedEvent {
                        sequence: recorded.sequence,
                        at_ms: recorded.at_ms,
                        event: recorded.event.clone(),
                    };
                    return Some((event, reader));
                }
            }
        }))
    }

    /// Everyone on the mesh, or everyone but one agent.
    pub async fn peers(&self, except: Option<&str>) -> Result<api::Peers, Problem> {
        let known = self.mesh.peers().await;
        let peers = known
            .into_iter()
            .filter(|peer| {
                except.is_none_or(|id| peer.agent.as_ref().is_none_or(|a| a.as_str() != id))
            })
            .map(|peer| {
                let session = peer.agent.as_ref().and_then(|id| self.sessions.get(id));
                let state = session.map(|session| phase(&session.status().phase).0.to_owned());
                api::Peer {
                    address: peer.address,
                    name: peer.name,
                    cwd: peer.cwd,
                    pc: peer.pc,
                    harness: peer.harness,
                    state,
                }
            })
            .collect();
        Ok(api::Peers { peers })
    }

    /// Sends a message as an agent, or as the person.
    pub async fn send(&self, from: Option<&str>, send: api::Send) -> Result<api::Sent, Problem> {
        let sender = match from {
            Some(id) => Sender::Agent(agent_id(id)?),
            None => Sender::Person,
        };
        let to = match send.to {
            api::Destination::One(address) => Recipients::from(address.as_str()),
            api::Destination::Many(addresses) => Recipients::Many(addresses),
        };
        let re = send.re.as_deref().map(envelope_id).transpose()?;
        let text = serde_json::to_string(&send.body).doing("write the message")?;
        let body = RawValue::from_string(text).doing("write the message")?;
        let receipt = self.mesh.send(sender, to, body, re).await.doing("send the message")?;
        Ok(api::Sent {
            id: receipt.id.to_string(),
            outcomes: receipt.deliveries.into_iter().map(outcome).collect(),
        })
    }

    /// The messages in a mailbox, oldest first. `take` gives only those that wait and counts
    /// them as given to the model.
    pub async fn inbox(&self, id: &str, take: bool) -> Result<api::Inbox, Problem> {
        let agent = mailbox_id(id)?;
        let mut letters = self.letters(&agent)?;
        if take {
            letters.retain(|letter| letter.stage.is_waiting());
            let sequences: Vec<_> = letters.iter().map(|letter| letter.sequence).collect();
            self.mark_read(&agent, &sequences);
        }
        Ok(api::Inbox { messages: letters.iter().map(message).collect() })
    }

    /// The newest messages of a mailbox, oldest first.
    fn letters(&self, agent: &AgentId) -> Result<Vec<Letter>, Problem> {
        let mut letters = self.mailboxes.inbox(agent, None, LISTED).doing("read the mailbox")?;
        letters.reverse();
        Ok(letters)
    }

    /// A model that reads its mailbox with a tool has the messages in its running turn.
    fn mark_read(&self, agent: &AgentId, sequences: &[u64]) {
        for stage in [rp_mesh::Stage::Injected, rp_mesh::Stage::TurnSeen] {
            self.mailboxes.mark(agent, sequences, stage, now_ms());
        }
    }

    /// The answer to a message, when it comes in time; it is not given to the model again.
    pub async fn answer_to(
        &self,
        id: &str,
        sent: &str,
        limit: Duration,
    ) -> Result<api::Answer, Problem> {
        let agent = mailbox_id(id)?;
        let answered = async {
            let mut changes = self.mailboxes.changes();
            loop {
                let letters = self.letters(&agent)?;
                if let Some(letter) = letters.iter().find(|l| l.re.as_deref() == Some(sent)) {
                    if letter.stage.is_waiting() {
                        self.mark_read(&agent, &[letter.sequence]);
                    }
                    return Ok(message(letter));
                }
                if changes.changed().await.is_err() {
                    return Err(Problem::failed("the mailboxes were closed"));
                }
            }
        };
        match tokio::time::timeout(limit, answered).await {
            Ok(answer) => Ok(api::Answer { answer: Some(answer?) }),
            Err(_) => Ok(api::Answer { answer: None }),
        }
    }

    /// The steps of a message, once it has come as far as `until` or failed, or when the time
    /// is over.
    pub async fn trace(
        &self,
        id: &str,
        until: Option<&str>,
        limit: Duration,
    ) -> Result<api::Trace, Problem> {
        let reached = async {
            let mut changes = self.mailboxes.changes();
            loop {
                let trace = self.read_trace(id)?;
                let over = |step: &api::Step| {
                    until.is_none_or(|stage| step.stage == stage) || step.stage == "failed"
                };
                if until.is_none() || trace.steps.iter().any(over) {
                    return Ok(trace);
                }
                if changes.changed().await.is_err() {
                    return Ok(trace);
                }
            }
        };
        match tokio::time::timeout(limit.max(Duration::from_millis(1)), reached).await {
            Ok(trace) => trace,
            Err(_) => self.read_trace(id),
        }
    }

    fn read_trace(&self, id: &str) -> Result<api::Trace, Problem> {
        let steps = self.mailboxes.trace(id).doing("read the trace")?;
        Ok(api::Trace { steps: steps.into_iter().map(step).collect() })
    }

    /// Every harness, and whether it is installed.
    pub async fn harnesses(&self) -> api::Harnesses {
        let asked = self.catalogue.adapters().map(|adapter| async move {
            let (program, version) = self.sessions.installed(adapter, &[]).await;
            api::Harness {
                description: adapter.describe().clone(),
                installed: program.map(|path| path.display().to_string()),
                version,
            }
        });
        api::Harnesses { harnesses: join_all(asked).await }
    }

    /// Every component.
    pub fn components(&self) -> Vec<api::Component> {
        self.catalogue.components().to_vec()
    }

    /// One component.
    pub fn component(&self, id: &str) -> Result<api::Component, Problem> {
        let components = self.catalogue.components();
        components.iter().find(|component| component.id == id).cloned().ok_or_else(|| {
            let names = components.iter().map(|component| component.id.as_str());
            Problem::failed(format!("no component has the id {id}")).hint(did_you_mean(
                id,
                names,
                "`rp-host component list` lists them",
            ))
        })
    }

    /// Asks the daemon to stop.
    pub fn ask_to_stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until somebody asks.
    pub async fn stop_asked(&self) {
        self.stop.notified().await;
    }

    /// Ends every agent, leaves the mesh and puts everything on disk.
    pub async fn shut_down(&self) {
        if !self.sessions.shutdown(STOP_LIMIT).await {
            tracing::warn!("some agents did not end in time; the next start ends them");
        }
        self.mesh.shutdown().await;
        if let Err(error) = self.mailboxes.settled().await {
            tracing::warn!(%error, "could not put the last stages on disk");
        }
    }
}

/// The most messages that a listing shows.
const LISTED: usize = 1_000;

/// Opens the database away from the asynchronous threads: repairing one after a crash takes
/// a while.
async fn open_database(root: &StateRoot) -> Result<Database, Problem> {
    let path = root.database();
    let opened = tokio::task::spawn_blocking(move || Database::open(&path))
        .await
        .doing("open the database")?;
    opened.map_err(|error| {
        let text = error.to_string();
        match text.split_once("\nhint: ") {
            Some((message, hint)) => Problem::failed(message).hint(hint),
            None => Problem::failed(text),
        }
    })
}

async fn open_mailboxes(database: Database, limits: MailboxLimits) -> Result<Mailboxes, Problem> {
    tokio::task::spawn_blocking(move || Mailboxes::open(database, limits))
        .await
        .doing("open the mailboxes")?
        .doing("open the mailboxes")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn agent_id(text: &str) -> Result<AgentId, Problem> {
    text.parse().map_err(|error| Problem::usage(format!("{text:?}: {error}")))
}

/// The id of a mailbox: an agent's, or the person's under the name `person`.
fn mailbox_id(text: &str) -> Result<AgentId, Problem> {
    if text == "person" { Ok(AgentId::person()) } else { agent_id(text) }
}

fn envelope_id(text: &str) -> Result<EnvelopeId, Problem> {
    EnvelopeId::parse(text).ok_or_else(|| {
        Problem::usage(format!("{text:?} is not the id of a message"))
            .hint("ids look like 0198c2f4-6b1e-7a03-9c55-3f0d2e8b7a11")
    })
}

/// A failure of a session as the person sees it.
fn problem(failure: Failure) -> Problem {
    let problem = match failure.kind {
        FailureKind::Invalid | FailureKind::Unsupported => Problem::usage(failure.message),
        _ => Problem::failed(failure.message),
    };
    match failure.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A phase as its name and what there is to say about it.
fn phase(phase: &Phase) -> (&'static str, Option<String>) {
    match phase {
        Phase::Stopped => ("stopped", None),
        Phase::Starting => ("starting", None),
        Phase::Idle => ("idle", None),
        Phase::Working => ("working", None),
        Phase::Stopping => ("stopping", None),
        Phase::BackingOff { until_ms, attempt, reason } => {
            let seconds = until_ms.saturating_sub(now_ms()).div_ceil(1_000);
            ("backing-off", Some(format!("{reason}; start {attempt} again in {seconds} s")))
        }
        Phase::Failed { reason, hint } => {
            let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            ("failed", Some(format!("{reason}{hint}")))
        }
    }
}

fn outcome(delivery: rp_mesh::Delivery) -> api::Outcome {
    use rp_mesh::Outcome::{Denied, Held, Received, Sent, Timeout, Unknown};
    let (status, reason, closest) = match delivery.outcome {
        Received => ("received", None, Vec::new()),
        Sent => ("sent", None, Vec::new()),
        Denied { reason } => ("denied", Some(reason), Vec::new()),
        Unknown { closest } => ("unknown", None, closest),
        Held { reason } => ("held", Some(reason), Vec::new()),
        Timeout => ("timeout", None, Vec::new()),
    };
    api::Outcome { to: delivery.address, status: status.to_owned(), reason, closest }
}

fn message(letter: &Letter) -> api::Message {
    let body = letter.body.as_ref().and_then(|body| serde_json::from_str(body.get()).ok());
    api::Message {
        id: letter.id.clone(),
        from: letter.from.clone(),
        re: letter.re.clone(),
        body: body.unwrap_or_default(),
        at_ms: letter.accepted_at_ms,
        stage: Some(stage(&letter.stage).0.to_owned()),
    }
}

fn step(step: rp_mesh::TraceStep) -> api::Step {
    let (name, reason) = stage(&step.stage);
    api::Step {
        stage: name.to_owned(),
        at_ms: step.at_ms,
        agent: step.agent.map(String::from),
        detail: reason.map(str::to_owned).or(step.detail),
    }
}

fn stage(stage: &rp_mesh::Stage) -> (&'static str, Option<&str>) {
    use rp_mesh::Stage::{Accepted, Answered, Failed, Held, Injected, Offered, Stored, TurnSeen};
    match stage {
        Accepted => ("accepted", None),
        Stored => ("stored", None),
        Offered => ("offered", None),
        Injected => ("injected", None),
        TurnSeen => ("turn-seen", None),
        Answered => ("answered", None),
        Failed { reason } => ("failed", Some(reason)),
        Held { reason } => ("held", Some(reason)),
    }
}
