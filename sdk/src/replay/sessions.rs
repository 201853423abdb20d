//! Recordings as the adapter was told them, for who replays them without this crate.
//!
//! `sessions.jsonl` beside the recordings has a line for each: how it was launched, and every call
//! into the adapter in its order. A number is that line of the recording, as it stands there.

use std::collections::{BTreeMap, VecDeque};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::recording::Line;
use crate::interface::{Command, LaunchRequest};
use crate::session::{Answer, Urgency};

/// The calls of one recording, as they are made.
#[derive(Debug)]
pub(super) struct Calls {
    request: Value,
    told: Vec<Value>,
    /// Where each line of the recording stands, counted from 1.
    places: BTreeMap<String, VecDeque<usize>>,
}

impl Calls {
    /// None yet. `recorded` are the lines as they stand in the file.
    pub(super) fn new(request: &LaunchRequest, recorded: &[Line]) -> Self {
        let mut places: BTreeMap<String, VecDeque<usize>> = BTreeMap::new();
        for (at, line) in recorded.iter().enumerate() {
            places.entry(line.line.clone()).or_default().push_back(at + 1);
        }
        Self { request: launch(request), told: Vec::new(), places }
    }

    pub(super) fn command(&mut self, command: &Command) {
        self.told.push(json!({ "command": command_json(command) }));
    }

    /// A line of output (`out`) or of diagnostics (`err`).
    pub(super) fn line(&mut self, dir: &str, line: &str) {
        let place = self.places.get_mut(line).and_then(VecDeque::pop_front);
        self.told.push(place.map_or_else(|| json!({ dir: line }), Value::from));
    }

    pub(super) fn wake(&mut self) {
        self.told.push(json!("wake"));
    }

    /// The line of `sessions.jsonl`.
    pub(super) fn to_line(&self, recording: &str) -> String {
        let told = &self.told;
        format!("{}\n", json!({ "recording": recording, "launch": self.request, "told": told }))
    }
}

fn launch(request: &LaunchRequest) -> Value {
    let mut launch = Map::new();
    launch.insert("harness".to_owned(), json!(request.harness));
    let optional =
        [("model", &request.model), ("resume", &request.resume), ("version", &request.version)];
    for (name, value) in optional {
        if let Some(value) = value {
            launch.insert(name.to_owned(), json!(value));
        }
    }
    if request.mesh.is_some() {
        launch.insert("mesh".to_owned(), json!(true));
    }
    let settings: Value = serde_json::from_str(&request.settings).unwrap_or_default();
    if settings != json!({}) {
        launch.insert("settings".to_owned(), settings);
    }
    Value::Object(launch)
}

/// A command as the clients of the host write it.
fn command_json(command: &Command) -> Value {
    match command {
        Command::Prompt(prompt) => {
            let mut json = json!({ "type": "prompt", "text": prompt.text });
            let images = prompt
                .images
                .iter()
                .map(|image| json!({ "mime": image.mime, "data": STANDARD.encode(&image.data) }));
            if !prompt.images.is_empty() {
                add(&mut json, "images", images.collect());
            }
            let urgency = match prompt.urgency {
                Urgency::WhenIdle => return json,
                Urgency::AfterTools => "after-tools",
                Urgency::Interrupt => "interrupt",
            };
            add(&mut json, "urgency", json!(urgency));
            json
        }
        Command::Abort => json!({ "type": "abort" }),
        Command::NewSession => json!({ "type": "new-session" }),
        Command::Resume(session) => json!({ "type": "resume", "session": session }),
        Command::Compact(text) => json!({ "type": "compact", "instructions": text }),
        Command::SetModel(model) => json!({
            "type": "set-model", "model": { "provider": model.provider, "id": model.id },
        }),
        Command::SetThinking(level) => json!({ "type": "set-thinking", "level": level.name() }),
        Command::ListModels => json!({ "type": "list-models" }),
        Command::History => json!({ "type": "history" }),
        Command::Answer((question, answer)) => {
            json!({ "type": "answer", "question": question, "answer": answer_json(answer) })
        }
        Command::Rename(title) => json!({ "type": "rename", "title": title }),
        Command::Refresh => json!({ "type": "refresh" }),
        Command::Other((name, arguments)) => {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({ "type": "other", "name": name, "arguments": arguments })
        }
    }
}

fn answer_json(answer: &Answer) -> Value {
    match answer {
        Answer::Choice(choice) => json!({ "type": "choice", "choice": choice }),
        Answer::Confirm(yes) => json!({ "type": "confirm", "yes": yes }),
        Answer::Text(text) => json!({ "type": "text", "text": text }),
        Answer::DenyWithGuidance(guidance) => {
            json!({ "type": "deny-with-guidance", "guidance": guidance })
        }
        Answer::Dismiss => json!({ "type": "dismiss" }),
    }
}

fn add(json: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = json {
        members.insert(name.to_owned(), value);
    }
}
