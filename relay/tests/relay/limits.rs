//! Each limit has its answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, TestRelay, auth, hello, key, next, open, secret, until};
use crate::http::{Answer, raw};
use crate::mesh::{membership, path, post, publish, sign};

#[tokio::test]
async fn a_connection_too_many_is_closed_as_soon_as_it_is_accepted() {
    let relay = TestRelay::start_with(|settings| settings.limits.connections = 2).await;
    let one = Client::connect(&relay, 1, "main").await;
    let _two = Client::connect(&relay, 2, "main").await;
    let refused = tokio_tungstenite::connect_async(relay.url()).await;
    assert!(refused.is_err());
    assert_eq!(relay.metric(|metrics| metrics.connections_refused.get()), 1);
    one.vanish();
    until("there is room again", || relay.relay.hub().tasks.len() == 1).await;
    Client::connect(&relay, 3, "main").await;
}

/// The status of a request to become a WebSocket that a proxy passes on, and the connection.
async fn ask(address: SocketAddr, for_whom: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: r\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: {for_whom}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    let status = std::str::from_utf8(&start[9..]).unwrap().parse().unwrap();
    (status, stream)
}

#[tokio::test]
async fn connections_of_one_address_are_counted_behind_a_trusted_proxy() {
    let relay = TestRelay::start_with(|settings| {
        settings.limits.connections_per_address = 1;
        settings.trusted_proxies =
            vec!["127.0.0.0/8".parse::<IpNet>().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ask = async |for_whom: &str| ask(relay.address(), for_whom).await;
    let (first, _kept) = ask("192.0.2.1").await;
    // What the client itself writes in front does not make it somebody else.
    let (again, _) = ask("192.0.2.1").await;
    let (disguised, _) = ask("198.51.100.7, 192.0.2.1, 10.1.1.1").await;
    let (elsewhere, _) = ask("192.0.2.1, 192.0.2.2").await;
    assert_eq!([first, again, disguised, elsewhere], [101, 429, 429, 101]);
}

#[tokio::test]
async fn who_is_no_trusted_proxy_cannot_say_for_whom_it_speaks() {
    let relay = TestRelay::start_with(|settings| settings.limits.connections_per_address = 1).await;
    // Loopback itself is not counted.
    let (first, _kept) = ask(relay.address(), "192.0.2.1").await;
    let (second, _kept) = ask(relay.address(), "192.0.2.1").await;
    assert_eq!([first, second], [101, 101]);
}

#[tokio::test]
async fn who_sends_too_fast_is_read_later_and_loses_nothing() {
    let relay = TestRelay::start_with(|settings| settings.limits.frames_per_second = 100).await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let started = Instant::now();
    let content = |number: usize| format!("{number}-{}", "x".repeat(8_000));
    let sending = tokio::spawn(async move {
        for number in 0..250 {
            one.envelope(&key(2), None, &content(number)).await;
        }
        one
    });
    for number in 0..250 {
        assert_eq!(two.hear().await["ct"], content(number));
    }
    // A hundred at once, and as many in each further second; what was received at once counts
    // afterwards.
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(relay.metric(|metrics| metrics.paced.get()) > 0);
    let mut one = sending.await.unwrap();
    one.expect_silence().await;
}

#[tokio::test]
async fn who_sends_too_many_bytes_is_read_later_over_all_its_connections() {
    let relay = TestRelay::start_with(|settings| settings.limits.bytes_per_second = 200_000).await;
    let mut two = Client::connect(&relay, 2, "main").await;
    let started = Instant::now();
    for room in ["a", "b"] {
        let mut one = Client::connect(&relay, 1, room).await;
        tokio::spawn(async move {
            for _ in 0..20 {
                one.envelope(&key(2), None, &"x".repeat(10_000)).await;
            }
            one.settle().await;
            // It stays, because the peer's pace is forgotten with its last connection.
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..40 {
        two.hear().await;
    }
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_that_would_open_a_room_too_many_is_closed_with_1008() {
    let relay = TestRelay::start_with(|settings| settings.limits.rooms = 2).await;
    let _one = Client::connect(&relay, 1, "a").await;
    let _two = Client::connect(&relay, 1, "b").await;
    let _again = Client::connect(&relay, 1, "b").await;
    let mut socket = open(&relay).await;
    let first = json!({ "type": "hello", "pubkey": key(1), "room_id": "c" });
    let nonce = hello(&mut socket, first).await;
    use futures_util::SinkExt as _;
    socket.send(auth(&secret(1), &nonce)).await.unwrap();
    match next(&mut socket).await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1008),
        other => panic!("not closed but {other:?}"),
    }
}

#[tokio::test]
async fn subscriptions_too_many_are_not_kept() {
    let relay = TestRelay::start_with(|settings| settings.limits.subscriptions = 1).await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    watcher.say(json!({ "type": "subscribe_presence", "peers": [key(2), key(3)] })).await;
    watcher.settle().await;
    let _three = Client::connect(&relay, 3, "main").await;
    let _two = Client::connect(&relay, 2, "main").await;
    assert_eq!(watcher.hear().await["peer"], key(2));
    assert_eq!(relay.metric(|metrics| metrics.subscriptions_dropped.get()), 1);
}

#[tokio::test]
async fn content_beyond_a_smaller_limit_is_dropped() {
    let relay = TestRelay::start_with(|settings| settings.limits.content_bytes = 1 << 20).await;
    let mut one = Client::connect(&relay, 1, "main").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    one.envelope(&key(2), None, &"A".repeat(3 << 20)).await;
    one.envelope(&key(2), None, "small").await;
    assert_eq!(two.hear().await["ct"], "small");
}

#[tokio::test]
async fn an_owner_too_many_is_refused_and_those_who_are_there_can_go_on() {
    let relay = TestRelay::start_with(|settings| settings.limits.owners = 1).await;
    publish(&relay, 8, 1, &[1]).await;
    let blob = membership(9, 1, &[]).sign(&secret(9)).blob().to_vec();
    assert_eq!(post(&relay, 9, &sign(9, &blob)).await.status, 503);
    publish(&relay, 8, 2, &[1]).await;
}

#[tokio::test]
async fn publications_too_many_in_a_second_are_told_to_come_back() {
    let relay = TestRelay::start_with(|settings| settings.limits.publications_per_second = 1).await;
    publish(&relay, 8, 1, &[1]).await;
    let blob = membership(9, 1, &[]).sign(&secret(9)).blob().to_vec();
    assert_eq!(post(&relay, 9, &sign(9, &blob)).await.status, 429);
}

/// A publication that a proxy passes on.
async fn post_from(relay: &TestRelay, address: &str, owner: u8, publication: &Value) -> Answer {
    let (path, body) = (path(owner), publication.to_string());
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\nX-Forwarded-For: {address}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    raw(relay.address(), request.as_bytes()).await
}

/// A relay behind a proxy that stores so many publications in a second, and looks at so many of one
/// address.
async fn behind_a_proxy(publications: u32, of_one_address: u32) -> TestRelay {
    TestRelay::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse::<IpNet>().unwrap()];
        settings.limits.publications_per_second = publications;
        settings.limits.publications_per_second_per_address = of_one_address;
    })
    .await
}

fn signed(owner: u8, version: u64) -> Value {
    sign(owner, membership(owner, version, &[]).sign(&secret(owner)).blob())
}

#[tokio::test]
async fn who_publishes_junk_takes_nobody_elses_turn() {
    let relay = behind_a_proxy(3, 5).await;
    let mut junk = signed(8, 1);
    junk["sig"] = signed(9, 1)["sig"].clone();
    let mut statuses = Vec::new();
    for number in 0..30 {
        // All of one network.
        let address = format!("2001:db8::{number}");
        statuses.push(post_from(&relay, &address, 8, &junk).await.status);
    }
    assert!(statuses.starts_with(&[403, 403, 403, 403, 403]), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(post_from(&relay, "2001:db8:0:1::1", 8, &signed(8, 1)).await.status, 200);
}

#[tokio::test]
async fn who_says_again_what_an_owner_published_takes_nobody_elses_turn() {
    let relay = behind_a_proxy(2, 100).await;
    assert_eq!(post_from(&relay, "192.0.2.1", 8, &signed(8, 1)).await.status, 200);
    let changes = relay.relay.hub().memberships.changes();
    for _ in 0..20 {
        assert_eq!(post_from(&relay, "192.0.2.1", 8, &signed(8, 1)).await.status, 409);
    }
    // What was concluded from memberships still holds.
    assert_eq!(relay.relay.hub().memberships.changes(), changes);
    assert_eq!(post_from(&relay, "192.0.2.1", 9, &signed(9, 1)).await.status, 200);
}

#[tokio::test]
async fn a_check_is_answered_for_so_many_peers_and_no_more() {
    let relay = TestRelay::start_with(|settings| settings.limits.subscriptions = 2).await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let peers = [key(2), key(3), key(4)];
    client.say(json!({ "type": "presence_check", "peers": peers })).await;
    assert_eq!(client.hear().await["states"].as_array().unwrap().len(), 2);
    client.say(json!({ "type": "rooms_check", "peers": peers })).await;
    let asked: Vec<Value> =
        client.settle().await.iter().map(|answer| answer["peer"].clone()).collect();
    assert_eq!(asked, [key(2), key(3)]);
}

#[tokio::test]
async fn a_room_with_a_longer_id_than_allowed_is_not_opened() {
    let relay = TestRelay::start().await;
    Client::connect(&relay, 1, &"x".repeat(128)).await;
    let mut socket = open(&relay).await;
    let first = json!({ "type": "hello", "pubkey": key(1), "room_id": "x".repeat(129) });
    let nonce = hello(&mut socket, first).await;
    use futures_util::SinkExt as _;
    socket.send(auth(&secret(1), &nonce)).await.unwrap();
    match next(&mut socket).await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1008),
        other => panic!("not closed but {other:?}"),
    }
}

#[tokio::test]
async fn connections_are_accepted_no_faster_than_allowed() {
    let relay = TestRelay::start_with(|settings| settings.limits.handshakes_per_second = 20).await;
    let started = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(&relay, 1, "main").await);
    }
    assert!(started.elapsed() > Duration::from_millis(800), "{:?}", started.elapsed());
}
