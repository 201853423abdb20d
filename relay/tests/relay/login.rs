//! Opening a connection, and every way in which that fails.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, TestRelay, WebSocket, auth, hello, key, next, open, secret};

/// The connection ends without a close frame.
async fn expect_abort(socket: &mut WebSocket) {
    match next(socket).await {
        Some(Err(_)) | None => {}
        Some(Ok(message)) => panic!("not ended but {message:?}"),
    }
}

/// The connection ends with a close frame without a code.
async fn expect_close_without_code(socket: &mut WebSocket) {
    match next(socket).await {
        Some(Ok(Message::Close(None))) => {}
        other => panic!("not closed but {other:?}"),
    }
}

fn a_hello() -> Value {
    json!({ "type": "hello", "pubkey": key(1) })
}

#[tokio::test]
async fn a_key_is_accepted_in_all_four_spellings_and_known_by_one() {
    let relay = TestRelay::start().await;
    let bytes = *secret(1).public().as_bytes();
    let spellings = [
        key(1),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE.encode(bytes),
        URL_SAFE_NO_PAD.encode(bytes),
    ];
    let mut other = Client::connect(&relay, 2, "main").await;
    for spelling in spellings {
        let hello = json!({ "type": "hello", "pubkey": spelling });
        let mut client = Client::connect_as(&relay, 1, hello).await;
        client.envelope(&key(2), None, "x").await;
        assert_eq!(other.hear().await["peer"], key(1), "{spelling}");
    }
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_ends_the_connection_without_a_challenge() {
    let relay = TestRelay::start().await;
    let valid = key(1);
    let short = URL_SAFE_NO_PAD.encode([1; 31]);
    let long = URL_SAFE_NO_PAD.encode([1; 33]);
    // No point of the curve has this y.
    let no_point = URL_SAFE_NO_PAD.encode([&[2][..], &[0; 31]].concat());
    for first in [
        "not json".to_owned(),
        "[]".to_owned(),
        json!(["hello", valid]).to_string(),
        json!({ "pubkey": valid }).to_string(),
        json!({ "type": "auth", "sig": "" }).to_string(),
        json!({ "type": 7, "pubkey": valid }).to_string(),
        json!({ "type": "hello" }).to_string(),
        json!({ "type": "hello", "pubkey": 7 }).to_string(),
        json!({ "type": "hello", "pubkey": "" }).to_string(),
        json!({ "type": "hello", "pubkey": format!("{valid}=") }).to_string(),
        json!({ "type": "hello", "pubkey": format!("{valid}\n") }).to_string(),
        json!({ "type": "hello", "pubkey": short }).to_string(),
        json!({ "type": "hello", "pubkey": long }).to_string(),
        json!({ "type": "hello", "pubkey": no_point }).to_string(),
    ] {
        let mut socket = open(&relay).await;
        socket.send(Message::text(first.clone())).await.unwrap();
        match next(&mut socket).await {
            Some(Err(_)) | None => {}
            Some(Ok(message)) => panic!("{first} got {message:?}"),
        }
    }
}

#[tokio::test]
async fn a_first_message_that_is_not_text_ends_the_connection() {
    let relay = TestRelay::start().await;
    for first in [
        Message::binary(a_hello().to_string()),
        Message::Ping("x".into()),
        Message::Pong("x".into()),
        Message::Close(None),
    ] {
        let mut socket = open(&relay).await;
        socket.send(first).await.unwrap();
        expect_abort(&mut socket).await;
    }
}

#[tokio::test]
async fn a_second_message_that_is_not_text_ends_the_connection_without_a_close_frame() {
    let relay = TestRelay::start().await;
    for second in [Message::binary("x"), Message::Ping("x".into()), Message::Close(None)] {
        let mut socket = open(&relay).await;
        hello(&mut socket, a_hello()).await;
        socket.send(second).await.unwrap();
        expect_abort(&mut socket).await;
    }
}

#[tokio::test]
async fn a_second_frame_that_proves_nothing_is_answered_with_an_empty_close() {
    let relay = TestRelay::start().await;
    let zeros = "A".repeat(86) + "==";
    for second in [
        "not json".to_owned(),
        json!({ "type": "hello", "pubkey": key(1) }).to_string(),
        json!({ "type": "auth" }).to_string(),
        json!({ "type": "auth", "sig": 7 }).to_string(),
        json!({ "type": "auth", "sig": "AAAA" }).to_string(),
        json!({ "type": "auth", "sig": zeros.trim_end_matches('=') }).to_string(),
        json!({ "type": "auth", "sig": zeros.replace('A', "_") }).to_string(),
        json!({ "type": "auth", "sig": zeros }).to_string(),
    ] {
        let mut socket = open(&relay).await;
        hello(&mut socket, a_hello()).await;
        socket.send(Message::text(second)).await.unwrap();
        expect_close_without_code(&mut socket).await;
    }
}

#[tokio::test]
async fn a_wrong_signature_closes_the_connection_within_100_ms() {
    let relay = TestRelay::start().await;
    let mut best = Duration::MAX;
    // A busy machine may be late once; a relay that waits is late always.
    for _ in 0..5 {
        let mut socket = open(&relay).await;
        let nonce = hello(&mut socket, a_hello()).await;
        socket.send(auth(&secret(2), &nonce)).await.unwrap();
        let sent = Instant::now();
        expect_close_without_code(&mut socket).await;
        best = best.min(sent.elapsed());
    }
    assert!(best < Duration::from_millis(100), "{best:?}");
    assert_eq!(relay.relay.hub().registry().connections(), 0);
}

#[tokio::test]
async fn a_signature_over_other_bytes_is_refused_and_one_over_the_nonce_is_accepted() {
    let relay = TestRelay::start().await;
    let mut first = open(&relay).await;
    let nonce = hello(&mut first, a_hello()).await;
    let mut second = open(&relay).await;
    let other = hello(&mut second, a_hello()).await;
    assert_ne!(nonce, other);
    // A login that was recorded does not fit another connection.
    second.send(auth(&secret(1), &nonce)).await.unwrap();
    expect_close_without_code(&mut second).await;
    first.send(auth(&secret(1), &nonce)).await.unwrap();
    let mut client = Client { socket: first, key: key(1) };
    client.settle().await;
    assert!(relay.relay.hub().registry().is_online(&secret(1).public()));
}

#[tokio::test]
async fn a_client_that_says_no_hello_is_dropped_after_five_seconds() {
    let relay = TestRelay::start().await;
    let opened = Instant::now();
    let mut socket = open(&relay).await;
    expect_abort(&mut socket).await;
    let after = opened.elapsed();
    assert!((4..8).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_challenge_is_dropped_after_ten_seconds() {
    let relay = TestRelay::start().await;
    let mut socket = open(&relay).await;
    hello(&mut socket, a_hello()).await;
    let asked = Instant::now();
    expect_abort(&mut socket).await;
    let after = asked.elapsed();
    assert!((9..14).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn frames_sent_right_after_the_login_are_handled_in_their_order() {
    let relay = TestRelay::start().await;
    let mut other = Client::connect(&relay, 2, "main").await;
    let mut socket = open(&relay).await;
    let nonce = hello(&mut socket, a_hello()).await;
    socket.feed(auth(&secret(1), &nonce)).await.unwrap();
    for number in 0..20 {
        let frame = json!({ "peer": key(2), "ct": number.to_string() });
        socket.feed(Message::text(frame.to_string())).await.unwrap();
    }
    socket.flush().await.unwrap();
    for number in 0..20 {
        assert_eq!(other.hear().await["ct"], number.to_string());
    }
}

#[tokio::test]
async fn a_room_that_is_no_string_is_the_default_one_and_an_empty_one_is_its_own() {
    let relay = TestRelay::start().await;
    let named = json!({ "type": "hello", "pubkey": key(1), "room_id": 7, "extra": [1] });
    let _main = Client::connect_as(&relay, 1, named).await;
    let _empty = Client::connect(&relay, 2, "").await;
    let rooms = |number: u8| {
        let rooms = relay.relay.hub().registry().rooms_of(&secret(number).public());
        rooms.into_iter().map(|state| state.room.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(rooms(1), ["main"]);
    assert_eq!(rooms(2), [""]);
}

#[tokio::test]
async fn a_login_again_after_the_login_is_ignored() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(a_hello()).await;
    client.say(json!({ "type": "auth", "sig": "" })).await;
    client.expect_silence().await;
}
