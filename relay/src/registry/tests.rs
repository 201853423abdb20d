#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use proptest::prelude::*;
use rp_protocol::relay::legacy::Patch;

use super::*;

const BOUNDS: Bounds = Bounds { rooms: 4, subscriptions: 3 };

fn peer(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

/// Connections are known by a number.
struct Relay {
    registry: Registry<u32>,
    connections: HashMap<u32, (PublicKey, String, ConnectionId)>,
    now: u64,
}

impl Relay {
    fn new() -> Self {
        Self { registry: Registry::new(BOUNDS), connections: HashMap::new(), now: 1_000 }
    }

    fn connect(&mut self, handle: u32, peer: PublicKey, room: &str) -> Registered<u32> {
        self.connect_with(handle, peer, room, RoomMeta::default())
    }

    fn connect_with(
        &mut self,
        handle: u32,
        peer: PublicKey,
        room: &str,
        meta: RoomMeta,
    ) -> Registered<u32> {
        self.now += 1;
        let registered = self.registry.register(peer, room, meta, handle, self.now).unwrap();
        self.connections.insert(handle, (peer, room.to_owned(), registered.id));
        registered
    }

    fn disconnect(&mut self, handle: u32) -> Vec<Push<u32>> {
        self.now += 1;
        let (peer, room, id) = self.connections.remove(&handle).unwrap();
        self.registry.unregister(&peer, &room, id, self.now)
    }

    /// Who gets an envelope that this connection sends.
    fn reached_by(&self, sender: Option<u32>, peer: &PublicKey, room: &str) -> Vec<u32> {
        let sender = sender.map(|sender| self.connections[&sender].2);
        self.registry.at_room(peer, room, sender).copied().collect()
    }
}

fn online(pushes: &[Push<u32>]) -> Vec<(Vec<u32>, PublicKey)> {
    pushes
        .iter()
        .filter_map(|push| match push.event {
            Event::PeerOnline { peer } => Some((push.to.clone(), peer)),
            _ => None,
        })
        .collect()
}

fn model(text: &str) -> MetaPatch {
    MetaPatch { model: Patch::Set(text.into()), ..MetaPatch::default() }
}

fn working(working: bool) -> MetaPatch {
    MetaPatch { working: Some(working), ..MetaPatch::default() }
}

fn meta_updates(pushes: &[Push<u32>]) -> Vec<RoomMeta> {
    pushes
        .iter()
        .filter_map(|push| match &push.event {
            Event::RoomMetaUpdated { meta, .. } => Some(meta.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_second_subscription_replaces_the_first_one() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_presence(&peer(1), &[peer(2)]);
    relay.registry.subscribe_presence(&peer(1), &[peer(3)]);
    assert_eq!(online(&relay.connect(2, peer(2), "main").pushes), []);
    assert_eq!(online(&relay.connect(3, peer(3), "main").pushes), [(vec![1], peer(3))]);

    relay.registry.subscribe_rooms(&peer(1), &[peer(4)]);
    relay.registry.subscribe_rooms(&peer(1), &[peer(5)]);
    assert_eq!(relay.connect(4, peer(4), "main").pushes, []);
    assert_eq!(relay.connect(5, peer(5), "main").pushes.len(), 1);
}

#[test]
fn to_subscribe_to_nobody_is_to_unsubscribe_from_all() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_presence(&peer(1), &[peer(2)]);
    relay.registry.subscribe_rooms(&peer(1), &[peer(2)]);
    relay.registry.subscribe_presence(&peer(1), &[]);
    relay.registry.subscribe_rooms(&peer(1), &[]);
    assert_eq!(relay.connect(2, peer(2), "main").pushes, []);
}

#[test]
fn unsubscribing_removes_those_who_are_listed_and_no_others() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_presence(&peer(1), &[peer(2), peer(3)]);
    relay.registry.subscribe_rooms(&peer(1), &[peer(2), peer(3)]);
    relay.registry.unsubscribe_presence(&peer(1), &[peer(2), peer(9)]);
    relay.registry.unsubscribe_rooms(&peer(1), &[peer(2), peer(9)]);
    assert_eq!(relay.connect(2, peer(2), "main").pushes, []);
    assert_eq!(relay.connect(3, peer(3), "main").pushes.len(), 2);
}

#[test]
fn subscriptions_end_with_the_last_connection_of_the_subscriber_and_not_before() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.connect(2, peer(1), "other");
    relay.registry.subscribe_presence(&peer(1), &[peer(2)]);
    relay.registry.subscribe_rooms(&peer(1), &[peer(2)]);

    relay.disconnect(1);
    let pushes = relay.connect(3, peer(2), "main").pushes;
    assert_eq!(pushes.iter().map(|push| push.to.clone()).collect::<Vec<_>>(), [[2], [2]]);

    relay.disconnect(3);
    relay.disconnect(2);
    relay.connect(1, peer(1), "main");
    assert_eq!(relay.connect(3, peer(2), "main").pushes, []);
}

#[test]
fn subscriptions_beyond_the_bound_are_not_kept_and_counted() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    let watched: Vec<PublicKey> = (2..7).map(peer).collect();
    assert_eq!(relay.registry.subscribe_presence(&peer(1), &watched).1, 2);
    assert_eq!(relay.registry.subscribe_rooms(&peer(1), &watched), 2);
    assert_eq!(relay.connect(4, peer(4), "main").pushes.len(), 2);
    assert_eq!(relay.connect(5, peer(5), "main").pushes, []);
}

#[test]
fn who_was_seen_to_go_has_a_time_and_who_is_online_has_none() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.disconnect(1);
    let went = relay.now;
    assert!(!relay.registry.is_online(&peer(1)));
    assert_eq!(relay.registry.offline_since(&peer(1)), Some(went));
    assert_eq!(relay.registry.offline_since(&peer(2)), None);
    relay.connect(1, peer(1), "main");
    assert_eq!(relay.registry.offline_since(&peer(1)), None);
}

#[test]
fn no_more_than_so_many_absent_peers_are_remembered_and_the_longest_gone_are_forgotten() {
    let mut offline = LastOffline::default();
    let key = |number: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        PublicKey::from_bytes(bytes)
    };
    let all = u64::try_from(REMEMBERED_OFFLINE).unwrap();
    for number in 0..all {
        offline.remember(key(number), number);
    }
    offline.remember(key(0), all);
    offline.remember(key(all), all + 1);
    assert_eq!(offline.since(&key(0)), Some(all));
    assert_eq!(offline.since(&key(1)), None);
    assert_eq!(offline.since(&key(2)), Some(2));
    assert!(offline.times.len() <= REMEMBERED_OFFLINE);
}

#[test]
fn two_rooms_of_one_peer_are_independent() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "one");
    relay.connect(2, peer(1), "two");
    relay.disconnect(1);
    assert!(relay.reached_by(None, &peer(1), "one").is_empty());
    assert_eq!(relay.reached_by(None, &peer(1), "two"), [2]);
    assert!(relay.registry.is_online(&peer(1)));
}

#[test]
fn connections_at_one_room_hear_each_other_and_not_themselves() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.connect(2, peer(1), "main");
    assert_eq!(relay.reached_by(Some(1), &peer(1), "main"), [2]);
    assert_eq!(relay.reached_by(Some(2), &peer(1), "main"), [1]);
}

#[test]
fn when_one_of_three_connections_goes_the_others_go_on() {
    let mut relay = Relay::new();
    for handle in 1..=3 {
        relay.connect(handle, peer(1), "main");
    }
    relay.disconnect(2);
    assert_eq!(relay.reached_by(None, &peer(1), "main"), [1, 3]);
}

#[test]
fn a_sender_from_elsewhere_reaches_every_connection_of_the_room() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.connect(2, peer(1), "main");
    relay.connect(3, peer(2), "main");
    assert_eq!(relay.reached_by(Some(3), &peer(1), "main"), [1, 2]);
}

#[test]
fn a_lone_connection_reaches_nobody_at_its_own_room() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    assert!(relay.reached_by(Some(1), &peer(1), "main").is_empty());
}

#[test]
fn to_remove_a_connection_twice_does_not_touch_the_one_that_came_after_it() {
    let mut relay = Relay::new();
    let old = relay.connect(1, peer(1), "main").id;
    relay.disconnect(1);
    relay.connect(2, peer(1), "main");
    assert_eq!(relay.registry.unregister(&peer(1), "main", old, 9), []);
    assert_eq!(relay.registry.unregister(&peer(1), "elsewhere", old, 9), []);
    assert_eq!(relay.registry.unregister(&peer(7), "main", old, 9), []);
    assert_eq!(relay.reached_by(None, &peer(1), "main"), [2]);
    assert_eq!(relay.registry.connections(), 1);
}

#[test]
fn a_peer_is_told_to_be_online_only_when_it_was_not() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_presence(&peer(1), &[peer(2)]);
    let first = relay.connect(2, peer(2), "main");
    assert_eq!(online(&first.pushes), [(vec![1], peer(2))]);
    assert_eq!((first.edge, first.pushes[0].peers), (Edge::Real, 1));
    let second = relay.connect(3, peer(2), "other");
    assert_eq!(online(&second.pushes), []);
    assert_eq!(second.edge, Edge::Suppressed { watchers: 1 });
    assert_eq!(relay.disconnect(2), []);
    assert_eq!(relay.disconnect(3).len(), 1);
}

#[test]
fn a_room_is_announced_before_its_peer_and_ends_before_it() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_presence(&peer(1), &[peer(2)]);
    relay.registry.subscribe_rooms(&peer(1), &[peer(2)]);
    let pushes = relay.connect(2, peer(2), "main").pushes;
    assert!(matches!(pushes[0].event, Event::RoomAnnounced { .. }));
    assert!(matches!(pushes[1].event, Event::PeerOnline { .. }));
    let pushes = relay.disconnect(2);
    let since = relay.now;
    let ended = Event::RoomEnded { peer: peer(2), room: "main".into(), since };
    let events: Vec<_> = pushes.into_iter().map(|push| push.event).collect();
    assert_eq!(events, [ended, Event::PeerOffline { peer: peer(2), since }]);
}

#[test]
fn a_peer_that_watches_itself_hears_of_its_own_further_rooms() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.registry.subscribe_rooms(&peer(1), &[peer(1)]);
    assert_eq!(relay.connect(2, peer(1), "other").pushes[0].to, [1, 2]);
}

#[test]
fn who_subscribes_is_told_at_all_its_connections_who_is_online() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "main");
    relay.connect(2, peer(1), "other");
    relay.connect(3, peer(3), "main");
    let (pushes, _) = relay.registry.subscribe_presence(&peer(1), &[peer(2), peer(3)]);
    assert_eq!(online(&pushes), [(vec![1, 2], peer(3))]);
}

#[test]
fn rooms_are_listed_in_the_order_in_which_they_were_opened_and_then_by_name() {
    let mut relay = Relay::new();
    relay.connect(1, peer(1), "zebra");
    relay.connect(2, peer(1), "ant");
    relay.registry.register(peer(1), "mole", RoomMeta::default(), 3, relay.now).unwrap();
    relay.registry.register(peer(1), "bee", RoomMeta::default(), 4, relay.now).unwrap();
    let rooms = relay.registry.rooms_of(&peer(1));
    let names: Vec<_> = rooms.iter().map(|state| &*state.room).collect();
    assert_eq!(names, ["zebra", "ant", "bee", "mole"]);
}

#[test]
fn a_room_shows_what_its_newest_connection_says_and_opens_only_once() {
    let mut relay = Relay::new();
    relay.connect(9, peer(9), "main");
    relay.registry.subscribe_rooms(&peer(9), &[peer(1)]);
    let named = |name: &str| RoomMeta { name: Some(name.into()), ..RoomMeta::default() };
    assert_eq!(relay.connect_with(1, peer(1), "main", named("old")).pushes.len(), 1);
    let opened = relay.now;
    assert_eq!(relay.connect_with(2, peer(1), "main", named("new")).pushes, []);
    let shown = relay.registry.rooms_of(&peer(1));
    assert_eq!((shown.len(), &shown[0].meta, shown[0].started_at), (1, &named("new"), opened));
    relay.disconnect(2);
    assert_eq!(relay.registry.rooms_of(&peer(1))[0].meta, named("old"));
}

#[test]
fn a_change_of_working_is_told_and_no_other_change_resets_it() {
    let mut relay = Relay::new();
    relay.connect(9, peer(9), "main");
    relay.registry.subscribe_rooms(&peer(9), &[peer(1)]);
    relay.connect(1, peer(1), "main");
    let pushes = relay.registry.update_meta(&peer(1), "main", &working(true));
    assert!(meta_updates(&pushes)[0].working);
    let pushes = relay.registry.update_meta(&peer(1), "main", &model("m"));
    assert!(meta_updates(&pushes)[0].working);
    let pushes = relay.registry.update_meta(&peer(1), "main", &working(false));
    assert!(!meta_updates(&pushes)[0].working);
    assert_eq!(meta_updates(&pushes)[0].model.as_deref(), Some("m"));
}

#[test]
fn a_change_that_sets_what_is_there_already_is_told_and_an_empty_one_is_not() {
    let mut relay = Relay::new();
    relay.connect(9, peer(9), "main");
    relay.registry.subscribe_rooms(&peer(9), &[peer(1)]);
    relay.connect(1, peer(1), "main");
    assert_eq!(relay.registry.update_meta(&peer(1), "main", &working(false)).len(), 1);
    assert_eq!(relay.registry.update_meta(&peer(1), "main", &MetaPatch::default()), []);
    assert_eq!(relay.registry.update_meta(&peer(1), "closed", &working(true)), []);
    let cleared = MetaPatch { model: Patch::Clear, ..MetaPatch::default() };
    relay.registry.update_meta(&peer(1), "main", &model("m"));
    let pushes = relay.registry.update_meta(&peer(1), "main", &cleared);
    assert_eq!(meta_updates(&pushes)[0].model, None);
}

#[test]
fn a_peer_with_too_many_rooms_gets_no_further_one_but_a_further_connection() {
    let mut relay = Relay::new();
    for room in 0..4 {
        relay.connect(room, peer(1), &room.to_string());
    }
    let refused = relay.registry.register(peer(1), "5", RoomMeta::default(), 5, 1);
    assert_eq!(refused.unwrap_err(), Refused::TooManyRooms);
    assert_eq!(relay.registry.connections(), 4);
    relay.connect(6, peer(1), "0");
}

#[derive(Debug, Clone)]
enum Move {
    Connect(u8, u8),
    Disconnect(usize),
    WatchPresence(u8, Vec<u8>),
    WatchRooms(u8, Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let list = || prop::collection::vec(0u8..4, 0..3);
    let one = prop_oneof![
        3 => (0u8..4, 0u8..3).prop_map(|(peer, room)| Move::Connect(peer, room)),
        2 => any::<usize>().prop_map(Move::Disconnect),
        1 => (0u8..4, list()).prop_map(|(peer, list)| Move::WatchPresence(peer, list)),
        1 => (0u8..4, list()).prop_map(|(peer, list)| Move::WatchRooms(peer, list)),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    /// Whoever watches from the beginning and believes the events knows who is online and which
    /// rooms are open, and nothing is kept of those who went.
    #[test]
    fn the_events_tell_a_watcher_exactly_what_is_true(moves in moves()) {
        let mut relay = Relay::new();
        let watcher = peer(99);
        let mut registry = Registry::new(Bounds { rooms: 8, subscriptions: 8 });
        std::mem::swap(&mut relay.registry, &mut registry);
        relay.connect(1000, watcher, "main");
        let everybody: Vec<_> = (0..4).map(peer).collect();
        relay.registry.subscribe_presence(&watcher, &everybody);
        relay.registry.subscribe_rooms(&watcher, &everybody);

        let (mut online, mut rooms) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let mut open: Vec<u32> = Vec::new();
        for (handle, step) in (0u32..).zip(moves) {
            let pushes = match step {
                Move::Connect(number, room) => {
                    open.push(handle);
                    relay.connect(handle, peer(number), &room.to_string()).pushes
                }
                Move::Disconnect(which) if !open.is_empty() => {
                    let handle = open.swap_remove(which % open.len());
                    relay.disconnect(handle)
                }
                Move::Disconnect(_) => Vec::new(),
                Move::WatchPresence(number, list) => {
                    let list: Vec<_> = list.into_iter().map(peer).collect();
                    let watching = relay.registry.is_online(&peer(number));
                    if watching { relay.registry.subscribe_presence(&peer(number), &list); }
                    Vec::new()
                }
                Move::WatchRooms(number, list) => {
                    let list: Vec<_> = list.into_iter().map(peer).collect();
                    let watching = relay.registry.is_online(&peer(number));
                    if watching { relay.registry.subscribe_rooms(&peer(number), &list); }
                    Vec::new()
                }
            };
            for push in pushes.iter().filter(|push| push.to.contains(&1000)) {
                let is_news = match &push.event {
                    Event::PeerOnline { peer } => online.insert(*peer),
                    Event::PeerOffline { peer, .. } => online.remove(peer),
                    Event::RoomAnnounced { peer, state } => rooms.insert((*peer, state.room.clone())),
                    Event::RoomEnded { peer, room, .. } => rooms.remove(&(*peer, room.clone())),
                    Event::RoomMetaUpdated { .. } => true,
                };
                prop_assert!(is_news, "{:?} was told twice", push.event);
            }
            for key in &everybody {
                prop_assert_eq!(online.contains(key), relay.registry.is_online(key));
                for state in relay.registry.rooms_of(key) {
                    prop_assert!(rooms.contains(&(*key, state.room)));
                }
            }
            prop_assert_eq!(relay.registry.connections(), open.len() + 1);
        }
        for handle in open {
            relay.disconnect(handle);
        }
        relay.disconnect(1000);
        prop_assert!(relay.registry.peers.is_empty());
        prop_assert!(relay.registry.presence.is_empty());
        prop_assert!(relay.registry.rooms.is_empty());
    }
}
