//! What the router does when there is too much of something.

use std::time::Duration;

use rp_mesh::{DeliverEverything, MeshEvent};
use serde_json::json;

use crate::bad_input::Undisturbed;
use crate::client::Client;
use crate::fixture::{event, start_with};

#[tokio::test]
async fn a_connection_without_a_line_feed_waits_and_is_closed_when_it_does_not_register_in_time() {
    let mesh = start_with(DeliverEverything, |config| {
        config.limits.registration = Duration::from_millis(100);
    })
    .await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut silent = Client::connect(&mesh.socket).await;
    let mut unfinished = Client::connect(&mesh.socket).await;
    unfinished.write("{\"type\":\"register\",\"name\":\"a\"}").await;
    silent.closed().await;
    unfinished.closed().await;
    calm.still_talk().await;
}

#[tokio::test]
async fn a_slow_reader_is_disconnected_and_others_are_told() {
    let mesh = start_with(DeliverEverything, |config| config.limits.queue_bytes = 1 << 20).await;
    let mut events = mesh.mesh.events();
    let mut calm = Undisturbed::on(&mesh).await;
    let mut slow = mesh.peer("slow", "/a").await;
    let body = json!("x".repeat(64 << 10));
    let mut acknowledged = 0;
    loop {
        let id = calm.one.send("/a@slow", body.clone()).await;
        match calm.one.message_or_leave(&id).await {
            Heard::Ack => acknowledged += 1,
            Heard::PeerLeft => break,
        }
        assert!(acknowledged < 1000, "a queue without a bound");
    }
    assert!(acknowledged >= 16, "what fits into the queue is delivered");
    event(&mut events, |event| {
        *event == MeshEvent::SlowReaderDisconnected { address: "/a@slow".into() }
    })
    .await;
    slow.closed().await;
    calm.still_talk().await;
}

enum Heard {
    Ack,
    PeerLeft,
}

impl Client {
    async fn message_or_leave(&mut self, id: &str) -> Heard {
        loop {
            let line = self.line().await;
            if line["body"]["type"] == "peer_left" {
                return Heard::PeerLeft;
            }
            if line["re"] == id {
                return Heard::Ack;
            }
        }
    }
}

#[tokio::test]
async fn a_line_longer_than_the_queue_reaches_a_peer_that_reads() {
    let mesh = start_with(DeliverEverything, |config| config.limits.queue_bytes = 64 << 10).await;
    let mut calm = Undisturbed::on(&mesh).await;
    let body = "x".repeat(2 << 20);
    let Undisturbed { one, two } = &mut calm;
    let (id, line) = tokio::join!(one.send("/calm@two", json!(body)), two.message());
    assert_eq!(line["id"], id);
    one.received_by(&id).await;
    calm.still_talk().await;
}

#[tokio::test]
async fn messages_can_follow_a_long_line_that_is_read_only_in_part() {
    let mesh = start_with(DeliverEverything, |config| config.limits.queue_bytes = 64 << 10).await;
    let mut calm = Undisturbed::on(&mesh).await;
    let long = calm.one.send("/calm@two", json!("x".repeat(2 << 20))).await;
    calm.one.received_by(&long).await;
    let read = calm.two.read_some(1 << 20).await;
    assert!(read.starts_with(b"{\"from\":\"/calm@one\""));
    let short = calm.one.send("/calm@two", json!("short")).await;
    calm.one.received_by(&short).await;
    calm.two.raw_line().await;
    assert_eq!(calm.two.message().await["id"], short);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    allow_many_files();
    let mesh = start_with(DeliverEverything, |config| config.limits.connections = 1500).await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut clients = Vec::new();
    for _ in 0..2000 {
        clients.push(Client::connect(&mesh.socket).await);
    }
    for late in clients.iter_mut().skip(1498) {
        late.closed().await;
    }
    calm.still_talk().await;
    let first = &mut clients[0];
    first.write("{\"type\":\"list_peers\"}\n").await;
    assert_eq!(first.line().await["to"], "observer");
    clients.clear();
    // There is room again as soon as the broker has seen that they are gone.
    loop {
        let mut observer = Client::connect(&mesh.socket).await;
        if observer.write_bytes(b"{\"type\":\"list_peers\"}\n").await.is_ok()
            && observer.raw_line().await.is_some()
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_full_roster_refuses_newcomers_but_not_takeovers() {
    let mesh = start_with(DeliverEverything, |config| config.limits.peers = 3).await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut refused = Client::connect(&mesh.socket).await;
    refused.write("{\"type\":\"register\",\"name\":\"late\"}\n").await;
    refused.closed().await;
    calm.still_talk().await;
    let request = json!({"type": "register", "name": "two", "cwd": "/calm", "takeover": true});
    assert_eq!(Client::register_with(&mesh.socket, &request).await.address, "/calm@two");
    calm.two.closed().await;
}

/// Two thousand connections have four thousand ends, all in this process.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < 8192) {
        let current = maximum.map_or(8192, |maximum| maximum.min(8192));
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
    }
}
