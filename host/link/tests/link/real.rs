//! The link and the relay of this project, together.

use rp_protocol::membership::{Member, Membership};
use rp_relay::server::{Relay as Server, Settings};
use rp_relay::tls::Source;

use super::sealed::{arrive, bodies, give, mail, now_ms};
use super::*;

/// A relay with a certificate of its own, and an owner who lists machines 1 and 2.
async fn start(folder: &std::path::Path) -> (Server, Relay) {
    let certificate =
        Source::Own { file: folder.join("certificate"), names: vec!["127.0.0.1".to_owned()] };
    let settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        names: Vec::new(),
        certificate: Some(certificate),
        plain_tcp: false,
        database: folder.join("mesh.redb"),
        trusted_proxies: Vec::new(),
        limits: Default::default(),
    };
    let server = Server::start(settings).await.unwrap();
    let owner = SecretKey::from_seed(&[9; 32]);
    let member = |seed: u8| Member {
        key: SecretKey::from_seed(&[seed; 32]).public(),
        relay_url: "https://127.0.0.1".to_owned(),
        paired_at: "2026-07-25T17:20:00.000Z".to_owned(),
        nickname: None,
    };
    let members = vec![member(1), member(2)];
    let membership =
        Membership { version: 1, issued_at: 1, owner: owner.public(), members }.sign(&owner);
    server.hub().memberships.publish(membership, now_ms()).await.unwrap();
    let url = RelayUrl::from_person(&format!("https://{}", server.address())).unwrap();
    let fingerprint = Fingerprint::parse(server.fingerprint().unwrap()).unwrap();
    (server, Relay { url, trust: Trust::Pinned(fingerprint) })
}

#[tokio::test]
async fn hosts_of_one_owner_reach_each_other_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, relay) = start(folder.path()).await;
    let alice = host(1, std::slice::from_ref(&relay));
    let mut bob = host(2, std::slice::from_ref(&relay));
    let carol = host(3, &[relay]);
    for host in [&alice, &bob, &carol] {
        assert_ne!(host.is_connected().await, Transport::Legacy);
    }
    alice.link.watch(vec![bob.key]).await.unwrap();
    alice.sees(bob.key, Presence::Online).await;
    for (id, length) in [(1, 100), (2, 3_000_000)] {
        let content = vec![id; length];
        let answers = alice.send(id, bob.key, sealed(&content)).await;
        assert_eq!(bob.accept().await, sealed(&content));
        assert_eq!(within(answers.last()).await, Answer::Received);
    }
    let answers = carol.send(3, bob.key, sealed(b"x")).await;
    assert_eq!(within(answers.last()).await, Answer::Refused(Refusal::NotAuthorised));
    bob.link.disconnect().await.unwrap();
    alice.sees(bob.key, Presence::Offline).await;
    let answers = alice.send(4, bob.key, sealed(b"x")).await;
    assert!(matches!(within(answers.last()).await, Answer::Offline { .. }));
    server.end().await;
    alice.is_not_connected().await;
}

#[tokio::test]
async fn couriers_bring_everything_through_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, relay) = start(folder.path()).await;
    let (mut alice, mut bob) = (mail(1, 2, relay.clone()), mail(2, 1, relay));
    let (from_alice, from_bob) = (bodies("alice", 60), bodies("bob", 60));
    tokio::join!(give(&alice, &from_alice), give(&bob, &from_bob));
    tokio::join!(arrive(&mut bob, &from_alice), arrive(&mut alice, &from_bob));
}
