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
use rp_sdk::replay::{Case, Line, Translation, Translator, cases, exit_of, golden, read, replay};
use rp_sdk::session::{Answer, Image, ModelRef, Prompt, Thinking, Urgency};
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
        "set_thinking_level" => Command::SetThinking(level(&text("level")?)?),
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

fn level(name: &str) -> Option<Thinking> {
    Some(match name {
        "off" => Thinking::Off,
        "minimal" => Thinking::Minimal,
        "low" => Thinking::Low,
        "medium" => Thinking::Medium,
        "high" => Thinking::High,
        "xhigh" => Thinking::Xhigh,
        "max" => Thinking::Max,
        _ => return None,
    })
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn request(version: Option<&str>, case: &Case) -> LaunchRequest {
    let value_of = |flag: &str| {
        let at = case.argv.iter().position(|argument| argument == flag)?;
        case.argv.get(at + 1).cloned()
    };
    LaunchRequest {
        harness: "pi".to_owned(),
        cwd: "/home/user/project".to_owned(),
        agent: "user".to_owned(),
        model: None,
        resume: value_of("--session"),
        mesh: None,
        settings: "{}".to_owned(),
        version: version.map(str::to_owned),
    }
}

/// Replays every recording of a version and gives what went wrong, in words.
fn replay_all(version: &str, told: Option<&str>, kept_in: &str) -> Vec<String> {
    let recordings = folder("transcripts").join(version);
    let mut wrong = Vec::new();
    let cases = cases(&recordings).unwrap();
    assert!(cases.len() > 50, "the recordings are missing");
    for (name, case) in cases {
        let lines = read(&recordings.join(format!("{name}.jsonl"))).unwrap();
        let replay = replay::<Pi>(
            request(told, &case),
            &lines,
            &exit_of(&case),
            case.exit.at_ms,
            &Recorder::new(&lines),
        );
        let file = folder("golden").join(kept_in).join(format!("{name}.txt"));
        wrong.extend(golden::compare(&file, &replay.text).err());
        wrong.extend(replay.problems.iter().map(|problem| format!("{version} {name}: {problem}")));
    }
    wrong
}

#[test]
fn the_old_generation_is_understood() {
    let wrong = replay_all("0.74.2", Some("0.74.2"), "0.74.2");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_new_generation_is_understood() {
    let wrong = replay_all("0.87.1", Some("0.87.1"), "0.87.1");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Only the versions' own behaviour tells them apart then.
#[test]
fn a_pi_that_does_not_tell_its_version_is_understood_all_the_same() {
    for version in ["0.74.2", "0.87.1"] {
        let recordings = folder("transcripts").join(version);
        for (name, case) in cases(&recordings).unwrap() {
            let lines = read(&recordings.join(format!("{name}.jsonl"))).unwrap();
            let told = |version| {
                let recorder = Recorder::new(&lines);
                replay::<Pi>(
                    request(version, &case),
                    &lines,
                    &exit_of(&case),
                    case.exit.at_ms,
                    &recorder,
                )
            };
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
