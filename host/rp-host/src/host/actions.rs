//! App actions: which an agent has, and what happens when one is run.
//!
//! The component says what to do, step by step; the host does it, as far as the component was
//! granted that.
//!
//! - `offered`: the actions of an agent, by the names they are called with
//! - `parameters`: whether parameters fit an action's schema, in words
//! - `permits`: what a component may have done
//! - `steps`: doing one step

mod offered;
mod parameters;
mod permits;
mod steps;

use std::{sync::Arc, time::Duration};

use rp_mesh::AgentId;
use rp_protocol::actions::{Context, MAX_STEPS, Peer, Progress, Step};
use serde_json::Value;

use self::{offered::Offered, steps::Doer};
pub use self::{parameters::check as check_parameters, permits::allow as permit_step};
use super::{Host, agent_id, agents::problem};
use crate::{api, problem::Problem, registry::Entry};

/// The longest an action may take, all its steps together.
const RUN_LIMIT: Duration = Duration::from_secs(600);

impl Host {
    /// The actions of an agent, in the order of their components.
    pub async fn actions(&self, id: &str) -> Result<api::Actions, Problem> {
        let entry = self.entry(id).await?;
        let actions = self.offered(&entry).await.into_iter().map(Offered::for_client).collect();
        Ok(api::Actions { actions })
    }

    /// Runs an action for an agent to its end. Whoever drops this ends the action between two
    /// steps; what an agent was told by then, it does.
    pub async fn run_action(
        self: &Arc<Self>,
        id: &str,
        name: &str,
        run: api::RunAction,
    ) -> Result<api::ActionDone, Problem> {
        let entry = self.entry(id).await?;
        let lists = format!("`rp-host action list {id}` shows them");
        let offered = offered::find(self.offered(&entry).await, name, &lists)?;
        parameters::check(&offered.action().parameters, &run.parameters, &lists)?;
        if offered.action().destructive && !run.confirmed {
            let summary = &offered.action().summary;
            return Err(Problem::failed(format!(
                "{name} needs a confirmation, because it cannot be undone"
            ))
            .hint(format!("`rp-host action run {id} {name} --yes` gives it: {summary}")));
        }
        let context = self.context(&entry, run).await?;
        let running = self.run_to_its_end(&entry, &offered, &context);
        tokio::time::timeout(RUN_LIMIT, running).await.unwrap_or_else(|_| {
            let minutes = RUN_LIMIT.as_secs() / 60;
            Err(Problem::failed(format!("{name} has not ended within {minutes} min"))
                .hint(format!("what the agent was told goes on: see `rp-host attach {id}`")))
        })
    }

    /// Asks the component what to do and does it, until it says that it is over.
    async fn run_to_its_end(
        self: &Arc<Self>,
        entry: &Entry,
        offered: &Offered,
        context: &Context,
    ) -> Result<api::ActionDone, Problem> {
        let component = offered.component();
        let failed = |error: &dyn std::fmt::Display| {
            Problem::failed(format!("the component {component} failed: {error}"))
        };
        let (id, session) = (entry.id(), self.session(entry)?);
        let doer = Doer { host: self, agent: &id, session, offered };
        let (mut replies, mut notes) = (Vec::new(), Vec::new());
        loop {
            let progress = offered.actions.run(&offered.action().name, context, &replies).await;
            let steps = match progress.map_err(|error| failed(&error))?.map_err(problem)? {
                Progress::Finished { text } => {
                    tracing::info!(agent = %id, action = offered.name, "an action is over");
                    return Ok(api::ActionDone { text, notes, steps: replies.len() });
                }
                Progress::Steps { steps } => steps,
            };
            if steps.is_empty() {
                return Err(failed(&"it neither did a step nor ended"));
            }
            if replies.len() + steps.len() > MAX_STEPS {
                return Err(failed(&format!("it wants more than {MAX_STEPS} steps")));
            }
            for step in steps {
                if let Step::Notify { text } = &step {
                    notes.push(text.clone());
                }
                replies.push(doer.perform(step).await);
            }
        }
    }

    async fn offered(&self, entry: &Entry) -> Vec<Offered> {
        self.components.loaded().await;
        offered::offered(self.components.actions(), entry.harness())
    }

    /// What the action gets to know.
    async fn context(&self, entry: &Entry, run: api::RunAction) -> Result<Context, Problem> {
        let id = agent_id(&entry.id())?;
        let agent = Peer {
            pc: None,
            address: self.mesh.address(&id).unwrap_or_default(),
            name: entry.name(),
            cwd: entry.cwd.clone(),
            harness: Some(entry.harness().to_owned()),
        };
        let reachable = |agent: Option<&AgentId>| {
            agent.is_none_or(|agent| *agent != id && *agent != AgentId::person())
        };
        let known = self.mesh.peers().await.into_iter();
        let peers = known.filter(|peer| reachable(peer.agent.as_ref())).map(|peer| Peer {
            pc: peer.pc,
            address: peer.address,
            name: peer.name,
            cwd: peer.cwd,
            harness: peer.harness,
        });
        let state = self.session(entry)?.status().state;
        Ok(Context { agent, state, parameters: run.parameters, peers: peers.collect() })
    }
}

/// A value as a person writes it: text without quotes, everything else as JSON.
fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
