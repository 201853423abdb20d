//! All sessions of the machine.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rp_mesh::{AgentId, Mailboxes};
use rp_protocol::session::Failure;
use rp_store::{Database, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    actor::{Actor, Host},
    answers::Said,
    delivery::Delivery,
    history::{History, HistoryLimits},
    live::LiveMail,
    memory::Memory,
    process::Launcher,
    questions::Questions,
    record::{Orphan, end_orphans},
    session::{AgentConfig, REQUESTS, Session},
    status::Status,
    timing::Timing,
    version::Versions,
};

/// What all sessions share.
#[derive(Clone)]
pub struct SessionsConfig {
    /// Where histories are kept.
    pub database: Database,
    /// Where messages for the agents wait.
    pub mailboxes: Mailboxes,
    /// The folder of run records and private launch files; created with mode 0700. No two
    /// hosts share one.
    pub run_dir: PathBuf,
    /// This host's own executable.
    pub host_program: PathBuf,
    /// How long is waited for what.
    pub timing: Timing,
    /// How much of each agent's history is kept.
    pub history: HistoryLimits,
}

/// Why a session could not be added, or the sessions not be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it all")]
pub enum SessionsError {
    #[error("the agent {0} has a session already")]
    Exists(String),
    #[error("the daemon is stopping\nhint: try again in a moment")]
    Closing,
    #[error("the folder of running processes cannot be used: {0}")]
    RunFolder(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All sessions of the machine. Clones share them.
#[derive(Clone)]
pub struct Sessions {
    host: Arc<Host>,
    history: HistoryLimits,
    sessions: Arc<Mutex<Present>>,
}

/// The sessions there are.
#[derive(Default)]
struct Present {
    running: HashMap<AgentId, Running>,
    /// The machine's host ends: there will be no more.
    is_closing: bool,
}

struct Running {
    session: Session,
    task: JoinHandle<()>,
}

impl Sessions {
    /// Ends what a crashed host left running, then starts with no sessions.
    ///
    /// # Errors
    /// The run folder cannot be used.
    pub async fn new(config: SessionsConfig) -> Result<(Self, Vec<Orphan>), SessionsError> {
        crate::private::create_folder(&config.run_dir)?;
        let orphans = end_orphans(&config.run_dir, config.timing.term_grace).await?;
        let host = Host {
            launcher: Launcher {
                run_dir: config.run_dir,
                host_program: config.host_program,
                timing: config.timing,
            },
            versions: Versions::default(),
            questions: Questions::open(config.database.clone()).await?,
            database: config.database,
            mailboxes: config.mailboxes,
        };
        let sessions =
            Self { host: Arc::new(host), history: config.history, sessions: Arc::default() };
        Ok((sessions, orphans))
    }

    /// Adds an agent's session. It does not run until it is started.
    ///
    /// # Errors
    /// It is there already, or the database failed.
    pub async fn add(&self, agent: AgentConfig) -> Result<Session, SessionsError> {
        let id = agent.id.clone();
        if self.get(&id).is_some() {
            return Err(SessionsError::Exists(id.as_str().to_owned()));
        }
        let database = &self.host.database;
        let history = History::open(database.clone(), id.as_str(), self.history).await?;
        let memory = Memory::load(database, id.as_str()).await?;
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (published, status) = watch::channel(Status::default());
        let session = Session { id: id.clone(), requests, status, history: history.clone() };
        // Held until the task is in the map, so that no second one can be added meanwhile.
        let mut sessions = self.lock();
        if sessions.is_closing {
            return Err(SessionsError::Closing);
        }
        if sessions.running.contains_key(&id) {
            return Err(SessionsError::Exists(id.as_str().to_owned()));
        }
        let actor = Actor::new(agent, self.host.clone(), asked, history, published, memory);
        let task = tokio::spawn(actor.run());
        sessions.running.insert(id, Running { session: session.clone(), task });
        Ok(session)
    }

    /// The session of an agent.
    #[must_use]
    pub fn get(&self, agent: &AgentId) -> Option<Session> {
        self.lock().running.get(agent).map(|running| running.session.clone())
    }

    /// The mail of an agent whose harness runs in a person's terminal. There is at most one such
    /// handle at a time, and no session of the same agent.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_mail(&self, agent: &AgentId) -> Result<LiveMail, StoreError> {
        let Host { database, mailboxes, launcher, .. } = &*self.host;
        let memory = Memory::load(database, agent.as_str()).await?;
        let offer_again = launcher.timing.offer_again;
        let delivery =
            Delivery::new(mailboxes.clone(), database.clone(), agent.clone(), offer_again);
        Ok(LiveMail::new(delivery, memory))
    }

    /// Where the program of a harness is; `None` when it is not installed.
    #[must_use]
    pub fn program(&self, adapter: &rp_engine::Adapter) -> Option<PathBuf> {
        self.host.launcher.find(&adapter.describe().program, &[])
    }

    /// What the agents ask a person, and what became of that.
    #[must_use]
    pub fn questions(&self) -> &Questions {
        &self.host.questions
    }

    /// Answers a question of any session: see [`Session::answer`].
    ///
    /// # Errors
    /// As there.
    pub async fn answer(&self, question: &str, said: Said, by: &str) -> Result<(), Failure> {
        let waits = |session: &Session| {
            session.status.borrow().questions.iter().any(|open| open.id == question)
        };
        match self.list().into_iter().find(waits) {
            Some(session) => session.answer(question, said, by).await,
            None => Err(self.host.questions.refusal(question)),
        }
    }

    /// All sessions, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Session> {
        self.lock().running.values().map(|running| running.session.clone()).collect()
    }

    /// Stops a session and removes it; with `forget`, its history and what it would resume
    /// too. Tells whether there was one.
    ///
    /// # Errors
    /// It was removed, but the database failed.
    pub async fn remove(&self, agent: &AgentId, forget: bool) -> Result<bool, SessionsError> {
        let running = self.lock().running.remove(agent);
        if let Some(running) = &running {
            // It can only fail when the task has ended, which is what is wanted.
            let _ = running.session.close().await;
        }
        // Also without a session: an earlier attempt may have come only so far.
        if forget {
            History::forget(&self.host.database, agent.as_str()).await?;
            Memory::forget(&self.host.database, agent.as_str()).await?;
            self.host.questions.forget(agent).await?;
        }
        Ok(running.is_some())
    }

    /// Where the program of a harness is, and the version it prints: both `None` when it is
    /// not installed, and when only an agent's settings say which program it is. It is run only if
    /// it is among the programs that the adapter was granted.
    pub async fn installed(
        &self,
        adapter: &rp_engine::Adapter,
        granted: &[String],
    ) -> (Option<PathBuf>, Option<String>) {
        let description = adapter.describe();
        let program = self.host.launcher.find(&description.program, &[]);
        let Some(path) = &program else { return (None, None) };
        if description.version_args.is_empty() || !granted.contains(&description.program) {
            return (program, None);
        }
        let arguments = &description.version_args;
        let version = self.host.versions.probe(path, arguments, &[], Path::new("/")).await;
        (program, version)
    }

    /// Stops and removes all sessions at the same time. What has not ended by the deadline
    /// is left to the next host's start. Tells whether all ended.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let all: Vec<Running> = {
            let mut sessions = self.lock();
            sessions.is_closing = true;
            sessions.running.drain().map(|(_, running)| running).collect()
        };
        let mut closing = JoinSet::new();
        for running in all {
            closing.spawn(async move {
                let abort = running.task.abort_handle();
                if timeout(deadline, running.session.close()).await.is_ok() {
                    return true;
                }
                abort.abort();
                false
            });
        }
        closing.join_all().await.into_iter().all(|ended| ended)
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
