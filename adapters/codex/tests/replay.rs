//! Every recording of Codex, replayed: what the adapter makes of it is kept in `golden/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_adapter_codex::Codex;
use rp_sdk::interface::{Command, LaunchRequest, McpServer, MeshAccess};
use rp_sdk::replay::{Direction, Line, Recording, Translation, Translator, replay_folder};
use rp_sdk::session::{Answer, Image, Prompt, Urgency};
use rp_sdk::testing::{launch_request, mesh_access};
use serde_json::{Value, json};

/// Reads what the recorder wrote to Codex.
struct Recorder {
    /// Requests of Codex, to know what the recorder answered.
    asked: Vec<Value>,
    /// Prompts that joined the turn that was running.
    steered: BTreeSet<String>,
    /// Requests that Codex refused.
    refused: BTreeSet<String>,
}

impl Recorder {
    fn new(lines: &[Line]) -> Self {
        let out = lines.iter().filter(|line| line.dir == Direction::Out);
        let out: Vec<Value> =
            out.filter_map(|line| serde_json::from_str(&line.line).ok()).collect();
        let mut turns = BTreeSet::new();
        let mut steered = BTreeSet::new();
        for answer in &out {
            let turn = answer["result"]["turn"]["id"].as_str();
            if turn.is_some_and(|turn| !turns.insert(turn.to_owned())) {
                steered.insert(answer["id"].to_string());
            }
        }
        let refused = out.iter().filter(|answer| answer["error"].is_object());
        let refused = refused.map(|answer| answer["id"].to_string()).collect();
        let is_request = |line: &Value| line["method"].is_string() && !line["id"].is_null();
        Self { asked: out.into_iter().filter(is_request).collect(), steered, refused }
    }

    fn command(&self, json: &Value) -> Option<Command> {
        let params = &json["params"];
        let text = |name: &str| params[name].as_str().map(str::to_owned);
        Some(match json["method"].as_str()? {
            // The adapter does this by itself.
            "initialize" => Command::Refresh,
            "initialized" => return None,
            "thread/start" => Command::NewSession,
            "thread/resume" => Command::Resume(text("threadId")?),
            "turn/start" if self.steered.contains(&json["id"].to_string()) => {
                prompt(params, Urgency::AfterTools)?
            }
            "turn/start" => prompt(params, Urgency::WhenIdle)?,
            // The adapter knows which turn runs, and whether one does.
            "turn/steer" if self.refused.contains(&json["id"].to_string()) => return None,
            "turn/steer" => prompt(params, Urgency::AfterTools)?,
            "turn/interrupt" => Command::Abort,
            "thread/compact/start" => Command::Compact(None),
            "thread/name/set" => Command::Rename(text("name")?),
            "thread/read" => Command::History,
            "model/list" => Command::ListModels,
            // The adapter leaves a thread when another becomes current.
            "thread/unsubscribe" => return None,
            other => Command::Other((other.to_owned(), params.to_string())),
        })
    }

    /// The answer to a request of Codex.
    fn answer(&self, json: &Value) -> Option<Command> {
        let asked = self.asked.iter().find(|asked| asked["id"] == json["id"])?;
        let result = &json["result"];
        let question = format!("question-{}", json["id"]);
        if asked["method"] == "item/tool/requestUserInput" {
            let (name, answers) = result["answers"].as_object()?.iter().next()?;
            let choice = Answer::Choice(answers["answers"][0].as_str()?.to_owned());
            return Some(Command::Answer((format!("{question}.{name}"), choice)));
        }
        let id = match (result["decision"].as_str(), result["action"].as_str()) {
            (Some("acceptForSession"), _) => "session",
            (_, Some("accept")) if result["_meta"]["persist"] == "session" => "session",
            (Some("accept"), _) | (_, Some("accept")) => "allow",
            (Some("cancel"), _) => "cancel",
            (Some("decline"), _) | (_, Some("decline")) => "deny",
            // No option, but what a dismissed question comes to.
            (_, Some("cancel")) => return Some(Command::Answer((question, Answer::Dismiss))),
            _ => return None,
        };
        Some(Command::Answer((question, Answer::Choice(id.to_owned()))))
    }
}

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let json: Value = serde_json::from_str(line).unwrap_or_default();
        let command = self.command(&json).or_else(|| self.answer(&json));
        command.map_or(Translation::Skip, Translation::Command)
    }

    fn stands_for(&self, written: &Value, recorded: &Value) -> bool {
        // A prompt joins a turn with a method of its own; the recorder used the other too.
        let method = |json: &Value| match json["method"].as_str() {
            Some("turn/start" | "turn/steer") => "prompt".to_owned(),
            method => method.unwrap_or_default().to_owned(),
        };
        let is_answer = written["method"].is_null();
        method(written) == method(recorded)
            && written["params"]["input"] == recorded["params"]["input"]
            && (!is_answer || written["id"] == recorded["id"])
    }
}

fn prompt(params: &Value, urgency: Urgency) -> Option<Command> {
    let input = params["input"].as_array()?;
    let text = input.iter().find_map(|part| part["text"].as_str())?.to_owned();
    let images = input.iter().filter_map(|part| {
        let data = part["url"].as_str()?.strip_prefix("data:image/png;base64,")?;
        Some(Image { mime: "image/png".to_owned(), data: STANDARD.decode(data).ok()? })
    });
    Some(Command::Prompt(Prompt { text, images: images.collect(), urgency }))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The first request of this method that the recorder wrote.
fn first(lines: &[Line], method: &str) -> Value {
    let wrote = lines.iter().filter(|line| line.dir == Direction::In);
    let mut wrote = wrote.filter_map(|line| serde_json::from_str::<Value>(&line.line).ok());
    wrote.find(|json| json["method"] == method).unwrap_or_default()
}

/// A launch that asks for the thread that the recorder asked for.
fn request(lines: &[Line]) -> LaunchRequest {
    let params = &first(lines, "thread/start")["params"];
    let mut settings = json!({});
    for (own, theirs) in [("approval", "approvalPolicy"), ("sandbox", "sandbox")] {
        if let Some(value) = params[theirs].as_str() {
            settings[own] = json!(value);
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mesh = params["config"].is_object().then(|| {
        let config = |name: &str| params["config"][format!("mcp_servers.mesh.{name}")].clone();
        let env = config("env");
        let env = env.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value)));
        let server = McpServer {
            name: "mesh".to_owned(),
            command: text(&config("command")),
            args: config("args").as_array().unwrap().iter().map(text).collect(),
            env: env.collect(),
        };
        MeshAccess { server, ..mesh_access() }
    });
    LaunchRequest {
        resume: first(lines, "thread/resume")["params"]["threadId"].as_str().map(str::to_owned),
        mesh,
        settings: settings.to_string(),
        version: Some("codex-cli 0.169.0".to_owned()),
        ..launch_request("codex")
    }
}

/// A recording as if the adapter's habits had been the recorder's.
fn adapted(lines: Vec<Line>) -> Vec<Line> {
    let lines = lines.into_iter().map(|mut line| {
        // Codex gives back what a prompt was named.
        line.line = line.line.replace(r#""clientId":"m"#, r#""clientId":"prompt-"#);
        line.line = with_ids_apart(&line);
        line
    });
    thread_first(lines.collect())
}

/// The recorder's ids are made larger than any of the adapter's, or of Codex's own requests,
/// so that no answer is taken for one to something else.
fn with_ids_apart(line: &Line) -> String {
    let json: Value = serde_json::from_str(&line.line).unwrap_or_default();
    let is_theirs = json["method"].is_string() == (line.dir == Direction::In);
    match json["id"].as_u64().filter(|_| is_theirs) {
        Some(id) => {
            line.line.replacen(&format!("\"id\":{id}"), &format!("\"id\":{}", id + 1000), 1)
        }
        None => line.line.clone(),
    }
}

/// The adapter asks for its thread before anything else, so that exchange is moved to where
/// the handshake ends.
fn thread_first(mut lines: Vec<Line>) -> Vec<Line> {
    let json = |line: &Line| serde_json::from_str::<Value>(&line.line).unwrap_or_default();
    let starts = |line: &Line| {
        line.dir == Direction::In
            && ["thread/start", "thread/resume"].map(Value::from).contains(&json(line)["method"])
    };
    let greeted = lines.iter().position(|line| json(line)["method"] == "initialized");
    let (Some(greeted), Some(asked)) = (greeted, lines.iter().position(starts)) else {
        return lines;
    };
    let id = json(&lines[asked])["id"].clone();
    let answers = |line: &Line| line.dir == Direction::Out && json(line)["id"] == id;
    let at_ms = lines[greeted].at_ms;
    let answer = lines.iter().position(answers).map(|at| lines.remove(at));
    let request = lines.remove(asked);
    for line in answer.into_iter().chain([request]) {
        lines.insert(greeted + 1, Line { at_ms, ..line });
    }
    lines
}

#[test]
fn every_recording_is_understood() {
    let wrong = replay_folder::<Codex, _>(
        &folder("transcripts/0.169.0"),
        &folder("golden/0.169.0"),
        |_, lines| {
            let lines = adapted(lines);
            Recording { request: request(&lines), translator: Recorder::new(&lines), lines }
        },
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
