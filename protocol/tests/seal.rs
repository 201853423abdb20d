//! What two hosts seal for each other, and a relay that does with it what it likes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use proptest::prelude::*;
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::seal::session::{EPOCH_MESSAGES, RENEW_AFTER_MS, SESSION_LIFETIME_MS};
use rp_protocol::seal::*;

const NOW: u64 = 1_785_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

struct Host {
    keys: SealingKey,
    channel: Channel,
}

fn machine(byte: u8) -> SecretKey {
    SecretKey::from_seed(&[byte; 32])
}

fn host(own: u8, peer: u8) -> Host {
    let keys = SealingKey::certify(&machine(own), [own; 32], NOW);
    Host { keys, channel: Channel::new(machine(peer).public()) }
}

impl Host {
    fn begin(&mut self) -> Vec<u8> {
        self.channel.begin(&self.keys, NOW).unwrap()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Received, OpenError> {
        self.channel.receive(bytes, &self.keys, NOW)
    }

    /// A step of the handshake that is answered.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self.receive(bytes).unwrap() {
            Received::Answer { message, .. } => message,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn open(&mut self, bytes: &[u8]) -> Result<Opened, OpenError> {
        self.receive(bytes).map(|received| match received {
            Received::Content(opened) => opened,
            other => panic!("no content: {other:?}"),
        })
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        match self.channel.seal(content, NOW) {
            Err(SealError::SaveFirst) => {
                let _ = self.channel.save();
                self.channel.seal(content, NOW).unwrap()
            }
            sealed => sealed.unwrap(),
        }
    }

    fn restart(&mut self) {
        let saved = self.channel.save();
        self.channel = Channel::load(self.channel.peer(), &saved).unwrap();
    }
}

/// Alice and Bob with a session.
fn pair() -> (Host, Host) {
    let (mut alice, mut bob) = (host(1, 2), host(2, 1));
    shake_hands(&mut alice, &mut bob);
    (alice, bob)
}

fn shake_hands(initiator: &mut Host, responder: &mut Host) {
    let second = responder.answer(&initiator.begin());
    let third = initiator.answer(&second);
    assert_eq!(responder.receive(&third), Ok(Received::Ready));
}

fn content(text: &str) -> Opened {
    Opened { content: text.as_bytes().to_vec(), skipped: 0 }
}

mod handshake {
    use super::*;

    #[test]
    fn after_it_both_can_seal_and_open() {
        let (mut alice, mut bob) = pair();
        let sealed = alice.seal(b"hello");
        assert_eq!(bob.open(&sealed), Ok(content("hello")));
        let sealed = bob.seal(b"hello yourself");
        assert_eq!(alice.open(&sealed), Ok(content("hello yourself")));
    }

    #[test]
    fn nothing_can_be_sealed_before() {
        let mut alice = host(1, 2);
        assert_eq!(alice.channel.seal(b"hello", NOW), Err(SealError::NoSession));
        assert!(alice.channel.wants_handshake(NOW));
        alice.begin();
        assert!(!alice.channel.wants_handshake(NOW));
        assert!(alice.channel.wants_handshake(NOW + HANDSHAKE_TIMEOUT_MS));
    }

    #[test]
    fn a_machine_that_poses_as_another_is_refused_on_either_side() {
        // Mallory answers in Bob's place, and begins in Alice's.
        let (mut alice, mut mallory) = (host(1, 2), host(3, 1));
        let second = mallory.answer(&alice.begin());
        assert_eq!(alice.receive(&second), Err(OpenError::Handshake));
        // With the prologue of Alice and Bob, but her own keys.
        let forged = SealingKey::certify(&machine(3), [3; 32], NOW);
        let mut bob = host(2, 1);
        let mut channel = Channel::new(machine(2).public());
        let second = bob.receive(&channel.begin(&forged, NOW).unwrap()).unwrap();
        let Received::Answer { message, .. } = second else { panic!() };
        assert_eq!(channel.receive(&message, &forged, NOW), Err(OpenError::Handshake));
    }

    #[test]
    fn the_bytes_of_one_handshake_fit_no_other() {
        let (mut alice, mut bob) = (host(1, 2), host(2, 1));
        let old_second = bob.answer(&alice.begin());
        let old_third = alice.answer(&old_second);
        let first = alice.begin();
        assert_eq!(alice.receive(&old_second), Err(OpenError::Handshake));
        let second = bob.answer(&first);
        assert_eq!(bob.receive(&old_third), Err(OpenError::Handshake));
        // What does not fit has not disturbed the one that goes on.
        let third = alice.answer(&second);
        assert_eq!(bob.receive(&third), Ok(Received::Ready));
    }

    #[test]
    fn steps_that_come_twice_do_not_disturb_it() {
        let (mut alice, mut bob) = (host(1, 2), host(2, 1));
        let first = alice.begin();
        let second = bob.answer(&first);
        assert_eq!(bob.answer(&first), second);
        let third = alice.answer(&second);
        assert_eq!(alice.receive(&second), Err(OpenError::Handshake));
        assert_eq!(bob.receive(&third), Ok(Received::Ready));
        assert_eq!(bob.receive(&third), Err(OpenError::Handshake));
        let sealed = alice.seal(b"hello");
        assert_eq!(bob.open(&sealed), Ok(content("hello")));
    }

    #[test]
    fn when_both_begin_at_once_there_is_one_session() {
        let (mut alice, mut bob) = (host(1, 2), host(2, 1));
        let (from_alice, from_bob) = (alice.begin(), bob.begin());
        let smaller_is_alice = machine(1).public() < machine(2).public();
        let (winner, loser, first, ignored) = match smaller_is_alice {
            true => (&mut alice, &mut bob, from_alice, from_bob),
            false => (&mut bob, &mut alice, from_bob, from_alice),
        };
        assert_eq!(winner.receive(&ignored), Ok(Received::Ignored));
        let second = loser.answer(&first);
        let third = winner.answer(&second);
        assert_eq!(loser.receive(&third), Ok(Received::Ready));
        let sealed = loser.seal(b"hello");
        assert_eq!(winner.open(&sealed), Ok(content("hello")));
    }

    #[test]
    fn what_was_sealed_before_a_new_session_is_still_opened() {
        let (mut alice, mut bob) = pair();
        let before = bob.seal(b"before");
        shake_hands(&mut alice, &mut bob);
        assert_eq!(alice.open(&before), Ok(content("before")));
        let after = bob.seal(b"after");
        assert_eq!(alice.open(&after), Ok(content("after")));
    }

    #[test]
    fn a_session_that_one_side_has_lost_is_made_anew() {
        let (mut alice, mut bob) = pair();
        bob.channel = Channel::new(machine(1).public());
        let sealed = alice.seal(b"lost");
        assert_eq!(bob.open(&sealed), Err(OpenError::NoSession));
        alice.channel.forget(session_of(&sealed).unwrap());
        assert!(alice.channel.wants_handshake(NOW));
        shake_hands(&mut alice, &mut bob);
        // A refusal that comes late is not about the new session.
        alice.channel.forget(session_of(&sealed).unwrap());
        let sealed = alice.seal(b"again");
        assert_eq!(bob.open(&sealed), Ok(content("again")));
    }
}

mod certificates {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_description() {
        let certificate = Certificate::create(&machine(1), [7; 32], NOW);
        let bytes = certificate.to_bytes();
        let mut expected = vec![1];
        expected.extend(machine(1).public().as_bytes());
        expected.extend([7; 32]);
        expected.extend(NOW.to_be_bytes());
        expected.extend((NOW + CERTIFICATE_LIFETIME_MS).to_be_bytes());
        let signed = [b"rp/1 sealing certificate\0".as_slice(), &expected].concat();
        expected.extend(machine(1).sign(&signed).as_bytes());
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len(), CERTIFICATE_BYTES);
        assert_eq!(Certificate::read(&bytes), Ok(certificate));
    }

    #[test]
    fn one_is_good_for_its_machine_its_key_and_its_time() {
        let certificate = Certificate::create(&machine(1), [7; 32], NOW);
        let own = machine(1).public();
        let verify =
            |machine: &PublicKey, key: [u8; 32], now| certificate.verify(machine, &key, now);
        assert_eq!(verify(&own, [7; 32], NOW), Ok(()));
        assert_eq!(verify(&machine(2).public(), [7; 32], NOW), Err(CertificateError::OtherMachine));
        assert_eq!(verify(&own, [8; 32], NOW), Err(CertificateError::OtherKey));
        // Clocks that are a day apart are good enough, in either direction.
        assert_eq!(verify(&own, [7; 32], NOW - DAY), Ok(()));
        assert_eq!(verify(&own, [7; 32], NOW + CERTIFICATE_LIFETIME_MS + DAY), Ok(()));
        assert_eq!(verify(&own, [7; 32], NOW - 2 * DAY), Err(CertificateError::FromTheFuture));
        let after = NOW + CERTIFICATE_LIFETIME_MS + 2 * DAY;
        assert_eq!(verify(&own, [7; 32], after), Err(CertificateError::Expired));
        assert!(!certificate.is_due(NOW + 14 * DAY) && certificate.is_due(NOW + 16 * DAY));
    }

    #[test]
    fn one_with_any_changed_byte_is_refused() {
        let bytes = Certificate::create(&machine(1), [7; 32], NOW).to_bytes();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let verified = Certificate::read(&changed)
                .and_then(|certificate| certificate.verify(&machine(1).public(), &[7; 32], NOW));
            assert!(verified.is_err(), "{place}");
        }
        assert!(Certificate::read(&bytes[1..]).is_err());
    }
}

mod hostile_relay {
    use super::*;

    #[test]
    fn what_was_changed_anywhere_or_cut_is_not_accepted() {
        let (mut alice, mut bob) = pair();
        let sealed = alice.seal(b"pay 10");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 0x10;
            assert!(bob.receive(&changed).is_err(), "{place}");
        }
        for length in 0..sealed.len() {
            assert!(bob.receive(&sealed[..length]).is_err(), "{length}");
        }
        assert!(bob.receive(&[sealed.as_slice(), b"x"].concat()).is_err());
        assert_eq!(bob.open(&sealed), Ok(content("pay 10")));
    }

    #[test]
    fn what_comes_twice_is_accepted_once_also_after_restarts() {
        let (mut alice, mut bob) = pair();
        let sealed = alice.seal(b"pay 10");
        bob.open(&sealed).unwrap();
        assert_eq!(bob.open(&sealed), Err(OpenError::Replayed));
        bob.restart();
        assert_eq!(bob.open(&sealed), Err(OpenError::Replayed));
    }

    #[test]
    fn what_was_sealed_in_a_session_of_the_past_is_not_accepted() {
        let (mut alice, mut bob) = pair();
        let sealed = alice.seal(b"pay 10");
        for _ in 0..2 {
            shake_hands(&mut alice, &mut bob);
        }
        assert_eq!(bob.open(&sealed), Err(OpenError::NoSession));
    }

    #[test]
    fn nothing_goes_back_to_its_sender_or_to_a_third() {
        let (mut alice, mut bob) = pair();
        let (mut carol, mut dave) = (host(5, 6), host(6, 5));
        shake_hands(&mut carol, &mut dave);
        let sealed = alice.seal(b"pay 10");
        assert_eq!(alice.open(&sealed), Err(OpenError::Forged));
        assert_eq!(carol.open(&sealed), Err(OpenError::NoSession));
        assert_eq!(bob.open(&sealed), Ok(content("pay 10")));
    }

    #[test]
    fn what_is_missing_is_told_and_may_come_late() {
        let (mut alice, mut bob) = pair();
        let sealed: Vec<Vec<u8>> = (0..5_u8).map(|byte| alice.seal(&[byte])).collect();
        assert_eq!(bob.open(&sealed[0]).unwrap().skipped, 0);
        assert_eq!(bob.open(&sealed[4]).unwrap().skipped, 3);
        assert_eq!(bob.channel.current().unwrap().missing(), 3);
        assert_eq!(bob.open(&sealed[2]).unwrap().skipped, 0);
        assert_eq!(bob.channel.current().unwrap().missing(), 2);
    }

    #[test]
    fn what_falls_out_of_the_window_is_refused() {
        let (mut alice, mut bob) = pair();
        let late = alice.seal(b"late");
        for _ in 0..WINDOW {
            let sealed = alice.seal(b"");
            bob.open(&sealed).unwrap();
        }
        assert_eq!(bob.open(&late), Err(OpenError::TooOld));
        assert_eq!(bob.channel.current().unwrap().missing(), 1);
    }

    /// What a relay does with what it holds.
    #[derive(Debug, Clone)]
    enum Trick {
        Deliver(usize),
        Drop(usize),
        Change(usize, usize, u8),
        Cut(usize, usize),
        Restart,
        Invent(Vec<u8>),
    }

    fn trick() -> impl Strategy<Value = Trick> {
        prop_oneof![
            6 => any::<usize>().prop_map(Trick::Deliver),
            1 => any::<usize>().prop_map(Trick::Drop),
            2 => (any::<usize>(), any::<usize>(), 1..=255_u8)
                .prop_map(|(message, place, bits)| Trick::Change(message, place, bits)),
            1 => (any::<usize>(), any::<usize>()).prop_map(|(m, length)| Trick::Cut(m, length)),
            1 => Just(Trick::Restart),
            1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Trick::Invent),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_relay_does_each_content_is_accepted_at_most_once_and_never_another(
            tricks in prop::collection::vec(trick(), 1..120),
        ) {
            let (mut alice, mut bob) = pair();
            let held: Vec<Vec<u8>> = (0..20_u8).map(|byte| alice.seal(&[byte; 3])).collect();
            let mut accepted = Vec::new();
            let mut dropped = Vec::new();
            for trick in tricks {
                let bytes = match trick {
                    Trick::Drop(message) => {
                        dropped.push(message % 20);
                        continue;
                    }
                    Trick::Restart => {
                        bob.restart();
                        continue;
                    }
                    Trick::Deliver(message) if dropped.contains(&(message % 20)) => continue,
                    Trick::Deliver(message) => held[message % 20].clone(),
                    Trick::Change(message, place, bits) => {
                        let mut bytes = held[message % 20].clone();
                        let length = bytes.len();
                        bytes[place % length] ^= bits;
                        bytes
                    }
                    Trick::Cut(message, length) => {
                        let bytes = &held[message % 20];
                        bytes[..length % bytes.len()].to_vec()
                    }
                    Trick::Invent(bytes) => bytes,
                };
                if let Ok(Received::Content(opened)) = bob.receive(&bytes) {
                    accepted.push(opened.content);
                }
            }
            let count = accepted.len();
            accepted.sort();
            accepted.dedup();
            prop_assert_eq!(accepted.len(), count);
            prop_assert!(accepted.iter().all(|content| content.len() == 3 && content[0] < 20));
            let newest = accepted.last().map_or(0, |content| u64::from(content[0]) + 1);
            let missing = bob.channel.current().unwrap().missing();
            prop_assert_eq!(missing, newest - count as u64);
        }
    }
}

mod sessions {
    use super::*;

    #[test]
    fn a_host_that_restarts_goes_on_with_its_sessions_and_uses_no_counter_twice() {
        let (mut alice, mut bob) = pair();
        let saved = alice.channel.save();
        let first = alice.seal(b"before the crash");
        // The crash forgets what was sealed since.
        alice.channel = Channel::load(bob.keys.machine(), &saved).unwrap();
        assert_eq!(alice.channel.seal(b"", NOW), Err(SealError::SaveFirst));
        let second = alice.seal(b"after the crash");
        assert_ne!(first[21..29], second[21..29]);
        assert_eq!(bob.open(&first).unwrap().content, b"before the crash");
        assert_eq!(bob.open(&second).unwrap().content, b"after the crash");
    }

    #[test]
    fn many_crashes_in_a_row_are_followed() {
        let (mut alice, mut bob) = pair();
        for _ in 0..50 {
            alice.restart();
            alice.seal(b"lost");
        }
        let sealed = alice.seal(b"arrives");
        assert_eq!(bob.open(&sealed).unwrap().content, b"arrives");
    }

    #[test]
    fn a_key_is_followed_by_another_and_late_messages_are_still_opened() {
        let (mut alice, mut bob) = pair();
        let mut late = Vec::new();
        for number in 0..EPOCH_MESSAGES + 3 {
            let sealed = alice.seal(b"x");
            if number == EPOCH_MESSAGES - 2 {
                late = sealed;
            } else if number % 1000 == 0 || number >= EPOCH_MESSAGES - 4 {
                bob.open(&sealed).unwrap();
                let epoch = u32::from(number >= EPOCH_MESSAGES);
                assert_eq!(sealed[17..21], epoch.to_be_bytes());
            }
        }
        assert_eq!(bob.open(&late).unwrap().content, b"x");
    }

    #[test]
    fn a_session_is_renewed_after_a_day_and_over_after_a_week() {
        let (mut alice, mut bob) = pair();
        let session = alice.channel.current().unwrap();
        assert!(!session.is_due(NOW + RENEW_AFTER_MS - 1) && session.is_due(NOW + RENEW_AFTER_MS));
        let over = NOW + SESSION_LIFETIME_MS;
        assert_eq!(alice.channel.seal(b"", over), Err(SealError::NoSession));
        let sealed = alice.seal(b"");
        let much_later = over + 2 * DAY;
        let received = bob.channel.receive(&sealed, &bob.keys, much_later);
        assert_eq!(received, Err(OpenError::NoSession));
    }

    #[test]
    fn lengths_are_hidden_in_buckets() {
        let (mut alice, _) = pair();
        let lengths = [0, 1, 100, 255, 256].map(|length| alice.seal(&vec![7; length]).len());
        assert_eq!(lengths, [301, 301, 301, 301, 317]);
        let too_long = vec![0; MAX_CONTENT_BYTES + 1];
        assert_eq!(alice.channel.seal(&too_long, NOW), Err(SealError::TooLong));
        let longest = alice.seal(&too_long[1..]);
        assert!(longest.len() <= rp_protocol::relay::MAX_BODY_BYTES);
    }

    #[test]
    fn what_is_no_saved_session_is_not_loaded() {
        let (mut alice, _) = pair();
        let saved = alice.channel.save();
        let peer = alice.channel.peer();
        for length in 0..saved.len() {
            assert!(Channel::load(peer, &saved[..length]).is_err(), "{length}");
        }
        assert!(Channel::load(peer, &[0; 4]).unwrap().current().is_none());
    }
}
