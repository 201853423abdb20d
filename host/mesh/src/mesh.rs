//! The mesh as the rest of the program sees it: join, leave, look around, send.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rp_protocol::mesh::{
    AckStatus, BROADCAST, BROKER, Body, Destination, Envelope, EnvelopeId, MAX_ADDRESS_UNITS,
    Refusal,
};
use serde_json::value::RawValue;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::acks::{AckWait, PendingAcks};
use crate::agent::AgentId;
use crate::bridge::Bridge;
use crate::broker::{Batch, Broker, Surroundings};
use crate::config::MeshConfig;
use crate::connection::lock;
use crate::deliver::{Reply, Settled};
use crate::election::{ElectionError, elect};
use crate::event::{MeshEvent, Role};
use crate::follower::{ACK_PATIENCE, Follower};
use crate::ids::{IdSource, unguessable_id};
use crate::mailbox::{HeldMessage, Mailboxes, Origin, Stage, TraceStep};
use crate::member::{Member, person_mailbox};
use crate::policy::RoutingPolicy;
use crate::receipt::{Delivery, Outcome, Receipt, Recipients, SendError, Sender, closest};
use crate::roster::{Link, Strangers};
use crate::supervisor::supervise;
use crate::undelivered::{expire_messages, refuse, tell_sender};

/// How long joining waits for a leader's answer.
const JOIN_PATIENCE: Duration = Duration::from_secs(6);
/// Events a listener may be behind before it misses some.
const EVENTS: usize = 1024;
/// The person's name on the mesh.
const PERSON: &str = "person";

/// An agent that this host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its mailbox.
    pub id: AgentId,
    /// The real path of its folder; empty for none.
    pub cwd: String,
    /// The name it asks for.
    pub name: String,
    /// The harness it runs in, for routing policies.
    pub harness: Option<String>,
}

/// A peer on the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The machine; `None` for this one.
    pub pc: Option<String>,
    /// Empty for a peer without a folder.
    pub cwd: String,
    /// The leaf name.
    pub name: String,
    /// What messages are sent to.
    pub address: String,
    /// The harness, for agents of this host.
    pub harness: Option<String>,
    /// The mailbox, for agents of this host and the person at it.
    pub agent: Option<AgentId>,
}

/// Why an agent has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It cannot be let in as it is. It was not joined.
    #[error("the mesh does not let the agent in: {0}")]
    Refused(#[from] Refusal),
    /// No leader has registered it yet. Attempts go on until it leaves.
    #[error("no program on the mesh has registered the agent yet; attempts go on")]
    Waiting,
}

/// Why a held message was not released or refused.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is none with that id.
    #[error("no message with that id is held")]
    NotHeld,
    /// Nobody leads the mesh right now.
    #[error("there is no mesh right now; another attempt to find or lead it is under way")]
    NoMesh,
    /// The database failed; nothing was delivered.
    #[error(transparent)]
    Storage(#[from] rp_store::StoreError),
    /// It is decided, but the database failed and lists it still.
    #[error("the message is decided, but still listed as held: {0}")]
    NotDropped(crate::mailbox::Refused),
}

/// Where this program stands.
#[derive(Clone)]
pub(crate) enum Station {
    Searching,
    Leading(Arc<Broker>),
    Following(Arc<Follower>),
}

impl Station {
    fn role(&self) -> Role {
        match self {
            Station::Searching => Role::Searching,
            Station::Leading(_) => Role::Leader,
            Station::Following(_) => Role::Follower,
        }
    }
}

pub(crate) struct Core {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) station: watch::Sender<Station>,
    pub(crate) stop: watch::Sender<bool>,
    /// In the order they joined.
    members: Mutex<Vec<Arc<Member>>>,
    pub(crate) members_changed: Notify,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    /// Held while a person's decision about a held message is carried out.
    deciding: tokio::sync::Mutex<()>,
    /// Fails messages whose time is up.
    expiry: Mutex<Option<JoinHandle<()>>>,
}

impl Core {
    pub(crate) fn members(&self) -> Vec<Arc<Member>> {
        lock(&self.members).clone()
    }

    fn member(&self, agent: &AgentId) -> Option<Arc<Member>> {
        lock(&self.members).iter().find(|member| member.agent == *agent).cloned()
    }

    /// The addresses that members have right now.
    fn addresses(&self) -> Vec<String> {
        let members = self.members();
        members
            .iter()
            .filter_map(|member| member.address().borrow().as_ref().map(ToString::to_string))
            .collect()
    }

    pub(crate) fn publish(&self, station: Station) {
        let role = station.role();
        let before = self.station.send_replace(station).role();
        if before != role {
            self.around.tell(MeshEvent::RoleChanged(role));
        }
    }

    /// Puts a member on the roster of the broker that runs here.
    pub(crate) fn admit(&self, broker: &Broker, member: &Member) -> Result<Arc<str>, Refusal> {
        let peer = broker.admit(
            &member.agent,
            &member.request,
            member.harness.as_deref(),
            member.origin,
        )?;
        member.set_address(Some(&peer.address));
        Ok(Arc::clone(&peer.address))
    }
}

/// This host's part of the mesh. Clones are the same mesh.
#[derive(Clone)]
pub struct Mesh {
    core: Arc<Core>,
}

impl Mesh {
    /// Joins the mesh, or leads it when nobody does; from then on, whenever the leader is gone,
    /// does so again. Runs until [`Mesh::shutdown`].
    ///
    /// # Errors
    /// When there can be no mesh at the configured path.
    pub async fn start(
        mut config: MeshConfig,
        mailboxes: Mailboxes,
        policy: Arc<dyn RoutingPolicy>,
    ) -> Result<Self, ElectionError> {
        let agents = std::mem::take(&mut config.agents);
        let elected = elect(&config.socket).await?;
        let (events, _) = broadcast::channel(EVENTS);
        let around = Arc::new(Surroundings {
            config,
            mailboxes,
            policy,
            events,
            acks: PendingAcks::default(),
            ids: IdSource::new(),
            strangers: Strangers::default(),
            bridge: RwLock::new(None),
        });
        let person =
            Member::new(person_mailbox(), Origin::Person, String::new(), PERSON.to_owned(), None);
        let members = std::iter::once(person).chain(agents.into_iter().map(Member::agent));
        let members = members.map(Arc::new).collect();
        let core = Arc::new(Core {
            around,
            station: watch::Sender::new(Station::Searching),
            stop: watch::Sender::new(false),
            members: Mutex::new(members),
            members_changed: Notify::new(),
            supervisor: Mutex::new(None),
            deciding: tokio::sync::Mutex::default(),
            expiry: Mutex::new(None),
        });
        let mut station = core.station.subscribe();
        let supervisor = tokio::spawn(supervise(Arc::clone(&core), elected));
        *lock(&core.supervisor) = Some(supervisor);
        *lock(&core.expiry) = Some(tokio::spawn(expire_messages(Arc::clone(&core))));
        // The supervisor has won or joined already, so this does not wait for anybody.
        let _ = station.wait_for(|station| !matches!(station, Station::Searching)).await;
        Ok(Mesh { core })
    }

    /// Leaves the mesh: agents first, then the broker if it runs here, which ends every
    /// connection without a word. Mailboxes stay.
    pub async fn shutdown(&self) {
        self.core.stop.send_replace(true);
        if let Some(expiry) = lock(&self.core.expiry).take() {
            expiry.abort();
        }
        let supervisor = lock(&self.core.supervisor).take();
        if let Some(supervisor) = supervisor {
            // It does not panic; if it did, there is nothing left to stop.
            let _ = supervisor.await;
        }
    }

    /// What this program is on the mesh right now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.core.station.borrow().role()
    }

    /// What happens from now on. A listener that is far behind misses the oldest events.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<MeshEvent> {
        self.core.around.events.subscribe()
    }

    /// Puts an agent on the mesh and tells its address. It stays there, whoever leads, until
    /// [`Mesh::leave`]. Joining twice with one id changes nothing.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&self, agent: Agent) -> Result<String, JoinError> {
        let member = {
            let mut members = lock(&self.core.members);
            match members.iter().find(|member| member.agent == agent.id) {
                Some(present) => Arc::clone(present),
                None => {
                    let member = Arc::new(Member::agent(agent));
                    members.push(Arc::clone(&member));
                    member
                }
            }
        };
        let station = self.station();
        if let Station::Leading(broker) = station {
            return match self.core.admit(&broker, &member) {
                Ok(address) => Ok(address.to_string()),
                Err(refusal) => {
                    lock(&self.core.members).retain(|other| other.agent != member.agent);
                    Err(refusal.into())
                }
            };
        }
        self.core.members_changed.notify_one();
        let mut address = member.address();
        let registered = timeout(JOIN_PATIENCE, address.wait_for(Option::is_some)).await;
        match registered {
            Ok(Ok(address)) => address.as_ref().map(ToString::to_string).ok_or(JoinError::Waiting),
            _ => Err(JoinError::Waiting),
        }
    }

    /// Takes an agent off the mesh. Its mailbox stays.
    pub fn leave(&self, agent: &AgentId) {
        lock(&self.core.members).retain(|member| member.agent != *agent);
        if let Station::Leading(broker) = self.station() {
            broker.dismiss(agent);
        }
        self.core.members_changed.notify_one();
    }

    /// The address that an agent has right now.
    #[must_use]
    pub fn address(&self, agent: &AgentId) -> Option<String> {
        let member = self.core.member(agent)?;
        let address = member.address().borrow().clone()?;
        Some(address.to_string())
    }

    /// Everybody on the mesh: this machine's peers in the order they registered, then others.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        match self.station() {
            Station::Searching => Vec::new(),
            Station::Leading(broker) => leader_peers(&broker),
            Station::Following(follower) => {
                let own = follower.own();
                let roster = follower.roster().await;
                let mut peers = Vec::with_capacity(roster.len());
                for entry in roster {
                    let agent = own
                        .iter()
                        .find(|(_, address)| *address == entry.address)
                        .map(|(agent, _)| agent.clone());
                    let member = agent.as_ref().and_then(|agent| self.core.member(agent));
                    peers.push(PeerInfo {
                        pc: entry.pc,
                        cwd: entry.cwd,
                        name: entry.name,
                        address: entry.address,
                        harness: member.and_then(|member| member.harness.clone()),
                        agent,
                    });
                }
                peers
            }
        }
    }

    /// Sends a message of an agent of this host or of the person at it, and waits until it is
    /// known what became of it, five seconds at most. One that still waits in a mailbox of this
    /// host after `expires_in` fails, and its sender is told.
    ///
    /// # Errors
    /// When nothing was sent at all. What happened at single recipients is in the receipt.
    pub async fn send(
        &self,
        sender: Sender,
        to: Recipients,
        body: Box<RawValue>,
        re: Option<EnvelopeId>,
        expires_in: Option<Duration>,
    ) -> Result<Receipt, SendError> {
        let agent = match sender {
            Sender::Agent(agent) => agent,
            Sender::Person => person_mailbox(),
        };
        // A member without an address has lost its leader a moment ago.
        let absent = match self.core.member(&agent) {
            Some(_) => SendError::NoMesh,
            None => SendError::NotJoined,
        };
        let now_ms = self.core.around.now_ms();
        let expires_at_ms = expires_in
            .map(|time| now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        let id = unguessable_id(now_ms);
        let envelope = |from: String| Envelope {
            from: Cow::Owned(from),
            to: destination(&to),
            id,
            re,
            body: Body::from_raw(&body).into_owned(),
        };
        check_size(&to, &body, self.core.around.config.limits.line_bytes)?;
        let (own, settled) = match self.station() {
            Station::Searching => return Err(absent),
            Station::Leading(broker) => {
                let peer = broker.agent(&agent).ok_or(absent)?;
                let own = peer.address.to_string();
                let envelope = envelope(own.clone());
                let settled = self.send_as_leader(&broker, &peer, envelope, expires_at_ms).await;
                (own, settled)
            }
            Station::Following(_) if expires_at_ms.is_some() => return Err(SendError::NoExpiry),
            Station::Following(follower) => {
                let own = follower.address(&agent).ok_or(absent)?;
                let settled = follower.send(&agent, envelope(own.clone())).await.ok_or(absent)?;
                (own, settled)
            }
        };
        let deliveries = self.complete(&own, &to, settled).await;
        let reached_somebody = deliveries.iter().any(|delivery| delivery.outcome.is_under_way());
        // A mailbox of this host has noted it with the answer itself.
        if let Some(re) = re.filter(|_| reached_somebody) {
            let now_ms = self.core.around.now_ms();
            self.core.around.mailboxes.answered(Some(&agent), re.as_str(), id.as_str(), now_ms);
        }
        self.trace(id, &deliveries);
        Ok(Receipt { id, deliveries })
    }

    /// Notes what became of a message at recipients that have no mailbox here; mailboxes note it
    /// themselves.
    fn trace(&self, id: EnvelopeId, deliveries: &[Delivery]) {
        let own = self.core.addresses();
        for delivery in deliveries {
            let stage = match &delivery.outcome {
                Outcome::Received | Outcome::Sent if own.contains(&delivery.address) => continue,
                // Whoever keeps it has noted it.
                Outcome::Held { .. } | Outcome::Waiting { .. } => continue,
                Outcome::Received | Outcome::Sent => Stage::Accepted,
                Outcome::Denied { reason } => Stage::Failed { reason: reason.clone() },
                Outcome::Unknown { .. } => {
                    Stage::Failed { reason: "nobody has that address".to_owned() }
                }
                Outcome::Timeout => {
                    Stage::Failed { reason: "no word within five seconds".to_owned() }
                }
            };
            let step = TraceStep {
                stage,
                at_ms: self.core.around.now_ms(),
                agent: None,
                detail: Some(delivery.address.clone()),
            };
            self.core.around.mailboxes.trace_only(id.as_str(), step);
        }
    }

    async fn send_as_leader(
        &self,
        broker: &Arc<Broker>,
        sender: &Arc<crate::roster::Peer>,
        envelope: Envelope<'static>,
        expires_at_ms: Option<u64>,
    ) -> Settled {
        let to = envelope.to.to_text().into_owned();
        let remote =
            broker.bridge_for(&envelope.to).map(|_| self.core.around.acks.expect(envelope.id, &to));
        let (tell, told) = oneshot::channel();
        let reply = Reply::Host(tell);
        broker.route(sender, envelope, expires_at_ms, reply, &mut Batch::new(broker));
        match (timeout(ACK_PATIENCE, told).await, remote) {
            (Ok(Ok(settled)), _) => settled,
            (Ok(Err(_)), Some(wait)) => word_of_the_other_router(wait, to).await,
            _ => Settled {
                redirected: false,
                deliveries: to
                    .split('\n')
                    .map(|address| Delivery {
                        address: address.to_owned(),
                        outcome: Outcome::Timeout,
                    })
                    .collect(),
            },
        }
    }

    async fn release_as_leader(&self, broker: &Arc<Broker>, held: &HeldMessage) -> Settled {
        let to = &held.message.to;
        let id = EnvelopeId::parse(&held.message.id);
        let acks = &self.core.around.acks;
        let remote = id
            .filter(|_| broker.bridge_for(&Destination::One(Cow::Borrowed(to))).is_some())
            .map(|id| acks.expect(id, to));
        let (tell, told) = oneshot::channel();
        broker.release(held, tell);
        match (told.await, remote) {
            (Ok(settled), _) => settled,
            (Err(_), Some(wait)) => word_of_the_other_router(wait, to.clone()).await,
            (Err(_), None) => Settled::default(),
        }
    }

    /// Adds what happened to the named recipients that nothing was delivered to.
    async fn complete(&self, own: &str, to: &Recipients, settled: Settled) -> Vec<Delivery> {
        let named = match to {
            Recipients::Broadcast => return settled.deliveries,
            Recipients::One(address) => std::slice::from_ref(address),
            Recipients::Many(addresses) => addresses.as_slice(),
        };
        if settled.redirected {
            return settled.deliveries;
        }
        let mut open = settled.deliveries;
        let mut complete = Vec::with_capacity(named.len());
        let mut known = None;
        for address in named {
            let at = open.iter().position(|delivery| delivery.address == *address);
            let outcome = match at.map(|at| open.swap_remove(at).outcome) {
                Some(outcome) if !matches!(outcome, Outcome::Unknown { .. }) => outcome,
                _ if address == own => {
                    Outcome::denied("a message to oneself is not sent; do the work directly")
                }
                _ if address == BROKER => Outcome::denied("the router takes no messages"),
                _ => {
                    let peers = match known.take() {
                        Some(peers) => peers,
                        None => self.peers().await,
                    };
                    let others = peers
                        .iter()
                        .map(|peer| peer.address.as_str())
                        .filter(|known| *known != own);
                    let closest = closest(address, others);
                    known = Some(peers);
                    Outcome::Unknown { closest }
                }
            };
            complete.push(Delivery { address: address.clone(), outcome });
        }
        complete
    }

    /// Delivers a message that [`Mailboxes::held`] lists to those of its recipients who are here.
    /// The policy is not asked again, and the message does not expire any more: a person wants it
    /// to arrive. It stays held when nobody got it.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub async fn release(&self, id: &str) -> Result<Vec<Delivery>, ReleaseError> {
        // Two decisions about one message must not both count.
        let _one_at_a_time = self.core.deciding.lock().await;
        let mailboxes = &self.core.around.mailboxes;
        let held = mailboxes.held_message(id)?.ok_or(ReleaseError::NotHeld)?;
        let settled = match self.station() {
            Station::Searching => return Err(ReleaseError::NoMesh),
            Station::Leading(broker) => self.release_as_leader(&broker, &held).await,
            Station::Following(follower) => follower.release(&held).await,
        };
        let is_delivered =
            settled.deliveries.iter().any(|delivery| delivery.outcome.is_under_way());
        if is_delivered {
            mailboxes.drop_held(id);
            // Whoever releases it again finds that it is gone, or it would be delivered twice.
            let message = &held.message;
            if let (Some(re), Some(_)) = (&message.re, &message.sender) {
                let now_ms = self.core.around.now_ms();
                mailboxes.answered(message.sender.as_ref(), re, id, now_ms);
            }
            if let Some(id) = EnvelopeId::parse(id) {
                self.trace(id, &settled.deliveries);
            }
            mailboxes.settled().await.map_err(ReleaseError::NotDropped)?;
        }
        Ok(settled.deliveries)
    }

    /// Throws a message that [`Mailboxes::held`] lists away and tells its sender why, when that
    /// is an agent of this host or the person at it.
    ///
    /// # Errors
    /// [`ReleaseError::NotHeld`], [`ReleaseError::Storage`]
    pub async fn refuse(&self, id: &str, why: &str) -> Result<(), ReleaseError> {
        let _one_at_a_time = self.core.deciding.lock().await;
        let mailboxes = &self.core.around.mailboxes;
        let held = mailboxes.held_message(id)?.ok_or(ReleaseError::NotHeld)?;
        refuse(&self.core, &held, why);
        mailboxes.settled().await.map_err(ReleaseError::NotDropped)
    }

    /// Attaches the way to other machines, or takes it off.
    pub fn attach_bridge(&self, bridge: Option<Arc<dyn Bridge>>) {
        *self.core.around.bridge.write().unwrap_or_else(PoisonError::into_inner) = bridge;
    }

    /// Delivers an envelope from another machine, `from` starting with that machine's alias.
    /// Denied unless the recipient is a peer here.
    pub async fn inject(&self, line: &str) -> Injection {
        let Station::Leading(broker) = self.station() else {
            return Injection::NotHere;
        };
        let Ok(envelope) = Envelope::parse(line) else {
            return Injection::Denied;
        };
        let (tell, told) = oneshot::channel();
        broker.inject(envelope, tell);
        let deliveries = told.await.unwrap_or_default().deliveries;
        let is_any = |wanted: fn(&Outcome) -> bool| deliveries.iter().any(|d| wanted(&d.outcome));
        if is_any(|outcome| *outcome == Outcome::Received) {
            Injection::Received
        } else if is_any(|outcome| matches!(outcome, Outcome::Held { .. })) {
            Injection::Held
        } else if matches!(self.station(), Station::Leading(_)) {
            Injection::Denied
        } else {
            Injection::NotHere
        }
    }

    /// A message of this host for another machine is on disk and will be sent when that machine is
    /// connected: whoever waits for word about it is told now.
    pub fn is_kept(&self, id: EnvelopeId, reason: &str) {
        self.core.around.acks.tell(&id, Outcome::Waiting { reason: reason.to_owned() });
    }

    /// A message of this host for another machine is on disk and is being sent: whoever waits for
    /// word about it is told so when that machine has said nothing in time.
    pub fn is_on_its_way(&self, id: EnvelopeId, reason: &str) {
        self.core.around.acks.otherwise(&id, Outcome::Waiting { reason: reason.to_owned() });
    }

    /// A message of this host for another machine cannot be carried: whoever waits for word about
    /// it is told now. Whether somebody waited.
    pub fn is_refused(&self, id: EnvelopeId, reason: &str) -> bool {
        self.core.around.acks.tell(&id, Outcome::denied(reason))
    }

    /// A message of this host, sent from the address `from`, will not reach another machine.
    /// Notes it in the message's trace and tells its sender, when that is here.
    pub fn not_carried(&self, from: &str, to: &str, id: &str, why: &str) {
        let step = TraceStep {
            stage: Stage::Failed { reason: why.to_owned() },
            at_ms: self.core.around.now_ms(),
            agent: None,
            detail: None,
        };
        self.core.around.mailboxes.trace_only(id, step);
        tell_sender(&self.core, None, from, to, id, why);
    }

    /// Another machine's router said what became of the message `id` that `from` on this host sent
    /// to `to`. When nobody waits for that any more it goes into the message's trace, and a refusal
    /// to its sender. The caller knows that the message went to that machine.
    pub fn late_word(&self, from: &str, to: &str, id: &EnvelopeId, status: AckStatus) {
        if self.core.around.acks.waits_for(id) {
            return;
        }
        if status == AckStatus::Received {
            let step = TraceStep {
                stage: Stage::Accepted,
                at_ms: self.core.around.now_ms(),
                agent: None,
                detail: Some(to.to_owned()),
            };
            self.core.around.mailboxes.trace_only(id.as_str(), step);
        } else {
            self.not_carried(from, to, id.as_str(), "the other router refused it");
        }
    }

    /// Lines of the audit log that were dropped because the disk was too slow, since this program
    /// leads.
    #[must_use]
    pub fn audit_lines_dropped(&self) -> u64 {
        match self.station() {
            Station::Leading(broker) => broker.audit.dropped(),
            _ => 0,
        }
    }

    fn station(&self) -> Station {
        self.core.station.borrow().clone()
    }
}

/// What became of an envelope from another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// Handed to its recipient.
    Received,
    /// Not delivered.
    Denied,
    /// A policy holds it for a person.
    Held,
    /// This program does not lead the local mesh, or no longer: nothing was done.
    NotHere,
}

/// What became of an envelope that the bridge took: the other machine's router says it.
async fn word_of_the_other_router(wait: AckWait<'_>, address: String) -> Settled {
    let outcome = wait.outcome(ACK_PATIENCE).await;
    Settled { redirected: false, deliveries: vec![Delivery { address, outcome }] }
}

fn leader_peers(broker: &Broker) -> Vec<PeerInfo> {
    let local = broker.with_roster(|roster| roster.peers().to_vec());
    let local = local.iter().map(|peer| PeerInfo {
        pc: None,
        cwd: peer.cwd.clone(),
        name: peer.name.clone(),
        address: peer.address.to_string(),
        harness: peer.harness.clone(),
        agent: match &peer.link {
            Link::Mailbox(agent, _) => Some(agent.clone()),
            Link::Socket(_) => None,
        },
    });
    let remote = broker.remote_roster().into_iter().map(|entry| PeerInfo {
        pc: entry.pc,
        cwd: entry.cwd,
        name: entry.name,
        address: entry.address,
        harness: None,
        agent: None,
    });
    local.chain(remote).collect()
}

fn destination(to: &Recipients) -> Destination<'static> {
    match to {
        Recipients::One(address) => Destination::One(Cow::Owned(address.clone())),
        Recipients::Many(addresses) => {
            Destination::Many(addresses.iter().cloned().map(Cow::Owned).collect())
        }
        Recipients::Broadcast => Destination::One(Cow::Borrowed(BROADCAST)),
    }
}

/// Leaves room on the line for the sender's address and the names of the fields.
fn check_size(to: &Recipients, body: &RawValue, limit: usize) -> Result<(), SendError> {
    const ROOM: usize = MAX_ADDRESS_UNITS * 6 + 256;
    let named: usize = match to {
        Recipients::Broadcast => 0,
        Recipients::One(address) if address.is_empty() => return Err(SendError::NoRecipient),
        Recipients::One(address) => address.len(),
        Recipients::Many(addresses) => {
            if addresses.is_empty() || addresses.iter().any(String::is_empty) {
                return Err(SendError::NoRecipient);
            }
            addresses.iter().map(|address| address.len() + 3).sum()
        }
    };
    let bytes = body.get().len() + named;
    let limit = limit.saturating_sub(ROOM);
    if bytes > limit {
        return Err(SendError::TooLong { bytes, limit });
    }
    Ok(())
}
