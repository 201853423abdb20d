//! The router: who is registered, and what they are told about each other. How an envelope
//! finds its way is in `route`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rp_protocol::mesh::{
    Assignment, EnvelopeId, Notice, Refusal, Register, RegisterAck, RosterEntry, assign_address,
    write_roster,
};
use tokio::sync::broadcast;

use crate::acks::PendingAcks;
use crate::agent::AgentId;
use crate::audit::Audit;
use crate::bridge::Bridge;
use crate::config::MeshConfig;
use crate::connection::{Appended, Connection, lock};
use crate::event::MeshEvent;
use crate::ids::IdSource;
use crate::mailbox::{Mailboxes, Origin};
use crate::policy::RoutingPolicy;
use crate::roster::{Link, Peer, Roster, Strangers};

/// What the broker shares with the rest of the mesh, whoever leads.
pub(crate) struct Surroundings {
    pub(crate) config: MeshConfig,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) policy: Arc<dyn RoutingPolicy>,
    pub(crate) events: broadcast::Sender<MeshEvent>,
    pub(crate) acks: PendingAcks,
    pub(crate) ids: IdSource,
    pub(crate) strangers: Strangers,
    pub(crate) bridge: RwLock<Option<Arc<dyn Bridge>>>,
}

impl Surroundings {
    pub(crate) fn now_ms(&self) -> u64 {
        (self.config.clock)()
    }

    pub(crate) fn tell(&self, event: MeshEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    pub(crate) fn bridge(&self) -> Option<Arc<dyn Bridge>> {
        self.bridge.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The router.
pub(crate) struct Broker {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) audit: Audit,
    roster: Mutex<Roster>,
    closed: AtomicBool,
}

/// The connections that were appended to and the audit lines that were made while something was
/// handled. Both go out when it is dropped, so that many messages cost one write.
pub(crate) struct Batch<'a> {
    broker: &'a Broker,
    pub(crate) now_ms: u64,
    to_flush: Vec<Arc<Connection>>,
    pub(crate) audit: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(broker: &'a Broker) -> Self {
        Batch { broker, now_ms: broker.around.now_ms(), to_flush: Vec::new(), audit: Vec::new() }
    }

    /// Appends one line to a connection. False when it is closed or overflows.
    pub(crate) fn append(
        &mut self,
        connection: &Arc<Connection>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Appended {
        let appended = connection.append(write);
        if appended == Appended::FlushNeeded {
            self.to_flush.push(Arc::clone(connection));
        }
        appended
    }

    /// Appends one line to a peer that is on the socket. False when it did not take it.
    pub(crate) fn send(&mut self, peer: &Peer, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Link::Socket(connection) = &peer.link else {
            return false;
        };
        match self.append(connection, write) {
            Appended::FlushNeeded | Appended::Queued => true,
            Appended::Closed => false,
            Appended::Overflowed => {
                tracing::warn!("a peer that does not read was disconnected");
                tracing::debug!(address = %peer.address, "it was this one");
                self.broker
                    .around
                    .tell(MeshEvent::SlowReaderDisconnected { address: peer.address.to_string() });
                false
            }
        }
    }

    pub(crate) fn id(&self) -> EnvelopeId {
        self.broker.around.ids.next(self.now_ms)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // First, so that whoever has seen an answer finds it in the log.
        self.broker.audit.append(&self.audit);
        for connection in &self.to_flush {
            connection.flush();
        }
    }
}

impl Broker {
    pub(crate) fn new(around: Arc<Surroundings>) -> Self {
        let audit = Audit::start(around.config.audit.clone(), &around.config.limits);
        Broker {
            around,
            audit,
            roster: Mutex::new(Roster::default()),
            closed: AtomicBool::new(false),
        }
    }

    /// Looks something up in the roster. Nothing slow may happen inside.
    pub(crate) fn with_roster<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&lock(&self.roster))
    }

    /// Registers a connection. It gets its answer before anything else can reach it.
    pub(crate) fn register(
        &self,
        request: &Register,
        connection: &Arc<Connection>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<Peer>, Refusal> {
        let mut roster = lock(&self.roster);
        let assigned = self.assign(&roster, request)?;
        if assigned.evicts
            && let Some(evicted) = roster.get(&assigned.address).cloned()
        {
            roster.remove(&evicted);
            if let Link::Socket(connection) = &evicted.link {
                connection.close();
            }
        }
        let peer = Arc::new(Peer::new(
            &assigned.address,
            &request.cwd,
            &assigned.name,
            None,
            Link::Socket(Arc::clone(connection)),
        ));
        batch.send(&peer, |line| {
            RegisterAck { address: assigned.address, name: assigned.name }.write(line);
        });
        self.enter(&mut roster, &peer, batch);
        Ok(peer)
    }

    /// Lets an agent of this host in, or finds that it is in already.
    pub(crate) fn admit(
        &self,
        agent: &AgentId,
        request: &Register,
        harness: Option<&str>,
        origin: Origin,
    ) -> Result<Arc<Peer>, Refusal> {
        let mut batch = Batch::new(self);
        let mut roster = lock(&self.roster);
        if let Some(present) = roster.peers().iter().find(|peer| peer.is_agent(agent)) {
            return Ok(Arc::clone(present));
        }
        let assigned = self.assign(&roster, request)?;
        let peer = Arc::new(Peer::new(
            &assigned.address,
            &request.cwd,
            &assigned.name,
            harness,
            Link::Mailbox(agent.clone(), origin),
        ));
        self.enter(&mut roster, &peer, &mut batch);
        Ok(peer)
    }

    /// An agent of this host cannot be evicted: unlike a connection it is never the remains of a
    /// program that died. Whoever asks for its address gets a number instead.
    fn assign(&self, roster: &Roster, request: &Register) -> Result<Assignment, Refusal> {
        let most = self.around.config.limits.peers;
        let assign = |request: &Register| {
            assign_address(request, roster.len(), most, |address| roster.get(address).is_some())
        };
        let assigned = assign(request)?;
        let evicts_agent = assigned.evicts
            && roster
                .get(&assigned.address)
                .is_some_and(|peer| matches!(peer.link, Link::Mailbox(..)));
        if evicts_agent {
            return assign(&Register { takeover: false, ..request.clone() });
        }
        Ok(assigned)
    }

    fn enter(&self, roster: &mut Roster, peer: &Arc<Peer>, batch: &mut Batch<'_>) {
        self.notify(roster, Notice::PeerJoined, &peer.address, batch);
        roster.insert(Arc::clone(peer));
        self.around.tell(MeshEvent::PeerJoined { address: peer.address.to_string() });
    }

    fn notify(&self, roster: &Roster, notice: Notice, about: &str, batch: &mut Batch<'_>) {
        for peer in roster.peers() {
            let id = batch.id();
            batch.send(peer, |line| notice.write(line, &peer.address, id, about));
        }
    }

    /// Takes a peer off the roster, unless another one took its place before.
    pub(crate) fn remove(&self, peer: &Arc<Peer>) {
        let mut batch = Batch::new(self);
        let mut roster = lock(&self.roster);
        if roster.remove(peer) && !self.closed.load(Ordering::Relaxed) {
            self.notify(&roster, Notice::PeerLeft, &peer.address, &mut batch);
            self.around.tell(MeshEvent::PeerLeft { address: peer.address.to_string() });
        }
    }

    /// Takes an agent of this host off the roster.
    pub(crate) fn dismiss(&self, agent: &AgentId) {
        let found = self
            .with_roster(|roster| roster.peers().iter().find(|peer| peer.is_agent(agent)).cloned());
        if let Some(peer) = found {
            self.remove(&peer);
        }
    }

    /// The agent's entry on the roster.
    pub(crate) fn agent(&self, agent: &AgentId) -> Option<Arc<Peer>> {
        self.with_roster(|roster| roster.peers().iter().find(|peer| peer.is_agent(agent)).cloned())
    }

    /// Ends every connection without a word.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for peer in lock(&self.roster).clear() {
            if let Link::Socket(connection) = &peer.link {
                connection.close();
            }
        }
    }

    /// Answers a question for the roster: to a peer, or to a connection that only looks.
    pub(crate) fn answer_roster(
        &self,
        connection: &Arc<Connection>,
        asker: Option<(&str, EnvelopeId)>,
        batch: &mut Batch<'_>,
    ) {
        let peers = self.with_roster(|roster| roster.peers().to_vec());
        let remote = self.remote_roster();
        let entries =
            peers.iter().map(|peer| (None, &*peer.cwd, &*peer.name, &*peer.address)).chain(
                remote
                    .iter()
                    .map(|entry| (entry.pc.as_deref(), &*entry.cwd, &*entry.name, &*entry.address)),
            );
        let id = batch.id();
        batch.append(connection, |line| write_roster(line, asker, id, entries));
    }

    pub(crate) fn remote_roster(&self) -> Vec<RosterEntry> {
        self.around.bridge().map_or_else(Vec::new, |bridge| bridge.roster())
    }
}
