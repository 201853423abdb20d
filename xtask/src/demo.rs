//! The main job, shown: two agents talk through the mesh.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    run::{build_everything, root, step, target},
    setup,
};

/// The whole demonstration gives up after this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows two agents of a harness talk; an error if the answer did not come.
pub fn demo(harness: &str) -> Result<()> {
    setup::toolchain()?;
    step("build rp-host and its components", build_everything)?;
    let scene = Scene::new()?;
    let fixture = if harness == "pi" { Some(PiFixture::start(&scene)?) } else { None };
    let environment = fixture.as_ref().map(PiFixture::environment).unwrap_or_default();

    let host = Host::start(&scene, environment)?;
    println!("\nrp-host serves the state root {}\n", scene.state.path().display());
    converse(&host, &scene, harness)?;
    host.what_is_installed()
}

/// One agent asks, the other answers; both are seen doing it.
fn converse(host: &Host, scene: &Scene, harness: &str) -> Result<()> {
    let asker = host.create(&scene.folder("web")?, harness)?;
    let answerer = host.create(&scene.folder("api")?, harness)?;
    let (asker_address, address) = (text(&asker, "address")?, text(&answerer, "address")?);
    println!("created {asker_address}\ncreated {address}\n");

    let events = host.follow(&text(&asker, "id")?)?;
    let question = "what is your name?";
    let prompt = match harness {
        "pi" => {
            let call = serde_json::json!({ "to": address, "body": question });
            format!("script: tool agent_send {call} ;; say asked")
        }
        _ => format!("ask {address} {question}"),
    };
    host.say(&["daemon", "send", &text(&asker, "id")?, &prompt])?;

    println!("the conversation, as the asking agent's session shows it:");
    let answer = events.wait_for_answer()?;
    // The real model is scripted and repeats the question's words; the demo agent has a name.
    if harness == "demo" && !answer.contains("My name is api.") {
        bail!("the answer is wrong: {answer}");
    }
    println!("\nthe answer came: {answer}");

    let message = host.question(&text(&answerer, "id")?, &asker_address)?;
    host.wait_until_answered(&message)?;
    println!("\nthe way of the question, `rp-host trace {message}`:");
    println!("{}", host.say(&["trace", &message])?);
    Ok(())
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value.get(key).and_then(Value::as_str).with_context(|| format!("no `{key}`"))?.to_owned())
}

/// Folders that vanish with the demonstration.
struct Scene {
    state: tempfile::TempDir,
    folders: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        // Short names: a socket path may have 107 bytes at most.
        let folder = || tempfile::Builder::new().prefix("rp-").tempdir_in("/tmp");
        Ok(Self { state: folder()?, folders: folder()? })
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folders.path().join(name);
        std::fs::create_dir(&path)?;
        Ok(path)
    }
}

/// A daemon that ends with the demonstration.
struct Host {
    program: PathBuf,
    state: PathBuf,
    environment: Vec<(String, String)>,
    daemon: Child,
}

impl Host {
    fn start(scene: &Scene, environment: Vec<(String, String)>) -> Result<Self> {
        let program = target().join("debug/rp-host");
        let state = scene.state.path().to_owned();
        let log = std::fs::File::create(state.join("serve.log"))?;
        let mut command = Command::new(&program);
        command.arg("serve").env("REMOTE_PI_HOME", &state).envs(environment.clone());
        let daemon = command.stdin(Stdio::null()).stderr(log).spawn()?;
        let mut host = Self { program, state, environment, daemon };
        host.wait_until_ready()?;
        Ok(host)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.say(&["status", "--no-start"]).is_err() {
            if let Some(status) = self.daemon.try_wait()? {
                let said = std::fs::read_to_string(self.state.join("serve.log"))?;
                bail!("rp-host serve ended with {status}; it said:\n{said}");
            }
            if start.elapsed() > PATIENCE {
                bail!("rp-host serve was not ready within {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The trace of an answered message is complete a moment after the answer is seen.
    fn wait_until_answered(&self, message: &str) -> Result<()> {
        let start = Instant::now();
        while !self.say(&["trace", message, "--json"])?.contains("\"answered\"") {
            if start.elapsed() > PATIENCE {
                bail!("the trace of {message} never said that it was answered");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("REMOTE_PI_HOME", &self.state).stdin(Stdio::null());
        command.envs(self.environment.clone());
        command
    }

    /// Runs one command and gives what it printed.
    fn say(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`rp-host {}` failed: {}", arguments.join(" "), problem.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.say(arguments)?)?)
    }

    fn create(&self, folder: &Path, harness: &str) -> Result<Value> {
        let folder = folder.to_string_lossy();
        self.json(&["create", &folder, "--harness", harness, "--json"])
    }

    /// The id of the message in the answerer's mailbox that came from the asker.
    fn question(&self, answerer: &str, asker: &str) -> Result<String> {
        let inbox = self.json(&["inbox", answerer, "--json"])?;
        let messages = inbox.get("messages").and_then(Value::as_array).context("no messages")?;
        let question = messages
            .iter()
            .find(|message| message.get("from").and_then(Value::as_str) == Some(asker))
            .context("the question is not in the mailbox")?;
        text(question, "id")
    }

    fn follow(&self, agent: &str) -> Result<Events> {
        let mut child =
            self.command(&["attach", agent, "--json"]).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (sender, lines) = channel();
        // A thread of its own, so that waiting for a line can end.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Events { child, lines })
    }

    fn what_is_installed(&self) -> Result<()> {
        println!("\nreal harnesses on this machine:");
        let listing = self.json(&["harnesses", "--json"])?;
        let harnesses = listing.get("harnesses").and_then(Value::as_array).context("no list")?;
        for harness in harnesses {
            let name = text(harness, "name")?;
            if name == "demo" {
                continue;
            }
            match harness.get("version").and_then(Value::as_str) {
                Some(version) => println!(
                    "  {name} {version}: start one with `cargo run -p rp-host -- create <folder> --harness {name}`"
                ),
                None => println!(
                    "  {name}: not installed. Install it with `{}`, then start one with\n      `cargo run -p rp-host -- create <folder> --harness {name}`",
                    text(harness, "install")?
                ),
            }
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.say(&["stop"]);
        let _ = self.daemon.wait();
    }
}

/// The events of one session, as they happen.
struct Events {
    child: Child,
    lines: Receiver<String>,
}

impl Events {
    /// Prints what is said until a message tells of the answer.
    fn wait_for_answer(&self) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).context("no answer came")?;
            let event: Value = serde_json::from_str(&line)?;
            let event = event.get("event").context("no event")?;
            let kind = event.get("type").and_then(Value::as_str);
            if kind == Some("tool-started") {
                let input = event.get("input").map(Value::to_string).unwrap_or_default();
                println!("  {:>9}: {} {input}", "tool", text(event, "name")?);
            }
            if kind != Some("message-ended") {
                continue;
            }
            let said = text(event, "text")?;
            println!("  {:>9}: {}", text(event, "role")?, said.replace('\n', "\n             "));
            let by_agent = event.get("role").and_then(Value::as_str) == Some("assistant");
            if by_agent && (said.contains(" answered: ") || said.starts_with("got answer:")) {
                return Ok(said);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The real Pi and a scripted model on loopback, prepared by a program of the tests' crate.
struct PiFixture {
    child: Child,
    environment: Vec<(String, String)>,
}

impl PiFixture {
    fn start(scene: &Scene) -> Result<Self> {
        println!("installing the real Pi with npm, if it is not there yet …");
        let mut child = Command::new(target().join("debug/scripted-pi"))
            .arg(scene.folders.path())
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let environment = serde_json::from_str::<std::collections::BTreeMap<String, String>>(&line)
            .context("the scripted Pi did not start")?;
        Ok(Self { child, environment: environment.into_iter().collect() })
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }
}

impl Drop for PiFixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
