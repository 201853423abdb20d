//! Agents on different machines, each a real daemon with its own state root, through a real relay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::time::Instant;

use rp_tests::{
    PATIENCE,
    host::Host,
    machines::{NO_KEYRING, inbox, knows, machine, pair, sees},
    old_machine::beside_an_old_one,
    relay::Relay,
};
use serde_json::{Value, json};

fn address(agent: &Value) -> String {
    agent["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_machine_without_an_owner_is_on_no_relay_and_has_no_key() {
    let relay = Relay::start().unwrap();
    let host = machine(&relay).await.unwrap();
    let status = host.run_json(&["relay", "status"]).await.unwrap();
    assert_eq!((&status["state"], &status["source"]), (&json!("off"), &json!("environment")));
    assert_eq!(status["detail"], "this machine has no owner");
    assert!(!host.root().join("identity.json").exists());
    let started = host.run_json(&["relay", "start"]).await.unwrap();
    assert_eq!(
        (&started["state"], &started["transport"]),
        (&json!("connected"), &json!("websocket"))
    );
    let stopped = host.run_json(&["relay", "toggle"]).await.unwrap();
    assert_eq!(stopped["state"], "stopped");
}

#[tokio::test]
async fn the_url_of_the_relay_is_kept_as_it_is_typed_and_sockets_are_no_url() {
    let host = Host::start(vec![(NO_KEYRING.0.to_owned(), NO_KEYRING.1.to_owned())]).await.unwrap();
    let refused = host.run(&["set-relay", "wss://relay.example.org"]).await.unwrap();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("hint: write http:// instead of ws://"), "{}", refused.stderr);
    host.run_json(&["relay", "url", "https://Relay.example.org/x/"]).await.unwrap();
    let file = std::fs::read_to_string(host.root().join("config.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file, json!({ "relay": "https://Relay.example.org/x/" }));
    let shown = host.run(&["relay", "url"]).await.unwrap();
    assert_eq!(shown.stdout, "https://Relay.example.org/x/\n");
}

#[tokio::test]
async fn an_agent_answers_a_person_at_another_machine_sealed() {
    let relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    let there = address(&desk.create("api").await.unwrap());
    let there = format!("desk:{there}");
    knows(&lab, &there).await.unwrap();

    let sent = lab.run_json(&["send", &there, "what is 20 + 22?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received");
    let answer = inbox(&lab, 1).await.unwrap().remove(0);
    assert_eq!((&answer["body"], &answer["re"]), (&json!("42"), &sent["id"]));
    assert_eq!(answer["from"], there.as_str());

    let shown = lab.run(&["peers"]).await.unwrap().stdout;
    assert!(shown.contains("desk (connected, sealed)\n"), "{shown}");
    assert!(shown.contains(&there), "{shown}");
    let trace = lab.run(&["trace", sent["id"].as_str().unwrap()]).await.unwrap().stdout;
    assert!(trace.contains("(sealed)"), "{trace}");
}

#[tokio::test]
async fn a_message_for_a_machine_that_is_off_waits_also_over_a_restart_and_comes_once() {
    let relay = Relay::start().unwrap();
    let (mut lab, mut desk) = pair(&relay).await.unwrap();
    let there = address(&desk.create("api").await.unwrap());
    let there = format!("desk:{there}");
    knows(&lab, &there).await.unwrap();
    desk.stop().await.unwrap();
    sees(&lab, "desk", "offline").await.unwrap();

    let now = lab.run(&["send", &there, "--expires", "0s", "now"]).await.unwrap();
    assert_eq!(now.code, Some(1), "{now:?}");
    assert!(now.stderr.contains("that machine is not connected"), "{}", now.stderr);
    let sent = lab.run_json(&["send", &there, "what is 1 + 1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "waiting");

    lab.kill().unwrap();
    lab.start_again().await.unwrap();
    desk.start_again().await.unwrap();
    let answer = inbox(&lab, 1).await.unwrap().remove(0);
    assert_eq!((&answer["body"], &answer["re"]), (&json!("2"), &sent["id"]));
    let again = lab.run_json(&["send", &there, "what is 2 + 2?"]).await.unwrap();
    let all = inbox(&lab, 2).await.unwrap();
    let bodies: Vec<_> = all.iter().map(|answer| &answer["body"]).collect();
    assert_eq!(bodies, ["2", "4"], "{again}");
}

#[tokio::test]
async fn a_relay_that_is_killed_takes_nothing_with_it() {
    let mut relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    let there = format!("desk:{}", address(&desk.create("api").await.unwrap()));
    knows(&lab, &there).await.unwrap();
    relay.kill();
    sees(&lab, "desk", "offline").await.unwrap();
    for number in 0..5 {
        let text = format!("what is {number} + 0?");
        lab.run_json(&["send", &there, &text]).await.unwrap();
    }
    relay.start_again().unwrap();
    let all = inbox(&lab, 5).await.unwrap();
    let bodies: Vec<_> = all.iter().map(|answer| answer["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_machine_that_is_removed_is_cut_off_and_says_so() {
    let relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    lab.run_json(&["mesh", "remove", "desk"]).await.unwrap();
    let is_alone = |peers: &Value| peers["machines"].is_null();
    lab.until(PATIENCE, "/v1/peers", is_alone).await.unwrap();
    let start = Instant::now();
    let is_off = |relay: &Value| relay["state"] == "off";
    desk.until(PATIENCE, "/v1/relay", is_off).await.unwrap();
    // Well before the minute after which it would ask anyway.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert_eq!(desk.get("/v1/mesh").await.unwrap()["owners"], json!([]));
    // The one that was removed knows how far it was, also after that.
    let kept = std::fs::read_to_string(desk.root().join("host/memberships.json")).unwrap();
    assert!(kept.contains("\"floor\": 3"), "{kept}");
}

#[tokio::test]
async fn a_machine_gets_another_name_and_the_owner_comes_back_from_words() {
    let relay = Relay::start().unwrap();
    let lab = machine(&relay).await.unwrap();
    let created = lab.run_json(&["mesh", "create", "--name", "lab"]).await.unwrap();
    let words = created["recovery_words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 24);
    let again = lab.run(&["mesh", "create"]).await.unwrap();
    assert_eq!(again.code, Some(1), "{again:?}");
    lab.run_json(&["mesh", "rename", "lab", "Büro 1"]).await.unwrap();
    let is_renamed = |mesh: &Value| mesh["alias"] == "B%C3%BCro%201";
    lab.until(PATIENCE, "/v1/mesh", is_renamed).await.unwrap();

    let desk = machine(&relay).await.unwrap();
    let recover = json!({ "words": words, "name": "desk" });
    let recovered = desk.post("/v1/mesh/recover", &recover).await.unwrap();
    assert_eq!(recovered["owner"], created["owner"]);
    let has_both =
        |mesh: &Value| mesh["owners"][0]["members"].as_array().is_some_and(|all| all.len() == 2);
    let mesh = desk.until(PATIENCE, "/v1/mesh", has_both).await.unwrap();
    assert_eq!(mesh["owners"][0]["here"], true);
}

#[tokio::test]
async fn a_machine_of_the_old_wire_is_written_to_in_the_clear_and_that_is_said() {
    let relay = Relay::start().unwrap();
    let (lab, mut old) = beside_an_old_one(&relay).await.unwrap();

    let (sent, received) =
        tokio::join!(lab.run_json(&["send", "old:/srv/web@web", "hello"]), async {
            let (from, envelope) = old.next().await.unwrap();
            old.acknowledge(from, &envelope).await.unwrap();
            (from, envelope)
        });
    let (lab_key, envelope) = received;
    let sent = sent.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received");
    assert_eq!(
        (&envelope["from"], &envelope["to"]),
        (&json!("lab:person"), &json!("old:/srv/web@web"))
    );
    assert_eq!((&envelope["id"], &envelope["body"]), (&sent["id"], &json!("hello")));
    let shown = lab.run(&["peers"]).await.unwrap().stdout;
    assert!(shown.contains("old (connected, in the clear)\n"), "{shown}");
    let trace = lab.run(&["trace", sent["id"].as_str().unwrap()]).await.unwrap().stdout;
    assert!(trace.contains("(in the clear)"), "{trace}");

    let answer = json!({
        "from": "old:/srv/web@web", "to": "lab:person", "id": uuid::Uuid::now_v7(),
        "re": sent["id"], "body": "good day",
    });
    old.say(lab_key, &answer).await.unwrap();
    let inbox = inbox(&lab, 1).await.unwrap();
    assert_eq!(
        (&inbox[0]["from"], &inbox[0]["body"]),
        (&json!("old:/srv/web@web"), &json!("good day"))
    );
    let (_, ack) = old.next().await.unwrap();
    assert_eq!((&ack["re"], &ack["body"]["status"]), (&answer["id"], &json!("received")));
    assert_eq!((&ack["from"], &ack["to"]), (&json!("lab:broker"), &json!("old:/srv/web@web")));
}
