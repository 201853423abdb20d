//! Every transcript of the demo agent, replayed: what the adapter makes of it is kept in
//! `golden/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::path::Path;

use rp_adapter_demo::Demo;
use rp_sdk::Adapter;
use rp_sdk::interface::{Command, Effect, LaunchRequest};
use rp_sdk::replay::{Translation, Translator, cases, exit_of, golden, read, replay};
use rp_sdk::session::{Prompt, Urgency};
use serde_json::Value;

struct Recorder;

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let json: Value = serde_json::from_str(line).unwrap();
        Translation::Command(match json["type"].as_str().unwrap() {
            "abort" => Command::Abort,
            _ => prompt(
                json["text"].as_str().unwrap(),
                if json["when"].is_null() { Urgency::WhenIdle } else { Urgency::AfterTools },
            ),
        })
    }
}

fn prompt(text: &str, urgency: Urgency) -> Command {
    Command::Prompt(Prompt { text: text.to_owned(), images: Vec::new(), urgency })
}

fn request() -> LaunchRequest {
    LaunchRequest {
        harness: "demo".to_owned(),
        cwd: "/home/user/project".to_owned(),
        agent: "ann".to_owned(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".to_owned(),
        version: None,
    }
}

#[test]
fn every_transcript_is_understood() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (name, case) in cases(&here.join("transcripts")).unwrap() {
        let lines = read(&here.join("transcripts").join(format!("{name}.jsonl"))).unwrap();
        let replay = replay::<Demo>(request(), &lines, &exit_of(&case), case.exit.at_ms, &Recorder);
        wrong.extend(
            golden::compare(&here.join("golden").join(format!("{name}.txt")), &replay.text).err(),
        );
        wrong.extend(replay.problems.iter().map(|problem| format!("{name}: {problem}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_interrupting_prompt_follows_the_answer_to_its_abort() {
    let mut demo = Demo::new(request());
    demo.command(1, prompt("sleep", Urgency::WhenIdle));
    demo.output(br#"{"type":"turn-started"}"#);
    let effects = demo.command(2, prompt("say hi", Urgency::Interrupt));
    assert_eq!(effects, [Effect::Write(b"{\"type\":\"abort\",\"id\":\"interrupt\"}\n".to_vec())]);
    demo.output(br#"{"type":"turn-ended","how":"aborted"}"#);
    let effects = demo.output(br#"{"type":"aborted","id":"interrupt","dropped":[]}"#);
    let line = b"{\"type\":\"prompt\",\"id\":\"2\",\"text\":\"say hi\"}\n";
    assert_eq!(effects, [Effect::Write(line.to_vec())]);
}

#[test]
fn a_prompt_that_does_not_interrupt_goes_straight_to_the_agent() {
    let mut demo = Demo::new(request());
    demo.output(br#"{"type":"turn-started"}"#);
    let effects = demo.command(1, prompt("say hi", Urgency::AfterTools));
    let line = b"{\"type\":\"prompt\",\"id\":\"1\",\"text\":\"say hi\",\"when\":\"after-step\"}\n";
    assert_eq!(effects, [Effect::Write(line.to_vec())]);
}

#[test]
fn settings_are_refused_by_name() {
    let request = LaunchRequest { settings: r#"{"speed":9}"#.to_owned(), ..request() };
    assert!(Demo::launch(&request).unwrap_err().message.contains("`speed`"));
}
