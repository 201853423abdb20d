//! Who is connected, in which rooms, and who watches whom.
//!
//! A state machine without I/O and without a clock: every call changes the state and returns what
//! is to be said to whom. `H` is however a connection is reached; a test uses a number.
//!
//! A *peer* is a key. It is online while it has a connection, in whatever room; a *room* is open
//! while it has one. Watching belongs to the watching key, not to one of its connections, and
//! ends with the key's last connection.

mod watch;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use rp_protocol::key::PublicKey;
use rp_protocol::relay::MAX_ROOM_BYTES;
use rp_protocol::relay::legacy::{Event, MetaPatch, RoomMeta, RoomState};

pub(crate) use crate::registry::watch::Watches;

/// How many peers' last time offline is remembered. The longest gone are forgotten first; to ask
/// about them gives the answer for a peer that was never seen.
const REMEMBERED_OFFLINE: usize = 65_536;

/// One connection, as long as the relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// An event and everybody it is for, in the order in which events must reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push<H> {
    /// The connections; one of them can be there only once.
    pub to: Vec<H>,
    /// What is said to them.
    pub event: Event,
    /// How many peers they belong to.
    pub peers: usize,
}

/// Why a connection was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The peer has as many open rooms as one may have.
    #[error("the peer has too many open rooms")]
    TooManyRooms,
    /// The id of the room is longer than [`MAX_ROOM_BYTES`].
    #[error("the id of the room is too long")]
    RoomTooLong,
}

/// What a peer may make the relay remember.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open rooms for each peer.
    pub rooms: usize,
    /// Peers that one peer watches the presence of, and as many that it watches the rooms of.
    pub subscriptions: usize,
}

/// Whether an event that would be told to somebody was told, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The peer came or went.
    Real,
    /// The peer had a connection before, so nothing changed for those who watch it.
    Suppressed {
        /// How many watch it.
        watchers: usize,
    },
}

/// The outcome of [`Registry::register`].
#[derive(Debug)]
pub struct Registered<H> {
    /// The new connection.
    pub id: ConnectionId,
    /// What is to be said.
    pub pushes: Vec<Push<H>>,
    /// Whether the peer came online by this.
    pub edge: Edge,
}

/// The state; see the module.
#[derive(Debug)]
pub struct Registry<H> {
    bounds: Bounds,
    next_id: u64,
    connections: usize,
    peers: HashMap<PublicKey, Peer<H>>,
    presence: Watches,
    rooms: Watches,
    offline: LastOffline,
}

#[derive(Debug)]
struct Peer<H> {
    /// Never empty, in the order in which they were opened.
    rooms: Vec<Room<H>>,
}

#[derive(Debug)]
struct Room<H> {
    name: Box<str>,
    started_at: u64,
    /// Never empty, in the order in which they came.
    members: Vec<Member<H>>,
}

#[derive(Debug)]
struct Member<H> {
    id: ConnectionId,
    handle: H,
    meta: Option<Box<RoomMeta>>,
}

impl<H> Room<H> {
    /// The room as it is shown: with what its newest connection says.
    fn state(&self) -> RoomState {
        let meta = self.members.last().and_then(|member| member.meta.as_deref());
        RoomState {
            room: self.name.clone(),
            meta: meta.cloned().unwrap_or_default(),
            started_at: self.started_at,
        }
    }
}

impl<H> Peer<H> {
    fn room(&self, name: &str) -> Option<&Room<H>> {
        self.rooms.iter().find(|room| &*room.name == name)
    }

    fn handles(&self) -> impl Iterator<Item = &H> {
        self.rooms.iter().flat_map(|room| &room.members).map(|member| &member.handle)
    }
}

impl<H: Clone> Registry<H> {
    /// Nobody is connected.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next_id: 0,
            connections: 0,
            peers: HashMap::new(),
            presence: Watches::default(),
            rooms: Watches::default(),
            offline: LastOffline::default(),
        }
    }

    /// A connection has proven its key. `now` is in milliseconds since 1970.
    ///
    /// Others at the same peer and room stay as they are. Those who watch are told after this
    /// that the room and the peer are there, the new connection among them if it watches itself.
    ///
    /// # Errors
    /// The peer has too many rooms, or the room's id is too long; nothing has changed.
    pub fn register(
        &mut self,
        peer: PublicKey,
        room: &str,
        meta: RoomMeta,
        handle: H,
        now: u64,
    ) -> Result<Registered<H>, Refused> {
        if room.len() > MAX_ROOM_BYTES {
            return Err(Refused::RoomTooLong);
        }
        let known = self.peers.get(&peer);
        let opens_room = known.is_none_or(|known| known.room(room).is_none());
        if opens_room && known.is_some_and(|known| known.rooms.len() >= self.bounds.rooms) {
            return Err(Refused::TooManyRooms);
        }
        let comes_online = known.is_none();

        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.connections += 1;
        let meta = (meta != RoomMeta::default()).then(|| Box::new(meta));
        let member = Member { id, handle, meta };
        let known = self.peers.entry(peer).or_insert_with(|| Peer { rooms: Vec::with_capacity(1) });
        match known.rooms.iter_mut().find(|open| &*open.name == room) {
            Some(open) => open.members.push(member),
            None => {
                known.rooms.push(Room {
                    name: room.into(),
                    started_at: now,
                    members: vec![member],
                });
            }
        }

        let mut pushes = Vec::new();
        if opens_room && let Some(state) = known.room(room).map(Room::state) {
            self.tell(Watched::Rooms, &peer, &mut pushes, || Event::RoomAnnounced { peer, state });
        }
        let edge = if comes_online {
            self.tell(Watched::Presence, &peer, &mut pushes, || Event::PeerOnline { peer });
            Edge::Real
        } else {
            Edge::Suppressed { watchers: self.presence.watchers(&peer).count() }
        };
        Ok(Registered { id, pushes, edge })
    }

    /// A connection is gone. One that is not registered changes nothing.
    pub fn unregister(
        &mut self,
        peer: &PublicKey,
        room: &str,
        id: ConnectionId,
        now: u64,
    ) -> Vec<Push<H>> {
        let mut pushes = Vec::new();
        let Some(known) = self.peers.get_mut(peer) else { return pushes };
        let Some(place) = known.rooms.iter().position(|open| &*open.name == room) else {
            return pushes;
        };
        let Some(open) = known.rooms.get_mut(place) else { return pushes };
        let before = open.members.len();
        open.members.retain(|member| member.id != id);
        if open.members.len() == before {
            return pushes;
        }
        self.connections -= 1;
        if !open.members.is_empty() {
            return pushes;
        }
        let ended = known.rooms.remove(place);
        let goes_offline = known.rooms.is_empty();
        let peer = *peer;
        if goes_offline {
            self.peers.remove(&peer);
            self.offline.remember(peer, now);
            self.presence.forget(&peer);
            self.rooms.forget(&peer);
        }
        let event = Event::RoomEnded { peer, room: ended.name, since: now };
        self.tell(Watched::Rooms, &peer, &mut pushes, || event);
        if goes_offline {
            let event = Event::PeerOffline { peer, since: now };
            self.tell(Watched::Presence, &peer, &mut pushes, || event);
        }
        pushes
    }

    /// Replaces whose presence `watcher` watches, and tells all its connections who of them is
    /// online, in the order of `watched`. More than the bound allows are not watched; how many
    /// these are is returned too.
    pub fn subscribe_presence(
        &mut self,
        watcher: &PublicKey,
        watched: &[PublicKey],
    ) -> (Vec<Push<H>>, usize) {
        let dropped = self.presence.replace(watcher, watched, self.bounds.subscriptions);
        let to: Vec<H> = self.connections_of(watcher).cloned().collect();
        let pushes = watched
            .iter()
            .filter(|peer| self.presence.is_watching(watcher, peer) && self.is_online(peer))
            .map(|peer| Push { to: to.clone(), event: Event::PeerOnline { peer: *peer }, peers: 1 })
            .collect();
        (pushes, dropped)
    }

    /// `watcher` no longer watches the presence of these.
    pub fn unsubscribe_presence(&mut self, watcher: &PublicKey, watched: &[PublicKey]) {
        self.presence.remove(watcher, watched);
    }

    /// Replaces whose rooms `watcher` watches. Nothing is told about rooms that are open already.
    /// How many more than the bound allows were asked for is returned; these are not watched.
    pub fn subscribe_rooms(&mut self, watcher: &PublicKey, watched: &[PublicKey]) -> usize {
        self.rooms.replace(watcher, watched, self.bounds.subscriptions)
    }

    /// `watcher` no longer watches the rooms of these.
    pub fn unsubscribe_rooms(&mut self, watcher: &PublicKey, watched: &[PublicKey]) {
        self.rooms.remove(watcher, watched);
    }

    /// Changes the metadata of a room and tells those who watch it. An unknown room, and a change
    /// that is empty, change nothing.
    pub fn update_meta(&mut self, peer: &PublicKey, room: &str, patch: &MetaPatch) -> Vec<Push<H>> {
        let mut pushes = Vec::new();
        let open = self
            .peers
            .get_mut(peer)
            .and_then(|known| known.rooms.iter_mut().find(|open| &*open.name == room));
        let Some(open) = open.filter(|_| !patch.is_empty()) else { return pushes };
        for member in &mut open.members {
            member.meta.get_or_insert_default().apply(patch);
        }
        let meta = open.members.first().and_then(|oldest| oldest.meta.as_deref().cloned());
        let (peer, room) = (*peer, Box::from(room));
        self.tell(Watched::Rooms, &peer, &mut pushes, || Event::RoomMetaUpdated {
            peer,
            room,
            meta: meta.unwrap_or_default(),
        });
        pushes
    }

    /// The connections at a room, apart from `sender`.
    pub fn at_room<'a>(
        &'a self,
        peer: &PublicKey,
        room: &str,
        sender: Option<ConnectionId>,
    ) -> impl Iterator<Item = &'a H> + use<'a, H> {
        let open = self.peers.get(peer).and_then(|known| known.room(room));
        open.into_iter()
            .flat_map(|open| &open.members)
            .filter(move |member| Some(member.id) != sender)
            .map(|member| &member.handle)
    }

    /// All connections of a peer, in whatever room.
    pub fn connections_of<'a>(
        &'a self,
        peer: &PublicKey,
    ) -> impl Iterator<Item = &'a H> + use<'a, H> {
        self.peers.get(peer).into_iter().flat_map(Peer::handles)
    }

    /// Whether the peer has a connection.
    #[must_use]
    pub fn is_online(&self, peer: &PublicKey) -> bool {
        self.peers.contains_key(peer)
    }

    /// When a peer that is offline was last seen to go, in milliseconds since 1970.
    #[must_use]
    pub fn offline_since(&self, peer: &PublicKey) -> Option<u64> {
        self.offline.since(peer).filter(|_| !self.is_online(peer))
    }

    /// The open rooms of a peer, oldest first, those of one millisecond by name.
    #[must_use]
    pub fn rooms_of(&self, peer: &PublicKey) -> Vec<RoomState> {
        let mut rooms: Vec<RoomState> = self
            .peers
            .get(peer)
            .into_iter()
            .flat_map(|known| &known.rooms)
            .map(Room::state)
            .collect();
        rooms.sort_by(|one, other| {
            one.started_at.cmp(&other.started_at).then_with(|| one.room.cmp(&other.room))
        });
        rooms
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// How many peers are online.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Every connection.
    pub fn everybody(&self) -> impl Iterator<Item = &H> {
        self.peers.values().flat_map(Peer::handles)
    }

    fn tell(
        &self,
        what: Watched,
        peer: &PublicKey,
        pushes: &mut Vec<Push<H>>,
        event: impl FnOnce() -> Event,
    ) {
        let watches = match what {
            Watched::Presence => &self.presence,
            Watched::Rooms => &self.rooms,
        };
        let watchers = watches.watchers(peer).filter_map(|watcher| self.peers.get(watcher));
        let (mut to, mut peers) = (Vec::new(), 0);
        for watcher in watchers {
            to.extend(watcher.handles().cloned());
            peers += 1;
        }
        if !to.is_empty() {
            pushes.push(Push { to, event: event(), peers });
        }
    }
}

#[derive(Clone, Copy)]
enum Watched {
    Presence,
    Rooms,
}

/// When peers went, the longest gone first.
#[derive(Debug, Default)]
pub(crate) struct LastOffline {
    times: HashMap<PublicKey, u64>,
    order: VecDeque<(PublicKey, u64)>,
}

impl LastOffline {
    pub(crate) fn remember(&mut self, peer: PublicKey, now: u64) {
        self.times.insert(peer, now);
        self.order.push_back((peer, now));
        while self.order.len() > REMEMBERED_OFFLINE {
            let Some((oldest, since)) = self.order.pop_front() else { return };
            // One that went again later has another entry further back.
            if self.times.get(&oldest) == Some(&since) {
                self.times.remove(&oldest);
            }
        }
    }

    pub(crate) fn since(&self, peer: &PublicKey) -> Option<u64> {
        self.times.get(peer).copied()
    }
}
