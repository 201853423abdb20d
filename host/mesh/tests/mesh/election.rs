//! Who leads, and what happens when the leader is gone.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rp_mesh::{
    DeliverEverything, ElectionError, Mailboxes, Mesh, MeshConfig, MeshEvent, Origin, Outcome,
    Role, RoutingPolicy, Ruling, Sender,
};
use rp_protocol::routing::{Decision, Facts};
use serde_json::json;
use serde_json::value::to_raw_value;
use tempfile::TempDir;

use crate::client::{Client, PATIENCE};
use crate::fixture::{agent, event, mailboxes, start};

/// One of several hosts that share a mesh.
struct Host {
    mesh: Mesh,
    mailboxes: Mailboxes,
}

async fn host(directory: &TempDir, name: &str) -> Host {
    host_with(directory, name, DeliverEverything).await
}

async fn host_with(directory: &TempDir, name: &str, policy: impl RoutingPolicy + 'static) -> Host {
    let mailboxes = mailboxes(&directory.path().join(name));
    let mesh = try_start(directory.path(), mailboxes.clone(), policy).await.unwrap();
    Host { mesh, mailboxes }
}

async fn try_start(
    directory: &Path,
    mailboxes: Mailboxes,
    policy: impl RoutingPolicy + 'static,
) -> Result<Mesh, ElectionError> {
    let config = MeshConfig::in_directory(directory.join("local"));
    Mesh::start(config, mailboxes, Arc::new(policy)).await
}

async fn role(mesh: &Mesh, wanted: Role) {
    let mut events = mesh.events();
    if mesh.role() != wanted {
        event(&mut events, |event| *event == MeshEvent::RoleChanged(wanted)).await;
    }
}

async fn waiting(mailboxes: &Mailboxes, agent: &str, count: usize) {
    let agent = agent.parse().unwrap();
    let arrivals = mailboxes.arrivals(&agent);
    let arrived = async {
        while mailboxes.waiting(&agent) < count {
            arrivals.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
}

#[tokio::test]
async fn the_first_leads_and_the_second_follows() {
    let directory = tempfile::tempdir().unwrap();
    let first = host(&directory, "first").await;
    let second = host(&directory, "second").await;
    assert_eq!((first.mesh.role(), second.mesh.role()), (Role::Leader, Role::Follower));
}

#[tokio::test]
async fn of_several_that_start_at_once_one_leads() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, c) =
        tokio::join!(host(&directory, "a"), host(&directory, "b"), host(&directory, "c"));
    let leaders = [&a, &b, &c].iter().filter(|host| host.mesh.role() == Role::Leader).count();
    assert_eq!(leaders, 1);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("local");
    std::fs::create_dir_all(&local).unwrap();
    let socket = local.join("broker.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "left behind");
    let host = host(&directory, "host").await;
    assert_eq!(host.mesh.role(), Role::Leader);
    Client::register(&socket, "peer", "/p").await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("local/broker.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    let error = try_start(directory.path(), mailboxes(directory.path()), DeliverEverything).await;
    assert!(matches!(error, Err(ElectionError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_path_that_is_too_long_is_reported_before_anything_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("x".repeat(100));
    let error = try_start(&deep, mailboxes(directory.path()), DeliverEverything).await;
    assert!(matches!(error, Err(ElectionError::PathTooLong { .. })));
    assert!(error.err().unwrap().to_string().contains("REMOTE_PI_HOME"));
    assert!(!deep.exists());
}

#[tokio::test]
async fn a_follower_does_not_remove_the_leaders_socket() {
    let directory = tempfile::tempdir().unwrap();
    let _first = host(&directory, "first").await;
    let second = host(&directory, "second").await;
    second.mesh.shutdown().await;
    assert!(directory.path().join("local/broker.sock").exists());
}

#[tokio::test]
async fn a_leader_whose_socket_is_removed_binds_another_and_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let leader = host(&directory, "leader").await;
    let follower = host(&directory, "follower").await;
    follower.mesh.join(agent("0b0b0b0b", "/b", "web")).await.unwrap();
    let mut events = leader.mesh.events();
    let socket = directory.path().join("local/broker.sock");
    std::fs::remove_file(&socket).unwrap();
    event(&mut events, |event| *event == MeshEvent::RoleChanged(Role::Searching)).await;
    until_together(&[&leader, &follower]).await;
    let mut peer = Client::register(&socket, "peer", "/p").await;
    let listed = async {
        while !peer.peers().await.contains(&"/b@web".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("the follower is back");
}

#[tokio::test]
async fn a_leader_whose_path_was_taken_follows_and_so_do_its_followers() {
    let directory = tempfile::tempdir().unwrap();
    let leader = host(&directory, "leader").await;
    let follower = host(&directory, "follower").await;
    let socket = directory.path().join("local/broker.sock");
    // Another program put its own socket there, without a moment in between.
    let elsewhere = directory.path().join("elsewhere");
    let usurper = tokio::net::UnixListener::bind(&elsewhere).unwrap();
    std::fs::rename(&elsewhere, &socket).unwrap();
    let mut guests = Vec::new();
    for _ in 0..2 {
        let accepted = tokio::time::timeout(PATIENCE, usurper.accept()).await;
        guests.push(accepted.expect("both come to it").unwrap());
    }
    assert!(socket.exists(), "what the usurper bound is not removed");

    // It dies; one of the two leads.
    drop((usurper, guests));
    until_together(&[&leader, &follower]).await;
    Client::register(&socket, "peer", "/p").await;
}

/// Waits until one of these leads and the others follow.
async fn until_together(hosts: &[&Host]) {
    let count = |role: Role| hosts.iter().filter(|host| host.mesh.role() == role).count();
    let together = async {
        while (count(Role::Leader), count(Role::Follower)) != (1, hosts.len() - 1) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, together).await.expect("one leader and its followers");
}

#[tokio::test]
async fn agents_of_a_follower_take_part() {
    let directory = tempfile::tempdir().unwrap();
    let leader = host(&directory, "leader").await;
    let follower = host(&directory, "follower").await;
    leader.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    let address = follower.mesh.join(agent("0b0b0b0b", "/a", "api")).await.unwrap();
    assert_eq!(address, "/a@api#2", "the leader assigns it");
    let hello = || to_raw_value("hello").unwrap();

    let there = follower
        .mesh
        .send(Sender::Agent("0b0b0b0b".parse().unwrap()), "/a@api".into(), hello(), None, None)
        .await
        .unwrap();
    assert_eq!(there.deliveries[0].outcome, Outcome::Received);
    waiting(&leader.mailboxes, "0a0a0a0a", 1).await;

    let back = leader
        .mesh
        .send(
            Sender::Agent("0a0a0a0a".parse().unwrap()),
            "/a@api#2".into(),
            hello(),
            Some(there.id),
            None,
        )
        .await
        .unwrap();
    assert_eq!(back.deliveries[0].outcome, Outcome::Received);
    waiting(&follower.mailboxes, "0b0b0b0b", 1).await;
    let stored = follower.mailboxes.pending(&"0b0b0b0b".parse().unwrap(), 10).unwrap();
    assert_eq!(stored[0].message.from, "/a@api");
    assert_eq!(stored[0].message.re.as_deref(), Some(there.id.as_str()));

    let person =
        follower.mesh.send(Sender::Person, "/a@api#2".into(), hello(), None, None).await.unwrap();
    assert_eq!(person.deliveries[0].outcome, Outcome::Received);
    waiting(&follower.mailboxes, "0b0b0b0b", 2).await;
    let stored = follower.mailboxes.pending(&"0b0b0b0b".parse().unwrap(), 10).unwrap();
    assert_eq!(stored[1].message.origin, Origin::Person, "both ends are of one host");

    let unknown =
        follower.mesh.send(Sender::Person, "/a@apo".into(), hello(), None, None).await.unwrap();
    let Outcome::Unknown { closest } = &unknown.deliveries[0].outcome else {
        panic!("{unknown:?}");
    };
    assert!(closest.contains(&"/a@api".to_owned()));
    let peers = follower.mesh.peers().await;
    let mut found: Vec<(&str, bool)> =
        peers.iter().map(|peer| (peer.address.as_str(), peer.agent.is_some())).collect();
    found.sort_unstable();
    let expected = [("/a@api", false), ("/a@api#2", true), ("person", false), ("person#2", true)];
    assert_eq!(found, expected, "which are of this host is known");

    follower.mesh.leave(&"0b0b0b0b".parse().unwrap());
    let mut events = leader.mesh.events();
    if leader.mesh.peers().await.len() > 3 {
        event(&mut events, |event| matches!(event, MeshEvent::PeerLeft { .. })).await;
    }
}

struct Deaf;

impl RoutingPolicy for Deaf {
    fn decide(&self, facts: &Facts<'_>) -> Ruling {
        let decision = match facts.body_type {
            Some("spam") => Ok(Decision::Deny("spam".into())),
            Some("odd") => Err("it trapped".into()),
            Some("secret") => {
                return Ruling {
                    decision: Ok(Decision::Hold("a person must see it".into())),
                    body: Some("\"redacted\"".into()),
                    recipients: Some(vec!["/c@api".into()]),
                };
            }
            _ => Ok(Decision::Deliver),
        };
        decision.into()
    }
}

#[tokio::test]
async fn a_followers_policy_guards_its_mailboxes() {
    let directory = tempfile::tempdir().unwrap();
    let _leader = host(&directory, "leader").await;
    let follower = host_with(&directory, "follower", Deaf).await;
    follower.mesh.join(agent("0b0b0b0b", "/b", "web")).await.unwrap();
    let mut events = follower.mesh.events();
    let socket = directory.path().join("local/broker.sock");
    let mut peer = Client::register(&socket, "peer", "/p").await;
    for kind in ["spam", "odd", "fine"] {
        let id = peer.send("/b@web", json!({"type": kind})).await;
        peer.received_by(&id).await;
    }
    waiting(&follower.mailboxes, "0b0b0b0b", 1).await;
    event(&mut events, |event| matches!(event, MeshEvent::EnvelopeHeld { .. })).await;
    let stored = follower.mailboxes.pending(&"0b0b0b0b".parse().unwrap(), 10).unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].message.body.get(), "{\"type\":\"fine\"}");
    let held = follower.mailboxes.held().unwrap();
    assert_eq!(held[0].message.body.get(), "{\"type\":\"odd\"}");
    let released = follower.mesh.release(&held[0].message.id).await.unwrap();
    assert_eq!(released[0].outcome, Outcome::Received);
    waiting(&follower.mailboxes, "0b0b0b0b", 2).await;
}

#[tokio::test]
async fn what_a_follower_holds_is_what_its_policy_made_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let _leader = host(&directory, "leader").await;
    let follower = host_with(&directory, "follower", Deaf).await;
    follower.mesh.join(agent("0b0b0b0b", "/b", "web")).await.unwrap();
    follower.mesh.join(agent("0c0c0c0c", "/c", "api")).await.unwrap();
    let mut events = follower.mesh.events();
    let socket = directory.path().join("local/broker.sock");
    let mut peer = Client::register(&socket, "peer", "/p").await;
    let id = peer.send("/b@web", json!({"type": "secret"})).await;
    event(&mut events, |event| matches!(event, MeshEvent::EnvelopeHeld { .. })).await;
    let held = follower.mailboxes.held_message(&id).unwrap().unwrap();
    assert_eq!(held.recipients, ["/c@api"]);
    assert_eq!(held.message.body.get(), "\"redacted\"");
    follower.mesh.release(&id).await.unwrap();
    let stored = follower.mailboxes.pending(&"0c0c0c0c".parse().unwrap(), 10).unwrap();
    assert_eq!(stored[0].message.body.get(), "\"redacted\"");
    assert!(follower.mailboxes.pending(&"0b0b0b0b".parse().unwrap(), 10).unwrap().is_empty());
}

#[tokio::test]
async fn when_the_leader_dies_one_of_three_followers_leads_and_all_agents_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let leader = host(&directory, "leader").await;
    let mut followers = Vec::new();
    for (name, id) in [("a", "0a0a0a0a"), ("b", "0b0b0b0b"), ("c", "0c0c0c0c")] {
        let follower = host(&directory, name).await;
        follower.mesh.join(agent(id, "/work", name)).await.unwrap();
        followers.push((follower, id, format!("/work@{name}")));
    }
    leader.mesh.shutdown().await;
    // Each finds a leader or becomes it, and gets its agent's address again.
    for (follower, id, address) in &followers {
        let id = id.parse().unwrap();
        let back = async {
            while follower.mesh.address(&id).as_deref() != Some(address)
                || follower.mesh.role() == Role::Searching
            {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, back).await.expect("back on the mesh");
    }
    let leaders = followers.iter().filter(|(host, ..)| host.mesh.role() == Role::Leader).count();
    assert_eq!(leaders, 1);
    let receipt = followers[0]
        .0
        .mesh
        .send(
            Sender::Agent("0a0a0a0a".parse().unwrap()),
            "/work@c".into(),
            to_raw_value("still there?").unwrap(),
            None,
            None,
        )
        .await
        .unwrap();
    assert_eq!(receipt.deliveries[0].outcome, Outcome::Received);
    waiting(&followers[2].0.mailboxes, "0c0c0c0c", 1).await;
}

#[tokio::test]
async fn a_host_whose_leader_cannot_be_replaced_keeps_trying() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("local/broker.sock");
    let leader = host(&directory, "leader").await;
    let follower = host(&directory, "follower").await;
    follower.mesh.join(agent("0b0b0b0b", "/b", "web")).await.unwrap();
    let mut events = follower.mesh.events();
    leader.mesh.shutdown().await;
    std::fs::write(&socket, "in the way").unwrap();
    event(&mut events, |event| *event == MeshEvent::RoleChanged(Role::Searching)).await;
    std::fs::remove_file(&socket).unwrap();
    role(&follower.mesh, Role::Leader).await;
    assert_eq!(follower.mesh.address(&"0b0b0b0b".parse().unwrap()).as_deref(), Some("/b@web"));
}

#[tokio::test]
async fn shutting_down_tells_nobody_and_removes_the_socket() {
    let mesh = start().await;
    let mut peer = mesh.peer("peer", "/p").await;
    mesh.mesh.shutdown().await;
    assert_eq!(peer.raw_line().await, None);
    assert!(!mesh.socket.exists());
    assert_eq!(mesh.mesh.role(), Role::Searching);
}
