//! Envelopes between apps and machines.

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, TestRelay, key, next};

#[tokio::test]
async fn an_envelope_reaches_its_peer_with_the_sender_in_it_and_the_content_as_it_was() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    one.envelope(&key(2), None, "eyJ0eXBlIjoicGluZyJ9").await;
    assert_eq!(
        two.hear().await,
        json!({ "peer": key(1), "room": "main", "ct": "eyJ0eXBlIjoicGluZyJ9" })
    );
    one.expect_silence().await;
}

#[tokio::test]
async fn an_envelope_for_nobody_is_dropped_and_the_connection_stays() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    one.envelope(&key(9), None, "x").await;
    one.envelope("no key", None, "x").await;
    one.envelope("", None, "x").await;
    one.expect_silence().await;
    assert_eq!(relay.metric(|metrics| metrics.envelopes_undeliverable.get()), 3);
}

#[tokio::test]
async fn only_the_room_that_is_addressed_gets_an_envelope() {
    let relay = TestRelay::start().await;
    let mut sender = Client::connect(&relay, 1, "desk").await;
    let mut blue = Client::connect(&relay, 2, "blue").await;
    let mut red = Client::connect(&relay, 2, "red").await;
    sender.envelope(&key(2), Some("red"), "x").await;
    assert_eq!(red.hear().await, json!({ "peer": key(1), "room": "desk", "ct": "x" }));
    blue.expect_silence().await;
    sender.envelope(&key(2), None, "x").await;
    sender.settle().await;
    red.expect_silence().await;
    blue.expect_silence().await;
}

#[tokio::test]
async fn two_connections_of_one_room_both_get_what_a_third_party_sends() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut again = Client::connect(&relay, 1, "main").await;
    let mut other = Client::connect(&relay, 2, "main").await;
    other.envelope(&key(1), None, "x").await;
    assert_eq!(one.hear().await["ct"], "x");
    assert_eq!(again.hear().await["ct"], "x");
    one.expect_silence().await;
}

#[tokio::test]
async fn an_envelope_to_ones_own_room_reaches_the_other_connections_there() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut again = Client::connect(&relay, 1, "main").await;
    let mut elsewhere = Client::connect(&relay, 1, "other").await;
    one.envelope(&key(1), None, "x").await;
    assert_eq!(again.hear().await["peer"], key(1));
    one.expect_silence().await;
    elsewhere.envelope(&key(1), Some("main"), "y").await;
    assert_eq!(one.hear().await["ct"], "y");
    assert_eq!(again.hear().await["ct"], "y");
}

#[tokio::test]
async fn the_content_is_passed_on_byte_for_byte_with_its_escapes() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let ct = r#"a\/b\u0041 \"q\" é 日本 \ud83d\ude00"#;
    one.say_text(format!(r#" {{ "ct" : "{ct}", "extra": [1], "peer":"{}" }} "#, key(2))).await;
    let heard = two.hear_text().await;
    assert_eq!(heard, format!(r#"{{"peer":"{}","room":"main","ct":"{ct}"}}"#, key(1)));
}

#[tokio::test]
async fn the_name_of_a_room_is_opaque_and_written_so_that_it_stays_json() {
    let relay = TestRelay::start().await;
    let room = "a \"b\" \\ \u{1} é\u{2028}";
    let mut one = Client::connect(&relay, 1, room).await;
    let mut two = Client::connect(&relay, 2, "main").await;
    one.envelope(&key(2), None, "x").await;
    assert_eq!(two.hear().await["room"], room);
    two.envelope(&key(1), Some(room), "y").await;
    assert_eq!(one.hear().await["ct"], "y");
}

#[tokio::test]
async fn a_type_that_is_no_string_does_not_make_an_envelope_a_control_frame() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    one.say(json!({ "type": 7, "peer": key(2), "ct": "x" })).await;
    assert_eq!(two.hear().await["ct"], "x");
    one.say(json!({ "type": "ping", "peer": key(2), "ct": "y" })).await;
    one.say(json!({ "type": "", "peer": key(2), "ct": "y" })).await;
    one.settle().await;
    two.expect_silence().await;
}

#[tokio::test]
async fn malformed_frames_are_dropped_without_a_word_and_the_connection_stays() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let peer = key(2);
    let before = relay.metric(|metrics| metrics.frames_dropped.get());
    let frames = [
        "not json".to_owned(),
        String::new(),
        "[]".to_owned(),
        format!(r#"["x","{peer}","main","x"]"#),
        r#"{"type":"ping"}"#.to_owned(),
        r#"{"ct":"x"}"#.to_owned(),
        format!(r#"{{"peer":"{peer}"}}"#),
        format!(r#"{{"peer":"{peer}","ct":7}}"#),
        format!(r#"{{"peer":"{peer}","ct":null}}"#),
        format!(r#"{{"peer":"{peer}","room":null,"ct":"x"}}"#),
        format!(r#"{{"peer":"{peer}","room":7,"ct":"x"}}"#),
        format!(r#"{{"peer":"{peer}","ct":"x","ct":"y"}}"#),
        format!(r#"{{"peer":"{peer}","ct":"\ud800"}}"#),
        format!(r#"{{"peer":"{peer}","ct":"x"}}{{"peer":"{peer}","ct":"x"}}"#),
        format!("{{\"peer\":\"{peer}\",\"ct\":\"a\nb\"}}"),
    ];
    let count = u64::try_from(frames.len()).unwrap();
    for frame in frames {
        one.say_text(frame).await;
    }
    one.expect_silence().await;
    two.expect_silence().await;
    assert_eq!(relay.metric(|metrics| metrics.frames_dropped.get()) - before, count);
}

#[tokio::test]
async fn binary_messages_are_ignored() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let frame = json!({ "peer": key(2), "ct": "x" }).to_string();
    one.socket.send(Message::binary(frame)).await.unwrap();
    one.expect_silence().await;
    two.expect_silence().await;
}

#[tokio::test]
async fn a_peer_with_many_byte_characters_does_no_harm() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    for peer in ["é".repeat(22), "日".repeat(14) + "ab", "😀".repeat(11)] {
        one.envelope(&peer, None, "x").await;
        one.say(json!({ "type": "subscribe_presence", "peers": [peer] })).await;
        one.say(json!({ "type": "rooms_check", "peers": [peer] })).await;
        assert_eq!(one.hear().await["peer"], peer);
    }
    one.expect_silence().await;
    drop(one);
    crate::client::until("the connection is forgotten", || {
        relay.relay.hub().registry().connections() == 0
    })
    .await;
}

#[tokio::test]
async fn the_largest_content_passes_and_one_byte_more_is_dropped() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let largest = "A".repeat(5_592_406);
    one.envelope(&key(2), None, &format!("{largest}A")).await;
    one.envelope(&key(2), None, &largest).await;
    assert_eq!(two.hear().await["ct"].as_str().unwrap().len(), largest.len());
    two.expect_silence().await;
    one.expect_silence().await;
}

#[tokio::test]
async fn a_message_in_many_pieces_with_pings_between_them_is_one_message() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let text = json!({ "peer": key(2), "ct": "é".repeat(100) }).to_string();
    let last = text.len() - 1;
    for (at, byte) in text.bytes().enumerate() {
        let data = if at == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(vec![byte], OpCode::Data(data), at == last);
        one.socket.feed(Message::Frame(frame)).await.unwrap();
        if at % 50 == 0 {
            one.socket.feed(Message::Ping("p".into())).await.unwrap();
        }
    }
    one.socket.flush().await.unwrap();
    assert_eq!(two.hear().await["ct"], "é".repeat(100));
    one.settle().await;
}

#[tokio::test]
async fn a_ping_is_answered_with_a_pong_of_the_same_payload() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    one.socket.send(Message::Ping("are you there".into())).await.unwrap();
    match next(&mut one.socket).await {
        Some(Ok(Message::Pong(payload))) => assert_eq!(&payload[..], b"are you there"),
        other => panic!("no pong but {other:?}"),
    }
}

#[tokio::test]
async fn a_close_is_answered_with_a_close() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    one.socket.send(Message::Close(None)).await.unwrap();
    assert!(matches!(next(&mut one.socket).await, Some(Ok(Message::Close(_)))));
    crate::client::until("the connection is forgotten", || {
        relay.relay.hub().registry().connections() == 0
    })
    .await;
}

#[tokio::test]
async fn the_order_from_one_sender_to_one_receiver_is_kept() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let receiving = tokio::spawn(async move {
        for number in 0..5_000 {
            assert_eq!(two.hear().await["ct"], format!("{number}-{}", "x".repeat(number % 700)));
        }
    });
    for number in 0..5_000 {
        let ct = format!("{number}-{}", "x".repeat(number % 700));
        let frame = json!({ "peer": key(2), "ct": ct }).to_string();
        one.socket.feed(Message::text(frame)).await.unwrap();
    }
    one.socket.flush().await.unwrap();
    receiving.await.unwrap();
}
