//! Hosts that ask for more than their share, or break the rules at a bad moment.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use rp_protocol::relay::{Answer, CloseCode, Content, Frame, MAX_LARGE_STREAMS, parts};
use tokio_tungstenite::tungstenite::Message;

use crate::client::until;
use crate::hosts::{HostClient, Wire, dial, id, public, sealed, start, start_with};
use crate::mesh::publish;

#[tokio::test]
async fn large_messages_of_a_host_that_is_read_later_are_not_gathered_meanwhile() {
    // The first message is worth an hour.
    let relay = start_with(|settings| settings.limits.bytes_per_second = 500).await;
    let mut host = HostClient::connect(&relay, 1, true).await;
    let frame = sealed(1, 2, &vec![7; 2 << 20]).to_bytes();
    host.say_bytes(frame.clone()).await;
    until("it is read later", || relay.metric(|metrics| metrics.paced.get()) > 0).await;
    let Wire::Quic { connection, .. } = &host.wire else { panic!("not over QUIC") };
    let send = async || {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&frame).await.unwrap();
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
    };
    let mut sending: FuturesUnordered<_> = (0..20).map(|_| send()).collect();
    for _ in 0..MAX_LARGE_STREAMS {
        sending.next().await.unwrap();
    }
    // The relay has as many as it takes, so the next one waits with the host.
    assert!(tokio::time::timeout(Duration::from_millis(500), sending.next()).await.is_err());
    assert!(relay.relay.hub().budget.used() >= 4 * frame.len());
    drop(sending);
    drop(host);
    until("all is free", || relay.relay.hub().budget.used() == 0).await;
}

#[tokio::test]
async fn large_messages_of_hosts_that_never_become_whole_hold_only_so_much_memory() {
    for over_quic in [false, true] {
        let relay = start_with(|settings| settings.limits.queued_bytes = 4 << 20).await;
        let frame = sealed(1, 2, &vec![7; 3 << 20]).to_bytes();
        let mut hosts = Vec::new();
        let mut streams = Vec::new();
        for number in 1..6 {
            let mut host = HostClient::connect(&relay, number, over_quic).await;
            match &mut host.wire {
                Wire::Socket(socket, _) => {
                    for part in parts(&frame).take(64) {
                        let _ = socket.send(Message::binary(part)).await;
                    }
                }
                Wire::Quic { connection, .. } => {
                    let mut stream = connection.open_uni().await.unwrap();
                    let _ = stream.write_all(&frame[..2 << 20]).await;
                    streams.push(stream);
                }
            }
            hosts.push(host);
        }
        let connected = || relay.relay.hub().hosts().everybody().count();
        until("some are cut off", || connected() < 5).await;
        assert!(relay.relay.hub().budget.used() <= 4 << 20);
        // Others go on.
        let mut other = HostClient::connect(&relay, 9, over_quic).await;
        other.say(Frame::Ping([1; 8])).await;
        other.expect(Frame::Pong([1; 8])).await;
        drop((hosts, streams, other));
        until("all is free", || relay.relay.hub().budget.used() == 0).await;
    }
}

#[tokio::test]
async fn who_breaks_the_rules_with_much_unread_hears_all_of_it_and_then_why_it_is_closed() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = HostClient::connect(&relay, 1, false).await;
    let mut two = HostClient::connect(&relay, 2, true).await;
    // More than a stream takes unread, so one of them is written half.
    for number in 0..100 {
        let content = Content::Sealed(&[7; 50_000]);
        one.say(Frame::Send { id: id(number), to: public(2), content }).await;
        one.expect_answer(id(number), Answer::Accepted).await;
    }
    two.say(Frame::Deliver { id: id(1), from: public(1), content: Content::Sealed(b"x") }).await;
    two.expect_close(CloseCode::ProtocolError).await;
}

#[tokio::test]
async fn to_watch_many_machines_costs_more_than_to_watch_few() {
    let relay = start_with(|settings| settings.limits.frames_per_second = 20).await;
    let mut host = HostClient::connect(&relay, 1, false).await;
    host.say(Frame::Watch(vec![public(2); 31])).await;
    for _ in 0..31 {
        host.hear_bytes().await.unwrap();
    }
    assert_eq!(relay.metric(|metrics| metrics.paced.get()), 0);
    host.say(Frame::Watch(vec![public(2); 1_024])).await;
    until("it is read later", || relay.metric(|metrics| metrics.paced.get()) > 0).await;
}

#[tokio::test]
async fn a_handshake_too_many_over_quic_is_refused() {
    let relay = start_with(|settings| settings.limits.handshakes_per_second = 0).await;
    let (_endpoint, refused) = dial(&relay).await;
    assert!(matches!(refused, Err(quinn::ConnectionError::ConnectionClosed(_))), "{refused:?}");
    assert_eq!(relay.metric(|metrics| metrics.connections_refused.get()), 1);
}
