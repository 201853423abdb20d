//! Real Pi processes, of both generations, talk through the real program while a scripted model
//! decides what they do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use rp_tests::{
    home::Home,
    host::Host,
    install::{self, PiVersion},
    model::Model,
};
use serde_json::{Value, json};

/// A host with an agent of each version, and what they need.
struct Scene {
    host: Host,
    model: Model,
    /// Pi 0.74.2.
    old: Agent,
    /// Pi 0.87.1.
    new: Agent,
    _homes: [Home; 2],
}

struct Agent {
    id: String,
    address: String,
}

impl Scene {
    async fn new() -> Self {
        let (old, new) = tokio::task::spawn_blocking(|| {
            (install::pi(PiVersion::V0_74_2).unwrap(), install::pi(PiVersion::V0_87_1).unwrap())
        })
        .await
        .unwrap();
        let model = Model::start().await.unwrap();
        let homes = [old, new].map(|pi| Home::new(&model.url(), &[pi]).unwrap());
        let [old_home, new_home] = &homes;
        let host = Host::start(new_home.environment()).await.unwrap();
        let old = create(&host, "old", old_home, "0.74.2").await;
        let new = create(&host, "new", new_home, "0.87.1").await;
        Self { host, model, old, new, _homes: homes }
    }

    /// Has one agent's model ask the other with its tool.
    async fn ask(&self, asker: &Agent, other: &Agent, question: &str) {
        let call = json!({ "to": other.address, "body": question });
        let text = format!("script: tool agent_send {call} ;; say asked");
        let command = json!({ "type": "prompt", "text": text });
        let path = format!("/v1/agents/{}/commands", asker.id);
        self.host.post(&path, &command).await.unwrap();
    }

    /// How often the model of an agent was given the message with this id.
    async fn times_in_history(&self, agent: &Agent, message: &str) -> usize {
        let path = format!("/v1/agents/{}/commands", agent.id);
        let reply = self.host.post(&path, &json!({ "type": "history" })).await.unwrap();
        let messages = reply["messages"].as_array().unwrap();
        let given = |entry: &&Value| {
            entry["role"] == "user"
                && entry["text"].as_str().unwrap().contains(&format!("id={message}"))
        };
        messages.iter().filter(given).count()
    }
}

/// Keeps an agent whose `pi` is the one of a home.
async fn create(host: &Host, name: &str, home: &Home, version: &str) -> Agent {
    let folder = host.agent_folder(name).unwrap();
    let settings = json!({ "env": { "PATH": home.search_path() } }).to_string();
    let arguments =
        ["create", folder.to_str().unwrap(), "--harness", "pi", "--settings", &settings];
    let agent = host.run_json(&arguments).await.unwrap();
    assert_eq!(agent["version"], version, "{agent}");
    let field = |key: &str| agent[key].as_str().unwrap().to_owned();
    Agent { id: field("id"), address: field("address") }
}

async fn trace_until(host: &Host, message: &str, stage: &str) -> Value {
    let path = format!("/v1/messages/{message}/trace?until={stage}&wait_ms=60000");
    let trace = host.get(&path).await.unwrap();
    let reached = |step: &Value| step["stage"] == stage;
    assert!(trace["steps"].as_array().unwrap().iter().any(reached), "{trace}");
    trace
}

#[tokio::test]
async fn the_model_of_one_pi_asks_the_other_and_reads_the_answer() {
    let scene = Scene::new().await;
    for (asker, other) in [(&scene.old, &scene.new), (&scene.new, &scene.old)] {
        let question = format!("which colour, {}?", asker.id);
        scene.ask(asker, other, &question).await;

        // The scripted model answers what it is asked and tells what it was answered.
        let answer = format!("answer to: {question}");
        let seen = scene.model.request_about(&answer).await.unwrap();
        assert!(seen.last_user_text.contains(&format!("from \"{}\"", other.address)));

        let inbox = scene.host.get(&format!("/v1/agents/{}/inbox", other.id)).await.unwrap();
        let asked = inbox["messages"].as_array().unwrap().iter();
        let asked = asked.filter(|message| message["body"] == question.as_str());
        let ids: Vec<_> = asked.map(|message| message["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1, "{inbox}");
        let names_it = format!("re={})", ids[0]);
        assert!(seen.last_user_text.contains(&names_it), "it reads what was answered");
        let knows_the_skill = seen.body.to_string().contains("skills/agent-network/SKILL.md");
        assert!(knows_the_skill, "the model is told where the skill is");
        trace_until(&scene.host, ids[0], "answered").await;
        assert_eq!(scene.times_in_history(other, ids[0]).await, 1);
    }
}

#[tokio::test]
async fn a_message_to_a_busy_pi_survives_the_host_and_comes_once() {
    let mut scene = Scene::new().await;
    for is_old in [true, false] {
        let agent = if is_old { &scene.old } else { &scene.new };
        let path = format!("/v1/agents/{}/commands", agent.id);
        let busy = json!({ "type": "prompt", "text": "script: endless" });
        scene
            .host
            .post(&path, &json!({ "type": "prompt", "text": "script: say hello" }))
            .await
            .unwrap();
        scene.model.request_about("say hello").await.unwrap();
        scene.host.post(&path, &busy).await.unwrap();
        scene.model.request_about("endless").await.unwrap();

        let sent = scene.host.run_json(&["send", &agent.address, "still there?"]).await.unwrap();
        let message = sent["id"].as_str().unwrap().to_owned();
        scene.host.kill().unwrap();
        scene.host.start_again().await.unwrap();

        trace_until(&scene.host, &message, "answered").await;
        assert_eq!(scene.times_in_history(agent, &message).await, 1);
    }
}

#[tokio::test]
async fn a_pi_that_is_killed_in_mid_turn_comes_back_with_its_session_and_its_mailbox() {
    let scene = Scene::new().await;
    for agent in [&scene.old, &scene.new] {
        let path = format!("/v1/agents/{}/commands", agent.id);
        let say = |text: &str| json!({ "type": "prompt", "text": text });
        scene.host.post(&path, &say("script: say the first turn")).await.unwrap();
        scene.model.request_about("say the first turn").await.unwrap();
        scene.host.post(&path, &say("script: endless")).await.unwrap();
        scene.model.request_about("script: endless").await.unwrap();
        let sent = scene.host.run_json(&["send", &agent.address, "still there?"]).await.unwrap();

        let status = scene.host.get(&format!("/v1/agents/{}", agent.id)).await.unwrap();
        let pid = i32::try_from(status["pid"].as_u64().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();

        let message = sent["id"].as_str().unwrap();
        trace_until(&scene.host, message, "answered").await;
        assert_eq!(scene.times_in_history(agent, message).await, 1);
        let seen = scene.model.request_about("still there?").await.unwrap();
        assert!(seen.body.to_string().contains("the first turn"), "the session was not resumed");
    }
}
