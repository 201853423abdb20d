//! Clients that mean no good.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, PATIENCE, TestRelay, hello, key, next, open, until};

/// A relay that still works.
async fn expect_alive(relay: &TestRelay) {
    let mut one = Client::connect(relay, 201, "main").await;
    let mut two = Client::connect(relay, 202, "main").await;
    one.envelope(&key(202), None, "x").await;
    assert_eq!(two.hear().await["ct"], "x");
}

/// How long until the relay ends this connection.
async fn time_to_end(mut stream: TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut rest));
    let _ = reading.await.expect("the connection was not ended");
    started.elapsed()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_ended() {
    let relay = TestRelay::start().await;
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let after = time_to_end(stream).await;
    assert!((9..15).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_request_that_never_ends_is_ended() {
    let relay = TestRelay::start().await;
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        writing.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writing.write_all(b"X-A: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let started = Instant::now();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(40), reading.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection was not ended");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    trickle.abort();
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_does_not_gain_time() {
    let relay = TestRelay::start().await;
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: r\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
              \x81\xFE\x03\xE8\x00\x00\x00\x00",
        )
        .await
        .unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"{").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let started = Instant::now();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection was not ended");
    assert!(rest.starts_with(b"HTTP/1.1 101"));
    assert!((4..9).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    trickle.abort();
}

#[tokio::test]
async fn random_bytes_before_and_after_the_upgrade_harm_nobody() {
    let relay = TestRelay::start().await;
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    };
    let upgrade: &[u8] =
        b"GET / HTTP/1.1\r\nHost: r\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for round in 0..100 {
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        if round % 2 == 0 {
            stream.write_all(upgrade).await.unwrap();
        }
        let _ = stream.write_all(&random(round * 37)).await;
    }
    let mut client = Client::connect(&relay, 1, "main").await;
    for round in 0..100 {
        let text = String::from_utf8_lossy(&random(round * 13)).into_owned();
        client.say_text(text).await;
        client.socket.send(Message::binary(random(round * 11))).await.unwrap();
    }
    client.expect_silence().await;
    expect_alive(&relay).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection_when_its_size_is_known() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let too_large = "x".repeat((16 << 20) + 1);
    // The relay stops reading at the first bytes of it.
    let _ = client.socket.send(Message::text(too_large)).await;
    until("the connection is gone", || relay.relay.hub().registry().connections() == 0).await;
    assert_eq!(relay.metric(|metrics| metrics.protocol_violations.get()), 1);
}

#[tokio::test]
async fn a_hello_that_is_too_large_ends_the_connection() {
    let relay = TestRelay::start().await;
    let mut socket = open(&relay).await;
    let long = json!({ "type": "hello", "pubkey": key(1), "room_id": "x".repeat(70_000) });
    let _ = socket.send(Message::text(long.to_string())).await;
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))));
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_connection() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let frame = Frame::message(vec![0xFF, 0xFE], OpCode::Data(Data::Text), true);
    client.socket.send(Message::Frame(frame)).await.unwrap();
    match next(&mut client.socket).await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1007),
        other => panic!("not closed but {other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_nobody_waits_for_it() {
    let relay = TestRelay::start().await;
    let mut fast = Client::connect(&relay, 1, "main").await;
    let mut other = Client::connect(&relay, 3, "main").await;
    // It is logged in and never reads again.
    let stuck = Client::connect(&relay, 2, "main").await;
    let ct = "A".repeat(1 << 20);
    let mut sent = 0;
    while relay.metric(|metrics| metrics.slow_readers.get()) == 0 {
        fast.envelope(&key(2), None, &ct).await;
        fast.envelope(&key(3), None, "still there").await;
        assert_eq!(other.hear().await["ct"], "still there");
        sent += 1;
        assert!(sent < 200, "{sent} MiB wait for a client that does not read");
    }
    assert!(sent > 16, "cut off after {sent} MiB");
    until("it is gone", || relay.relay.hub().registry().connections() == 2).await;
    until("its memory is free", || relay.relay.hub().budget.used() == 0).await;
    drop(stuck);
}

#[tokio::test]
async fn large_messages_that_never_become_whole_hold_only_so_much_memory() {
    let relay = TestRelay::start_with(|settings| settings.limits.queued_bytes = 4 << 20).await;
    let mut senders = Vec::new();
    for number in 1..10 {
        senders.push(Client::connect(&relay, number, "main").await);
    }
    for client in &mut senders {
        // The header of a text of 8 MiB, and one MiB of it.
        let header = [0x81, 0xFF, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0];
        let stream = client.socket.get_mut();
        stream.write_all(&header).await.unwrap();
        let _ = stream.write_all(&vec![b'x'; 1 << 20]).await;
    }
    until("some are cut off", || relay.relay.hub().registry().connections() < 9).await;
    assert!(relay.relay.hub().budget.used() <= 4 << 20);
    // Others go on.
    expect_alive(&relay).await;
    drop(senders);
    until("all is free", || relay.relay.hub().budget.used() == 0).await;
}

#[tokio::test]
async fn a_login_that_stops_half_way_leaves_nothing_behind() {
    let relay = TestRelay::start().await;
    for _ in 0..50 {
        let mut socket = open(&relay).await;
        hello(&mut socket, json!({ "type": "hello", "pubkey": key(1) })).await;
        drop(socket);
    }
    until("all are gone", || relay.relay.hub().tasks.is_empty()).await;
    assert_eq!(relay.relay.hub().registry().peers(), 0);
}
