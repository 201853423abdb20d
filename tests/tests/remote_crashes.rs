//! Programs that are killed under load, relays that show an old state, and machines that are copies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::time::Instant;

use rp_tests::{
    PATIENCE,
    forwarder::Forwarder,
    host::Host,
    load::{Load, arrived_once},
    machines::{inbox, pair, say, sees},
    relay::{Options, Relay},
};
use serde_json::{Value, json};

/// Two machines that see each other, with senders at work on both.
struct Busy {
    relay: Relay,
    lab: Host,
    desk: Host,
    there: Load,
    back: Load,
}

impl Busy {
    async fn start(messages: usize) -> Self {
        let relay = Relay::start().unwrap();
        let (lab, desk) = pair(&relay).await.unwrap();
        let there = Load::start(&lab, "desk:person", "there", messages);
        let back = Load::start(&desk, "lab:person", "back", messages);
        Busy { relay, lab, desk, there, back }
    }

    async fn reaches(&mut self, acknowledged: usize) {
        self.there.reaches(acknowledged).await.unwrap();
        self.back.reaches(acknowledged).await.unwrap();
    }

    /// How many messages were acknowledged, after each has been seen to arrive once.
    async fn end(self) -> usize {
        let Busy { relay: _relay, lab, desk, there, back } = self;
        let (there, back) = (there.end().await.unwrap(), back.end().await.unwrap());
        arrived_once(&desk, &there).await.unwrap();
        arrived_once(&lab, &back).await.unwrap();
        there.acknowledged.len() + back.acknowledged.len()
    }
}

#[tokio::test]
async fn a_relay_that_is_killed_under_load_takes_nothing_with_it() {
    let mut busy = Busy::start(150).await;
    for acknowledged in [30, 70, 110] {
        busy.reaches(acknowledged).await;
        busy.relay.kill();
        busy.relay.start_again().unwrap();
    }
    assert!(busy.end().await > 200);
}

#[tokio::test]
async fn hosts_that_are_killed_under_load_lose_nothing_and_take_nothing_twice() {
    let mut busy = Busy::start(120).await;
    busy.reaches(20).await;
    busy.desk.kill().unwrap();
    busy.desk.start_again().await.unwrap();
    busy.reaches(50).await;
    busy.lab.kill().unwrap();
    busy.lab.start_again().await.unwrap();
    busy.reaches(70).await;
    // Both at once, and the relay with them.
    busy.lab.kill().unwrap();
    busy.desk.kill().unwrap();
    busy.relay.kill();
    busy.relay.start_again().unwrap();
    busy.lab.start_again().await.unwrap();
    busy.desk.start_again().await.unwrap();
    assert!(busy.end().await > 160);
}

#[tokio::test]
async fn what_was_acknowledged_as_waiting_outlives_every_program_between() {
    let mut relay = Relay::start().unwrap();
    let (mut lab, mut desk) = pair(&relay).await.unwrap();
    assert_eq!(say(&lab, "desk:person", "first").await.unwrap().1, "received");
    relay.kill();
    sees(&lab, "desk", "offline").await.unwrap();
    assert_eq!(say(&lab, "desk:person", "waiting").await.unwrap().1, "waiting");
    lab.kill().unwrap();
    desk.kill().unwrap();
    relay.start_again().unwrap();
    desk.start_again().await.unwrap();
    lab.start_again().await.unwrap();
    let bodies = |inbox: Vec<Value>| -> Vec<Value> {
        inbox.into_iter().map(|message| message["body"].clone()).collect()
    };
    assert_eq!(bodies(inbox(&desk, 2).await.unwrap()), ["first", "waiting"]);
    // Whatever was sent again has been before this one.
    sees(&lab, "desk", "online").await.unwrap();
    assert_eq!(say(&lab, "desk:person", "after").await.unwrap().1, "received");
    assert_eq!(bodies(inbox(&desk, 3).await.unwrap()), ["first", "waiting", "after"]);
}

/// A machine that has removed another one, which has not heard of it. The relay is down, and when it
/// starts again it has gone back to before that.
async fn gone_back(relay: &mut Relay) -> (Host, Host) {
    let (lab, mut desk) = pair(relay).await.unwrap();
    let file = relay.data().join("mesh.redb");
    relay.kill();
    let before = std::fs::read(&file).unwrap();
    relay.start_again().unwrap();
    sees(&lab, "desk", "online").await.unwrap();
    desk.stop().await.unwrap();
    lab.run_json(&["mesh", "remove", "desk"]).await.unwrap();
    lab.until(PATIENCE, "/v1/mesh", is_alone).await.unwrap();
    relay.kill();
    std::fs::write(&file, before).unwrap();
    (lab, desk)
}

/// Whether a machine knows that it is the only one of its owner.
fn is_alone(mesh: &Value) -> bool {
    let owner = &mesh["owners"][0];
    owner["version"] == 3 && owner["members"].as_array().is_some_and(|all| all.len() == 1)
}

#[tokio::test]
async fn a_relay_that_was_restored_is_brought_what_has_changed_since() {
    let mut relay = Relay::start().unwrap();
    let (_lab, mut desk) = gone_back(&mut relay).await;
    relay.start_again().unwrap();
    desk.start_again().await.unwrap();
    // It hears it from the relay, which heard it from the other one.
    desk.until(PATIENCE, "/v1/mesh", |mesh| mesh["owners"] == json!([])).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_stays_back_does_not_bring_a_removed_machine_back() {
    let forwarder = Forwarder::open().await.unwrap();
    let options = Options { name: Some(forwarder.name()), ..Options::default() };
    let mut relay = Relay::start_as(options).unwrap();
    forwarder.lead_to(relay.address());
    let (lab, mut desk) = gone_back(&mut relay).await;
    // It takes nothing newer either.
    forwarder.rewrite("POST /mesh/", "POST /mess/");
    relay.start_again().unwrap();
    let warning = "went back to version 2 of the membership; 3 was accepted";
    lab.until(PATIENCE, "/v1/relay", |relay| warns(relay, warning)).await.unwrap();
    let mesh = lab.get("/v1/mesh").await.unwrap();
    assert!(is_alone(&mesh), "{mesh}");
    // To the relay of that state the other one belongs to the mesh, to this machine it does not.
    desk.start_again().await.unwrap();
    sees(&desk, "lab", "online").await.unwrap();
    let outcome = say(&desk, "lab:person", "let me in").await.unwrap().1;
    assert_ne!(outcome, "received");
    assert_eq!(lab.get("/v1/agents/person/inbox").await.unwrap()["messages"], json!([]));
}

/// Whether one of the things that a machine tells people about its relay has this in it.
fn warns(relay: &Value, text: &str) -> bool {
    let mut warnings = relay["warnings"].as_array().into_iter().flatten();
    warnings.any(|warning| warning.as_str().is_some_and(|warning| warning.contains(text)))
}

#[tokio::test]
async fn two_machines_with_one_key_are_told_of_each_other() {
    let relay = Relay::start().unwrap();
    let (lab, mut desk) = pair(&relay).await.unwrap();
    let warning = "another live machine has this machine's key: one of them is a copy";
    let is_told = |relay: &Value| warns(relay, warning);
    assert!(!is_told(&desk.get("/v1/relay").await.unwrap()));

    desk.stop().await.unwrap();
    let mut copy = desk.copied().unwrap();
    desk.start_again().await.unwrap();
    copy.start_again().await.unwrap();
    for host in [&desk, &copy] {
        host.until(PATIENCE, "/v1/relay", is_told).await.unwrap();
    }
    let machine = |relay: &Value| relay["machine"].clone();
    let same = [desk.get("/v1/relay").await.unwrap(), copy.get("/v1/relay").await.unwrap()];
    assert_eq!(machine(&same[0]), machine(&same[1]));
    let shown = desk.run(&["relay", "status"]).await.unwrap().stdout;
    assert!(shown.contains(&format!("warning  {warning}\n")), "{shown}");
    // Their owner reads it where neither of the two is.
    let told = inbox(&lab, 1).await.unwrap().remove(0);
    assert_eq!(told["from"], "desk:person");
    let text = told["body"].as_str().unwrap();
    assert!(text.starts_with("Another live machine has the key of this one"), "{text}");
}

#[tokio::test]
async fn a_relay_that_was_killed_tells_those_on_quic_that_it_does_not_know_them_any_more() {
    let options = Options { encrypted: true, ..Options::default() };
    let mut relay = Relay::start_as(options).unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    sees(&lab, "desk", "online").await.unwrap();
    let on = lab.get("/v1/relay").await.unwrap();
    assert_eq!(on["transport"], "quic", "{on}");
    relay.kill();
    relay.start_again().unwrap();
    let start = Instant::now();
    for (from, to) in [(&lab, "desk:person"), (&desk, "lab:person")] {
        say(from, to, "are you there?").await.unwrap();
    }
    for host in [&lab, &desk] {
        assert_eq!(inbox(host, 1).await.unwrap()[0]["body"], "are you there?");
    }
    // A connection that hears nothing is given up after 75 s only.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
