//! A courier whose other host is not ready yet.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use rp_protocol::courier::{Courier, Effect, Kept, WINDOW, WINDOW_BYTES};
use rp_protocol::key::SecretKey;
use rp_protocol::relay::{Answer, Refusal};
use rp_protocol::seal::{SealingKey, session_of};

const NOW: u64 = 1_785_000_000_000;

struct Host {
    keys: SealingKey,
    courier: Courier,
}

impl Host {
    fn new(own: u8, peer: u8) -> Self {
        let kept = Kept { outbox: [own; 16], ..Kept::default() };
        let peer = SecretKey::from_seed(&[peer; 32]).public();
        Host {
            keys: SealingKey::certify(&SecretKey::from_seed(&[own; 32]), [own; 32], NOW),
            courier: Courier::load(peer, kept).unwrap(),
        }
    }

    fn sends(&mut self) -> Vec<Vec<u8>> {
        let effects = self.courier.effects(&self.keys, NOW).into_iter();
        let sent = effects.filter_map(|effect| match effect {
            Effect::Send(message) => Some(message),
            Effect::Keep(_) => None,
        });
        sent.collect()
    }
}

/// Both hosts have something to say. What the first one begins is not taken, then the second one
/// begins. How many messages go to and fro until each has its message.
fn shake_hands(first: u8, second: u8, answer: Answer) -> usize {
    let mut hosts = [Host::new(first, second), Host::new(second, first)];
    for host in &mut hosts {
        host.courier.take(b"hello".to_vec()).unwrap();
    }
    hosts[0].courier.on_online();
    let [begun] = hosts[0].sends().try_into().unwrap();
    assert_eq!(session_of(&begun), None);
    hosts[0].courier.on_answer(None, answer);
    assert_eq!(hosts[0].sends(), Vec::<Vec<u8>>::new());

    hosts[1].courier.on_online();
    let mut passed = 0;
    while hosts.iter().any(|host| host.courier.waiting() > 0) {
        passed += pass(&mut hosts).iter().sum::<usize>();
    }
    passed
}

/// Passes on what both hosts say now; how many messages each has said.
fn pass(hosts: &mut [Host; 2]) -> [usize; 2] {
    let mut passed = [0; 2];
    for (from, to) in [(1, 0), (0, 1)] {
        for message in hosts[from].sends() {
            let Host { keys, courier } = &mut hosts[to];
            courier.on_sealed(&message, keys, NOW).unwrap();
            passed[from] += 1;
        }
    }
    assert_ne!(passed, [0, 0], "nobody says anything any more");
    passed
}

#[test]
fn many_or_large_messages_arrive_without_more_being_under_way_than_the_window_holds() {
    for (count, bytes, at_once) in [(200, 10, WINDOW), (9, WINDOW_BYTES / 4, 4), (3, 5 << 20, 1)] {
        let mut hosts = [Host::new(1, 2), Host::new(2, 1)];
        hosts.iter_mut().for_each(|host| host.courier.on_online());
        hosts[0].courier.take(b"hello".to_vec()).unwrap();
        while hosts[0].courier.waiting() > 0 {
            pass(&mut hosts);
        }
        for _ in 0..count {
            hosts[0].courier.take(vec![7; bytes]).unwrap();
        }
        let mut most = 0;
        while hosts[0].courier.waiting() > 0 {
            most = most.max(pass(&mut hosts)[0]);
        }
        assert_eq!(most, at_once, "{count} messages of {bytes} bytes");
    }
}

#[test]
fn a_handshake_that_was_refused_does_not_stand_in_the_way_of_the_other_hosts() {
    for refusal in [Refusal::Unwanted, Refusal::NotAuthorised] {
        for (first, second) in [(1, 2), (2, 1)] {
            // Three steps, two messages and two confirmations.
            assert_eq!(shake_hands(first, second, Answer::Refused(refusal)), 7);
        }
    }
    assert_eq!(shake_hands(1, 2, Answer::Offline { since_ms: 0 }), 7);
    assert_eq!(shake_hands(2, 1, Answer::Offline { since_ms: 0 }), 7);
}
