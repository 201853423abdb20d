//! Who leads the mesh when its leader is killed: real processes, real `kill -9`, a stale socket.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::process::{Child, Command, Stdio};

use rp_tests::{PATIENCE, host::Host, target, wire::Peer};
use serde_json::{Value, json};

/// Another program that leads the mesh: the router of this project and nothing else of it.
struct OtherLeader(Child);

impl OtherLeader {
    async fn start(host: &Host) -> Self {
        let program = target::program("examples/broker", "RP_BROKER_BIN").unwrap();
        let socket = host.broker();
        let child = Command::new(program)
            .arg(socket.parent().unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let leader = Self(child);
        until(async || Peer::join(&socket, "probe", "/p").await.is_ok()).await;
        leader
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for OtherLeader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again: other processes tell nobody what became of them.
async fn until(is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

async fn role(host: &Host) -> Value {
    host.get("/v1/status").await.unwrap()["mesh"]["role"].clone()
}

/// Sends a question to an agent and gives the answer.
async fn ask(peer: &mut Peer, address: &str, question: &str) -> Value {
    let id = peer.send(address, question).await.unwrap();
    let ack = peer.ack(&id).await.unwrap();
    assert_eq!((&ack["status"], &ack["target"]), (&json!("received"), &json!(address)));
    let answer = peer.next_message().await.unwrap();
    assert_eq!(answer["re"], json!(id));
    answer["body"].clone()
}

#[tokio::test]
async fn three_followers_of_a_leader_that_is_killed_find_each_other_again() {
    let mut host = Host::stopped(Vec::new()).unwrap();
    let leader = OtherLeader::start(&host).await;
    host.start_again().await.unwrap();
    assert_eq!(role(&host).await, "follower");
    let mut addresses = Vec::new();
    for name in ["one", "two", "three"] {
        addresses.push(host.create(name).await.unwrap()["address"].as_str().unwrap().to_owned());
    }
    let mut peer = Peer::join(&host.broker(), "peer", "/p").await.unwrap();
    for address in &addresses {
        assert_eq!(ask(&mut peer, address, "what is 2+3?").await, "5");
    }

    leader.kill();
    assert!(host.broker().exists(), "the socket of the dead leader is in the way");
    peer.closed().await.unwrap();
    until(async || role(&host).await == "leader").await;
    let mut peer = Peer::join(&host.broker(), "peer", "/p").await.unwrap();
    let mut listed = peer.list_peers().await.unwrap();
    listed.sort();
    let mut expected = addresses.clone();
    expected.extend(["person".to_owned(), "/p@peer".to_owned()]);
    expected.sort();
    assert_eq!(listed, expected, "all are there, once, under their old addresses");
    for address in &addresses {
        assert_eq!(ask(&mut peer, address, "what is 4*5?").await, "20");
    }
}

#[tokio::test]
async fn a_host_that_was_killed_as_the_leader_follows_the_one_that_took_over() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("one").await.unwrap()["address"].as_str().unwrap().to_owned();
    host.kill().unwrap();
    assert!(host.broker().exists(), "the socket of the dead leader is in the way");
    let leader = OtherLeader::start(&host).await;
    host.start_again().await.unwrap();
    assert_eq!(role(&host).await, "follower");
    let mut peer = Peer::join(&host.broker(), "peer", "/p").await.unwrap();
    until(async || host.get("/v1/peers").await.unwrap().to_string().contains(&address)).await;
    assert_eq!(ask(&mut peer, &address, "what is 2+3?").await, "5");

    // It leads again when that one is gone, however often this happens.
    leader.kill();
    until(async || role(&host).await == "leader").await;
    let mut peer = Peer::join(&host.broker(), "peer", "/p").await.unwrap();
    assert_eq!(ask(&mut peer, &address, "what is 3+3?").await, "6");
}
