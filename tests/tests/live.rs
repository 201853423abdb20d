//! The real Claude Code, Codex and Pi in a person's terminal, as agents of the mesh, while a
//! scripted model decides what they do.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rp_tests::{
    PATIENCE,
    home::Home,
    host::Host,
    install::{self, PiVersion, Program},
    model::Model,
    target,
    terminal::Terminal,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_blocking,
};

/// One harness at a time is enough for a small machine.
static STAGE: Mutex<()> = Mutex::const_new(());

/// A host with a demo agent, and a home with one harness in it.
struct Scene {
    host: Host,
    model: Model,
    home: Home,
    /// Address of the demo agent.
    api: String,
    /// The folder that the person works in.
    web: PathBuf,
    _stage: MutexGuard<'static, ()>,
}

impl Scene {
    async fn new(install: fn() -> anyhow::Result<Program>) -> Self {
        let stage = STAGE.lock().await;
        let program = spawn_blocking(install).await.unwrap().unwrap();
        let model = Model::start().await.unwrap();
        let home = Home::new(&model.url(), &[program]).unwrap();
        let host = Host::start(home.environment()).await.unwrap();
        let api = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
        let web = host.agent_folder("web").unwrap();
        Self { host, model, home, api, web, _stage: stage }
    }

    fn command(&self, words: &[&str]) -> Vec<String> {
        let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
        std::iter::once(program.to_str().unwrap())
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    fn web(&self) -> &str {
        self.web.to_str().unwrap()
    }

    fn terminal(&self, words: &[&str]) -> Terminal {
        Terminal::run(&self.command(words), self.host.variables()).unwrap()
    }

    /// A harness that answers a prompt and ends, while the test goes on.
    fn in_the_background(&self, words: &[&str]) -> tokio::process::Child {
        let command = self.command(words);
        tokio::process::Command::new(&command[0])
            .args(&command[1..])
            .envs(self.host.variables())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// The live agents, once that is true of them.
    async fn live(&self, suffices: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let looking = async {
            loop {
                let listed = self.host.get("/v1/status").await.unwrap()["agents"].take();
                let Value::Array(mut agents) = listed else { unreachable!("a list") };
                agents.retain(|agent| agent["state"] == "live");
                if suffices(&agents) {
                    return agents;
                }
                // A terminal tells nobody when what runs in it is on the mesh.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap()
    }

    async fn send(&self, to: &Value, text: &str) -> String {
        let sent = self.host.run_json(&["send", to.as_str().unwrap(), text]).await.unwrap();
        assert_eq!(sent["outcomes"][0]["status"], "received", "{sent}");
        sent["id"].as_str().unwrap().to_owned()
    }

    /// The steps of a message once it has come so far.
    async fn trace(&self, message: &str, until: &str) -> Vec<String> {
        let path = format!("/v1/messages/{message}/trace?until={until}&wait_ms=60000");
        let trace = self.host.get(&path).await.unwrap();
        let steps = trace["steps"].as_array().unwrap().iter();
        let steps: Vec<_> = steps.map(|step| step["stage"].as_str().unwrap().to_owned()).collect();
        assert!(steps.iter().any(|step| step == until), "{trace}");
        steps
    }

    /// How often the model was told this message, at most, in one request.
    fn times_told(&self, message: &str) -> usize {
        let header = format!("id={message})");
        let told = |request: &rp_tests::model::Request| {
            let messages = request.body.get("messages").or(request.body.get("input"));
            messages.map_or(0, |m| m.to_string().matches(&header).count())
        };
        self.model.requests().iter().map(told).max().unwrap_or_default()
    }
}

fn ask(address: &str) -> String {
    let call = json!({ "to": address, "body": "what is 6 * 7?" });
    format!(
        "script: tool agent_send {call} ;; tool agent_wait {{\"id\":\"$id\"}} ;; say it said $result"
    )
}

fn kill(agent: &Value, signal: Signal) {
    let pid = i32::try_from(agent["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// What Claude Code asks a person before its first prompt, answered beforehand.
fn accept_claude(home: &Path, folder: &Path) {
    let folder = folder.to_str().unwrap();
    let state = json!({
        "hasCompletedOnboarding": true, "theme": "dark", "numStartups": 1,
        "customApiKeyResponses": { "approved": ["unused"], "rejected": [] },
        "projects": { folder: { "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true } },
    });
    fs::create_dir_all(home.join(".claude")).unwrap();
    fs::write(home.join(".claude/.claude.json"), state.to_string()).unwrap();
}

#[tokio::test]
async fn claude_in_print_mode_is_an_agent_while_it_runs() {
    let scene = Scene::new(install::claude_code).await;
    let said = scene.host.run(&["claude", scene.web(), "-p", &ask(&scene.api)]).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("it said ") && said.stdout.contains("42"), "{said:?}");
    assert_eq!(said.stderr, format!("on the mesh as {}@web\n", scene.web()));
    scene.live(<[Value]>::is_empty).await;

    let said = scene.host.run(&["claude", scene.web(), "--no-such-flag"]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("unknown option '--no-such-flag'"), "{said:?}");
    assert!(!scene.host.root().join("host/live").read_dir().unwrap().any(|_| true));
}

#[tokio::test]
async fn a_message_reaches_claude_at_the_end_of_its_turn_and_is_answered() {
    let scene = Scene::new(install::claude_code).await;
    let prompt =
        "script: shell touch begun.txt && while [ ! -e go.txt ]; do sleep 0.02; done ;; say done";
    let flags = ["claude", scene.web(), "--allowedTools", "Bash", "-p", prompt];
    let claude = scene.in_the_background(&flags);
    let agents = scene.live(|agents| agents.len() == 1).await;
    assert_eq!(agents[0]["harness"], "claude-code");
    let address = agents[0]["address"].as_str().unwrap();
    let begun = scene.web.join("begun.txt");
    tokio::time::timeout(PATIENCE, async {
        // A command of a harness tells nobody when it is under way.
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    let question = format!("ask {address} which colour?");
    scene.host.run_json(&["daemon", "send", "api", &question]).await.unwrap();
    let path = format!("/v1/agents/{}/inbox?waiting=true", agents[0]["id"].as_str().unwrap());
    let message = tokio::time::timeout(PATIENCE, async {
        loop {
            let inbox = scene.host.get(&path).await.unwrap();
            if let Some(id) = inbox["messages"][0]["id"].as_str() {
                return id.to_owned();
            }
        }
    })
    .await
    .unwrap();
    fs::write(scene.web.join("go.txt"), "").unwrap();

    let steps = scene.trace(&message, "answered").await;
    assert_eq!(steps[..4], ["accepted", "stored", "offered", "injected"], "{steps:?}");
    let answered = claude.wait_with_output().await.unwrap();
    assert!(answered.status.success());
    assert_eq!(String::from_utf8(answered.stdout).unwrap(), "answered\n");
    assert!(scene.times_told(&message) > 0);
    let asked = scene.model.request_about("which colour?").await.unwrap();
    assert!(asked.last_user_text.contains(&format!("from \"{}\"", scene.api)));
}

#[tokio::test]
async fn claude_in_a_terminal_gets_its_mail_with_the_next_prompt_also_after_it_was_killed() {
    let scene = Scene::new(install::claude_code).await;
    let home = scene.home.program("claude").ancestors().nth(2).unwrap().to_owned();
    accept_claude(&home, &scene.web);
    let mut terminal = scene.terminal(&["claude", scene.web()]);
    let one = |agents: &[Value]| agents.len() == 1;
    let agents = terminal.while_waiting_for(scene.live(one)).await;
    terminal.until("❯").await.unwrap();
    let first = scene.send(&agents[0]["address"], "the first message").await;
    terminal.press("script: say this is one").await.unwrap();
    terminal.until("say this is one").await.unwrap();
    terminal.press("\r").await.unwrap();
    let steps = terminal.while_waiting_for(scene.trace(&first, "turn-seen")).await;
    assert_eq!(steps, ["accepted", "stored", "offered", "injected", "turn-seen"]);
    assert!(scene.times_told(&first) > 0);

    let refused = scene.host.run(&["daemon", "stop", "web"]).await.unwrap();
    assert!(refused.stderr.contains("it is driven there"), "{refused:?}");

    let second = scene.send(&agents[0]["address"], "the second message").await;
    kill(&agents[0], Signal::KILL);
    terminal.while_waiting_for(scene.live(<[Value]>::is_empty)).await;
    terminal.ended().await.unwrap();

    let said = scene.host.run(&["claude", scene.web(), "-p", "script: say two"]).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    let steps = scene.trace(&second, "turn-seen").await;
    assert_eq!(steps, ["accepted", "stored", "offered", "injected", "turn-seen"]);
    assert!(scene.times_told(&second) > 0);
    assert_eq!(scene.trace(&first, "turn-seen").await.len(), 5, "it is not given again");
}

#[tokio::test]
async fn a_message_wakes_an_idle_pi_in_its_terminal_also_after_the_daemon_was_killed_and_it_can_leave()
 {
    let mut scene = Scene::new(|| install::pi(PiVersion::V0_87_1)).await;
    let mut terminal = scene.terminal(&["pi", scene.web()]);
    let one = |agents: &[Value]| agents.len() == 1;
    let agents = terminal.while_waiting_for(scene.live(one)).await;
    let message = scene.send(&agents[0]["address"], "which colour?").await;
    let steps = terminal.while_waiting_for(scene.trace(&message, "answered")).await;
    assert_eq!(steps[..4], ["accepted", "stored", "offered", "injected"], "{steps:?}");
    assert_eq!(scene.times_told(&message), 1);

    scene.host.kill().unwrap();
    scene.host.start_again().await.unwrap();
    let again = terminal.while_waiting_for(scene.live(one)).await;
    assert_eq!(again[0]["address"], agents[0]["address"]);
    let message = scene.send(&again[0]["address"], "which number?").await;
    terminal.while_waiting_for(scene.trace(&message, "answered")).await;
    assert_eq!(scene.times_told(&message), 1);

    terminal.press("/remote-pi status\r").await.unwrap();
    terminal.until(&format!("On the mesh as {}@web; 0 messages wait.", scene.web())).await.unwrap();
    terminal.press("/remote-pi peers\r").await.unwrap();
    terminal.until(&format!("{} (demo, idle)", scene.api)).await.unwrap();
    terminal.press("/remote-pi stop\r").await.unwrap();
    terminal.until("goes on without it").await.unwrap();
    terminal.while_waiting_for(scene.live(<[Value]>::is_empty)).await;
    terminal.press("script: say I am still here\r").await.unwrap();
    scene.model.request_about("I am still here").await.unwrap();
}

#[tokio::test]
async fn the_older_pi_can_live_in_a_terminal_too_and_a_second_one_gets_a_number() {
    let scene = Scene::new(|| install::pi(PiVersion::V0_74_2)).await;
    let mut first = scene.terminal(&["pi", scene.web()]);
    first.while_waiting_for(scene.live(|agents| agents.len() == 1)).await;
    let mut terminal = scene.terminal(&["pi", scene.web()]);
    let agents = terminal.while_waiting_for(scene.live(|agents| agents.len() == 2)).await;
    let second = agents.iter().find(|agent| agent["name"] == "web#2").unwrap();
    assert_eq!(second["address"], format!("{}@web#2", scene.web()));

    let message = scene.send(&second["address"], "which colour?").await;
    terminal.while_waiting_for(scene.trace(&message, "answered")).await;
    assert_eq!(scene.times_told(&message), 1);
    kill(second, Signal::TERM);
    assert_eq!(terminal.ended().await.unwrap(), Some(143));
    let agents = first.while_waiting_for(scene.live(|agents| agents.len() == 1)).await;

    let waiting = scene.send(&agents[0]["address"], "which number?").await;
    first.while_waiting_for(scene.trace(&waiting, "answered")).await;
    let pid = agents[0]["pid"].as_i64().unwrap();
    let harness = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    kill(&json!({ "pid": harness.trim().parse::<i64>().unwrap() }), Signal::KILL);
    assert_eq!(first.ended().await.unwrap(), Some(137));
    scene.live(<[Value]>::is_empty).await;
}

#[tokio::test]
async fn codex_has_the_tools_and_with_its_hooks_trusted_the_messages() {
    let scene = Scene::new(install::codex).await;
    let exec = ["codex", scene.web(), "exec", "--skip-git-repo-check"];
    let prompt = ask(&scene.api);
    let words = [&exec[..], &[&prompt]].concat();
    let said = scene.host.run(&words).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("it said ") && said.stdout.contains("42"), "{said:?}");
    assert!(said.stderr.contains("trust the hooks that bring messages"), "{said:?}");

    let trusted = ["--dangerously-bypass-hook-trust", "script: slow 40 50 ;; say done"];
    let codex = scene.in_the_background(&[&exec[..], &trusted].concat());
    let agents = scene.live(|agents| agents.len() == 1).await;
    scene.model.request_about("slow 40 50").await.unwrap();
    let message = scene.send(&agents[0]["address"], "which colour?").await;
    let steps = scene.trace(&message, "answered").await;
    assert_eq!(steps[..4], ["accepted", "stored", "offered", "injected"], "{steps:?}");
    assert!(codex.wait_with_output().await.unwrap().status.success());
}

#[tokio::test]
async fn opencode_has_the_tools_and_the_person_is_told_that_no_message_reaches_it_by_itself() {
    let scene = Scene::new(install::opencode).await;
    // It puts quotes around what has blanks in it, and a backslash before every quote.
    let words =
        ["opencode", scene.web(), "run", "script: tool list_peers {} ;; say it said $result"];
    let said = scene.host.run(&words).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("it said ") && said.stdout.contains(&scene.api), "{said:?}");
    assert!(said.stderr.contains("OpenCode has no hooks for messages"), "{said:?}");
}
