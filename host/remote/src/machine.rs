//! This machine while it may be on a relay: the link, the bridge, and one line for each other
//! machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rp_link::{Config as LinkConfig, Delivery, Link, Relay, State, Wires};
use rp_mesh::{MeshEvent, Recipients, Role, Sender};
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::membership::{Fetch, Follower, Request};
use rp_protocol::mesh::{EnvelopeId, RosterEntry};
use rp_protocol::relay::{Answer, Presence};
use rp_protocol::remote::{Bridge, Topology};
use rp_protocol::seal::{SealingKey, SessionId};
use tokio::sync::{broadcast, mpsc};

use crate::door::Outbound;
use crate::files::{FileError, milliseconds, wall_ms};
use crate::line::{Line, Path};
use crate::remote::{Relays, Shared, Wanted};
use crate::status::{Connection, MachineStatus, MemberStatus, OwnerStatus, Status};
use crate::task::{Command, Task};
use crate::traffic::Sent;

/// How many answers of the relay may wait to be read.
const MAX_ANSWERS: usize = 1024;
/// The longest time without looking at the clock of the day, which may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// What is still due right after it was looked at cannot be done now.
const SHORTEST_SLEEP: Duration = Duration::from_millis(250);
/// Most envelopes that are taken, of agents or of the relay, before anything else is looked at.
const MAX_TAKEN: usize = 64;
/// How often at most the owners are asked before their time.
const HURRY_INTERVAL_MS: u64 = 2_000;
/// The person's name on the mesh.
const PERSON: &str = "person";
const CLONE_WARNING: &str = "Another live machine has the key of this one: one of them is a copy. \
    If you did not copy it yourself, remove this machine from the mesh.";

/// What the relay said finally about something sealed.
pub(crate) struct Answered {
    pub(crate) machine: PublicKey,
    pub(crate) sent: Sent,
    pub(crate) answer: Answer,
}

/// Why a machine ended.
pub(crate) enum End {
    /// Begin anew: what it stands on has changed.
    Again,
    /// The program ends.
    Over,
}

pub(crate) struct Machine<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) key: SecretKey,
    key_in_file: bool,
    relays: Relays,
    pub(crate) link: Link,
    deliveries: mpsc::Receiver<Delivery>,
    pub(crate) follower: Follower,
    pub(crate) bridge: Bridge,
    pub(crate) seals: SealingKey,
    pub(crate) lines: BTreeMap<PublicKey, Line>,
    pub(crate) answers: mpsc::Sender<Answered>,
    answered: mpsc::Receiver<Answered>,
    pub(crate) fetches: mpsc::Sender<(Request, Fetch)>,
    fetched: mpsc::Receiver<(Request, Fetch)>,
    pub(crate) troubles: Vec<String>,
    /// An owner is gone: whether there is still one decides what goes on.
    pub(crate) begin_anew: bool,
    /// A person does not want it on the relay.
    pub(crate) is_off: bool,
    /// What is kept of a machine could not be read; until then it is not tried again.
    pub(crate) missing_until_ms: Option<u64>,
    hurries_ms: Option<u64>,
    siblings_warned: bool,
    began: Instant,
}

/// The machine key and the place it is kept in.
pub(crate) struct OwnKey {
    pub(crate) key: SecretKey,
    pub(crate) in_file: bool,
}

impl<'a> Machine<'a> {
    /// Must be called on a tokio runtime.
    pub(crate) fn new(
        shared: &'a Shared,
        own: OwnKey,
        relays: Relays,
        wanted: Wanted,
    ) -> Result<Self, FileError> {
        let OwnKey { key, in_file: key_in_file } = own;
        let is_off = wanted == Wanted::Off;
        let config = LinkConfig {
            relays: relays.all().cloned().collect(),
            key: key.clone(),
            software: shared.config.software.clone(),
            wires: Wires::All,
        };
        let (link, deliveries) =
            if is_off { Link::start_stopped(config) } else { Link::start(config) };
        let mut follower = Follower::new(key.public(), shared.memberships.read()?, 0);
        follower.set_pairings(shared.pairings.read()?);
        let (answers, answered) = mpsc::channel(MAX_ANSWERS);
        let (fetches, fetched) = mpsc::channel(MAX_ANSWERS);
        Ok(Machine {
            bridge: Bridge::new(Topology::new(key.public(), [])),
            seals: new_sealing_key(&key),
            shared,
            key,
            key_in_file,
            relays,
            link,
            deliveries,
            follower,
            lines: BTreeMap::new(),
            answers,
            answered,
            fetches,
            fetched,
            troubles: Vec::new(),
            begin_anew: false,
            is_off,
            missing_until_ms: None,
            hurries_ms: None,
            siblings_warned: false,
            began: Instant::now(),
        })
    }

    /// Runs until what it stands on has changed.
    pub(crate) async fn run(&mut self, task: &mut Task) -> End {
        let mut state = self.link.state();
        let mut peers = self.link.peers();
        let mut clone_seen = self.link.clone_seen();
        let mut publications = self.link.publications();
        let mut deliveries = Vec::with_capacity(MAX_TAKEN);
        self.renew_topology().await;
        loop {
            if self.begin_anew {
                return End::Again;
            }
            self.publish(task);
            let sleep = self.until_due();
            tokio::select! {
                1.. = self.deliveries.recv_many(&mut deliveries, MAX_TAKEN) => {
                    self.on_deliveries(std::mem::take(&mut deliveries)).await;
                }
                Some(first) = task.outbound.recv() => self.take(first, &mut task.outbound).await,
                Some(answered) = self.answered.recv() => self.on_answered(answered).await,
                Some((request, fetch)) = self.fetched.recv() => {
                    if let Some(news) = self.follower.answered(&request, fetch) {
                        self.learn(news).await;
                    }
                }
                Ok(()) = state.changed() => {
                    let is_connected = matches!(&*state.borrow_and_update(), State::Connected { .. });
                    self.on_state(is_connected).await;
                }
                Ok(()) = peers.changed() => {
                    let now = peers.borrow_and_update().clone();
                    self.on_presence(|machine| {
                        now.get(machine).map_or(Presence::Offline, |peer| peer.presence)
                    })
                    .await;
                }
                Ok(()) = clone_seen.changed() => {
                    drop(clone_seen.borrow_and_update());
                    self.warn_siblings_of_the_clone();
                }
                Ok(()) = publications.changed() => {
                    publications.mark_unchanged();
                    self.hurry();
                }
                event = task.events.recv() => {
                    if let Some(end) = self.on_event(event).await {
                        return end;
                    }
                }
                command = task.commands.recv() => match command {
                    None => return End::Over,
                    Some(command) => {
                        if let Some(end) = self.on_command(command, task).await {
                            return end;
                        }
                    }
                },
                () = tokio::time::sleep(sleep) => {}
            }
            self.on_time().await;
        }
    }

    /// A clock that only goes forward, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    /// This machine's peers as they are now.
    pub(crate) async fn roster(&self) -> Vec<RosterEntry> {
        let peers = self.shared.config.mesh.peers().await;
        peers
            .into_iter()
            .filter(|peer| peer.pc.is_none())
            .map(|peer| RosterEntry {
                pc: None,
                cwd: peer.cwd,
                name: peer.name,
                address: peer.address,
            })
            .collect()
    }

    async fn take(&mut self, first: Outbound, more: &mut mpsc::Receiver<Outbound>) {
        let mut touched = self.send_agents(first).await;
        for _ in 1..MAX_TAKEN {
            let Ok(next) = more.try_recv() else { break };
            touched.extend(self.send_agents(next).await);
        }
        for machine in touched {
            self.work(machine).await;
        }
    }

    async fn on_event(
        &mut self,
        event: Result<MeshEvent, broadcast::error::RecvError>,
    ) -> Option<End> {
        match event {
            Ok(MeshEvent::RoleChanged(role)) if role != Role::Leader => return Some(End::Again),
            Err(broadcast::error::RecvError::Closed) => return Some(End::Over),
            Ok(MeshEvent::PeerJoined { .. } | MeshEvent::PeerLeft { .. })
            | Err(broadcast::error::RecvError::Lagged(_)) => {
                let outgoing = self.with_bridge(|bridge, around| bridge.roster_changed(around));
                let outgoing = outgoing.await;
                self.send_inventories(outgoing).await;
            }
            Ok(_) => {}
        }
        None
    }

    async fn on_command(&mut self, command: Command, task: &mut Task) -> Option<End> {
        match command {
            Command::Begin(wanted) => {
                task.wanted = wanted;
                self.is_off = wanted == Wanted::Off;
                let told = match wanted {
                    Wanted::Off => self.link.disconnect().await,
                    Wanted::On | Wanted::WithOwner => self.link.connect().await,
                };
                told.is_err().then_some(End::Over)
            }
            Command::RelayChanged => Some(End::Again),
            Command::End => Some(End::Over),
            Command::PairingsChanged => {
                match self.shared.pairings.read() {
                    Ok(pairings) => {
                        self.begin_anew = pairings.is_empty();
                        if self.follower.set_pairings(pairings) {
                            self.renew_topology().await;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the pairings cannot be read"),
                }
                self.follower.hurry(self.now_ms());
                None
            }
        }
    }

    async fn on_state(&mut self, is_connected: bool) {
        if is_connected {
            self.follower.connected(self.now_ms());
            let outgoing = self.with_bridge(|bridge, around| bridge.connected(around)).await;
            self.send_inventories(outgoing).await;
        } else {
            self.bridge.disconnected();
            self.on_presence(|_| Presence::Offline).await;
        }
    }

    async fn on_presence(&mut self, presence_of: impl Fn(&PublicKey) -> Presence) {
        let changed: Vec<(PublicKey, Presence)> = self
            .lines
            .iter()
            .map(|(machine, line)| (*machine, line.presence, presence_of(machine)))
            .filter(|(_, before, now)| before != now)
            .map(|(machine, _, now)| (machine, now))
            .collect();
        for (machine, presence) in changed {
            let Some(line) = self.lines.get_mut(&machine) else { continue };
            line.presence = presence;
            match line.path(self.shared.config.allow_clear) {
                Path::Sealed => line.courier.on_online(),
                Path::Clear | Path::None => {
                    line.courier.on_offline();
                    line.drop_inventories();
                }
            }
            let outgoing = self.with_bridge(|bridge, around| bridge.appeared(&machine, around));
            let outgoing = outgoing.await;
            self.send_inventories(outgoing).await;
            self.work(machine).await;
            self.send_what_waits_in_the_clear(machine).await;
        }
    }

    async fn on_time(&mut self) {
        // Who is here is looked up only when it is to be told.
        if self.bridge.due_ms().is_some_and(|at_ms| at_ms <= self.now_ms()) {
            let outgoing = self.with_bridge(|bridge, around| bridge.tick(around)).await;
            self.send_inventories(outgoing).await;
        }
        self.follow().await;
        let now_ms = wall_ms();
        if self.seals.certificate().is_due(now_ms) {
            self.seals = new_sealing_key(&self.key);
        }
        if self.missing_until_ms.is_some_and(|at_ms| at_ms <= self.now_ms()) {
            self.missing_until_ms = None;
            self.renew_topology().await;
        }
        let allow_clear = self.shared.config.allow_clear;
        let is_due = |line: &Line| line.due_ms(allow_clear).is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<PublicKey> =
            self.lines.iter().filter(|(_, line)| is_due(line)).map(|(key, _)| *key).collect();
        for machine in due {
            let expired = self.lines.get_mut(&machine).map(|line| line.expire(now_ms));
            if self.work(machine).await {
                for note in expired.into_iter().flatten() {
                    self.has_expired(&note).await;
                }
            }
            self.send_what_waits_in_the_clear(machine).await;
        }
    }

    fn until_due(&self) -> Duration {
        let (now_ms, day_ms) = (self.now_ms(), wall_ms());
        let allow_clear = self.shared.config.allow_clear;
        let lines = self.lines.values().filter_map(|line| line.due_ms(allow_clear));
        let lines = lines.map(|at_ms| at_ms.saturating_sub(day_ms));
        let follower = (!self.is_off).then(|| self.follower.due_ms());
        let clock = [follower, self.bridge.due_ms(), self.missing_until_ms].into_iter().flatten();
        let clock = clock.map(|at_ms| at_ms.saturating_sub(now_ms));
        let first = lines.chain(clock).min().map_or(LONGEST_SLEEP, Duration::from_millis);
        first.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// Asks soon what the owners say now: the relay says that it has changed, or something does not
    /// fit with what is known.
    pub(crate) fn hurry(&mut self) {
        let now_ms = self.now_ms();
        if self.hurries_ms.is_some_and(|at_ms| at_ms > now_ms) {
            return;
        }
        let at_ms = self.hurries_ms.map_or(0, |at_ms| at_ms + HURRY_INTERVAL_MS).max(now_ms);
        self.hurries_ms = Some(at_ms);
        self.follower.hurry(at_ms);
    }

    /// The owner reads it where their other machines are: here one of two may be a thief's.
    fn warn_siblings_of_the_clone(&mut self) {
        if std::mem::replace(&mut self.siblings_warned, true) {
            return;
        }
        for sibling in self.bridge.topology().siblings() {
            let to = Recipients::One(format!("{}:{PERSON}", sibling.alias));
            let mesh = self.shared.config.mesh.clone();
            tokio::spawn(async move {
                let Ok(body) = serde_json::value::to_raw_value(CLONE_WARNING) else { return };
                if let Err(error) = mesh.send(Sender::Person, to, body, None, None).await {
                    tracing::warn!(%error, "the other machines are not warned of the clone");
                }
            });
        }
    }

    /// Calls the bridge with all that it needs to know.
    pub(crate) async fn with_bridge<T>(
        &mut self,
        call: impl FnOnce(&mut Bridge, &mut rp_protocol::remote::Around<'_>) -> T,
    ) -> T {
        let roster = self.roster().await;
        let now_ms = self.now_ms();
        let mut next_id = new_id;
        let mut around =
            rp_protocol::remote::Around { now_ms, roster: &roster, next_id: &mut next_id };
        call(&mut self.bridge, &mut around)
    }

    /// Shows how it stands to the router and to people.
    fn publish(&self, task: &Task) {
        let topology = self.bridge.topology();
        let aliases = topology.siblings().iter().map(|sibling| sibling.alias.clone()).collect();
        self.shared.door.show(aliases, self.bridge.roster(self.now_ms()));
        let status = Status {
            relay: self.relay().url.to_string(),
            source: self.relays.source,
            connection: Connection::Link(self.link.state().borrow().clone()),
            machine: Some(self.key.public()),
            alias: Some(topology.this().alias.clone()),
            key_in_file: self.key_in_file,
            owners: self.owners(),
            machines: topology.siblings().iter().filter_map(|one| self.machine(one)).collect(),
            troubles: self.troubles.clone(),
            clone_seen: self.link.clone_seen().borrow().is_some(),
        };
        task.show(status);
    }

    fn machine(&self, sibling: &rp_protocol::remote::Machine) -> Option<MachineStatus> {
        let line = self.lines.get(&sibling.key)?;
        Some(MachineStatus {
            key: sibling.key,
            alias: sibling.alias.clone(),
            presence: line.presence,
            way: line.way(),
            waiting: line.waiting(),
        })
    }

    fn owners(&self) -> Vec<OwnerStatus> {
        let topology = self.bridge.topology();
        let alias = |key: &PublicKey| match topology.by_key(key) {
            Some(sibling) => sibling.alias.clone(),
            None => topology.this().alias.clone(),
        };
        self.follower
            .memberships()
            .map(|signed| {
                let membership = signed.membership();
                let members = membership.members.iter().map(|member| MemberStatus {
                    key: member.key,
                    alias: alias(&member.key),
                    nickname: member.nickname.clone(),
                    paired_at: member.paired_at.clone(),
                });
                OwnerStatus {
                    owner: membership.owner,
                    version: membership.version,
                    members: members.collect(),
                }
            })
            .collect()
    }

    /// The relay it is connected to; without a connection, the one that is tried first.
    pub(crate) fn relay(&self) -> Relay {
        match &*self.link.state().borrow() {
            State::Connected { relay, .. } => self.relays.called(relay).clone(),
            _ => self.relays.first.clone(),
        }
    }

    pub(crate) fn note_answer(&self, machine: PublicKey, sent: Sent, answers: rp_link::Answers) {
        let to = self.answers.clone();
        tokio::spawn(async move {
            let answer = answers.last().await;
            // The machine may have begun anew.
            let _ = to.send(Answered { machine, sent, answer }).await;
        });
    }
}

/// What [`Answered`] is about, when it was sealed.
pub(crate) type Session = Option<SessionId>;

/// A sealing key lives as long as this process or half of its certificate: sessions outlive it.
fn new_sealing_key(machine: &SecretKey) -> SealingKey {
    let mut private = zeroize::Zeroizing::new([0; 32]);
    // Without randomness handshakes fail as well, which is said there.
    let _ = getrandom::fill(private.as_mut());
    SealingKey::certify(machine, *private, wall_ms())
}

/// A new id for an envelope.
pub(crate) fn new_id() -> EnvelopeId {
    loop {
        if let Some(id) = EnvelopeId::parse(&uuid::Uuid::now_v7().to_string()) {
            return id;
        }
    }
}
