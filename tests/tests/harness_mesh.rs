//! Real Pi, Claude Code, Codex and OpenCode on one mesh of the real program, while a scripted
//! model decides what they do.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::{
    cell::Cell,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;
use rp_tests::{
    PATIENCE,
    home::Home,
    host::Host,
    install::{self, PiVersion, Program},
    model::Model,
    project, target,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_blocking,
};

/// Every harness, in the order in which they ask each other, and the version it says it is.
const HARNESSES: [(&str, &str); 4] = [
    ("pi", "0.87.1"),
    ("claude-code", "2.1.329 (Claude Code)"),
    ("codex", "codex-cli 0.169.0"),
    ("opencode", "1.18.33"),
];

/// One scene at a time: four harnesses are enough for a small machine.
static STAGE: Mutex<()> = Mutex::const_new(());

/// A host with an agent of each harness, and what they need.
struct Scene {
    host: Host,
    model: Model,
    agents: Vec<Agent>,
    home: Home,
    _stage: MutexGuard<'static, ()>,
}

struct Agent {
    harness: &'static str,
    id: String,
    address: String,
    folder: PathBuf,
    /// The number of the newest event that was looked at.
    seen: Cell<u64>,
}

impl Agent {
    /// It asks before it runs a command. Pi has no such question of its own.
    fn asks(&self) -> bool {
        self.harness != "pi"
    }
}

impl Scene {
    async fn new() -> Self {
        let stage = STAGE.lock().await;
        let model = Model::start().await.unwrap();
        let home = Home::new(&model.url(), &programs().await).unwrap();
        let host = Host::start(home.environment()).await.unwrap();
        let agents = join_all(HARNESSES.map(|(name, version)| create(&host, name, version))).await;
        Self { host, model, agents, home, _stage: stage }
    }

    async fn command(&self, agent: &Agent, command: &Value) {
        let path = format!("/v1/agents/{}/commands", agent.id);
        self.host.post(&path, command).await.unwrap();
    }

    async fn prompt(&self, agent: &Agent, text: &str) {
        self.command(agent, &json!({ "type": "prompt", "text": text })).await;
    }

    async fn look(&self, agent: &Agent) -> Value {
        self.host.get(&format!("/v1/agents/{}", agent.id)).await.unwrap()
    }

    /// What an agent said since this was last asked, up to the first event of this kind.
    async fn events(&self, agent: &Agent, kind: &str) -> Vec<Value> {
        let query = format!("after={}", agent.seen.get());
        let place = |events: &[Value]| events.iter().position(|e| e["event"]["type"] == kind);
        let until = |events: &[Value]| place(events).is_some();
        let mut events = self.host.events_until(&agent.id, &query, until).await.unwrap();
        events.truncate(place(&events).unwrap() + 1);
        agent.seen.set(events.last().unwrap()["sequence"].as_u64().unwrap());
        events.into_iter().map(|mut numbered| numbered["event"].take()).collect()
    }

    /// Waits for the question of an agent about a command, and answers it at the command line.
    async fn answer(&self, agent: &Agent, command: &str, answer: &str) {
        self.events(agent, "question").await;
        let open = self.host.run_json(&["questions"]).await.unwrap();
        let [question] = &open["questions"].as_array().unwrap()[..] else {
            panic!("one question: {open}")
        };
        assert_eq!(
            (&question["agent"], &question["kind"]["type"]),
            (&json!(agent.id), &json!("permission"))
        );
        assert!(question.to_string().contains(command), "it says what it is about: {question}");
        let question = question["id"].as_str().unwrap();
        self.host.run_json(&["answer", question, answer]).await.unwrap();
    }

    async fn trace_until(&self, message: &str, stage: &str) {
        let path = format!("/v1/messages/{message}/trace?until={stage}&wait_ms=60000");
        let trace = self.host.get(&path).await.unwrap();
        let reached = |step: &Value| step["stage"] == stage;
        assert!(trace["steps"].as_array().unwrap().iter().any(reached), "{trace}");
    }

    /// The ids of the questions about this that an agent was sent.
    async fn questions(&self, agent: &Agent, body: &str) -> Vec<String> {
        let inbox = self.host.get(&format!("/v1/agents/{}/inbox", agent.id)).await.unwrap();
        let messages = inbox["messages"].as_array().unwrap().iter();
        let is_it = |message: &&Value| {
            message["re"].is_null() && message["body"].as_str().unwrap().contains(body)
        };
        messages.filter(is_it).map(|message| message["id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn programs() -> Vec<Program> {
    let install: [fn() -> anyhow::Result<Program>; 4] = [
        || install::pi(PiVersion::V0_87_1),
        install::claude_code,
        install::codex,
        install::opencode,
    ];
    let installed = join_all(install.map(spawn_blocking)).await;
    installed.into_iter().map(|program| program.unwrap().unwrap()).collect()
}

/// Keeps an agent that asks before it runs a command, if its harness can.
async fn create(host: &Host, harness: &'static str, version: &str) -> Agent {
    let folder = host.agent_folder(harness).unwrap();
    let mut arguments = vec!["create", folder.to_str().unwrap(), "--harness", harness];
    if harness == "codex" {
        // Its sandbox needs namespaces, which not every machine gives.
        let settings = r#"{"approval":"untrusted","sandbox":"danger-full-access"}"#;
        arguments.extend(["--settings", settings]);
    }
    let agent = host.run_json(&arguments).await.unwrap();
    assert_eq!(agent["version"], version, "{agent}");
    let field = |key: &str| agent[key].as_str().unwrap().to_owned();
    Agent { harness, id: field("id"), address: field("address"), folder, seen: Cell::new(0) }
}

/// What an agent said in these events.
fn said(events: &[Value]) -> String {
    let pieces = events.iter().filter(|event| event["type"] == "text");
    pieces.map(|event| event["piece"].as_str().unwrap()).collect()
}

/// The first tool call in these events that ended.
fn ended_tool(events: &[Value]) -> &Value {
    let ended = events.iter().find(|event| event["type"] == "tool-ended");
    ended.unwrap_or_else(|| panic!("no tool call ended: {events:#?}"))
}

/// A command of a harness tells nobody when it is under way.
async fn until_exists(file: &Path) {
    let exists = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, exists).await.unwrap();
}

#[tokio::test]
async fn every_harness_is_found_with_its_version() {
    let home = Home::new("http://127.0.0.1:9/v1", &programs().await).unwrap();
    let host = Host::start(home.environment()).await.unwrap();
    let listed = host.run_json(&["harnesses"]).await.unwrap();
    for (name, version) in HARNESSES {
        let listed = listed["harnesses"].as_array().unwrap();
        let harness = listed.iter().find(|harness| harness["name"] == name).unwrap();
        assert_eq!(harness["version"], version);
        assert!(harness["tested"].as_array().unwrap().contains(&harness["version"]), "{harness}");
        let program = harness["installed"].as_str().unwrap();
        assert!(home.program(harness["program"].as_str().unwrap()).ends_with(program));
    }
}

#[tokio::test]
async fn a_question_goes_round_four_harnesses_and_the_answer_comes_back() {
    let scene = Scene::new().await;
    // Each model waits for the next one's answer within its turn.
    let [first, others @ ..] = &scene.agents[..] else { panic!("four agents") };
    let addresses: Vec<_> = others.iter().map(|agent| agent.address.as_str()).collect();
    let question = "which colour?";
    let relay = format!("script: relay {} :: {question}", addresses.join(" "));
    scene.prompt(first, &relay).await;
    let events = scene.events(first, "turn-ended").await;
    assert!(said(&events).contains(&format!("answer to: {question}")), "{events:#?}");
    for agent in others {
        let [message] = &scene.questions(agent, question).await[..] else { panic!("one question") };
        scene.trace_until(message, "answered").await;
    }

    // Each model asks the next one, and the answer is a prompt of its own.
    let next = scene.agents.iter().cycle().skip(1);
    for (asker, other) in scene.agents.iter().zip(next) {
        let question = format!("what do you know, {}?", other.harness);
        let call = json!({ "to": other.address, "body": question });
        scene.prompt(asker, &format!("script: tool agent_send {call} ;; say asked")).await;
        let seen = scene.model.request_about(&format!("answer to: {question}")).await.unwrap();
        assert!(seen.last_user_text.contains(&format!("from \"{}\"", other.address)));
        let [message] = &scene.questions(other, &question).await[..] else {
            panic!("one question")
        };
        assert!(seen.last_user_text.contains(&format!("re={message})")));
        scene.trace_until(message, "answered").await;
    }
}

#[tokio::test]
async fn a_command_runs_when_a_person_allows_it_and_only_then() {
    let scene = Scene::new().await;
    for agent in scene.agents.iter().filter(|agent| agent.asks()) {
        let prompt = "script: shell touch made.txt && echo finished ;; say it gave: $result";
        scene.prompt(agent, prompt).await;
        scene.answer(agent, "touch made.txt", "allow").await;
        let events = scene.events(agent, "turn-ended").await;
        assert!(agent.folder.join("made.txt").exists(), "{}: {events:#?}", agent.harness);
        assert_eq!(ended_tool(&events)["failed"], false);
        assert!(said(&events).contains("finished"), "{}: {events:#?}", agent.harness);

        scene.prompt(agent, "script: shell touch refused.txt ;; say it gave: $result").await;
        scene.answer(agent, "touch refused.txt", "deny").await;
        let events = scene.events(agent, "turn-ended").await;
        assert!(!agent.folder.join("refused.txt").exists(), "{}", agent.harness);
        assert_eq!(ended_tool(&events)["failed"], true, "{}: {events:#?}", agent.harness);
        // OpenCode ends the turn where the others tell their models.
        let told = if agent.harness == "opencode" { "" } else { "it gave: " };
        assert!(said(&events).starts_with(told), "{}: {events:#?}", agent.harness);
        assert_eq!(said(&events).is_empty(), told.is_empty());
        assert_eq!(scene.look(agent).await["questions"], Value::Null);
    }
}

/// Puts a harness that the host has never seen on the PATH of its agents, and the adapter for it
/// into the folder of a running host.
async fn drop_in_parrot(scene: &Scene) {
    let program = scene.home.program("parrot");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parrot.mjs");
    fs::write(&program, format!("#!/bin/sh\nexec node '{}' \"$@\"\n", script.display())).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let project = project::javascript(&scene.host, "adapter", "parrot").await.unwrap();
    let inbox = scene.host.root().join("host/components/parrot");
    fs::create_dir(&inbox).unwrap();
    for file in ["component.toml", "component.wasm"] {
        fs::copy(project.join(file), inbox.join(file)).unwrap();
    }
    let waits = async {
        while scene.host.run_json(&["component", "pending"]).await.unwrap() == json!([]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
    // An agent that grants by itself is found out, whatever it does to its environment.
    let home = scene.host.root().ancestors().nth(2).unwrap().display().to_string();
    let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
    let grant = format!("{} component grant parrot", program.display());
    let script = format!("script: shell env -i REMOTE_PI_HOME={home} {grant} 2>&1 ;; say $result");
    let pi = &scene.agents[0];
    scene.prompt(pi, &script).await;
    let told = said(&scene.events(pi, "turn-ended").await);
    assert!(told.contains("what an agent runs cannot do this: it is for the person"), "{told}");
    let granted = scene.host.run_json(&["component", "grant", "parrot"]).await.unwrap();
    assert_eq!(granted["granted"], json!(["run=parrot"]));
}

#[tokio::test]
async fn an_agent_of_a_harness_that_was_dropped_in_joins_the_conversation() {
    let scene = Scene::new().await;
    drop_in_parrot(&scene).await;
    let parrot = create(&scene.host, "parrot", "1.0.0").await;
    for agent in &scene.agents {
        let question = format!("who are you, asks {}?", agent.harness);
        let call = json!({ "to": parrot.address, "body": question });
        scene.prompt(agent, &format!("script: tool agent_send {call} ;; say asked")).await;
        let answer = format!("the parrot heard: {question}");
        let seen = scene.model.request_about(&answer).await.unwrap();
        assert!(seen.last_user_text.contains(&format!("from \"{}\"", parrot.address)));
        let [message] = &scene.questions(&parrot, &question).await[..] else {
            panic!("one question")
        };
        scene.trace_until(message, "answered").await;
    }

    let other = &scene.agents[2];
    scene.prompt(&parrot, &format!("ask {} what is it like to have hands?", other.address)).await;
    let says = async {
        while !said(&scene.events(&parrot, "turn-ended").await)
            .contains("answer to: what is it like to have hands?")
        {}
    };
    tokio::time::timeout(PATIENCE, says).await.unwrap();
}

#[tokio::test]
async fn an_abort_ends_what_an_agent_does_and_the_next_prompt_is_heard() {
    let scene = Scene::new().await;
    let abort = async |agent: &Agent| {
        scene.command(agent, &json!({ "type": "abort" })).await;
        let events = scene.events(agent, "turn-ended").await;
        assert_eq!(events.last().unwrap()["how"], "aborted", "{}: {events:#?}", agent.harness);
    };
    for agent in &scene.agents {
        scene.prompt(agent, "script: endless").await;
        scene.events(agent, "text").await;
        abort(agent).await;

        scene.prompt(agent, "script: shell touch begun.txt && sleep 600").await;
        if agent.asks() {
            scene.answer(agent, "touch begun.txt", "allow").await;
        }
        until_exists(&agent.folder.join("begun.txt")).await;
        abort(agent).await;

        if agent.asks() {
            scene.prompt(agent, "script: shell touch asked.txt").await;
            scene.events(agent, "question").await;
            abort(agent).await;
            assert_eq!(scene.look(agent).await["questions"], Value::Null);
        }

        scene.prompt(agent, "script: say still here").await;
        let events = scene.events(agent, "turn-ended").await;
        assert_eq!(said(&events), "still here", "{}: {events:#?}", agent.harness);
        assert_eq!(events.last().unwrap()["how"], "completed");
        assert!(!agent.folder.join("asked.txt").exists());
    }
}

#[tokio::test]
async fn another_model_goes_on_with_the_conversation() {
    let scene = Scene::new().await;
    for agent in &scene.agents {
        let harness = agent.harness;
        scene.prompt(agent, &format!("script: say {harness} began")).await;
        scene.events(agent, "turn-ended").await;
        let (provider, model) = match harness {
            "claude-code" => ("anthropic", "haiku"),
            _ => ("scripted", "script-2"),
        };
        let model_is = format!("model={provider}/{model}");
        let set = ["action", "run", &agent.id, "set-model", "--param", &model_is];
        scene.host.run_json(&set).await.unwrap();
        scene.prompt(agent, &format!("script: say {harness} goes on")).await;
        let seen = scene.model.request_about(&format!("{harness} goes on")).await.unwrap().body;
        assert!(seen["model"].as_str().unwrap().contains(model), "{harness}");
        assert!(seen.to_string().contains(&format!("{harness} began")), "{harness} forgot it");
        scene.events(agent, "turn-ended").await;
    }
}

#[tokio::test]
async fn what_comes_in_mid_turn_joins_the_turn_where_the_harness_can() {
    let scene = Scene::new().await;
    for agent in &scene.agents {
        let harness = agent.harness;
        let listed = scene.host.run_json(&["harnesses"]).await.unwrap();
        let all = listed["harnesses"].as_array().unwrap();
        let listed = all.iter().find(|listed| listed["name"] == harness).unwrap();
        let steers = listed["abilities"].as_array().unwrap().contains(&json!("steer"));
        let script = "script: shell touch begun.txt && while [ ! -e go.txt ]; do sleep 0.05; done ;; say it was: $result";
        scene.prompt(agent, script).await;
        if agent.asks() {
            scene.answer(agent, "touch begun.txt", "allow").await;
        }
        until_exists(&agent.folder.join("begun.txt")).await;
        let hint = format!("a hint for {harness}");
        let prompt = json!({ "type": "prompt", "text": hint, "urgency": "after-tools" });
        scene.command(agent, &prompt).await;
        fs::write(agent.folder.join("go.txt"), "").unwrap();
        let events = scene.events(agent, "turn-ended").await;
        let is_seen = |request: &rp_tests::model::Request| request.body.to_string().contains(&hint);
        let told = scene.model.requests().iter().any(is_seen);
        assert_eq!(told, steers, "{harness}: {events:#?}");
        if !steers {
            scene.model.request_about(&hint).await.unwrap();
            scene.events(agent, "turn-ended").await;
        }
    }
}

#[tokio::test]
async fn claude_code_asks_less_in_another_permission_mode() {
    let scene = Scene::new().await;
    let agent = &scene.agents[1];
    let mode = |mode: &str| json!({ "type": "other", "name": "set-permission-mode", "arguments": { "mode": mode } });
    scene.command(agent, &mode("acceptEdits")).await;
    scene.prompt(agent, "script: shell touch unasked.txt ;; say done").await;
    let events = scene.events(agent, "turn-ended").await;
    assert!(agent.folder.join("unasked.txt").exists(), "{events:#?}");
    assert!(events.iter().all(|event| event["type"] != "question"), "{events:#?}");

    scene.command(agent, &mode("default")).await;
    scene.prompt(agent, "script: shell touch asked.txt ;; say done").await;
    scene.answer(agent, "touch asked.txt", "allow").await;
    scene.events(agent, "turn-ended").await;
    assert!(agent.folder.join("asked.txt").exists());
}

#[tokio::test]
async fn a_harness_that_is_killed_in_mid_turn_comes_back_with_its_session_and_its_mailbox() {
    let scene = Scene::new().await;
    for agent in &scene.agents {
        let harness = agent.harness;
        let first = format!("this is the first turn of {harness}");
        scene.prompt(agent, &format!("script: say {first}")).await;
        scene.events(agent, "turn-ended").await;
        scene.prompt(agent, "script: endless").await;
        scene.events(agent, "text").await;
        let question = format!("still there, {harness}?");
        let sent = scene.host.run_json(&["send", &agent.address, &question]).await.unwrap();

        let pid = scene.look(agent).await["pid"].as_i64().unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process_group(pid, Signal::KILL).unwrap();

        let message = sent["id"].as_str().unwrap();
        scene.trace_until(message, "answered").await;
        let seen = scene.model.request_about(&question).await.unwrap().body.to_string();
        assert!(seen.contains(&first), "{harness} did not resume its session");
        assert_eq!(seen.matches(&format!("id={message})")).count(), 1, "{harness}");
        assert_eq!(scene.look(agent).await["restarts"], 1);
    }
}
