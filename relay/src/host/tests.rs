#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rp_protocol::key::SecretKey;
use rp_protocol::relay::FrameReader;
use rp_protocol::relay::login::Client;

use super::*;
use crate::limits::Limits;
use crate::websocket::MemoryBudget;

const ID: MessageId = MessageId([1; 16]);

/// A host on QUIC for which so many bytes may wait, and all connections together may hold so many.
fn host(number: u8, budget: usize) -> Arc<Host> {
    let key = SecretKey::from_seed(&[number; 32]).public();
    let client = Client { key, instance: Instance([number; 16]), software: String::new() };
    let welcome = Welcome {
        version: 1,
        clock_ms: 0,
        keepalive_ms: 0,
        max_body: 0,
        window_bytes: 1 << 20,
        window_messages: 100,
        max_rooms: 0,
        max_watches: 0,
    };
    let outbox = Outbox::new(32 << 20, MemoryBudget::new(budget));
    let pace = Pace::new(&Limits::default(), Instant::now());
    Host::new(&client, &welcome, outbox, pace, Carrier::Quic(Large::default()))
}

/// The answers that wait for a host, in their order.
fn answers(host: &Host) -> Vec<Answer> {
    let (mut sent, mut reader, mut answers) = (Vec::new(), FrameReader::default(), Vec::new());
    let context = Context::from_waker(Waker::noop());
    while let Poll::Ready(None) = host.outbox.poll_take(&mut sent, &context) {
        reader.buffer(sent.len()).extend_from_slice(&sent);
    }
    while let Some(frame) = reader.next_frame().unwrap() {
        match frame {
            Frame::Answer { id: ID, answer } => answers.push(answer),
            other => panic!("no answer but {other:?}"),
        }
    }
    answers
}

/// A message from the one to the other.
fn deliver(sender: &Arc<Host>, target: &Host) -> Handover {
    target.deliver(Some(sender), sender.key, ID, Content::Sealed(b"x"))
}

#[test]
fn a_message_for_a_host_that_goes_is_accepted_and_then_lost() {
    let (sender, target) = (host(1, 1 << 20), host(2, 1 << 20));
    assert_eq!(deliver(&sender, &target), Handover::Queued);
    target.lose_everything();
    assert_eq!(answers(&sender), [Answer::Accepted, Answer::Lost]);
}

#[test]
fn a_message_for_a_host_that_has_gone_is_not_accepted() {
    let (sender, target) = (host(1, 1 << 20), host(2, 1 << 20));
    target.lose_everything();
    assert_eq!(deliver(&sender, &target), Handover::Gone);
    assert_eq!(answers(&sender), []);
}

#[test]
fn a_message_for_a_host_that_goes_meanwhile_is_lost_after_it_was_accepted_or_not_accepted_at_all() {
    for _ in 0..2_000 {
        let (sender, target) = (host(1, 1 << 20), host(2, 1 << 20));
        let start = std::sync::Barrier::new(2);
        let handover = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                target.lose_everything();
            });
            start.wait();
            deliver(&sender, &target)
        });
        match handover {
            Handover::Queued => assert_eq!(answers(&sender), [Answer::Accepted, Answer::Lost]),
            Handover::Gone => assert_eq!(answers(&sender), []),
            Handover::Full => panic!("there is room"),
        }
    }
}

#[test]
fn a_large_frame_that_waits_counts_for_all_connections_and_one_too_many_ends_its_connection() {
    let (sender, target) = (host(1, 1 << 20), host(2, 1 << 20));
    let large = vec![0; 600_000];
    let content = Content::Sealed(&large);
    assert_eq!(target.deliver(None, sender.key, ID, content), Handover::Queued);
    assert!(target.outbox.budget().used() > 600_000);
    assert!(!target.outbox.has_overflowed());
    target.deliver(None, sender.key, ID, content);
    assert!(target.outbox.has_overflowed());
    let Carrier::Quic(waiting) = &target.carrier else { panic!("not on QUIC") };
    lock(&waiting.frames).clear();
    assert_eq!(target.outbox.budget().used(), 0);
}
