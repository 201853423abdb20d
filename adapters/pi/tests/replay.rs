//! Every recording of Pi, replayed: what the adapter makes of it is kept in `golden/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rp_adapter_pi::Pi;
use rp_sdk::interface::{Command, LaunchRequest};
use rp_sdk::replay::{
    Case, Line, Recording, Translation, Translator, cases, read, replay, replay_folder,
};
use rp_sdk::session::{Answer, Image, ModelRef, Prompt, Thinking, Urgency};
use rp_sdk::testing::launch_request;
use serde_json::Value;

/// Reads what the recorder wrote to Pi.
struct Recorder {
    /// Prompts that Pi refused because they did not say how to be queued. The adapter's
    /// always do.
    careless: Vec<Value>,
}

impl Recorder {
    fn new(lines: &[Line]) -> Self {
        let answers =
            lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line.line).ok());
        let careless = answers.filter(|answer| {
            answer["error"]
                .as_str()
                .is_some_and(|error| error.contains("Specify streamingBehavior"))
        });
        Self { careless: careless.map(|answer| answer["id"].clone()).collect() }
    }
}

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let Ok(json) = serde_json::from_str::<Value>(line.trim_end_matches('\r')) else {
            return Translation::Skip;
        };
        if self.careless.contains(&json["id"]) {
            return Translation::Skip;
        }
        command(&json).map_or(Translation::Skip, Translation::Command)
    }

    fn stands_for(&self, written: &Value, recorded: &Value) -> bool {
        // A prompt says with a field how it is queued; these are the older way to say it.
        let kind = |json: &Value| match json["type"].as_str() {
            Some("steer" | "follow_up") => "prompt".to_owned(),
            kind => kind.unwrap_or_default().to_owned(),
        };
        let same_text = written["message"] == recorded["message"];
        kind(written) == kind(recorded) && same_text && written["enabled"] == recorded["enabled"]
    }
}

fn command(json: &Value) -> Option<Command> {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    Some(match json["type"].as_str()? {
        "prompt" => {
            let urgency = match json["streamingBehavior"].as_str() {
                Some("steer") => Urgency::AfterTools,
                _ => Urgency::WhenIdle,
            };
            prompt(json, urgency)?
        }
        "steer" => prompt(json, Urgency::AfterTools)?,
        "follow_up" => prompt(json, Urgency::WhenIdle)?,
        // An abort of this adapter clears the queue by itself.
        "clear_queue" => return None,
        "abort" => Command::Abort,
        "new_session" => Command::NewSession,
        "switch_session" => Command::Resume(text("sessionPath")?),
        "compact" => Command::Compact(text("customInstructions")),
        "set_model" => {
            Command::SetModel(ModelRef { provider: text("provider")?, id: text("modelId")? })
        }
        "set_thinking_level" => Command::SetThinking(Thinking::named(&text("level")?)?),
        "get_available_models" => Command::ListModels,
        "get_messages" => Command::History,
        "set_session_name" => Command::Rename(text("name")?),
        "get_state" => Command::Refresh,
        "extension_ui_response" => Command::Answer((text("id")?, answer(json)?)),
        other => {
            let mut arguments = json.as_object()?.clone();
            arguments.remove("id");
            arguments.remove("type");
            Command::Other((other.to_owned(), Value::Object(arguments).to_string()))
        }
    })
}

fn prompt(json: &Value, urgency: Urgency) -> Option<Command> {
    let images = json["images"].as_array().into_iter().flatten();
    let images = images.map(|image| {
        let data = STANDARD.decode(image["data"].as_str()?).ok()?;
        Some(Image { mime: image["mimeType"].as_str()?.to_owned(), data })
    });
    let images = images.collect::<Option<Vec<_>>>()?;
    Some(Command::Prompt(Prompt { text: json["message"].as_str()?.to_owned(), images, urgency }))
}

fn answer(json: &Value) -> Option<Answer> {
    if json["cancelled"] == true {
        return Some(Answer::Dismiss);
    }
    if let Some(yes) = json["confirmed"].as_bool() {
        return Some(Answer::Confirm(yes));
    }
    // The recorder does not say what kind of question it answers.
    let value = json["value"].as_str()?.to_owned();
    let typed = ["Ann", "edited"].contains(&value.as_str());
    Some(if typed { Answer::Text(value) } else { Answer::Choice(value) })
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A recording for a Pi that tells this version, or none.
fn recording(told: Option<&str>, case: &Case, lines: Vec<Line>) -> Recording<Recorder> {
    Recording {
        request: LaunchRequest {
            resume: case.value_of("--session"),
            version: told.map(str::to_owned),
            ..launch_request("pi")
        },
        translator: Recorder::new(&lines),
        lines,
    }
}

fn is_understood(version: &str) {
    let (transcripts, golden) = (folder("transcripts"), folder("golden"));
    let wrong =
        replay_folder::<Pi, _>(&transcripts.join(version), &golden.join(version), |case, lines| {
            recording(Some(version), case, lines)
        });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_old_generation_is_understood() {
    is_understood("0.74.2");
}

#[test]
fn the_new_generation_is_understood() {
    is_understood("0.87.1");
}

/// Only the versions' own behaviour tells them apart then.
#[test]
fn a_pi_that_does_not_tell_its_version_is_understood_all_the_same() {
    for version in ["0.74.2", "0.87.1"] {
        let recordings = folder("transcripts").join(version);
        for (name, case) in cases(&recordings).unwrap() {
            let lines = read(&recordings.join(format!("{name}.jsonl"))).unwrap();
            let told = |version| replay::<Pi, _>(&case, recording(version, &case, lines.clone()));
            let (known, unknown) = (told(Some(version)), told(None));
            assert!(unknown.problems.is_empty(), "{version} {name}: {:?}", unknown.problems);
            assert_eq!(story(&known.text), story(&unknown.text), "{version} {name}");
        }
    }
}

/// What clients care for most, without when it came.
fn story(text: &str) -> Vec<&str> {
    let told = ["text ", "turn-", "prompt-seen ", "message-ended ", "tool-", "question"];
    text.lines()
        .map(str::trim_start)
        .filter(|line| told.iter().any(|start| line.starts_with(start)))
        .collect()
}
