//! The control layer: what can be asked of this machine's host, typed, whoever asks.
//!
//! It wires the rooms together and keeps the registry of agents. The command line, the tools
//! in a model's hands and every later transport call these functions and nothing below them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use rp_mesh::{AgentId, JoinError, MailboxLimits, Mailboxes, Mesh, MeshConfig, Role};
use rp_protocol::session::{McpServer, MeshAccess};
use rp_remote::Remote;
use rp_session::{AgentConfig, HistoryLimits, Session, Sessions, SessionsConfig, Timing};
use rp_store::Database;
use tokio::sync::{Mutex, Notify};

use crate::{
    api,
    components::{AgentSettings, Components},
    config::Settings,
    paths::StateRoot,
    problem::{Problem, While},
    registry::{Entry, Registry},
    tokens::Tokens,
};

mod actions;
mod agents;
mod live;
mod messages;
mod policies;
mod questions;
mod remote;

pub use actions::{check_parameters, permit_step};
pub use agents::EventsFrom;
pub use live::LIVE;
pub use remote::host_name;
use remote::{remote_settings, variable};

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
    components: Arc<Components>,
    mailboxes: Mailboxes,
    mesh: Mesh,
    remote: Remote,
    sessions: Sessions,
    tokens: Tokens,
    live: live::LiveAgents,
    program: PathBuf,
    /// The file and what is in it change together, one request at a time.
    registry: Mutex<Registry>,
    /// Held while an agent comes or goes, which takes several steps.
    changing_agents: Mutex<()>,
    /// Kept agents that could not be brought up, by id, and why.
    unusable: std::sync::Mutex<BTreeMap<String, Problem>>,
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
        let components = Components::open(&root, database.clone()).await?;
        // On the mesh before anybody can connect: a message for an agent that has not started
        // yet must find its mailbox.
        let kept = registry.daemons.iter();
        let agents = kept.filter_map(peer);
        let mesh_config = MeshConfig {
            audit: root.audit(),
            agents: agents.collect(),
            ..MeshConfig::in_directory(root.broker_socket().parent().unwrap_or(root.path()))
        };
        let mesh = Mesh::start(mesh_config, mailboxes.clone(), components.routing_policy())
            .await
            .doing("join the local mesh")?;
        let remote_database = database.clone();
        let other_machines = remote_settings(settings)?;
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
        let remote = Remote::start(rp_remote::Config {
            root: root.path().to_owned(),
            database: remote_database,
            mesh: mesh.clone(),
            mailboxes: mailboxes.clone(),
            software: concat!("rp-host ", env!("CARGO_PKG_VERSION")).to_owned(),
            wanted: other_machines.wanted,
            relay: variable("REMOTE_PI_RELAY"),
            more_relays: other_machines.more_relays,
            certificate: other_machines.certificate,
            allow_clear: other_machines.allow_clear,
            allow_file_keys: variable("REMOTE_PI_ALLOW_FILE_IDENTITY").as_deref() == Some("1"),
        });
        Ok(Arc::new(Self {
            root,
            started,
            default_harness: settings.text("harness").to_owned(),
            components,
            mailboxes,
            mesh,
            remote,
            sessions,
            tokens: Tokens::default(),
            live: live::LiveAgents::default(),
            program,
            registry: Mutex::new(registry),
            changing_agents: Mutex::default(),
            unusable: std::sync::Mutex::default(),
            stop: Notify::new(),
        }))
    }

    /// Gives the agents of the registry their sessions, and starts those that a person wants to
    /// run, without waiting for that.
    pub async fn bring_up_kept_agents(self: &Arc<Self>) {
        let entries = self.registry.lock().await.daemons.clone();
        join_all(entries.iter().map(|entry| self.bring_up(entry))).await;
    }

    /// Follows what a person does to the components; for ever.
    pub async fn follow_components(self: Arc<Self>) {
        let mut changes = self.components.changes();
        let watching = tokio::spawn(Arc::clone(&self.components).watch());
        while changes.changed().await.is_ok() {
            self.renew_sessions().await;
        }
        watching.abort();
    }

    /// Gives every session the adapter that is in force now, for its next start, and those agents a
    /// session whose harness was not there.
    async fn renew_sessions(&self) {
        let entries = self.registry.lock().await.daemons.clone();
        for entry in &entries {
            let session = entry.id().parse().ok().and_then(|id: AgentId| self.sessions.get(&id));
            match (session, self.agent_config(entry)) {
                (Some(session), Ok(config)) => {
                    if let Err(error) = session.configure(config).await {
                        tracing::debug!(agent = entry.id(), %error, "is being removed");
                    }
                }
                (None, Ok(_)) => {
                    let _changing = self.changing_agents.lock().await;
                    // It may be gone since.
                    let kept = self.registry.lock().await.daemons.clone();
                    if kept.iter().any(|kept| kept.id() == entry.id()) {
                        self.is_usable_again(entry);
                        self.bring_up(entry).await;
                    }
                }
                // What runs goes on; it is not started again.
                (Some(session), Err(problem)) => session.withdraw(problem.to_string()).await,
                (None, Err(_)) => {}
            }
        }
    }

    fn is_usable_again(&self, entry: &Entry) {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry.id());
    }

    async fn bring_up(&self, entry: &Entry) {
        match self.prepare(entry).await {
            Ok(session) if !entry.stopped => drop(tokio::spawn(async move {
                if let Err(error) = session.start().await {
                    tracing::warn!(agent = %session.id(), %error, "a kept agent did not start");
                }
            })),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(agent = entry.id(), %error, "a kept agent cannot be brought up");
                let mut unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
                let failed = Problem::failed(error.to_string());
                let hint = error.hint_text().unwrap_or("the log says more");
                unusable.insert(entry.id(), failed.hint(hint));
            }
        }
    }

    /// Why a kept agent has no session.
    fn why_unusable(&self, id: &str) -> Option<Problem> {
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        unusable.get(id).cloned()
    }

    /// Gives an agent its session and its place on the mesh.
    async fn admit(&self, entry: &Entry) -> Result<Session, Problem> {
        let session = self.prepare(entry).await?;
        let agent = peer(entry).ok_or_else(|| Problem::failed("its id is not an id"))?;
        match self.mesh.join(agent).await {
            Ok(_) | Err(JoinError::Waiting) => Ok(session),
            Err(refused) => {
                self.sessions.remove(session.id(), false).await.doing("take the session back")?;
                Err(Problem::failed(refused.to_string()).hint(
                    "an agent's folder and name may not hold control characters; \
                     give it another name with --name",
                ))
            }
        }
    }

    /// Gives an agent its session.
    async fn prepare(&self, entry: &Entry) -> Result<Session, Problem> {
        let config = self.agent_config(entry)?;
        let added = self.sessions.add(config).await;
        added.doing(format!("prepare the session of {}", entry.name()))
    }

    /// What a session needs to know of an agent, with the adapter that is in force now.
    fn agent_config(&self, entry: &Entry) -> Result<AgentConfig, Problem> {
        let adapter = self.components.adapter(entry.harness())?;
        Ok(AgentConfig {
            id: agent_id(&entry.id())?,
            name: entry.name(),
            cwd: PathBuf::from(&entry.cwd),
            programs: self.components.programs(&adapter, &entry.settings),
            variables: self.components.variables(&adapter, &entry.settings),
            adapter,
            model: entry.model.clone(),
            mesh: Some(self.mesh_access(&entry.id())),
            settings: serde_json::to_string(&entry.settings).doing("read its settings")?,
            environment: Vec::new(),
            keep_running: true,
        })
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
            skill: self.root.skill().display().to_string(),
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
        let mut agents: Vec<_> = entries.iter().map(|entry| self.describe(entry)).collect();
        agents.extend(self.live_agents());
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
                policy: self.policy_names(),
            },
            relay: Some(self.relay()),
            unread: self.mailboxes.waiting(&AgentId::person()),
            held: self.mailboxes.held().map_or(0, |held| held.len()),
            questions: agents.iter().map(|agent| agent.questions.len()).sum(),
            agents,
        }
    }

    /// Every harness, and whether it is installed.
    pub async fn harnesses(&self) -> api::Harnesses {
        self.components.loaded().await;
        let asked = self.components.adapters().into_iter().map(|adapter| async move {
            let granted = self.components.programs(&adapter, &AgentSettings::default());
            let (program, version) = self.sessions.installed(&adapter, &granted).await;
            api::Harness {
                description: adapter.describe().clone(),
                installed: program.map(|path| path.display().to_string()),
                measured: None,
                version,
            }
        });
        api::Harnesses { harnesses: join_all(asked).await }
    }

    /// The components of this machine.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The routing policies in force, in order.
    fn policy_names(&self) -> String {
        self.components.chain().iter().map(|link| link.id.as_str()).collect::<Vec<_>>().join(", ")
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
        self.remote.shut_down().await;
        self.mesh.shutdown().await;
        if let Err(error) = self.mailboxes.settled().await {
            tracing::warn!(%error, "could not put the last stages on disk");
        }
    }
}

/// Opens the database away from the asynchronous threads: repairing one after a crash takes
/// a while.
async fn open_database(root: &StateRoot) -> Result<Database, Problem> {
    let path = root.database();
    let opened = tokio::task::spawn_blocking(move || Database::open(&path))
        .await
        .doing("open the database")?;
    opened.map_err(|error| Problem::failed(error.to_string()))
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

/// A kept agent as the mesh knows it.
fn peer(entry: &Entry) -> Option<rp_mesh::Agent> {
    Some(rp_mesh::Agent {
        id: entry.id().parse().ok()?,
        cwd: entry.cwd.clone(),
        name: entry.name(),
        harness: Some(entry.harness().to_owned()),
    })
}

fn agent_id(text: &str) -> Result<AgentId, Problem> {
    text.parse().map_err(|error| Problem::usage(format!("{text:?}: {error}")))
}
