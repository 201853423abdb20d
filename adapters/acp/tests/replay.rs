//! Every recording of an agent, replayed: what the adapter makes of it is kept in `golden/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_adapter_acp::Acp;
use rp_sdk::interface::{Command, LaunchRequest, Reply};
use rp_sdk::replay::{
    Direction, Line, Recording, Translation, Translator, golden, read, replay_folder,
};
use rp_sdk::session::{Answer, Image, ModelRef, Prompt, Thinking, Urgency};
use rp_sdk::testing::{Bench, launch_request};
use serde_json::{Value, json};

/// Reads what the recorder wrote to the agent.
struct Recorder {
    harness: String,
    /// Prompts for another session than the one that was opened last.
    foreign: BTreeSet<String>,
    /// Prompts that were sent while another was not answered.
    second: BTreeSet<String>,
    /// Those of them that were answered before the other.
    overtakes: BTreeSet<String>,
    /// The questions of the agent by its id of them: how the adapter names each, and its options.
    questions: BTreeMap<String, (String, Value)>,
}

impl Recorder {
    fn new(harness: &str, lines: &[Line]) -> Self {
        let mut recorder = Self {
            harness: harness.to_owned(),
            foreign: BTreeSet::new(),
            second: BTreeSet::new(),
            overtakes: BTreeSet::new(),
            questions: BTreeMap::new(),
        };
        let mut session = None;
        let mut opening = None;
        let mut running: Vec<String> = Vec::new();
        for line in lines.iter().filter(|line| line.dir != Direction::Err) {
            let Ok(json) = serde_json::from_str::<Value>(&line.line) else { continue };
            let id = json["id"].to_string();
            match (line.dir, json["method"].as_str()) {
                (Direction::In, Some("session/new")) => opening = Some(id),
                (Direction::In, Some("session/load" | "session/resume")) => {
                    session = Some(json["params"]["sessionId"].clone());
                }
                (Direction::In, Some("session/prompt")) => {
                    if Some(&json["params"]["sessionId"]) != session.as_ref() {
                        recorder.foreign.insert(id);
                    } else {
                        if !running.is_empty() {
                            recorder.second.insert(id.clone());
                        }
                        running.push(id);
                    }
                }
                (Direction::Out, Some("session/request_permission")) => {
                    let call = json["params"]["toolCall"]["toolCallId"].as_str().unwrap();
                    let name = format!("{call}.{}", recorder.questions.len() + 1);
                    let options = json["params"]["options"].clone();
                    recorder.questions.insert(id, (name, options));
                }
                (Direction::Out, None) => {
                    if opening.as_ref() == Some(&id) {
                        session = Some(json["result"]["sessionId"].clone());
                    }
                    if let Some(at) = running.iter().position(|prompt| *prompt == id) {
                        if at > 0 {
                            recorder.overtakes.insert(id);
                        }
                        running.remove(at);
                    }
                }
                _ => {}
            }
        }
        recorder
    }

    fn command(&self, json: &Value) -> Option<Command> {
        let params = &json["params"];
        let text = |name: &str| params[name].as_str().map(str::to_owned);
        let other = |name: &str, arguments: Value| {
            Some(Command::Other((name.to_owned(), arguments.to_string())))
        };
        match json["method"].as_str() {
            // The adapter does these by itself at the start, and on these commands.
            Some("initialize" | "session/load" | "session/resume") => Some(Command::Refresh),
            Some("session/new") => Some(Command::NewSession),
            Some("session/prompt") => self.prompt(json),
            Some("session/cancel") => Some(Command::Abort),
            Some("session/set_model") => Some(Command::SetModel(model(&text("modelId")?))),
            Some("session/set_config_option") => {
                let value = text("value")?;
                match (text("configId")?.as_str(), Thinking::named(&value)) {
                    ("model", _) => Some(Command::SetModel(model(&value))),
                    ("effort" | "thought_level", Some(level)) => Some(Command::SetThinking(level)),
                    (option, _) => {
                        other("set-config-option", json!({"option": option, "value": value}))
                    }
                }
            }
            Some("session/set_mode") => other("set-mode", json!({"mode": text("modeId")?})),
            Some("session/list") => other("list-sessions", json!({})),
            None => self.answer(json),
            _ => None,
        }
    }

    fn prompt(&self, json: &Value) -> Option<Command> {
        let id = json["id"].to_string();
        let text = prompt_text(json);
        if self.foreign.contains(&id) {
            return None;
        }
        if text == "/compact" && self.harness != "gemini" {
            return Some(Command::Compact(None));
        }
        let urgency = match (self.second.contains(&id), self.harness.as_str()) {
            (true, "opencode") => Urgency::AfterTools,
            // The agent ends the first prompt for the second, which is no way to end a tool.
            (true, "gemini") if self.overtakes.contains(&id) => return None,
            (true, "gemini") => Urgency::Interrupt,
            _ => Urgency::WhenIdle,
        };
        let blocks = json["params"]["prompt"].as_array()?.iter();
        let images = blocks.filter(|block| block["type"] == "image").map(|block| {
            let data = STANDARD.decode(block["data"].as_str()?).ok()?;
            Some(Image { mime: block["mimeType"].as_str()?.to_owned(), data })
        });
        let images = images.collect::<Option<Vec<_>>>()?;
        Some(Command::Prompt(Prompt { text, images, urgency }))
    }

    fn answer(&self, json: &Value) -> Option<Command> {
        let (question, options) = self.questions.get(&json["id"].to_string())?;
        let options = options.as_array()?;
        let outcome = &json["result"]["outcome"];
        let chosen = options.iter().find(|option| option["optionId"] == outcome["optionId"]);
        let answer = match chosen {
            None => Answer::Dismiss,
            Some(option) => {
                let alike = options.iter().all(|option| option["kind"] == options[0]["kind"]);
                let member = if alike { "name" } else { "optionId" };
                Answer::Choice(option[member].as_str()?.to_owned())
            }
        };
        Some(Command::Answer((question.clone(), answer)))
    }
}

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let Ok(json @ Value::Object(_)) = serde_json::from_str::<Value>(line) else {
            return Translation::Skip;
        };
        self.command(&json).map_or(Translation::Skip, Translation::Command)
    }

    fn stands_for(&self, written: &Value, recorded: &Value) -> bool {
        match (written["method"].as_str(), recorded["method"].as_str()) {
            // Answers to the agent's questions come in their order. What else it asks for the
            // recorder granted and the adapter refuses.
            (None, None) => written["error"].is_null(),
            (Some("session/prompt"), Some("session/prompt")) => {
                prompt_text(written) == prompt_text(recorded)
            }
            (Some("session/load"), Some("session/load" | "session/resume")) => true,
            (Some("session/set_config_option"), Some("session/set_model")) => {
                written["params"]["value"] == recorded["params"]["modelId"]
            }
            (Some("session/set_config_option"), Some("session/set_mode")) => {
                written["params"]["value"] == recorded["params"]["modeId"]
            }
            (Some("session/set_config_option"), Some("session/set_config_option")) => {
                written["params"]["value"] == recorded["params"]["value"]
                    && written["params"]["configId"] == recorded["params"]["configId"]
            }
            (Some("session/set_model"), Some("session/set_model")) => {
                written["params"]["modelId"] == recorded["params"]["modelId"]
            }
            (Some("session/set_mode"), Some("session/set_mode")) => {
                written["params"]["modeId"] == recorded["params"]["modeId"]
            }
            (written, recorded) => written.is_some() && written == recorded,
        }
    }
}

fn prompt_text(json: &Value) -> String {
    let blocks = json["params"]["prompt"].as_array().into_iter().flatten();
    let texts: Vec<&str> = blocks.filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n")
}

fn model(name: &str) -> ModelRef {
    let (provider, id) = name.split_once('/').unwrap_or(("", name));
    ModelRef { provider: provider.to_owned(), id: id.to_owned() }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn request(harness: &str, lines: &[Line]) -> LaunchRequest {
    let resumed = lines.iter().filter(|line| line.dir == Direction::In).find_map(|line| {
        let json: Value = serde_json::from_str(&line.line).ok()?;
        let resumes = matches!(json["method"].as_str()?, "session/load" | "session/resume");
        resumes.then(|| json["params"]["sessionId"].as_str().map(str::to_owned))?
    });
    LaunchRequest { resume: resumed, ..launch_request(harness) }
}

fn is_understood(harness: &str, version: &str) {
    let name = format!("{harness}-{version}");
    let wrong = replay_folder::<Acp, _>(
        &folder("transcripts").join(&name),
        &folder("golden").join(&name),
        |_, lines| Recording {
            request: request(harness, &lines),
            translator: Recorder::new(harness, &lines),
            lines,
        },
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The history of the session that a recording loads, a line for each message.
fn loaded_history(harness: &str, version: &str) -> String {
    let recording = folder("transcripts").join(format!("{harness}-{version}")).join("load.jsonl");
    let lines = read(&recording).unwrap();
    let mut bench: Bench<Acp> = Bench::start(request(harness, &lines));
    let is_prompt = |line: &&Line| line.line.contains("session/prompt");
    for line in lines.iter().take_while(|line| !is_prompt(line)) {
        if line.dir == Direction::Out {
            // The recorder counted its requests from 0, the adapter from 1000.
            bench.line(&line.line.replacen(r#""id":"#, r#""id":100"#, 1));
        }
    }
    bench.wake();
    bench.command(1, Command::History);
    let Some(Ok(Reply::History(messages))) = bench.outcome(1) else {
        panic!("no history: {:?}", bench.effects());
    };
    let shown = messages.iter().map(|message| {
        let thinking = message.thinking.as_deref().map(|text| format!(" thinking {text:?}"));
        let tool = message.tool.as_ref().map(|tool| format!(" tool {} {}", tool.name, tool.input));
        let rest = format!("{}{}", thinking.unwrap_or_default(), tool.unwrap_or_default());
        format!("{:?} {:?}{rest}\n", message.role, message.text)
    });
    shown.collect()
}

#[test]
fn a_session_that_is_loaded_has_its_history() {
    for (harness, version) in [("opencode", "1.18.33"), ("pi-acp", "0.0.34"), ("gemini", "0.61.0")]
    {
        let file = folder("golden").join(format!("{harness}-{version}")).join("load.history.txt");
        golden::compare(&file, &loaded_history(harness, version)).unwrap();
    }
}

#[test]
fn opencode_is_understood() {
    is_understood("opencode", "1.18.33");
}

#[test]
fn pi_acp_is_understood() {
    is_understood("pi-acp", "0.0.34");
}

#[test]
fn gemini_is_understood() {
    is_understood("gemini", "0.61.0");
}
