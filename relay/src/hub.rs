//! What all connections share.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Membership, PublishError, Published, SignedMembership};
use rp_protocol::relay::legacy::{Hello, MetaPatch, RoomMeta};
use rp_protocol::relay::{Frame, Presence, RelayName};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::host::Host;
use crate::hosts::Hosts;
use crate::limits::{Bucket, Limits, Pace, Publishers};
use crate::membership::Memberships;
use crate::metrics::{Gauges, Metrics};
use crate::recipient::Recipient;
use crate::registry::{Bounds, ConnectionId, Edge, Push, Refused, Registry};
use crate::websocket::{MemoryBudget, Outbox};

/// The state of one relay.
#[derive(Debug)]
pub struct Hub {
    registry: RwLock<Registry<Recipient>>,
    /// What owners published.
    pub memberships: Memberships,
    /// What was done so far.
    pub metrics: Metrics,
    /// What anybody may ask for.
    pub limits: Limits,
    /// Bytes that wait to be sent.
    pub budget: Arc<MemoryBudget>,
    /// Cancelled when the relay ends.
    pub ending: CancellationToken,
    /// The tasks of all connections.
    pub tasks: TaskTracker,
    /// By which names clients know the relay.
    pub names: Vec<RelayName>,
    /// Locked after the registry by whoever needs both.
    hosts: RwLock<Hosts>,
    /// How often each address may publish.
    pub publishers: Publishers,
    publishing: std::sync::Mutex<Bucket>,
}

/// Why a membership was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpublished {
    /// Too many owners have one here.
    TooManyOwners,
    /// Too many were published in the last second.
    TooMany,
    /// It is not acceptable, or could not be stored.
    Refused(PublishError),
}

impl Hub {
    /// A relay that nobody is connected to.
    #[must_use]
    pub fn new(memberships: Memberships, limits: Limits, names: Vec<RelayName>) -> Arc<Self> {
        let bounds = Bounds { rooms: limits.rooms, subscriptions: limits.subscriptions };
        let per_second = f64::from(limits.publications_per_second);
        Arc::new(Self {
            registry: RwLock::new(Registry::new(bounds)),
            memberships,
            metrics: Metrics::default(),
            limits,
            budget: MemoryBudget::new(limits.queued_bytes),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
            names,
            hosts: RwLock::default(),
            publishers: Publishers::new(&limits),
            publishing: std::sync::Mutex::new(Bucket::new(per_second, Instant::now())),
        })
    }

    /// Who is connected.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry<Recipient>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of the registry. What it has to say is queued before anybody else can change it,
    /// so that everybody hears of changes in their order.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Registry<Recipient>) -> (T, Vec<Push<Recipient>>),
    ) -> T {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let (outcome, pushes) = change(&mut registry);
        for push in &pushes {
            Recipient::tell_all(&push.to, &push.event);
        }
        outcome
    }

    /// A connection of the old wire that has proven its key.
    ///
    /// # Errors
    /// The peer has too many rooms, or the room's id is too long.
    pub fn register(
        &self,
        hello: &Hello,
        outbox: &Arc<Outbox>,
    ) -> Result<(ConnectionId, Arc<Pace>), Refused> {
        let pace = self.pace_of(&hello.key);
        let recipient = Recipient::Legacy { outbox: Arc::clone(outbox), pace: Arc::clone(&pace) };
        self.register_recipient(hello.key, &hello.room, hello.meta.clone(), recipient)
            .map(|id| (id, pace))
    }

    /// Somebody at a room.
    ///
    /// # Errors
    /// The peer has too many rooms, or the room's id is too long.
    pub fn register_recipient(
        &self,
        key: PublicKey,
        room: &str,
        meta: RoomMeta,
        recipient: Recipient,
    ) -> Result<ConnectionId, Refused> {
        let now = unix_ms();
        self.change(|registry| {
            let hosts = self.hosts();
            let before = presence(registry, &hosts, &key);
            match registry.register(key, room, meta, recipient, now) {
                Err(refused) => (Err(refused), Vec::new()),
                Ok(registered) => {
                    self.count_online(&registered.edge, &registered.pushes);
                    tell_hosts(registry, &hosts, &key, before);
                    (Ok(registered.id), registered.pushes)
                }
            }
        })
    }

    /// How fast a peer is read: one pace for all its connections.
    pub fn pace_of(&self, key: &PublicKey) -> Arc<Pace> {
        let of_host = self.hosts().newest(key).map(|host| Arc::clone(&host.pace));
        let known = of_host.or_else(|| {
            self.registry().connections_of(key).next().map(|other| Arc::clone(other.pace()))
        });
        known.unwrap_or_else(|| Pace::new(&self.limits, Instant::now()))
    }

    fn count_online(&self, edge: &Edge, pushes: &[Push<Recipient>]) {
        use rp_protocol::relay::legacy::Event;
        if let Edge::Suppressed { watchers } = edge {
            self.metrics.peer_online_suppressed.add(count(*watchers));
        }
        let told = pushes.iter().filter(|push| matches!(push.event, Event::PeerOnline { .. }));
        self.metrics.peer_online_emitted.add(told.map(|push| count(push.peers)).sum());
    }

    /// A connection is gone, or a room is closed.
    pub fn unregister(&self, key: &PublicKey, room: &str, id: ConnectionId) {
        let now = unix_ms();
        self.change(|registry| {
            let hosts = self.hosts();
            let before = presence(registry, &hosts, key);
            let pushes = registry.unregister(key, room, id, now);
            tell_hosts(registry, &hosts, key, before);
            ((), pushes)
        });
    }

    /// The hosts that are connected.
    pub fn hosts(&self) -> RwLockReadGuard<'_, Hosts> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts_mut(&self) -> RwLockWriteGuard<'_, Hosts> {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host that has proven its key; returns others with that key.
    pub fn add_host(&self, host: &Arc<Host>) -> Vec<Arc<Host>> {
        let (registry, mut hosts) = (self.registry(), self.hosts_mut());
        let before = presence(&registry, &hosts, &host.key);
        let others = hosts.add(host);
        tell_hosts(&registry, &hosts, &host.key, before);
        others
    }

    /// A host is gone.
    pub fn remove_host(&self, host: &Arc<Host>) {
        let (registry, mut hosts) = (self.registry(), self.hosts_mut());
        let before = presence(&registry, &hosts, &host.key);
        hosts.remove(host, unix_ms());
        tell_hosts(&registry, &hosts, &host.key, before);
    }

    /// From now on a machine watches these, as far as memberships allow, and is told how each is
    /// connected. Those it may not watch are offline to it.
    pub fn watch(&self, watcher: &PublicKey, machines: &[PublicKey]) {
        self.hosts_mut().wish(watcher, machines);
        self.look_again(watcher);
    }

    /// A membership may have changed whom a machine may watch.
    fn look_again(&self, watcher: &PublicKey) {
        let Some((wished, look)) = self.hosts_mut().look(watcher) else { return };
        // Storage that fails allows nothing.
        let may =
            |peer: &&PublicKey| self.memberships.list_together(watcher, peer).unwrap_or(false);
        let allowed: Vec<PublicKey> = wished.iter().filter(may).copied().collect();
        // Nothing changes between the answer and the news after it.
        let (registry, mut hosts) = (self.registry(), self.hosts_mut());
        if !hosts.watch(watcher, &allowed, look) {
            return;
        }
        let allowed: HashSet<&PublicKey> = allowed.iter().collect();
        for peer in wished.iter() {
            let frame = if allowed.contains(peer) {
                presence_frame(&registry, &hosts, peer)
            } else {
                Frame::Presence { peer: *peer, presence: Presence::Offline, since_ms: 0 }
            };
            for host in hosts.of(watcher) {
                host.say(&frame);
            }
        }
    }

    /// When a machine that is offline went, in milliseconds since 1970; 0 when nobody knows.
    pub fn offline_since(&self, registry: &Registry<Recipient>, key: &PublicKey) -> u64 {
        offline_since(registry, &self.hosts(), key)
    }

    /// See [`Registry::subscribe_presence`].
    pub fn subscribe_presence(&self, watcher: &PublicKey, watched: &[PublicKey]) {
        let dropped = self.change(|registry| {
            let (pushes, dropped) = registry.subscribe_presence(watcher, watched);
            (dropped, pushes)
        });
        self.metrics.subscriptions_dropped.add(count(dropped));
    }

    /// See [`Registry::unsubscribe_presence`].
    pub fn unsubscribe_presence(&self, watcher: &PublicKey, watched: &[PublicKey]) {
        self.change(|registry| (registry.unsubscribe_presence(watcher, watched), Vec::new()));
    }

    /// See [`Registry::subscribe_rooms`].
    pub fn subscribe_rooms(&self, watcher: &PublicKey, watched: &[PublicKey]) {
        let dropped =
            self.change(|registry| (registry.subscribe_rooms(watcher, watched), Vec::new()));
        self.metrics.subscriptions_dropped.add(count(dropped));
    }

    /// See [`Registry::unsubscribe_rooms`].
    pub fn unsubscribe_rooms(&self, watcher: &PublicKey, watched: &[PublicKey]) {
        self.change(|registry| (registry.unsubscribe_rooms(watcher, watched), Vec::new()));
    }

    /// See [`Registry::update_meta`].
    pub fn update_meta(&self, peer: &PublicKey, room: &str, patch: &MetaPatch) {
        self.change(|registry| ((), registry.update_meta(peer, room, patch)));
    }

    /// Takes a membership whose signature was verified.
    ///
    /// # Errors
    /// See [`Unpublished`].
    pub async fn publish(&self, publication: SignedMembership) -> Result<Published, Unpublished> {
        let owner = crate::membership::OwnerHash::of(&publication.membership().owner);
        let owners = self.memberships.owners().unwrap_or(0);
        let before = self.memberships.read(owner);
        if owners >= self.limits.owners && matches!(before, Ok(None)) {
            return Err(Unpublished::TooManyOwners);
        }
        let before = before.ok().flatten();
        // Whoever has no key of an owner can only say again what the owner said before: that is
        // answered, and takes nobody's turn.
        let version = publication.membership().version;
        if let Some(stale) = before.as_ref().filter(|before| version <= before.version) {
            return Err(Unpublished::Refused(PublishError::Stale { current: stale.version }));
        }
        if !self.may_publish() {
            return Err(Unpublished::TooMany);
        }
        let before = before.and_then(|stored| Membership::parse(&stored.blob).ok());
        let members = before.iter().chain([publication.membership()]).flat_map(|of| &of.members);
        let members: HashSet<PublicKey> = members.map(|member| member.key).collect();
        let published = self.memberships.publish(publication, unix_ms()).await;
        let published = published.map_err(Unpublished::Refused)?;
        for machine in &members {
            if self.hosts().wishes_any(machine, &members) {
                self.look_again(machine);
            }
            for host in self.hosts().of(machine) {
                host.say(&Frame::Membership);
            }
        }
        Ok(published)
    }

    /// Whether a publication can be stored now.
    fn may_publish(&self) -> bool {
        let mut bucket = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.try_take(1.0, Instant::now())
    }

    /// What the relay holds now.
    pub fn gauges(&self) -> Gauges {
        let registry = self.registry();
        Gauges {
            connections: count(registry.connections()),
            hosts: count(self.hosts().everybody().count()),
            peers: count(registry.peers()),
            queued_bytes: count(self.budget.used()),
            owners: self.memberships.owners().unwrap_or(0),
        }
    }
}

/// How a machine is connected, as hosts see it.
fn presence(registry: &Registry<Recipient>, hosts: &Hosts, key: &PublicKey) -> Presence {
    if hosts.newest(key).is_some() {
        Presence::Online
    } else if registry.connections_of(key).any(Recipient::is_legacy) {
        Presence::Legacy
    } else {
        Presence::Offline
    }
}

fn offline_since(registry: &Registry<Recipient>, hosts: &Hosts, key: &PublicKey) -> u64 {
    registry.offline_since(key).max(hosts.offline_since(key)).unwrap_or(0)
}

fn presence_frame(
    registry: &Registry<Recipient>,
    hosts: &Hosts,
    peer: &PublicKey,
) -> Frame<'static> {
    let presence = presence(registry, hosts, peer);
    let since_ms = match presence {
        Presence::Offline => offline_since(registry, hosts, peer),
        Presence::Online => hosts.newest(peer).map_or(0, |host| host.since_ms),
        Presence::Legacy => 0,
    };
    Frame::Presence { peer: *peer, presence, since_ms }
}

/// Tells who watches a machine how it is connected now, if that is not as before. Said while nobody
/// else can change it, so that everybody hears of changes in their order.
fn tell_hosts(registry: &Registry<Recipient>, hosts: &Hosts, key: &PublicKey, before: Presence) {
    if presence(registry, hosts, key) == before {
        return;
    }
    let frame = presence_frame(registry, hosts, key);
    for watcher in hosts.watchers(key) {
        watcher.say(&frame);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}
