//! The task that owns one agent's session: it alone talks to the process, the adapter and
//! the mailbox of the agent.

mod asking;
mod ending;
mod turns;

use std::sync::Arc;

use rp_engine::CallError;
use rp_mesh::Mailboxes;
use rp_protocol::session::{
    Ability, Command, Event, Exit, Failure, LaunchRequest, LaunchSpec, Severity, State,
};
use rp_store::Database;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    actor::asking::Asked,
    answers::Said,
    commands::{Asker, Commands, harness_failure},
    delivery::{Conversation, Delivery},
    history::History,
    memory::Memory,
    process::{Happening, Launcher, Place, StartError, now_ms},
    questions::{Change, Questions},
    restart::{Ended, Restarts},
    run::{Cause, Run},
    session::{AgentConfig, Given, Request},
    status::{Phase, Status},
    version::Versions,
};

/// Processes that cannot resume an earlier conversation before a new one is begun.
const RESUME_TRIES: u32 = 2;
/// What all sessions share.
pub(crate) struct Host {
    pub(crate) launcher: Launcher,
    pub(crate) versions: Versions,
    pub(crate) database: Database,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) questions: Questions,
}

/// One agent's session.
pub(crate) struct Actor {
    agent: AgentConfig,
    /// Why it must not start any more.
    withdrawn: Option<String>,
    host: Arc<Host>,
    requests: mpsc::Receiver<Request>,
    history: History,
    published: watch::Sender<Status>,
    status: Status,
    memory: Memory,
    delivery: Delivery,
    commands: Commands,
    restarts: Restarts,
    born: Instant,
    restart_at: Option<Instant>,
    /// Processes in a row that were to resume the conversation and never got ready.
    resume_failures: u32,
    relaunches: Vec<Instant>,
    run: Option<Run>,
    /// Questions that are not over, oldest first.
    asked: Vec<Asked>,
    /// Events that no client has seen yet.
    unpublished: Vec<Event>,
    /// Changes of questions that are to be on disk before those events are seen.
    changes: Vec<Change>,
    stop_waiters: Vec<oneshot::Sender<()>>,
    start_waiters: Vec<oneshot::Sender<Result<(), Failure>>>,
    closing: Vec<oneshot::Sender<()>>,
    closed: bool,
}

/// A call into the adapter.
enum Call<'a> {
    Started,
    Output(&'a [u8]),
    Diagnostics(&'a str),
    Command(u64, &'a Command),
    Wake,
    Exited(&'a Exit),
}

/// Why there is no process.
struct NotStarted {
    failure: Failure,
    /// Another try would fail in the same way.
    permanent: bool,
}

impl Actor {
    pub(crate) fn new(
        agent: AgentConfig,
        host: Arc<Host>,
        requests: mpsc::Receiver<Request>,
        history: History,
        published: watch::Sender<Status>,
        memory: Memory,
    ) -> Self {
        let timing = &host.launcher.timing;
        let delivery = Delivery::new(
            host.mailboxes.clone(),
            host.database.clone(),
            agent.id.clone(),
            timing.offer_again,
        );
        let native_session = memory.native_session.clone();
        Self {
            commands: Commands::new(timing.command),
            restarts: Restarts::new(timing.restarts.clone()),
            agent,
            withdrawn: None,
            host,
            requests,
            history,
            published,
            status: Status {
                state: State { native_session, ..State::default() },
                ..Status::default()
            },
            memory,
            delivery,
            born: Instant::now(),
            restart_at: None,
            resume_failures: 0,
            relaunches: Vec::new(),
            run: None,
            asked: Vec::new(),
            unpublished: Vec::new(),
            changes: Vec::new(),
            stop_waiters: Vec::new(),
            start_waiters: Vec::new(),
            closing: Vec::new(),
            closed: false,
        }
    }

    /// Serves the session until it is closed.
    pub(crate) async fn run(mut self) {
        self.tell_left_open();
        let arrivals = self.host.mailboxes.arrivals(&self.agent.id);
        while !(self.closed && self.run.is_none()) {
            let arrival = arrivals.notified();
            tokio::pin!(arrival);
            // From here on an arrival is not missed, whatever is done before it is awaited.
            if arrival.as_mut().enable() {
                self.delivery.mail_arrived();
            }
            while self.deliver().await {}
            self.publish().await;
            self.tell_stopped();
            let deadline = self.next_deadline();
            tokio::select! {
                request = self.requests.recv(), if !self.closed => match request {
                    Some(request) => self.serve(request).await,
                    None => self.close(),
                },
                happening = next_happening(&mut self.run) => self.happened(happening).await,
                () = sleep_until(deadline.unwrap_or(self.born)), if deadline.is_some() => {
                    self.on_time().await;
                }
                () = arrival => self.delivery.mail_arrived(),
            }
        }
        self.publish().await;
        self.history.close().await;
        for waiter in self.closing.drain(..) {
            let _ = waiter.send(());
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Command(Command::Answer { question, answer }, reply) => {
                let by = "an API client".to_owned();
                self.answer_question(Given { question, said: Said::Exact(answer), by }, reply)
                    .await;
            }
            Request::Command(command, reply) => {
                self.give(&command, Asker::Client(reply)).await;
            }
            Request::Answer(given, reply) => self.answer_question(given, reply).await,
            Request::Prompt(prompt, number, reply) => {
                let command = Command::Prompt(prompt);
                if let Some(given) = self.give(&command, Asker::Client(reply)).await {
                    let _ = number.send(given);
                }
            }
            Request::Configure(agent) => {
                self.agent = *agent;
                self.withdrawn = None;
            }
            Request::Withdraw(reason) => self.withdrawn = Some(reason),
            Request::Start(reply) => match &self.run {
                Some(run) if run.is_asked_to_end() => self.start_waiters.push(reply),
                Some(_) => drop(reply.send(Ok(()))),
                None => self.start(reply).await,
            },
            Request::Restart(reply) if self.run.is_some() => {
                self.start_waiters.push(reply);
                self.end(Cause::Asked);
            }
            Request::Restart(reply) => self.start(reply).await,
            Request::Stop(reply) => {
                self.stop_waiters.push(reply);
                self.stop();
            }
            Request::Close(reply) => {
                self.closing.push(reply);
                self.close();
            }
        }
    }

    async fn start(&mut self, reply: oneshot::Sender<Result<(), Failure>>) {
        self.restarts.reset();
        self.resume_failures = 0;
        let started = self.launch().await;
        self.publish().await;
        let _ = reply.send(started);
    }

    /// Begins the end of the process; what waits for that is told when it has come.
    fn stop(&mut self) {
        self.restart_at = None;
        for waiter in self.start_waiters.drain(..) {
            let _ = waiter.send(Err(harness_failure("the session was stopped", None)));
        }
        if self.run.is_some() {
            self.end(Cause::Asked);
        } else {
            self.status.phase = Phase::Stopped;
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.stop();
    }

    /// Tells those who wait for the end of the process, once everybody can see that it came.
    fn tell_stopped(&mut self) {
        if self.run.is_none() {
            for waiter in self.stop_waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
    }

    /// Begins the end of the process for this cause.
    fn end(&mut self, cause: Cause) {
        if let Some(run) = &mut self.run {
            run.end(cause);
            self.status.phase = Phase::Stopping;
        }
    }

    // ---- starting

    /// Starts a process; a failure is also shown in the phase.
    async fn launch(&mut self) -> Result<(), Failure> {
        self.restart_at = None;
        self.status.phase = Phase::Starting;
        self.publish().await;
        match self.try_launch().await {
            Ok(run) => {
                self.begin(run).await;
                Ok(())
            }
            Err(NotStarted { failure, permanent: true }) => {
                self.fail(failure.message.clone(), failure.hint.clone());
                Err(failure)
            }
            Err(NotStarted { failure, permanent: false }) => {
                self.ended(Ended::Crashed, failure.message.clone());
                Err(failure)
            }
        }
    }

    async fn try_launch(&mut self) -> Result<Run, NotStarted> {
        let broken = |error: CallError| NotStarted {
            failure: harness_failure(error.to_string(), None),
            permanent: false,
        };
        if let Some(reason) = &self.withdrawn {
            return Err(NotStarted {
                failure: harness_failure(reason.clone(), None),
                permanent: true,
            });
        }
        let adapter = self.agent.adapter.clone();
        let refused = |failure| NotStarted { failure, permanent: true };
        let mut request = self.launch_request();
        // Asked once without the version: where the program is, and what is in its
        // environment, decides which version it is. The secrets of the mesh do not.
        let first = LaunchRequest { mesh: None, ..request.clone() };
        let spec = adapter.launch(&first).await.map_err(broken)?.map_err(refused)?;
        // Asking for the version runs the program already.
        Launcher::check(&spec, self.place()).map_err(not_started)?;
        request.version = self.version(&spec).await?;
        self.status.version.clone_from(&request.version);
        let spec = adapter.launch(&request).await.map_err(broken)?.map_err(refused)?;
        let session = adapter.session(&request).await.map_err(broken)?;
        let process = self.host.launcher.start(&spec, self.place()).map_err(not_started)?;
        Ok(Run::new(process, session, request.resume.is_some(), self.ready_by()))
    }

    /// The version that the program of this launch prints.
    async fn version(&mut self, spec: &LaunchSpec) -> Result<Option<String>, NotStarted> {
        let description = self.agent.adapter.describe();
        let is_granted = self.agent.programs.contains(&description.program);
        if !is_granted || description.version_args.is_empty() {
            return Ok(None);
        }
        let environment: Vec<_> = self.agent.environment.iter().chain(&spec.env).cloned().collect();
        let Some(program) = self.host.launcher.find(&description.program, &environment) else {
            let missing = StartError::ProgramMissing {
                program: description.program.clone(),
                install: description.install.clone(),
            };
            let failure = harness_failure(missing.to_string(), missing.hint().as_deref());
            return Err(NotStarted { failure, permanent: true });
        };
        let (versions, arguments) = (&self.host.versions, &description.version_args);
        Ok(versions.probe(&program, arguments, &environment, &self.agent.cwd).await)
    }

    fn launch_request(&mut self) -> LaunchRequest {
        if self.resume_failures >= RESUME_TRIES && self.memory.native_session.take().is_some() {
            self.resume_failures = 0;
            self.notice(
                Severity::Warning,
                "the earlier conversation could not be resumed; a new one begins".to_owned(),
            );
        }
        LaunchRequest {
            launch: uuid::Uuid::new_v4().simple().to_string(),
            cwd: self.agent.cwd.to_string_lossy().into_owned(),
            agent: self.agent.name.clone(),
            model: self.agent.model.clone(),
            resume: self.memory.native_session.clone(),
            mesh: self.agent.mesh.clone(),
            settings: self.agent.settings.clone(),
            version: None,
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            agent: self.agent.id.as_str(),
            cwd: &self.agent.cwd,
            environment: &self.agent.environment,
            component: self.agent.adapter.id(),
            programs: &self.agent.programs,
            variables: &self.agent.variables,
            install: &self.agent.adapter.describe().install,
        }
    }

    fn ready_by(&self) -> Instant {
        Instant::now() + self.host.launcher.timing.ready
    }

    /// The process runs: the adapter is told.
    async fn begin(&mut self, run: Run) {
        self.restarts.started(self.born.elapsed());
        self.status.phase = Phase::Starting;
        self.status.pid = Some(run.process.pid());
        self.status.started_at_ms = Some(now_ms());
        let conversation = match (run.resumes, self.can(Ability::History)) {
            (false, _) => Conversation::New,
            (true, true) => Conversation::Readable,
            (true, false) => Conversation::Unreadable,
        };
        self.delivery.process_started(&mut self.memory, conversation);
        self.run = Some(run);
        self.call(Call::Started).await;
    }

    fn can(&self, ability: Ability) -> bool {
        self.agent.adapter.describe().abilities.contains(&ability)
    }
}

fn not_started(error: StartError) -> NotStarted {
    NotStarted {
        failure: harness_failure(error.to_string(), error.hint().as_deref()),
        permanent: error.is_permanent(),
    }
}

/// Waits for what the process does next; for ever when there is none.
async fn next_happening(run: &mut Option<Run>) -> Happening {
    match run {
        Some(run) => run.process.next().await,
        None => std::future::pending().await,
    }
}
