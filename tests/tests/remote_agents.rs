//! Real agents on two machines, and what the policies of those machines say about it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::fs;

use rp_tests::{
    PATIENCE,
    home::Home,
    host::Host,
    install::{self, PiVersion, Program},
    machines::{found, inbox, knows, pair, say, variables},
    model::Model,
    relay::Relay,
};
use serde_json::{Value, json};

/// A machine on which a Pi runs.
struct WithPi {
    host: Host,
    /// The agent's id.
    agent: String,
    address: String,
    model: Model,
    _home: Home,
}

impl WithPi {
    async fn new(relay: &Relay, pi: Program, name: &str) -> Self {
        let model = Model::start().await.unwrap();
        let home = Home::new(&model.url(), &[pi]).unwrap();
        let environment = variables(relay).into_iter().chain(home.environment()).collect();
        let host = Host::start(environment).await.unwrap();
        let folder = host.agent_folder(name).unwrap();
        let create = ["create", folder.to_str().unwrap(), "--harness", "pi"];
        let agent = host.run_json(&create).await.unwrap();
        let field = |key: &str| agent[key].as_str().unwrap().to_owned();
        Self { agent: field("id"), address: field("address"), host, model, _home: home }
    }

    /// Has its model do what a script says.
    async fn do_this(&self, script: &str) {
        let command = json!({ "type": "prompt", "text": format!("script: {script}") });
        let path = format!("/v1/agents/{}/commands", self.agent);
        self.host.post(&path, &command).await.unwrap();
    }
}

#[tokio::test]
async fn the_model_of_a_pi_asks_one_on_another_machine_and_reads_the_answer() {
    let [old, new] =
        tokio::task::spawn_blocking(|| PiVersion::ALL.map(|version| install::pi(version).unwrap()))
            .await
            .unwrap();
    let relay = Relay::start().unwrap();
    let lab = WithPi::new(&relay, old, "web").await;
    let desk = WithPi::new(&relay, new, "api").await;
    found(&lab.host, &desk.host).await.unwrap();
    let machines = [(&lab, &desk, "desk"), (&desk, &lab, "lab")];
    for (asker, other, alias) in machines {
        let there = format!("{alias}:{}", other.address);
        knows(&asker.host, &there).await.unwrap();

        // The model learns of the other as it does of everybody.
        let listing = format!("tool list_peers {{}} ;; say {alias} is listed");
        asker.do_this(&listing).await;
        let listed = asker
            .model
            .request(|request| {
                request.last_user_text.contains(&listing) && !request.tool_results.is_empty()
            })
            .await
            .unwrap();
        assert!(listed.tool_results[0].contains(&there), "{:?}", listed.tool_results);

        let question = format!("which colour, {alias}?");
        let call = json!({ "to": there, "body": question });
        asker.do_this(&format!("tool agent_send {call} ;; say asked")).await;
        let asked = other.model.request_about(&question).await.unwrap();
        assert!(asked.last_user_text.contains(&format!(":{}\"", asker.address)), "{asked:?}");

        // The scripted model answers what it is asked, and tells what it was answered.
        let answer = format!("answer to: {question}");
        let seen = asker.model.request_about(&answer).await.unwrap();
        assert!(seen.last_user_text.contains(&format!("from \"{there}\"")), "{seen:?}");
    }
}

/// Puts rules into the policies of a machine, and waits until they count.
async fn rule(host: &Host, rules: &str) {
    fs::write(host.root().join("host/policy.toml"), rules).unwrap();
    let counts = |chain: &Value| chain["policies"][1]["id"] == "guarded";
    host.until(PATIENCE, "/v1/policies", counts).await.unwrap();
}

#[tokio::test]
async fn a_message_to_another_machine_waits_for_a_person_where_the_policy_says_so() {
    let relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    rule(&lab, "[[guarded.rule]]\nname = \"abroad\"\nrecipient = { machine = \"desk\" }\n").await;
    let sent = lab.post("/v1/messages", &json!({ "to": "desk:person", "body": "may I?" })).await;
    let sent = sent.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held", "{sent}");
    let held = lab.get("/v1/held").await.unwrap();
    assert_eq!(held["messages"][0]["body"], "may I?");
    assert_eq!(held["messages"][0]["to"], json!(["desk:person"]));
    assert_eq!(desk.get("/v1/agents/person/inbox").await.unwrap()["messages"], json!([]));

    let id = sent["id"].as_str().unwrap();
    lab.run_json(&["held", "allow", id]).await.unwrap();
    let came = inbox(&desk, 1).await.unwrap().remove(0);
    assert_eq!((&came["id"], &came["body"]), (&sent["id"], &json!("may I?")));
    assert_eq!(lab.get("/v1/held").await.unwrap()["messages"], json!([]));
    // What stays on the machine is nothing to that rule.
    let here = lab.create("api").await.unwrap();
    let (_, outcome) = say(&lab, here["address"].as_str().unwrap(), "say hi").await.unwrap();
    assert_eq!(outcome, "received");
}

#[tokio::test]
async fn a_machine_that_is_not_wanted_is_told_that_it_is_denied() {
    let relay = Relay::start().unwrap();
    let (lab, desk) = pair(&relay).await.unwrap();
    rule(&desk, "[[guarded.allow.sender]]\nmachine = [\"local\", \"home\"]\n").await;
    let (id, outcome) = say(&lab, "desk:person", "let me in").await.unwrap();
    assert_eq!(outcome, "denied");
    let path = format!("/v1/messages/{id}/trace?until=failed&wait_ms=60000");
    let trace = lab.get(&path).await.unwrap();
    assert_eq!(trace["steps"].as_array().unwrap().last().unwrap()["stage"], "failed", "{trace}");
    assert_eq!(desk.get("/v1/agents/person/inbox").await.unwrap()["messages"], json!([]));
    assert_eq!(say(&desk, "lab:person", "not you").await.unwrap().1, "received");
}
