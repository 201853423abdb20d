//! The agents this machine keeps: their registry, their sessions and what these are told.

use futures_util::{Stream, stream};
use rp_mesh::AgentId;
use rp_protocol::session::{Command, Failure, FailureKind, HarnessDescription, Reply};
use rp_session::{HistoryItem, Phase, Session};

use super::{Host, agent_id, now_ms};
use crate::{
    api,
    problem::{Problem, While},
    registry::{Entry, Registry},
};

/// Where a reader of a session's events begins.
#[derive(Debug, Clone, Copy)]
pub enum EventsFrom {
    /// Behind the event with this number.
    After(u64),
    /// So many events before the newest.
    Last(usize),
}

impl Host {
    /// One agent.
    pub async fn agent(&self, id: &str) -> Result<api::Agent, Problem> {
        match self.live_agent(id) {
            Some(live) => Ok(live),
            None => Ok(self.describe(&self.entry(id).await?)),
        }
    }

    pub(super) async fn entry(&self, id: &str) -> Result<Entry, Problem> {
        self.refuse_if_live(id)?;
        let registry = self.registry.lock().await;
        registry.daemons.iter().find(|entry| entry.id() == id).cloned().ok_or_else(|| {
            Problem::failed(format!("no agent has the id {id}"))
                .hint("`rp-host daemons` lists the agents")
        })
    }

    pub(super) fn describe(&self, entry: &Entry) -> api::Agent {
        let id = entry.id();
        let agent = id.parse::<AgentId>().ok();
        let session = agent.as_ref().and_then(|id| self.sessions.get(id));
        let status = session.map(|session| session.status()).unwrap_or_default();
        let (state, detail) = match self.why_unusable(&id) {
            Some(problem) => ("failed", Some(problem.to_string())),
            None => phase(&status.phase),
        };
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
        self.components.loaded().await;
        let adapter = self.components.adapter(&harness)?;
        let granted = self.components.programs(&adapter, &create.settings);
        let (program, _) = self.sessions.installed(&adapter, &granted).await;
        let description = adapter.describe();
        if program.is_none() && !description.program.is_empty() {
            return Err(not_installed(description));
        }
        let mut entry = Entry::new(&create.folder, create.name, harness)?;
        entry.model = create.model;
        entry.settings = create.settings;
        let changing = self.changing_agents.lock().await;
        {
            let mut registry = self.registry.lock().await;
            self.refuse_if_live(&entry.id())?;
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
        drop(changing);
        match session.start().await {
            Err(failure) if failure.kind == FailureKind::Invalid => {
                let _changing = self.changing_agents.lock().await;
                self.take_down(&entry).await?;
                self.forget(&entry.id()).await?;
                Err(problem(failure))
            }
            _ => Ok(self.describe(&entry)),
        }
    }

    /// Stops an agent and keeps it no longer. Its history and its mailbox go too.
    pub async fn remove(&self, id: &str) -> Result<api::Agent, Problem> {
        let _changing = self.changing_agents.lock().await;
        let entry = self.entry(id).await?;
        // On a full disk nothing of this works; find out before anything is undone.
        self.mailboxes.settled().await.doing(format!("remove {}", entry.name()))?;
        self.take_down(&entry).await?;
        self.forget(id).await?;
        Ok(self.describe(&entry))
    }

    async fn take_down(&self, entry: &Entry) -> Result<(), Problem> {
        let id = agent_id(&entry.id())?;
        self.sessions.remove(&id, true).await.doing(format!("stop {}", entry.name()))?;
        self.mesh.leave(&id);
        self.mailboxes.remove(&id).await.doing(format!("empty the mailbox of {}", entry.name()))?;
        self.tokens.forget(&entry.id());
        self.is_usable_again(entry);
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

    pub(super) fn session(&self, entry: &Entry) -> Result<Session, Problem> {
        let id = agent_id(&entry.id())?;
        self.sessions.get(&id).ok_or_else(|| {
            let why = self.why_unusable(&entry.id());
            why.unwrap_or_else(|| Problem::failed(format!("{} is being removed", entry.name())))
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
        let session = self.session(&entry)?;
        // First, so that a daemon that ends in between does not start it again.
        self.set_stopped(id, true).await?;
        session.stop().await.map_err(problem)?;
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

    /// The events of an agent's session after a number, or the newest ones, then the live ones. Numbers that are
    /// no longer kept are passed over: the next number tells.
    pub async fn events(
        &self,
        id: &str,
        from: EventsFrom,
    ) -> Result<impl Stream<Item = api::NumberedEvent> + use<>, Problem> {
        let session = self.session(&self.entry(id).await?)?;
        let reader = match from {
            EventsFrom::After(number) => session.events_after(number),
            EventsFrom::Last(count) => session.last_events(count).await.doing("read its events")?,
        };
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
}

/// A harness is not there.
pub(super) fn not_installed(description: &HarnessDescription) -> Problem {
    let HarnessDescription { title, program, install, .. } = description;
    Problem::failed(format!(
        "{title} is not installed: there is no program {program} on the daemon's PATH"
    ))
    .hint(format!("{install}; if it is on yours, `rp-host stop` and try again"))
}

/// A failure of a session as the person sees it.
pub(super) fn problem(failure: Failure) -> Problem {
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
pub(super) fn phase(phase: &Phase) -> (&'static str, Option<String>) {
    match phase {
        Phase::Stopped => ("stopped", None),
        Phase::Starting => ("starting", None),
        Phase::Idle => ("idle", None),
        Phase::Working => ("working", None),
        Phase::Stopping => ("stopping", None),
        Phase::BackingOff { until_ms, attempt, reason } => {
            let seconds = until_ms.saturating_sub(now_ms()).div_ceil(1_000);
            let reason = reason.replace('\n', " ");
            ("backing-off", Some(format!("{reason}; restart {attempt} in {seconds} s")))
        }
        Phase::Failed { reason, hint } => {
            let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            ("failed", Some(format!("{reason}{hint}").replace('\n', " ")))
        }
    }
}
