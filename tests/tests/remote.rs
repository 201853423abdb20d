//! Agents on different machines, each a real daemon with its own state root, through a real relay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use rp_link::{Config, Delivery, Link, Message, RelayUrl, Trust, Wires};
use rp_protocol::{
    key::{PublicKey, SecretKey},
    membership::{Answer, Member, write_publication},
    owner::owner_from_words,
    relay::MessageId,
};
use rp_tests::{PATIENCE, host::Host, relay::Relay};
use serde_json::{Value, json};

/// A machine that knows the relay. Its keys are in files, whatever keyring there is.
async fn machine(relay: &Relay) -> Host {
    machine_with(relay, &[]).await
}

async fn machine_with(relay: &Relay, more: &[(&str, &str)]) -> Host {
    let variables = [("REMOTE_PI_RELAY", relay.url().as_str()), NO_KEYRING]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Host::start(variables).await.unwrap()
}

/// There is no session bus, so no keyring of the person who runs the tests is touched.
const NO_KEYRING: (&str, &str) = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");

/// Lets `joiner` join the mesh of `inviter`, and gives what it prints.
async fn join(inviter: &Host, joiner: &Host, name: &str) {
    let invited = inviter.post("/v1/mesh/invite", &Value::Null).await.unwrap();
    let asked = json!({ "code": invited["code"], "name": name });
    joiner.post("/v1/mesh/join", &asked).await.unwrap();
    let words = |host: &Value| host["words"].as_str().unwrap().to_owned();
    let stage_is = |stage: &'static str| move |now: &Value| now["stage"] == stage;
    let path = "/v1/mesh/conversation";
    let there = joiner.until(PATIENCE, path, stage_is("compare")).await.unwrap();
    let here = inviter.until(PATIENCE, path, stage_is("compare")).await.unwrap();
    assert_eq!(words(&there), words(&here));
    assert_eq!(here["name"], name);
    for host in [joiner, inviter] {
        host.post(path, &json!({ "accept": true })).await.unwrap();
    }
    inviter.until(PATIENCE, path, stage_is("joined")).await.unwrap();
    joiner.until(PATIENCE, path, stage_is("joined")).await.unwrap();
}

/// Two machines, `lab` and `desk`, of one owner whose key is on `lab`.
async fn pair(relay: &Relay) -> (Host, Host) {
    let (lab, desk) = (machine(relay).await, machine(relay).await);
    lab.run_json(&["mesh", "create", "--name", "lab"]).await.unwrap();
    join(&lab, &desk, "desk").await;
    (lab, desk)
}

/// Waits until `host` sees the machine in this state.
async fn sees(host: &Host, alias: &str, presence: &str) {
    let is_so = |peers: &Value| {
        let mut machines = peers["machines"].as_array().into_iter().flatten();
        machines.any(|one| one["alias"] == alias && one["presence"] == presence)
    };
    host.until(PATIENCE, "/v1/peers", is_so).await.unwrap();
}

/// Waits until `host` knows a peer of another machine.
async fn knows(host: &Host, address: &str) {
    let is_there = |peers: &Value| {
        peers["peers"].as_array().unwrap().iter().any(|peer| peer["address"] == address)
    };
    host.until(PATIENCE, "/v1/peers", is_there).await.unwrap();
}

fn address(agent: &Value) -> String {
    agent["address"].as_str().unwrap().to_owned()
}

/// The messages in the person's mailbox once there are so many.
async fn answers(host: &Host, count: usize) -> Vec<Value> {
    let enough = |inbox: &Value| inbox["messages"].as_array().unwrap().len() >= count;
    let inbox = host.until(PATIENCE, "/v1/agents/person/inbox", enough).await.unwrap();
    inbox["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_machine_without_an_owner_is_on_no_relay_and_has_no_key() {
    let relay = Relay::start().unwrap();
    let host = machine(&relay).await;
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
    let (lab, desk) = pair(&relay).await;
    let there = address(&desk.create("api").await.unwrap());
    let there = format!("desk:{there}");
    knows(&lab, &there).await;

    let sent = lab.run_json(&["send", &there, "what is 20 + 22?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received");
    let answer = answers(&lab, 1).await.remove(0);
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
    let (mut lab, mut desk) = pair(&relay).await;
    let there = address(&desk.create("api").await.unwrap());
    let there = format!("desk:{there}");
    knows(&lab, &there).await;
    desk.stop().await.unwrap();
    sees(&lab, "desk", "offline").await;

    let now = lab.run(&["send", &there, "--expires", "0s", "now"]).await.unwrap();
    assert_eq!(now.code, Some(1), "{now:?}");
    assert!(now.stderr.contains("that machine is not connected"), "{}", now.stderr);
    let sent = lab.run_json(&["send", &there, "what is 1 + 1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "waiting");

    lab.kill().unwrap();
    lab.start_again().await.unwrap();
    desk.start_again().await.unwrap();
    let answer = answers(&lab, 1).await.remove(0);
    assert_eq!((&answer["body"], &answer["re"]), (&json!("2"), &sent["id"]));
    let again = lab.run_json(&["send", &there, "what is 2 + 2?"]).await.unwrap();
    let all = answers(&lab, 2).await;
    let bodies: Vec<_> = all.iter().map(|answer| &answer["body"]).collect();
    assert_eq!(bodies, ["2", "4"], "{again}");
}

#[tokio::test]
async fn a_relay_that_is_killed_takes_nothing_with_it() {
    let mut relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await;
    let there = format!("desk:{}", address(&desk.create("api").await.unwrap()));
    knows(&lab, &there).await;
    relay.kill();
    sees(&lab, "desk", "offline").await;
    for number in 0..5 {
        let text = format!("what is {number} + 0?");
        lab.run_json(&["send", &there, &text]).await.unwrap();
    }
    relay.start_again().unwrap();
    let all = answers(&lab, 5).await;
    let bodies: Vec<_> = all.iter().map(|answer| answer["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_machine_that_is_removed_is_cut_off_and_says_so() {
    let relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await;
    sees(&lab, "desk", "online").await;
    lab.run_json(&["mesh", "remove", "desk"]).await.unwrap();
    let is_alone = |peers: &Value| peers["machines"].is_null();
    lab.until(PATIENCE, "/v1/peers", is_alone).await.unwrap();
    // The other one learns it when it asks; a restart makes it ask now.
    let mut desk = desk;
    desk.stop().await.unwrap();
    desk.start_again().await.unwrap();
    let is_off = |relay: &Value| relay["state"] == "off";
    desk.until(PATIENCE, "/v1/relay", is_off).await.unwrap();
    assert_eq!(desk.get("/v1/mesh").await.unwrap()["owners"], json!([]));
    // The one that was removed knows how far it was, also after that.
    let kept = std::fs::read_to_string(desk.root().join("host/memberships.json")).unwrap();
    assert!(kept.contains("\"floor\": 3"), "{kept}");
}

#[tokio::test]
async fn a_machine_gets_another_name_and_the_owner_comes_back_from_words() {
    let relay = Relay::start().unwrap();
    let lab = machine(&relay).await;
    let created = lab.run_json(&["mesh", "create", "--name", "lab"]).await.unwrap();
    let words = created["recovery_words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 24);
    let again = lab.run(&["mesh", "create"]).await.unwrap();
    assert_eq!(again.code, Some(1), "{again:?}");
    lab.run_json(&["mesh", "rename", "lab", "Büro 1"]).await.unwrap();
    let is_renamed = |mesh: &Value| mesh["alias"] == "B%C3%BCro%201";
    lab.until(PATIENCE, "/v1/mesh", is_renamed).await.unwrap();

    let desk = machine(&relay).await;
    let recover = json!({ "words": words, "name": "desk" });
    let recovered = desk.post("/v1/mesh/recover", &recover).await.unwrap();
    assert_eq!(recovered["owner"], created["owner"]);
    let has_both =
        |mesh: &Value| mesh["owners"][0]["members"].as_array().is_some_and(|all| all.len() == 2);
    let mesh = desk.until(PATIENCE, "/v1/mesh", has_both).await.unwrap();
    assert_eq!(mesh["owners"][0]["here"], true);
}

/// A machine that speaks only the old wire.
struct OldMachine {
    link: Link,
    deliveries: tokio::sync::mpsc::Receiver<Delivery>,
}

impl OldMachine {
    /// Logs in, and is added to the mesh whose owner has these recovery words.
    async fn join(relay: &Relay, words: &str, nickname: &str) -> Self {
        let owner = owner_from_words(words).unwrap();
        let key = SecretKey::from_seed(&[7; 32]);
        let relay = rp_link::Relay {
            url: RelayUrl::from_person(&relay.url()).unwrap(),
            trust: Trust::Platform,
        };
        let path = format!("/mesh/{}", owner.public().hash());
        let (status, body) = rp_link::get(&relay, &path, 1 << 20, PATIENCE).await.unwrap();
        let Answer::Membership(signed) = Answer::read(status, &body) else { panic!("{status}") };
        let mut membership = signed.membership().clone();
        membership.version += 1;
        membership.members.push(Member {
            key: key.public(),
            relay_url: relay.url.to_string(),
            paired_at: "2026-01-01T00:00:00.000Z".to_owned(),
            nickname: Some(nickname.to_owned()),
        });
        let body = write_publication(&membership.sign(&owner));
        let (status, _) = rp_link::post(&relay, &path, body, 1 << 20, PATIENCE).await.unwrap();
        assert_eq!(status, 200);
        let (link, deliveries) = Link::start(Config {
            relays: vec![relay],
            key,
            software: "test".to_owned(),
            wires: Wires::Old,
        });
        OldMachine { link, deliveries }
    }

    /// The next envelope that is not about who is on which machine.
    async fn next(&mut self) -> (PublicKey, Value) {
        loop {
            let delivery = tokio::time::timeout(PATIENCE, self.deliveries.recv()).await;
            let delivery = delivery.unwrap().unwrap();
            let Message::Envelope(text) = &delivery.message else { panic!("{delivery:?}") };
            let envelope: Value = serde_json::from_str(text).unwrap();
            let kind = envelope["body"]["type"].as_str().unwrap_or_default();
            if !kind.starts_with("peers_") {
                return (delivery.from, envelope);
            }
        }
    }

    async fn say(&self, to: PublicKey, envelope: &Value) {
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        let message = Message::Envelope(envelope.to_string());
        drop(self.link.send(id, to, message).await.unwrap());
    }
}

#[tokio::test]
async fn a_machine_of_the_old_wire_is_written_to_in_the_clear_and_that_is_said() {
    let relay = Relay::start().unwrap();
    let mut lab = machine(&relay).await;
    let created = lab.run_json(&["mesh", "create", "--name", "lab"]).await.unwrap();
    let words = created["recovery_words"].as_str().unwrap();
    let mut old = OldMachine::join(&relay, words, "old").await;
    // It learns of the other at its next start at the latest.
    lab.stop().await.unwrap();
    lab.start_again().await.unwrap();
    sees(&lab, "old", "online-legacy").await;

    let (sent, received) =
        tokio::join!(lab.run_json(&["send", "old:/srv/web@web", "hello"]), async {
            let (from, envelope) = old.next().await;
            let ack = json!({
                "from": "old:broker", "to": envelope["from"], "id": uuid::Uuid::now_v7(),
                "re": envelope["id"],
                "body": { "type": "ack", "status": "received", "target": "/srv/web@web" },
            });
            old.say(from, &ack).await;
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
    old.say(lab_key, &answer).await;
    let inbox = answers(&lab, 1).await;
    assert_eq!(
        (&inbox[0]["from"], &inbox[0]["body"]),
        (&json!("old:/srv/web@web"), &json!("good day"))
    );
    let (_, ack) = old.next().await;
    assert_eq!((&ack["re"], &ack["body"]["status"]), (&answer["id"], &json!("received")));
    assert_eq!((&ack["from"], &ack["to"]), (&json!("lab:broker"), &json!("old:/srv/web@web")));
}
