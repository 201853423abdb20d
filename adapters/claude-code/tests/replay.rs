//! Every recording of Claude, replayed: what the adapter makes of it is kept in `golden/`.
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
use rp_adapter_claude_code::ClaudeCode;
use rp_sdk::interface::{Command, LaunchRequest};
use rp_sdk::replay::{Recording, Translation, Translator, replay_folder};
use rp_sdk::session::{Answer, Image, ModelRef, Prompt, Thinking, Urgency};
use rp_sdk::testing::{launch_request, mesh_access};
use serde_json::Value;

const VERSION: &str = "2.1.329";

/// Reads what the recorder wrote to Claude.
struct Recorder;

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let json = serde_json::from_str::<Value>(line.trim_end_matches('\r')).unwrap_or_default();
        let command = match json["type"].as_str() {
            Some("user") => user(&json),
            Some("control_request") => request(&json["request"]),
            Some("control_response") => response(&json["response"]),
            _ => None,
        };
        command.map_or(Translation::Skip, Translation::Command)
    }

    fn stands_for(&self, written: &Value, recorded: &Value) -> bool {
        let same = |path: &str| written.pointer(path) == recorded.pointer(path);
        match written["type"].as_str() {
            Some("user") => same("/type") && same("/message/content"),
            Some("control_request") => same("/type") && same("/request/subtype"),
            _ => false,
        }
    }

    fn ids(&self) -> &[&str] {
        &["uuid", "request_id"]
    }
}

fn user(json: &Value) -> Option<Command> {
    let content = &json["message"]["content"];
    let blocks = content.as_array().into_iter().flatten();
    let text = content.as_str().or_else(|| blocks.clone().find_map(|block| block["text"].as_str()));
    let images = blocks.filter(|block| block["type"] == "image").map(|block| {
        let data = STANDARD.decode(block["source"]["data"].as_str()?).ok()?;
        Some(Image { mime: block["source"]["media_type"].as_str()?.to_owned(), data })
    });
    let images = images.collect::<Option<Vec<_>>>()?;
    let text = text?.to_owned();
    if text == "/clear" {
        return Some(Command::NewSession);
    }
    if let Some(instructions) = text.strip_prefix("/compact") {
        let instructions = Some(instructions.trim()).filter(|text| !text.is_empty());
        return Some(Command::Compact(instructions.map(str::to_owned)));
    }
    let urgency = match json["priority"].as_str() {
        Some("now") => Urgency::Interrupt,
        Some("later") => Urgency::WhenIdle,
        // What Claude takes a message for that does not say.
        _ => Urgency::AfterTools,
    };
    Some(Command::Prompt(Prompt { text, images, urgency }))
}

fn request(json: &Value) -> Option<Command> {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    Some(match json["subtype"].as_str()? {
        // The adapter does the first of these by itself.
        "initialize" | "get_settings" => Command::Refresh,
        "interrupt" => Command::Abort,
        "list_models" => Command::ListModels,
        "set_model" => {
            let id = text("model").unwrap_or_else(|| "default".to_owned());
            Command::SetModel(ModelRef { provider: "anthropic".to_owned(), id })
        }
        "apply_flag_settings" => {
            Command::SetThinking(Thinking::named(json["settings"]["effortLevel"].as_str()?)?)
        }
        "rename_session" => Command::Rename(text("title")?),
        other => {
            let mut arguments = json.as_object()?.clone();
            arguments.remove("subtype");
            let arguments = Value::Object(arguments).to_string();
            Command::Other((other.replace('_', "-"), arguments))
        }
    })
}

fn response(json: &Value) -> Option<Command> {
    let given = &json["response"];
    let answer = match given["behavior"].as_str()? {
        // To deny and stop is to abort.
        "deny" if given["interrupt"] == true => return Some(Command::Abort),
        "deny" => Answer::DenyWithGuidance(given["message"].as_str()?.to_owned()),
        _ => match &given["updatedInput"]["answers"] {
            Value::Object(answers) => Answer::Choice(answers.values().next()?.as_str()?.to_owned()),
            _ if given["updatedPermissions"].is_array() => {
                Answer::Choice("allow-always".to_owned())
            }
            _ => Answer::Choice("allow-once".to_owned()),
        },
    };
    Some(Command::Answer((json["request_id"].as_str()?.to_owned(), answer)))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_recording_is_understood() {
    let (transcripts, golden) = (folder("transcripts"), folder("golden"));
    let wrong = replay_folder::<ClaudeCode, _>(
        &transcripts.join(VERSION),
        &golden.join(VERSION),
        |case, lines| Recording {
            request: LaunchRequest {
                model: case.value_of("--model"),
                resume: case.value_of("--resume"),
                mesh: case.value_of("--mcp-config").map(|_| mesh_access()),
                version: Some(format!("{VERSION} (Claude Code)")),
                ..launch_request("claude-code")
            },
            lines,
            translator: Recorder,
        },
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
