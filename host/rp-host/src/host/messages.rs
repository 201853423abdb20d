//! Messages: who can be written to, sending, and what became of what was sent.

use std::time::Duration;

use rp_mesh::{
    AgentId, HeldMessage, Letter, Pending, Recipients, ReleaseError, SendError, Sender, Stage,
};
use rp_protocol::mesh::EnvelopeId;
use serde_json::value::RawValue;

use super::{Host, LIVE, agent_id, agents::phase, now_ms};
use crate::{
    api,
    problem::{Problem, While},
};

/// The most messages that a listing shows.
const LISTED: usize = 1_000;

impl Host {
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
                let is_live = peer.agent.as_ref().is_some_and(|id| self.live.contains(id.as_str()));
                let state = session.map(|session| phase(&session.status().phase).0.to_owned());
                let state = if is_live { Some(LIVE.to_owned()) } else { state };
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
        Ok(api::Peers { peers, machines: self.machines() })
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
        let expires_in = send.expires_in_ms.map(Duration::from_millis);
        let sent = self.mesh.send(sender, to, body, re, expires_in).await;
        let receipt = sent.map_err(|error| match error {
            SendError::NoExpiry => Problem::failed(error.to_string())
                .hint("leave out the expiry, or wait until this host leads (`rp-host status`)"),
            _ => Problem::failed(format!("could not send the message: {error}")),
        })?;
        Ok(api::Sent {
            id: receipt.id.to_string(),
            outcomes: receipt.deliveries.into_iter().map(outcome).collect(),
        })
    }

    /// The newest messages of a mailbox, also those that were taken, oldest first. A person who
    /// looks into their own mailbox has read what is shown; while there is more than one listing
    /// can show, they see the oldest that they have not read.
    pub fn inbox(&self, id: &str) -> Result<api::Inbox, Problem> {
        let agent = mailbox_id(id)?;
        if agent != AgentId::person() {
            let letters = self.letters(&agent)?;
            return Ok(api::Inbox { messages: letters.iter().map(message).collect() });
        }
        let unread = self.mailboxes.pending(&agent, LISTED).doing("read the mailbox")?;
        let messages = if unread.len() < LISTED {
            self.letters(&agent)?.iter().map(message).collect()
        } else {
            unread.iter().map(waiting_message).collect()
        };
        let sequences: Vec<_> = unread.iter().map(|pending| pending.sequence).collect();
        self.mark_read(&agent, &sequences);
        Ok(api::Inbox { messages })
    }

    /// The messages that wait in an agent's mailbox, oldest first. With `take` they count as
    /// given to the model. What is being handed to the harness right now is not among them.
    pub fn waiting_messages(&self, id: &str, take: bool) -> Result<api::Inbox, Problem> {
        let agent = mailbox_id(id)?;
        let mut waiting = self.mailboxes.pending(&agent, LISTED).doing("read the mailbox")?;
        waiting.retain(|pending| pending.stage == Stage::Stored);
        if take {
            let sequences: Vec<_> = waiting.iter().map(|pending| pending.sequence).collect();
            let taken = self.mark_read(&agent, &sequences);
            waiting.retain(|pending| taken.contains(&pending.sequence));
        }
        Ok(api::Inbox { messages: waiting.iter().map(waiting_message).collect() })
    }

    /// The newest messages of a mailbox, oldest first.
    fn letters(&self, agent: &AgentId) -> Result<Vec<Letter>, Problem> {
        let mut letters = self.mailboxes.inbox(agent, None, LISTED).doing("read the mailbox")?;
        letters.reverse();
        Ok(letters)
    }

    /// A model that reads its mailbox with a tool has the messages in its running turn. Gives
    /// those that nobody else took meanwhile.
    fn mark_read(&self, agent: &AgentId, sequences: &[u64]) -> Vec<u64> {
        let taken = self.mailboxes.mark(agent, sequences, Stage::Injected, now_ms());
        self.mailboxes.mark(agent, &taken, Stage::TurnSeen, now_ms());
        taken
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

    /// The messages that wait for a person's decision, the longest waiting first.
    pub fn held(&self) -> Result<api::Held, Problem> {
        let held = self.mailboxes.held().doing("read the held messages")?;
        Ok(api::Held { messages: held.iter().map(held_message).collect() })
    }

    /// Delivers a held message. The routing policy is not asked again.
    pub async fn allow_held(&self, id: &str) -> Result<api::Sent, Problem> {
        let deliveries = self.mesh.release(id).await.map_err(|error| not_decided(id, &error))?;
        Ok(api::Sent { id: id.to_owned(), outcomes: deliveries.into_iter().map(outcome).collect() })
    }

    /// Throws a held message away and tells its sender why, when that is here.
    pub async fn deny_held(&self, id: &str, reason: Option<&str>) -> Result<(), Problem> {
        let reason = reason.unwrap_or("the person at the machine refused it");
        self.mesh.refuse(id, reason).await.map_err(|error| not_decided(id, &error))
    }

    fn read_trace(&self, id: &str) -> Result<api::Trace, Problem> {
        let steps = self.mailboxes.trace(id).doing("read the trace")?;
        Ok(api::Trace { steps: steps.into_iter().map(step).collect() })
    }
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

fn outcome(delivery: rp_mesh::Delivery) -> api::Outcome {
    use rp_mesh::Outcome::{Denied, Held, Received, Sent, Timeout, Unknown, Waiting};
    let (status, reason, closest) = match delivery.outcome {
        Received => ("received", None, Vec::new()),
        Sent => ("sent", None, Vec::new()),
        Denied { reason } => ("denied", Some(reason), Vec::new()),
        Unknown { closest } => ("unknown", None, closest),
        Held { reason } => ("held", Some(reason), Vec::new()),
        Waiting { reason } => ("waiting", Some(reason), Vec::new()),
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

fn waiting_message(pending: &Pending) -> api::Message {
    let incoming = &pending.message;
    api::Message {
        id: incoming.id.clone(),
        from: incoming.from.clone(),
        re: incoming.re.clone(),
        body: serde_json::from_str(incoming.body.get()).unwrap_or_default(),
        at_ms: pending.accepted_at_ms,
        stage: Some(stage(&pending.stage).0.to_owned()),
    }
}

fn held_message(held: &HeldMessage) -> api::HeldMessage {
    let message = &held.message;
    // Nobody here gets what goes to another machine.
    let named = || message.to.split('\n').map(str::to_owned).collect();
    api::HeldMessage {
        id: message.id.clone(),
        from: message.from.clone(),
        to: if held.recipients.is_empty() { named() } else { held.recipients.clone() },
        body: serde_json::from_str(message.body.get()).unwrap_or_default(),
        reason: held.reason.clone(),
        at_ms: held.held_at_ms,
    }
}

fn not_decided(id: &str, error: &ReleaseError) -> Problem {
    match error {
        ReleaseError::NotHeld => Problem::failed(format!("no held message has the id {id}"))
            .hint("`rp-host held list` lists them"),
        _ => Problem::failed(error.to_string()),
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
