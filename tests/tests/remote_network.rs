//! Machines reach each other over networks as they are: without UDP, with datagrams that are lost
//! and late, with connections that are cut, and with cables that are pulled.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails panics, and one that cannot be made here says so"
)]

use std::net::SocketAddr;

use rp_tests::{
    PATIENCE,
    forwarder::{Datagrams, Forwarder},
    host::Host,
    load::{Load, arrived_once},
    machines::{found, inbox, knows, pair, say, sees, variables},
    network::Network,
    relay::{Options, Relay},
    wire::Peer,
};
use serde_json::{Value, json};

/// A relay behind a network that does what a test wants.
async fn behind_a_network(encrypted: bool) -> (Forwarder, Relay) {
    let forwarder = Forwarder::open().await.unwrap();
    let name = Some(forwarder.name());
    let relay = Relay::start_as(Options { encrypted, name, ..Options::default() }).unwrap();
    forwarder.lead_to(relay.address());
    (forwarder, relay)
}

/// What a machine's connection runs on, once it has one.
async fn transport(host: &Host) -> String {
    let is_connected = |relay: &Value| relay["state"] == "connected";
    let relay = host.until(PATIENCE, "/v1/relay", is_connected).await.unwrap();
    relay["transport"].as_str().unwrap().to_owned()
}

/// Has a machine on QUIC. On a busy machine a WebSocket may be faster, and is remembered until the
/// next start.
async fn on_quic(host: &mut Host) {
    for _ in 0..10 {
        if transport(host).await == "quic" {
            return;
        }
        host.stop().await.unwrap();
        host.start_again().await.unwrap();
    }
    panic!("a WebSocket is faster every time");
}

/// What the person at this machine was told, in the order in which it came.
async fn bodies(host: &Host, count: usize) -> Vec<String> {
    let inbox = inbox(host, count).await.unwrap();
    inbox.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn where_udp_does_not_get_through_a_websocket_does() {
    let (forwarder, relay) = behind_a_network(true).await;
    let (mut lab, mut desk) = pair(&relay).await.unwrap();
    on_quic(&mut lab).await;
    on_quic(&mut desk).await;
    knows(&lab, "desk:person").await.unwrap();
    assert_eq!(say(&lab, "desk:person", "over QUIC").await.unwrap().1, "received");

    forwarder.datagrams(Datagrams::Swallow);
    for host in [&lab, &desk] {
        host.run_json(&["relay", "stop"]).await.unwrap();
        host.run_json(&["relay", "start"]).await.unwrap();
    }
    assert_eq!([transport(&lab).await, transport(&desk).await], ["websocket", "websocket"]);
    assert!(forwarder.counted().lost > 0, "nobody tried QUIC");
    sees(&lab, "desk", "online").await.unwrap();
    assert_eq!(say(&lab, "desk:person", "without UDP").await.unwrap().1, "received");
    assert_eq!(bodies(&desk, 2).await, ["over QUIC", "without UDP"]);
}

#[tokio::test]
async fn over_datagrams_that_are_lost_and_late_everything_comes_once_and_in_order() {
    let (forwarder, relay) = behind_a_network(true).await;
    let (mut lab, mut desk) = pair(&relay).await.unwrap();
    on_quic(&mut lab).await;
    on_quic(&mut desk).await;
    knows(&lab, "desk:person").await.unwrap();
    forwarder.datagrams(Datagrams::Disturb { loss: 5, delay_ms: (10, 30) });
    let _before = forwarder.counted();

    // Somebody who does not wait for one message to arrive before the next is sent.
    let mut web = Peer::join(&lab.broker(), "web", "/srv/web").await.unwrap();
    let bodies_sent: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    let mut ids = Vec::new();
    for body in &bodies_sent {
        ids.push(web.send("desk:person", body.as_str()).await.unwrap());
    }
    assert_eq!(bodies(&desk, 50).await, bodies_sent);
    for _ in &ids {
        let ack = web.next_where(|envelope| envelope["body"]["type"] == "ack").await.unwrap();
        assert_eq!(ack["body"]["status"], "received", "{ack}");
        ids.iter().find(|id| ack["re"] == id.as_str()).unwrap();
    }
    let counted = forwarder.counted();
    assert!(counted.lost > 0, "nothing was lost of {counted:?}");
    assert_eq!([transport(&lab).await, transport(&desk).await], ["quic", "quic"]);
    assert_eq!(bodies(&desk, 50).await.len(), 50);
}

#[tokio::test]
async fn connections_that_are_cut_in_mid_traffic_lose_nothing_and_bring_nothing_twice() {
    let (forwarder, relay) = behind_a_network(false).await;
    let (lab, desk) = pair(&relay).await.unwrap();
    forwarder.cut(6, 10_000..40_000);
    let there = Load::start(&lab, "desk:person", "there", 120);
    let back = Load::start(&desk, "lab:person", "back", 120);
    forwarder.has_cut(6).await.unwrap();
    let (there, back) = (there.end().await.unwrap(), back.end().await.unwrap());
    assert!(there.acknowledged.len() + back.acknowledged.len() > 120);
    arrived_once(&desk, &there).await.unwrap();
    arrived_once(&lab, &back).await.unwrap();
}

/// A relay and two machines of one owner, each with an address of its own.
struct Wired {
    lab: Host,
    desk: Host,
    _relay: Relay,
    stations: [rp_tests::network::Station; 2],
    /// The last one to go.
    network: Network,
}

/// Nothing where namespaces cannot be made.
async fn wired() -> Option<Wired> {
    let made = Network::new().and_then(|mut network| {
        let stations = [network.station()?, network.station()?, network.station()?];
        Ok((network, stations))
    });
    let (network, [relay, lab, desk]) =
        made.inspect_err(|error| eprintln!("there is no network for this test: {error:#}")).ok()?;
    // All ports of a namespace are free.
    let listen = SocketAddr::from((relay.address, 3000));
    let namespace = Some(relay.namespace);
    let name = Some(listen.to_string());
    let options = Options { encrypted: true, listen, name, namespace, flags: Vec::new() };
    let relay = Relay::start_as(options).unwrap();
    let start = async |station: &rp_tests::network::Station| {
        let mut host = Host::stopped(variables(&relay)).unwrap().inside(&station.namespace);
        host.start_again().await.unwrap();
        host
    };
    let (lab_host, desk_host) = (start(&lab).await, start(&desk).await);
    found(&lab_host, &desk_host).await.unwrap();
    let stations = [lab, desk];
    Some(Wired { lab: lab_host, desk: desk_host, _relay: relay, stations, network })
}

#[tokio::test]
async fn a_machine_whose_network_is_switched_off_goes_on_where_it_was() {
    let Some(wired) = wired().await else { return };
    let Wired { lab, desk, stations: [at_lab, _], network, .. } = &wired;
    assert_eq!(say(lab, "desk:person", "before").await.unwrap().1, "received");

    network.interface(at_lab, false).unwrap();
    let is_off = |relay: &Value| relay["state"] != "connected";
    lab.until(PATIENCE, "/v1/relay", is_off).await.unwrap();
    for number in 0..5 {
        let outcome = say(lab, "desk:person", &format!("meanwhile {number}")).await.unwrap().1;
        assert_eq!(outcome, "waiting");
    }
    let machines = lab.get("/v1/peers").await.unwrap()["machines"].clone();
    assert_eq!((&machines[0]["presence"], &machines[0]["waiting"]), (&json!("offline"), &json!(5)));

    network.interface(at_lab, true).unwrap();
    sees(lab, "desk", "online").await.unwrap();
    assert_eq!(say(lab, "desk:person", "after").await.unwrap().1, "received");
    let meanwhile = (0..5).map(|number| format!("meanwhile {number}"));
    let all: Vec<String> =
        ["before".to_owned()].into_iter().chain(meanwhile).chain(["after".to_owned()]).collect();
    assert_eq!(bodies(desk, 7).await, all);
}

#[tokio::test]
async fn what_is_sent_both_ways_while_a_cable_is_cut_comes_when_it_is_mended() {
    let Some(wired) = wired().await else { return };
    let Wired { lab, desk, stations: [_, at_desk], network, .. } = &wired;
    let mut there = Load::start(lab, "desk:person", "there", 60);
    let mut back = Load::start(desk, "lab:person", "back", 60);
    there.reaches(20).await.unwrap();
    back.reaches(20).await.unwrap();
    network.plug(at_desk, false).unwrap();
    // Nobody has told either machine, so this one goes unanswered.
    let unanswered = say(lab, "desk:person", "into the void").await.unwrap();
    assert_ne!(unanswered.1, "received");
    network.plug(at_desk, true).unwrap();
    let (there, back) = (there.end().await.unwrap(), back.end().await.unwrap());
    arrived_once(desk, &there).await.unwrap();
    arrived_once(lab, &back).await.unwrap();
    let path = format!("/v1/messages/{}/trace", unanswered.0);
    let is_there =
        |trace: &Value| trace["steps"].as_array().unwrap().iter().any(|s| s["stage"] == "accepted");
    lab.until(PATIENCE, &path, is_there).await.unwrap();
}
