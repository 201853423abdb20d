//! Lines as they come: large, odd, broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use std::time::{Duration, Instant};

use common::Bench;
use rp_sdk::interface::{Command, Event, Reply};

/// A session in which the model is writing.
fn writing() -> Bench {
    let mut bench = Bench::new(Some("0.87.1"));
    bench.run("hi");
    bench.line(
        r#"{"type":"message_start","message":{"role":"assistant","content":[],"timestamp":8}}"#,
    );
    bench.forget();
    bench
}

#[test]
fn separators_of_lines_inside_text_are_text() {
    let mut bench = writing();
    bench.line("{\"type\":\"message_update\",\"assistantMessageEvent\":{\"type\":\"text_delta\",\"delta\":\"a\u{2028}b\u{2029}c\u{85}d\"}}");
    assert_eq!(bench.texts(), ["a\u{2028}b\u{2029}c\u{85}d"]);
}

#[test]
fn bytes_that_are_no_text_cost_only_themselves() {
    let mut bench = writing();
    bench.bytes(b"{\"type\":\"message_update\",\"assistantMessageEvent\":{\"type\":\"text_delta\",\"delta\":\"a\xff\xfeb\"}}");
    assert_eq!(bench.texts(), ["a\u{fffd}\u{fffd}b"]);
}

#[test]
fn empty_lines_are_nothing() {
    let mut bench = writing();
    for line in ["", " ", "\r", "\t \r"] {
        bench.line(line);
    }
    assert!(bench.effects().is_empty());
}

#[test]
fn what_is_no_message_is_mentioned_once_without_its_content() {
    let mut bench = writing();
    for line in
        ["null", "[]", "\"secret\"", "secret words", "{", r#"{"type":7}"#, "\u{1b}[31msecret"]
    {
        bench.line(line);
    }
    assert_eq!(bench.notices().len(), 1);
    assert!(bench.notices()[0].contains("4 bytes") && !bench.notices()[0].contains("secret"));
    assert_eq!(bench.effects().len(), 1);
}

#[test]
fn types_and_fields_that_are_unknown_are_passed_over() {
    let mut bench = writing();
    bench.line(r#"{"type":"no_such_type","text":"x"}"#);
    bench.line(r#"{"no":"type"}"#);
    bench.line(r#"{"type":"message_update","new":1,"assistantMessageEvent":{"new":[{}],"type":"new_delta","delta":"x"}}"#);
    bench.line(r#"{"new":{},"type":"message_update","assistantMessageEvent":{"new":[{}],"type":"text_delta","delta":"y","z":0}}"#);
    assert_eq!(bench.texts(), ["y"]);
    assert_eq!(bench.effects().len(), 1);
}

#[test]
fn lines_of_a_known_type_that_have_another_shape_are_passed_over() {
    let mut bench = writing();
    for kind in [
        "response",
        "message_start",
        "message_end",
        "tool_execution_start",
        "extension_ui_request",
        "auto_retry_start",
    ] {
        bench.line(&format!(r#"{{"type":"{kind}"}}"#));
        bench.line(&format!(
            r#"{{"type":"{kind}","message":7,"toolCallId":[],"id":{{}},"method":4,"attempt":"x"}}"#
        ));
        bench.line(&format!(r#"{{"type":"{kind}","message":{{"#));
    }
    let harmless = |event: &&Event| matches!(event, Event::Notice(_) | Event::Other(_));
    assert!(bench.events().iter().all(harmless), "{:?}", bench.effects());
}

#[test]
fn answers_to_nothing_that_was_asked_are_passed_over() {
    let mut bench = writing();
    for id in ["\"r999\"", "\"r1x\"", "1", "null", "\"\"", "{}"] {
        bench.line(&format!(r#"{{"id":{id},"type":"response","command":"abort","success":true}}"#));
    }
    bench.line(r#"{"type":"response","command":"parse","success":false,"error":"x"}"#);
    bench.line(r#"{"type":"response","success":false}"#);
    assert!(bench.effects().is_empty(), "{:?}", bench.effects());
}

#[test]
fn a_message_of_16_mib_is_one_message() {
    let mut bench = writing();
    let text = "lorem ipsum\\n".repeat((16 << 20) / 13);
    let begun = Instant::now();
    bench.line(&format!(
        r#"{{"type":"message_end","message":{{"role":"assistant","content":[{{"type":"text","text":"{text}"}}],"stopReason":"stop","timestamp":8}}}}"#
    ));
    // What looks at a byte again for each that follows would need hours.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let Event::MessageEnded(message) = bench.events()[0] else { panic!("no message") };
    assert_eq!(message.text.len(), text.replace("\\n", "\n").len());
}

#[test]
fn a_history_of_16_mib_is_read() {
    let mut bench = writing();
    bench.command(1, Command::History);
    let text = "x".repeat(16 << 10);
    let message = format!(r#"{{"role":"user","content":"{text}","timestamp":1}}"#);
    let messages = vec![message; 1024].join(",");
    bench.answer("get_messages", &format!(r#""success":true,"data":{{"messages":[{messages}]}}"#));
    let Some(Ok(Reply::History(messages))) = bench.outcome(1) else { panic!("no history") };
    assert_eq!(messages.len(), 1024);
    assert_eq!(messages[0].id, "user-1");
    assert_eq!(messages[1023].id, "user-1.1024");
}

#[test]
fn snapshots_around_a_piece_are_not_read() {
    let mut bench = writing();
    let snapshot = "word ".repeat(200_000);
    let line = format!(
        r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","contentIndex":0,"delta":"word ","partial":{{"content":"{snapshot}"}}}},"message":{{"content":"{snapshot}"}}}}"#
    );
    let begun = Instant::now();
    for _ in 0..100 {
        bench.line(&line);
    }
    // 200 MB, of which the first bytes of each are looked at. The bound is for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(bench.texts().len(), 100);
}
