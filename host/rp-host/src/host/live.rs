//! Agents that a person runs in their own terminal: on the mesh as long as a connection is held.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rp_mesh::{AgentId, JoinError};
use rp_protocol::mesh::MAX_SUFFIX;
use rp_session::{Given, LiveMail};
use tokio::sync::Notify;

use super::{Host, agent_id, agents::not_installed, now_ms, peer};
use crate::{
    api,
    problem::{Problem, While},
    registry::{Entry, Registry},
};

/// The state of an agent that a person runs in their terminal.
pub const LIVE: &str = "live";

/// The live agents, by id.
#[derive(Default)]
pub struct LiveAgents(Mutex<BTreeMap<String, LiveAgent>>);

#[derive(Clone)]
struct LiveAgent {
    entry: Entry,
    pid: u32,
    since_ms: u64,
    /// Missing while it is still being let in.
    mail: Option<Arc<LiveMail>>,
    /// Told when it wants to leave.
    leave: Arc<Notify>,
}

impl LiveAgents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LiveAgent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an agent is live.
    pub fn contains(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }
}

/// Keeps an agent on the mesh until it is dropped.
pub struct Presence {
    host: Arc<Host>,
    id: String,
    agent: AgentId,
    leave: Arc<Notify>,
}

impl Presence {
    /// Waits until the agent wants to leave.
    pub async fn has_left(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.host.mesh.leave(&self.agent);
        self.host.tokens.forget(&self.id);
        self.host.live.lock().remove(&self.id);
    }
}

/// Messages that are being given to a live agent. Dropped before they are acknowledged, they are
/// offered again.
pub struct Giving {
    mail: Arc<LiveMail>,
    number: u64,
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.mail.gone(self.number);
    }
}

impl Host {
    /// The processes that hold live agents on the mesh; their harnesses are children of them.
    pub fn live_processes(&self) -> Vec<u32> {
        self.live.lock().values().map(|live| live.pid).collect()
    }

    /// Lets a harness that runs in a person's terminal onto the mesh, until what is returned is
    /// dropped. A name that is taken in its folder gets a number.
    pub async fn go_live(
        self: &Arc<Self>,
        wanted: api::GoLive,
    ) -> Result<(api::Live, Presence), Problem> {
        self.components.loaded().await;
        let adapter = self.components.adapter(&wanted.harness)?;
        let description = adapter.describe();
        let program = self.sessions.program(&adapter).ok_or_else(|| not_installed(description))?;
        let entry = Entry::new(&wanted.folder, wanted.name, wanted.harness)?;
        let entry = match &wanted.token {
            Some(_) => self.claim(entry, wanted.pid, 1).await?,
            None => self.claim(entry, wanted.pid, MAX_SUFFIX).await?,
        };
        let id = entry.id();
        let leave = self.live.lock().get(&id).map(|live| Arc::clone(&live.leave));
        // From here on, whatever fails takes it out again.
        let presence = Presence {
            host: Arc::clone(self),
            agent: agent_id(&id)?,
            id: id.clone(),
            leave: leave.unwrap_or_default(),
        };
        let mail = self.sessions.live_mail(&presence.agent).await.doing("open its mailbox")?;
        if let Some(token) = &wanted.token {
            self.tokens.set(&id, token);
        }
        let joining = peer(&entry).ok_or_else(|| Problem::failed("its id is not an id"))?;
        match self.mesh.join(joining).await {
            Ok(_) | Err(JoinError::Waiting) => {}
            Err(refused) => {
                return Err(
                    Problem::failed(refused.to_string()).hint("give it another name with --name")
                );
            }
        }
        if let Some(live) = self.live.lock().get_mut(&id) {
            live.mail = Some(Arc::new(mail));
        }
        let access = self.mesh_access(&id);
        let live = api::Live {
            address: self.mesh.address(&presence.agent),
            name: entry.name(),
            cwd: entry.cwd.clone(),
            program: program.display().to_string(),
            title: description.title.clone(),
            socket: access.socket,
            skill: access.skill,
            token: access.token,
            id,
        };
        Ok((live, presence))
    }

    /// Takes the first name that is free in the folder, with a number if need be.
    async fn claim(&self, entry: Entry, pid: u32, last: u32) -> Result<Entry, Problem> {
        let registry = self.registry.lock().await;
        let mut live = self.live.lock();
        let wanted = entry.name();
        for number in 1..=last {
            let mut entry = entry.clone();
            if number > 1 {
                entry.name = Some(format!("{wanted}#{number}"));
            }
            let id = entry.id();
            if !is_kept(&registry, &id) && !live.contains_key(&id) {
                let agent = LiveAgent {
                    entry: entry.clone(),
                    pid,
                    since_ms: now_ms(),
                    mail: None,
                    leave: Arc::default(),
                };
                live.insert(id, agent);
                return Ok(entry);
            }
        }
        Err(Problem::failed(format!("there is already an agent named {wanted} in {}", entry.cwd))
            .hint("choose another name with --name"))
    }

    /// Refuses what cannot be done with an agent that a person runs in their terminal.
    pub(super) fn refuse_if_live(&self, id: &str) -> Result<(), Problem> {
        let live = self.live.lock();
        match live.get(id) {
            Some(agent) => Err(Problem::failed(format!(
                "{} is live in a terminal (process {}): it is driven there",
                agent.entry.name(),
                agent.pid
            ))
            .hint("`rp-host send` and `rp-host inbox` work with it; the rest is for kept agents")),
            None => Ok(()),
        }
    }

    /// The live agents, in the order of their ids.
    pub(super) fn live_agents(&self) -> Vec<api::Agent> {
        let mut agents: Vec<_> = self.live.lock().values().cloned().collect();
        agents.retain(|agent| agent.mail.is_some());
        agents.iter().map(|agent| self.describe_live(agent)).collect()
    }

    /// One of them.
    pub(super) fn live_agent(&self, id: &str) -> Option<api::Agent> {
        let agent = self.live.lock().get(id).cloned()?;
        Some(self.describe_live(&agent))
    }

    fn describe_live(&self, agent: &LiveAgent) -> api::Agent {
        let kept = self.describe(&agent.entry);
        api::Agent {
            state: LIVE.to_owned(),
            detail: None,
            pid: Some(agent.pid),
            uptime_ms: Some(now_ms().saturating_sub(agent.since_ms)),
            ..kept
        }
    }

    /// What a live agent's harness is given at an edge of its turns. With `wait`, this takes until
    /// there is something.
    pub async fn give_mail(
        &self,
        id: &str,
        request: &api::TakeMail,
    ) -> Result<(api::Mail, Option<Giving>), Problem> {
        let mail = self.live_mail(id)?;
        let goes_on = match request.at {
            Some(api::TurnEdge::EndAgain) => mail.turn_ended_again(),
            at => {
                match at {
                    Some(api::TurnEdge::Conversation) => mail.conversation_begins(),
                    Some(api::TurnEdge::Prompt) => mail.turn_begins(),
                    Some(api::TurnEdge::End) => mail.turn_ended(),
                    _ => {}
                }
                true
            }
        };
        let take = if goes_on { request.take } else { api::Take::Nothing };
        let mut holds = request.holds.as_deref();
        let arrivals = self.mailboxes.arrivals(&agent_id(id)?);
        loop {
            let given = match take {
                api::Take::Nothing => Given::Nothing,
                api::Take::Now | api::Take::Wait => mail.give(holds.take()),
            };
            match given {
                Given::Nothing if take == api::Take::Wait => arrivals.notified().await,
                Given::Nothing => return Ok((api::Mail::default(), None)),
                Given::Doubt(ids) => {
                    return Ok((api::Mail { doubt: ids, ..api::Mail::default() }, None));
                }
                Given::Batch { number, text } => {
                    let giving = Giving { mail, number };
                    let batch = Some(api::MailBatch { number, text });
                    return Ok((api::Mail { batch, ..api::Mail::default() }, Some(giving)));
                }
            }
        }
    }

    /// Takes a live agent off the mesh although its harness goes on.
    pub fn leave(&self, id: &str) -> Result<api::Agent, Problem> {
        self.live_mail(id)?;
        let agent = self.live_agent(id);
        if let Some(live) = self.live.lock().get(id) {
            live.leave.notify_one();
        }
        agent.ok_or_else(|| not_live(id))
    }

    /// A live agent as it sees itself.
    pub fn live_self(&self, id: &str) -> Result<api::Agent, Problem> {
        self.live_agent(id).ok_or_else(|| not_live(id))
    }

    /// The harness of a live agent has a batch.
    pub fn mail_taken(&self, id: &str, number: u64, taken: api::MailTaken) -> Result<(), Problem> {
        let mail = self.live_mail(id)?;
        let is_news = if taken.left { mail.left(number) } else { mail.taken(number, taken.seen) };
        if is_news {
            return Ok(());
        }
        Err(Problem::failed(format!("the batch {number} is not open: it is offered again")))
    }

    fn live_mail(&self, id: &str) -> Result<Arc<LiveMail>, Problem> {
        let mail = self.live.lock().get(id).and_then(|agent| agent.mail.clone());
        mail.ok_or_else(|| not_live(id))
    }
}

fn not_live(id: &str) -> Problem {
    Problem::failed(format!("no agent with the id {id} is live in a terminal"))
        .hint("one comes with `rp-host claude`, `rp-host codex` or `rp-host pi`")
}

fn is_kept(registry: &Registry, id: &str) -> bool {
    registry.daemons.iter().any(|entry| entry.id() == id)
}
