//! The handle on one agent's session.

use std::path::PathBuf;

use rp_engine::Adapter;
use rp_mesh::AgentId;
use rp_protocol::session::{Command, Failure, MeshAccess, Prompt, Reply};
use rp_store::StoreError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    answers::Said,
    commands::{Outcome, harness_failure},
    history::{History, HistoryReader},
    status::Status,
};

/// Requests that wait for a session; the next one waits for a place.
pub(crate) const REQUESTS: usize = 64;

/// What a session needs to know of its agent. Changes take effect with the next start.
#[derive(Clone)]
pub struct AgentConfig {
    /// The agent's id.
    pub id: AgentId,
    /// Its name on the mesh.
    pub name: String,
    /// Its folder, the working folder of its processes; absolute.
    pub cwd: PathBuf,
    /// What translates its harness.
    pub adapter: Adapter,
    /// The programs the adapter was granted to run, by name.
    pub programs: Vec<String>,
    /// The environment variables a launch may set although they decide what runs: those the adapter
    /// was granted, and those the person set.
    pub variables: Vec<String>,
    /// The model to start with.
    pub model: Option<String>,
    /// How it reaches the mesh.
    pub mesh: Option<MeshAccess>,
    /// The person's settings for the harness: a JSON object.
    pub settings: String,
    /// Environment variables of its processes, on top of the host's; `PATH` among them
    /// decides where its program is found.
    pub environment: Vec<(String, String)>,
    /// Start it again when it ends by itself, even with success.
    pub keep_running: bool,
}

/// An answer that is given to a question.
pub(crate) struct Given {
    /// The question's id.
    pub(crate) question: String,
    pub(crate) said: Said,
    /// Who gives it, in words.
    pub(crate) by: String,
}

/// What the handle asks of the session's task.
pub(crate) enum Request {
    Command(Command, oneshot::Sender<Outcome>),
    Answer(Given, oneshot::Sender<Outcome>),
    /// A prompt whose number in the session's events is told.
    Prompt(Prompt, oneshot::Sender<u64>, oneshot::Sender<Outcome>),
    Start(oneshot::Sender<Result<(), Failure>>),
    Stop(oneshot::Sender<()>),
    Restart(oneshot::Sender<Result<(), Failure>>),
    Configure(Box<AgentConfig>),
    /// Do not start again, for this reason, until it is configured.
    Withdraw(String),
    /// Stop, put everything on disk, and end the task.
    Close(oneshot::Sender<()>),
}

/// One agent's session: its process, its conversation, its history. Clones share it.
#[derive(Clone)]
pub struct Session {
    pub(crate) id: AgentId,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) history: History,
}

impl Session {
    /// The agent's id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// What it is doing, now and with every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The events after this number, then those to come; from the first with 0.
    #[must_use]
    pub fn events_after(&self, sequence: u64) -> HistoryReader {
        self.history.after(sequence)
    }

    /// The newest `count` events, then those to come.
    ///
    /// # Errors
    /// The database failed.
    pub async fn last_events(&self, count: usize) -> Result<HistoryReader, StoreError> {
        Ok(self.history.after(self.history.before_last(count).await?))
    }

    /// The number of the newest event; 0 when there is none.
    #[must_use]
    pub fn last_event(&self) -> u64 {
        self.history.last()
    }

    /// Tells the session something and waits for the outcome, up to ten minutes. A prompt's
    /// outcome says that it was accepted, not that its turn is over.
    ///
    /// # Errors
    /// What the harness or its adapter says, or why they were not asked.
    pub async fn command(&self, command: Command) -> Result<Reply, Failure> {
        self.ask(|reply| Request::Command(command, reply)).await?
    }

    /// Answers a question; `by` says who does, in words such as `the command line`. Returns once
    /// the harness has taken it.
    ///
    /// # Errors
    /// Somebody else was first, the question is over or takes no such answer, or what the harness
    /// or its adapter says.
    pub async fn answer(&self, question: &str, said: Said, by: &str) -> Result<(), Failure> {
        let given = Given { question: question.to_owned(), said, by: by.to_owned() };
        self.ask(|reply| Request::Answer(given, reply)).await?.map(drop)
    }

    /// Starts the process unless it runs, with all its restarts left. Returns once it runs.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn start(&self) -> Result<(), Failure> {
        self.ask(Request::Start).await?
    }

    /// Ends the process and everything it started. Returns once that is done.
    ///
    /// # Errors
    /// The session was removed.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.ask(Request::Stop).await
    }

    /// Ends the process if it runs and starts it, with all its restarts left.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn restart(&self) -> Result<(), Failure> {
        self.ask(Request::Restart).await?
    }

    /// Changes what it knows of its agent, from the next start on.
    ///
    /// # Errors
    /// The session was removed.
    pub async fn configure(&self, config: AgentConfig) -> Result<(), Failure> {
        self.requests.send(Request::Configure(Box::new(config))).await.map_err(|_| removed())
    }

    /// What runs goes on to its end; from then on every start fails with this reason, until the
    /// session is configured again. A session that was removed needs no telling.
    pub async fn withdraw(&self, reason: String) {
        let _ = self.requests.send(Request::Withdraw(reason)).await;
    }

    pub(crate) async fn close(&self) -> Result<(), Failure> {
        self.ask(Request::Close).await
    }

    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| removed())?;
        answer.await.map_err(|_| removed())
    }
}

pub(crate) fn removed() -> Failure {
    harness_failure("the session was removed", None)
}
