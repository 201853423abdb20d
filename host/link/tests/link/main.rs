//! The link, against a small relay made of the same frames.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod real;
mod relay;
mod sealed;

use std::time::{Duration, Instant};

use relay::{ALL, Abilities, SmallRelay};
use rp_link::*;
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::relay::{
    Answer, Close, CloseCode, Frame, Instance, MessageId, Presence, Refusal, Verdict,
};
use tokio::sync::mpsc;

/// A host with its link.
struct Host {
    key: PublicKey,
    link: Link,
    deliveries: mpsc::Receiver<Delivery>,
}

fn host(seed: u8, relays: &[Relay]) -> Host {
    let secret = SecretKey::from_seed(&[seed; 32]);
    let key = secret.public();
    let config = Config {
        relays: relays.to_vec(),
        key: secret,
        software: "test".to_owned(),
        wires: Wires::All,
    };
    let (link, deliveries) = Link::start(config);
    Host { key, link, deliveries }
}

async fn connected_host(seed: u8, relay: &SmallRelay) -> Host {
    let host = host(seed, &[relay.address()]);
    host.is_connected().await;
    host
}

impl Host {
    async fn is_connected(&self) -> Transport {
        let mut states = self.link.state();
        let connected = states.wait_for(|state| matches!(state, State::Connected { .. }));
        match &*within(connected).await.unwrap() {
            State::Connected { transport, .. } => *transport,
            _ => unreachable!(),
        }
    }

    async fn is_connected_to(&self, relay: &SmallRelay) {
        let wanted = relay.address().url;
        let mut states = self.link.state();
        let connected = states.wait_for(
            |state| matches!(state, State::Connected { relay, .. } if relay == wanted.as_str()),
        );
        within(connected).await.unwrap();
    }

    async fn is_not_connected(&self) {
        let mut states = self.link.state();
        within(states.wait_for(|state| !matches!(state, State::Connected { .. }))).await.unwrap();
    }

    async fn sees(&self, peer: PublicKey, presence: Presence) {
        let mut peers = self.link.peers();
        let seen =
            peers.wait_for(|peers| peers.get(&peer).map(|peer| peer.presence) == Some(presence));
        within(seen).await.unwrap();
    }

    async fn send(&self, id: u8, to: PublicKey, message: Message) -> Answers {
        self.link.send(MessageId([id; 16]), to, message).await.unwrap()
    }

    async fn delivered(&mut self) -> Delivery {
        within(self.deliveries.recv()).await.unwrap()
    }

    async fn accept(&mut self) -> Message {
        let delivery = self.delivered().await;
        self.link.answer(delivery.id, delivery.from, Verdict::Received).await.unwrap();
        delivery.message
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing within 20 s")
}

fn sealed(bytes: &[u8]) -> Message {
    Message::Sealed(bytes.to_vec())
}

const BLOCKED: Abilities = Abilities { quic: false, ..ALL };
const QUIC_ONLY: Abilities = Abilities { socket: false, ..ALL };
const OLD: Abilities = Abilities { quic: false, modern: false, ..ALL };

#[tokio::test]
async fn quic_is_used_where_it_gets_through_and_the_websocket_where_not() {
    let relay = SmallRelay::start(QUIC_ONLY).await;
    assert_eq!(host(1, &[relay.address()]).is_connected().await, Transport::Quic);
    let relay = SmallRelay::start(BLOCKED).await;
    let begun = Instant::now();
    assert_eq!(host(1, &[relay.address()]).is_connected().await, Transport::WebSocket);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn hosts_on_different_transports_reach_each_other_through_one_relay() {
    let relay = SmallRelay::start(QUIC_ONLY).await;
    let beside = SmallRelay::beside(&relay, BLOCKED).await;
    let mut quic = host(1, &[relay.address()]);
    assert_eq!(quic.is_connected().await, Transport::Quic);
    let mut socket = host(2, &[beside.address()]);
    assert_eq!(socket.is_connected().await, Transport::WebSocket);
    for (id, length) in [(1, 100), (2, 3_000_000)] {
        let content = vec![id; length];
        let mut answers = quic.send(id, socket.key, sealed(&content)).await;
        assert_eq!(within(answers.next()).await, Some(Answer::Accepted));
        assert_eq!(socket.accept().await, sealed(&content));
        assert_eq!(within(answers.last()).await, Answer::Received);
        let answers = socket.send(id, quic.key, sealed(&content)).await;
        assert_eq!(quic.accept().await, sealed(&content));
        assert_eq!(within(answers.last()).await, Answer::Received);
    }
}

#[tokio::test]
async fn a_large_message_goes_in_parts_over_the_websocket() {
    let relay = SmallRelay::start(BLOCKED).await;
    let alice = connected_host(1, &relay).await;
    let mut bob = connected_host(2, &relay).await;
    let content = vec![9; 3_000_000];
    let large = alice.send(1, bob.key, sealed(&content)).await;
    let next = alice.send(2, bob.key, sealed(b"next")).await;
    assert_eq!(bob.accept().await, sealed(&content));
    assert_eq!(within(large.last()).await, Answer::Received);
    // It was longer than the window for Bob, so it went alone.
    assert_eq!(within(next.last()).await, Answer::Busy { retry_after_ms: 0 });
}

#[tokio::test]
async fn what_the_other_host_says_is_what_the_sender_hears() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let mut bob = connected_host(2, &relay).await;
    let answers = alice.send(1, bob.key, sealed(b"x")).await;
    let delivery = bob.delivered().await;
    let verdict = Verdict::Refused(Refusal::NoSession);
    bob.link.answer(delivery.id, delivery.from, verdict).await.unwrap();
    assert_eq!(within(answers.last()).await, Answer::Refused(Refusal::NoSession));
    let nobody = SecretKey::from_seed(&[9; 32]).public();
    let answers = alice.send(2, nobody, sealed(b"x")).await;
    assert_eq!(within(answers.last()).await, Answer::Offline { since_ms: 5 });
}

#[tokio::test]
async fn a_host_that_takes_no_messages_is_busy_and_goes_on_later() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let mut bob = connected_host(2, &relay).await;
    let mut answers = Vec::new();
    for number in 0..300_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        answers.push(alice.link.send(MessageId(id), bob.key, sealed(b"x")).await.unwrap());
    }
    // The last ones are busy; the first ones wait for the host.
    let last = answers.pop().unwrap();
    assert_eq!(within(last.last()).await, Answer::Busy { retry_after_ms: 1000 });
    bob.accept().await;
    assert_eq!(within(answers.swap_remove(0).last()).await, Answer::Received);
}

#[tokio::test]
async fn after_a_restart_of_the_relay_everything_is_as_before() {
    let mut relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let bob = connected_host(2, &relay).await;
    alice.link.open_room("atlas", Room { working: true, ..Room::default() }).await.unwrap();
    alice.link.open_room("web", Room::default()).await.unwrap();
    alice.link.close_room("web").await.unwrap();
    alice.link.watch(vec![bob.key]).await.unwrap();
    alice.sees(bob.key, Presence::Online).await;
    relay.has_rooms(alice.key, &["atlas"]).await;
    relay.kill().await;
    alice.is_not_connected().await;
    assert!(alice.link.peers().borrow().is_empty());
    let lost = alice.send(1, bob.key, sealed(b"x")).await;
    assert_eq!(within(lost.last()).await, Answer::Lost);
    relay.listen().await;
    alice.is_connected().await;
    within(relay.has_rooms(alice.key, &["atlas"])).await;
    alice.sees(bob.key, Presence::Online).await;
    bob.link.disconnect().await.unwrap();
    alice.sees(bob.key, Presence::Offline).await;
    bob.link.connect().await.unwrap();
    alice.sees(bob.key, Presence::Online).await;
}

#[tokio::test]
async fn a_message_is_lost_when_the_connection_ends_before_the_answer() {
    let mut relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let mut bob = connected_host(2, &relay).await;
    let mut answers = alice.send(1, bob.key, sealed(b"x")).await;
    bob.delivered().await;
    assert_eq!(within(answers.next()).await, Some(Answer::Accepted));
    relay.kill().await;
    assert_eq!(within(answers.last()).await, Answer::Lost);
}

#[tokio::test]
async fn the_next_relay_is_tried_when_one_cannot_be_reached() {
    let mut dead = SmallRelay::start(ALL).await;
    dead.kill().await;
    let relay = SmallRelay::start(ALL).await;
    let host = host(1, &[dead.address(), relay.address()]);
    host.is_connected_to(&relay).await;
}

#[tokio::test]
async fn an_earlier_relay_is_gone_back_to_once_it_can_be_reached_again() {
    let (mut first, second) = (SmallRelay::start(ALL).await, SmallRelay::start(ALL).await);
    let relays = [first.address(), second.address()];
    let (alice, mut bob) = (host(1, &relays), host(2, &relays));
    for host in [&alice, &bob] {
        host.is_connected_to(&first).await;
    }
    first.kill().await;
    alice.is_connected_to(&second).await;
    first.listen().await;
    // Whichever of the two noticed what, they meet again.
    for host in [&alice, &bob] {
        host.is_connected_to(&first).await;
    }
    let answers = alice.send(1, bob.key, sealed(b"x")).await;
    assert_eq!(bob.accept().await, sealed(b"x"));
    assert_eq!(within(answers.last()).await, Answer::Received);
}

#[tokio::test]
async fn a_relay_with_another_certificate_is_not_talked_to() {
    let relay = SmallRelay::start(ALL).await;
    let trust = Trust::Pinned(Fingerprint([1; 32]));
    let host = host(1, &[Relay { trust, ..relay.address() }]);
    let mut states = host.link.state();
    let waiting = states.wait_for(|state| matches!(state, State::Waiting { .. }));
    let State::Waiting { reason, .. } = within(waiting).await.unwrap().clone() else { panic!() };
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn a_clone_is_told_and_a_relay_that_ends_is_left() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let clone = Frame::Clone { instance: Instance([4; 16]), since_ms: 7 };
    relay.say(alice.key, clone).await;
    let mut seen = alice.link.clone_seen();
    let seen = within(seen.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(seen, CloneSeen { instance: Instance([4; 16]), since_ms: 7 });
    relay.say(alice.key, Frame::Drain { reconnect_after_ms: 20 }).await;
    alice.is_not_connected().await;
    alice.is_connected().await;
}

#[tokio::test]
async fn whoever_takes_the_place_of_a_running_host_is_a_clone() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let replaced = Close { code: CloseCode::Replaced, retry_after_ms: 0, note: "" };
    relay.say(alice.key, Frame::Close(replaced)).await;
    let mut seen = alice.link.clone_seen();
    within(seen.wait_for(Option::is_some)).await.unwrap();
}

#[tokio::test]
async fn a_relay_keeps_a_host_away_for_a_minute_at_most() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    let forever = Close { code: CloseCode::GoingAway, retry_after_ms: u64::MAX, note: "" };
    relay.say(alice.key, Frame::Close(forever)).await;
    let mut states = alice.link.state();
    let waiting = states.wait_for(|state| matches!(state, State::Waiting { .. }));
    let State::Waiting { retry_in, .. } = within(waiting).await.unwrap().clone() else { panic!() };
    assert_eq!(retry_in, Duration::from_secs(60));
}

#[tokio::test]
async fn when_the_network_has_changed_a_relay_that_answers_is_kept_and_a_silent_one_left() {
    let relay = SmallRelay::start(ALL).await;
    let alice = connected_host(1, &relay).await;
    alice.link.network_changed().await.unwrap();
    within(relay.is_asked(1)).await;
    // What the relay says after its sign of life.
    let nobody = SecretKey::from_seed(&[9; 32]).public();
    let answers = alice.send(1, nobody, sealed(b"x")).await;
    assert_eq!(within(answers.last()).await, Answer::Offline { since_ms: 5 });
    // Otherwise it would take more than a minute until the silence is noticed.
    relay.fall_silent();
    alice.link.network_changed().await.unwrap();
    alice.is_not_connected().await;
}

#[tokio::test]
async fn a_relay_that_knows_only_the_old_wire_is_talked_to_on_that() {
    let relay = SmallRelay::start(OLD).await;
    let alice = host(1, &[relay.address()]);
    alice.link.open_room("atlas", Room::default()).await.unwrap();
    assert_eq!(alice.is_connected().await, Transport::Legacy);
    let mut bob = host(2, &[relay.address()]);
    bob.is_connected().await;
    within(relay.has_rooms(alice.key, &["atlas"])).await;
    within(relay.has_rooms(bob.key, &["main"])).await;
    alice.link.watch(vec![bob.key]).await.unwrap();
    alice.sees(bob.key, Presence::Legacy).await;

    let id = "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let envelope =
        format!(r#"{{"body":{{"n":1.50}},"from":"a:x","id":"{id}","re":null,"to":"b:y"}}"#);
    let answers = alice.send(1, bob.key, Message::Envelope(envelope.clone())).await;
    let delivery = bob.delivered().await;
    assert_eq!(delivery.from, alice.key);
    let Message::Envelope(arrived) = delivery.message else { panic!() };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&arrived), json(&envelope));
    assert_eq!(within(answers.last()).await, Answer::Handed);

    let nobody = SecretKey::from_seed(&[9; 32]).public();
    let answers = alice.send(2, nobody, Message::Envelope(envelope)).await;
    assert_eq!(within(answers.last()).await, Answer::Offline { since_ms: 0 });
    let answers = alice.send(3, bob.key, sealed(b"x")).await;
    assert_eq!(within(answers.last()).await, Answer::Refused(Refusal::LegacyOnly));

    // A second room is a second connection, which takes no envelopes between machines.
    alice.link.open_room("web", Room::default()).await.unwrap();
    within(relay.has_rooms(alice.key, &["atlas", "web"])).await;
    let message = Message::App {
        from_room: "web".to_owned(),
        to_room: "main".to_owned(),
        text: "eyJ0eXBlIjoicGluZyJ9".to_owned(),
    };
    let answers = alice.send(4, bob.key, message.clone()).await;
    assert_eq!(within(answers.last()).await, Answer::Handed);
    assert_eq!(bob.delivered().await.message, message);
    alice.link.close_room("web").await.unwrap();
    within(relay.has_rooms(alice.key, &["atlas"])).await;
}
