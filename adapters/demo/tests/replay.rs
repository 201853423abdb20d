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
use rp_sdk::interface::{Command, LaunchRequest};
use rp_sdk::replay::{Recording, Translation, Translator, replay_folder};
use rp_sdk::session::{Answer, Prompt, Urgency};
use rp_sdk::testing::{Bench, launch_request};
use serde_json::{Value, json};

struct Recorder;

impl Translator for Recorder {
    fn translate(&self, line: &str) -> Translation {
        let json: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        Translation::Command(match json["type"].as_str().unwrap() {
            "abort" => Command::Abort,
            "answer" => Command::Answer((text("question"), answer(&json))),
            _ => {
                let when = &json["when"];
                let urgency = if when.is_null() { Urgency::WhenIdle } else { Urgency::AfterTools };
                Command::Prompt(Prompt::new(json["text"].as_str().unwrap(), urgency))
            }
        })
    }
}

fn answer(line: &Value) -> Answer {
    match (line["yes"].as_bool(), line["guidance"].as_str()) {
        (Some(yes), _) => Answer::Confirm(yes),
        (_, Some(guidance)) => Answer::DenyWithGuidance(guidance.to_owned()),
        _ => panic!("{line}"),
    }
}

fn bench() -> Bench<Demo> {
    Bench::start(launch_request("demo"))
}

#[test]
fn every_transcript_is_understood() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (transcripts, golden) = (here.join("transcripts"), here.join("golden"));
    let wrong = replay_folder::<Demo, _>(&transcripts, &golden, |_, lines| Recording {
        request: launch_request("demo"),
        lines,
        translator: Recorder,
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_interrupting_prompt_follows_the_answer_to_its_abort() {
    let mut bench = bench();
    bench.prompt(1, "sleep", Urgency::WhenIdle);
    bench.line(r#"{"type":"turn-started"}"#);
    bench.forget();
    bench.prompt(2, "say hi", Urgency::Interrupt);
    assert_eq!(bench.lines(), [json!({"type": "abort", "id": "interrupt"})]);
    bench.line(r#"{"type":"turn-ended","how":"aborted"}"#);
    bench.forget();
    bench.line(r#"{"type":"aborted","id":"interrupt","dropped":[]}"#);
    assert_eq!(bench.lines(), [json!({"type": "prompt", "id": "2", "text": "say hi"})]);
}

#[test]
fn a_prompt_that_does_not_interrupt_goes_straight_to_the_agent() {
    let mut bench = bench();
    bench.line(r#"{"type":"turn-started"}"#);
    bench.prompt(1, "say hi", Urgency::AfterTools);
    let line = json!({"type": "prompt", "id": "1", "text": "say hi", "when": "after-step"});
    assert_eq!(bench.lines(), [line]);
}

#[test]
fn an_answer_to_a_question_that_is_not_open_is_refused() {
    let mut bench = bench();
    bench.command(1, Command::Answer(("k1".to_owned(), Answer::Dismiss)));
    let Some(Err(failure)) = bench.outcome(1) else { panic!("it was not refused") };
    assert_eq!(failure.message, "the question is not open");
}

#[test]
fn settings_are_refused_by_name() {
    let settings = r#"{"speed":9}"#.to_owned();
    let request = LaunchRequest { settings, ..launch_request("demo") };
    assert!(Demo::launch(&request).unwrap_err().message.contains("`speed`"));
}
