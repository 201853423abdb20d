//! The wire and its bad input, against the whole program: the same tests that the router passes in
//! its own crate, with the routing policy component, the control API and the disk around it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test that fails panics, and the shared client can do more than is needed here"
)]

#[path = "../../host/mesh/tests/mesh/bad_input.rs"]
mod bad_input;
#[path = "../../host/mesh/tests/mesh/client.rs"]
mod client;
#[path = "../../host/mesh/tests/mesh/wire.rs"]
mod wire;

/// What the tests need of a mesh.
mod fixture {
    use std::path::PathBuf;

    use rp_tests::host::Host;

    use crate::client::Client;

    pub struct Fixture {
        pub socket: PathBuf,
        _host: Host,
    }

    pub async fn start() -> Fixture {
        let host = Host::start(Vec::new()).await.unwrap();
        Fixture { socket: host.broker(), _host: host }
    }

    impl Fixture {
        pub async fn peer(&self, name: &str, cwd: &str) -> Client {
            Client::register(&self.socket, name, cwd).await
        }
    }
}

use bad_input::Undisturbed;
use client::Client;
use serde_json::json;

#[tokio::test]
async fn two_thousand_connections_disturb_nobody() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).unwrap();
    let mesh = fixture::start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut connections = Vec::new();
    for number in 0..2_000 {
        let mut client = Client::connect(&mesh.socket).await;
        if number % 100 == 0 {
            client.write("half a li").await;
        }
        connections.push(client);
    }
    calm.still_talk().await;
    drop(connections);
    calm.still_talk().await;
    assert_eq!(calm.one.peers().await, ["person", "/calm@one", "/calm@two"]);
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected_and_the_others_are_told() {
    let mesh = fixture::start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    assert_eq!(calm.one.notice().await, ("peer_joined".into(), "/calm@two".into()));
    let _deaf = mesh.peer("deaf", "/d").await;
    assert_eq!(calm.one.notice().await, ("peer_joined".into(), "/d@deaf".into()));
    let text = "x".repeat(1 << 20);
    // Eight MiB may wait for a peer, and some more is in the socket.
    for _ in 0..12 {
        calm.two.send("/d@deaf", json!(text)).await;
    }
    assert_eq!(calm.one.notice().await, ("peer_left".into(), "/d@deaf".into()));
    let id = calm.one.send("/calm@two", json!("still there?")).await;
    assert_eq!(calm.one.received_by(&id).await, "/calm@two");
}
