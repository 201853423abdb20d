//! Two agents without a model talk through the real program, and lose nothing when it is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use rp_tests::{host::Host, wire::Peer};
use serde_json::{Value, json};

/// Keeps an agent on the demo harness in a folder of this name; gives its id and address.
async fn create(host: &Host, name: &str) -> (String, String) {
    let agent = host.create(name).await.unwrap();
    let field = |key: &str| agent[key].as_str().unwrap().to_owned();
    (field("id"), field("address"))
}

async fn prompt(host: &Host, agent: &str, text: &str) {
    let output = host.run(&["daemon", "send", agent, text]).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// The stages of a message once it has come as far as `stage`.
async fn stages_until(host: &Host, message: &str, stage: &str) -> Vec<String> {
    let path = format!("/v1/messages/{message}/trace?until={stage}&wait_ms=60000");
    let trace = host.get(&path).await.unwrap();
    let steps = trace["steps"].as_array().unwrap();
    steps.iter().map(|step| step["stage"].as_str().unwrap().to_owned()).collect()
}

/// Messages in a mailbox, oldest first.
async fn inbox(host: &Host, agent: &str) -> Vec<Value> {
    let inbox = host.get(&format!("/v1/agents/{agent}/inbox")).await.unwrap();
    inbox["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_agent_asks_another_and_gets_the_answer() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (web, web_address) = create(&host, "web").await;
    let (api, api_address) = create(&host, "api").await;

    prompt(&host, &web, &format!("ask {api_address} what is your name?")).await;

    let asked = loop {
        // The question is on its way; its mailbox tells when it came.
        if let Some(question) = inbox(&host, &api).await.into_iter().next() {
            break question;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(asked["from"], web_address.as_str());
    assert_eq!(asked["body"], "what is your name?");
    let id = asked["id"].as_str().unwrap();
    // The agent may answer before its session has noted that it took the question.
    stages_until(&host, id, "answered").await;
    assert_eq!(
        stages_until(&host, id, "turn-seen").await,
        ["accepted", "stored", "offered", "injected", "turn-seen", "answered"]
    );
    let answers = inbox(&host, &web).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["body"], "My name is api.");
    assert_eq!(answers[0]["re"], id);
}

#[tokio::test]
async fn a_peer_on_the_socket_asks_an_agent_and_gets_the_answer() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (_, address) = create(&host, "api").await;
    let mut peer = Peer::join(&host.broker(), "visitor", "/srv/visitor").await.unwrap();

    let id = peer.send(address.as_str(), "what is 20 + 22?").await.unwrap();
    assert_eq!(peer.ack(&id).await.unwrap()["status"], "received");
    let answer = peer.next_message().await.unwrap();
    assert_eq!((&answer["body"], &answer["re"]), (&json!("42"), &json!(id)));
    assert_eq!(answer["from"], address.as_str());
}

#[tokio::test]
async fn a_message_waits_while_the_agent_works_and_the_host_is_killed_and_comes_once() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let (api, address) = create(&host, "api").await;
    prompt(&host, &api, "sleep").await;

    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    let id = sent["id"].as_str().unwrap().to_owned();
    host.kill().unwrap();
    host.start_again().await.unwrap();

    stages_until(&host, &id, "answered").await;
    let stages = stages_until(&host, &id, "turn-seen").await;
    assert_eq!(stages.iter().filter(|stage| *stage == "turn-seen").count(), 1, "{stages:?}");
    let answers = inbox(&host, "person").await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((&answers[0]["body"], &answers[0]["re"]), (&json!("2"), &json!(id)));
}

#[tokio::test]
async fn an_agent_that_is_killed_in_mid_turn_comes_back_to_its_mailbox() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (api, address) = create(&host, "api").await;
    prompt(&host, &api, "sleep").await;
    let sent = host.run_json(&["send", &address, "what is 2*3?"]).await.unwrap();

    let agent = host.get(&format!("/v1/agents/{api}")).await.unwrap();
    let pid = i32::try_from(agent["pid"].as_u64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();

    stages_until(&host, sent["id"].as_str().unwrap(), "answered").await;
    let answers = inbox(&host, "person").await;
    assert_eq!(answers.iter().map(|a| &a["body"]).collect::<Vec<_>>(), ["6"]);
    let agent = host.get(&format!("/v1/agents/{api}")).await.unwrap();
    assert_eq!(agent["restarts"], 1);
}

#[tokio::test]
async fn of_a_thousand_messages_to_a_busy_agent_none_is_lost_none_doubled_and_order_is_kept() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (api, address) = create(&host, "api").await;
    prompt(&host, &api, "sleep").await;
    let mut peer = Peer::join(&host.broker(), "visitor", "/srv/visitor").await.unwrap();

    let mut ids = Vec::new();
    for number in 0..1000 {
        ids.push(peer.send(address.as_str(), format!("number {number}")).await.unwrap());
    }
    for id in &ids {
        assert_eq!(peer.ack(id).await.unwrap()["status"], "received");
    }
    host.post(&format!("/v1/agents/{api}/commands"), &json!({ "type": "abort" })).await.unwrap();

    for (number, id) in ids.iter().enumerate() {
        let answer = peer.next_message().await.unwrap();
        assert_eq!(answer["body"], format!("You said: number {number}"));
        assert_eq!(answer["re"], id.as_str());
    }
}

#[tokio::test]
async fn stopping_the_host_leaves_no_process_behind() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let (api, _) = create(&host, "api").await;
    prompt(&host, &api, "sleep").await;
    assert_eq!(host.processes().len(), 1);
    let output = host.stop().await.unwrap();
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "stopped\n"));
    assert!(host.processes().is_empty());
    assert!(!host.control().exists());
}

#[tokio::test]
async fn a_host_that_was_killed_leaves_no_orphan_after_the_next_start() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let (api, _) = create(&host, "api").await;
    prompt(&host, &api, "sleep").await;
    let before = host.processes();
    host.kill().unwrap();
    host.start_again().await.unwrap();
    let after = host.processes();
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
}
