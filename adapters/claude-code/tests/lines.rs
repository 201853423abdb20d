//! Lines as they come: large, odd, broken, and many.
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
use rp_sdk::interface::Event;
use rp_sdk::session::Role;

fn starts(bench: &mut Bench, id: &str) {
    bench.line(&format!(r#"{{"type":"stream_event","event":{{"type":"message_start","message":{{"id":"{id}","usage":{{"input_tokens":5,"cache_read_input_tokens":7}}}}}},"parent_tool_use_id":null}}"#));
}

fn event(bench: &mut Bench, event: &str) {
    bench.line(&format!(r#"{{"type":"stream_event","event":{event},"parent_tool_use_id":null}}"#));
}

fn piece(bench: &mut Bench, text: &str) {
    event(
        bench,
        &format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        ),
    );
}

/// A session in which the model is writing.
fn writing() -> Bench {
    let mut bench = Bench::working();
    starts(&mut bench, "msg_1");
    bench.forget();
    bench
}

#[test]
fn bytes_that_are_no_text_cost_only_themselves() {
    let mut bench = writing();
    bench.bytes(b"{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\xff\xfeb\"}}}");
    assert_eq!(bench.said(), ["a\u{fffd}\u{fffd}b"]);
}

#[test]
fn what_is_no_message_is_mentioned_once_without_its_content() {
    let mut bench = writing();
    for line in ["null", "[]", "\"secret\"", "secret words", "{", "\u{1b}[31msecret"] {
        bench.line(line);
    }
    assert_eq!(bench.notices().len(), 1);
    assert!(!bench.notices()[0].contains("secret"));
    for line in ["", " ", "\r"] {
        bench.line(line);
    }
    assert_eq!(bench.effects().len(), 1);
}

#[test]
fn types_fields_and_shapes_that_are_unknown_are_passed_over() {
    let mut bench = writing();
    for kind in ["assistant", "user", "control_request", "control_response", "system"] {
        bench.line(&format!(r#"{{"type":"{kind}"}}"#));
        bench.line(&format!(r#"{{"type":"{kind}","message":7,"request":[],"response":"x"}}"#));
    }
    for subtype in ["init", "status", "api_retry", "compact_boundary", "no_such"] {
        bench.line(&format!(r#"{{"type":"system","subtype":"{subtype}","status":7,"model":[],"attempt":"x","compact_metadata":3}}"#));
    }
    bench.line(r#"{"type":"no_such_type","text":"x"}"#);
    bench.line(r#"{"no":"type"}"#);
    event(&mut bench, r#"{"type":"new_event","delta":{"text":"x"}}"#);
    bench.line(r#"{"new":{},"event":{"new":[{}],"delta":{"text":"y","type":"text_delta"},"type":"content_block_delta"},"type":"stream_event"}"#);
    assert_eq!(bench.said(), ["y"]);
    let harmless = |event: &&Event| matches!(event, Event::Notice(_) | Event::Text(_));
    assert!(bench.events().iter().all(harmless), "{:?}", bench.effects());
}

#[test]
fn answers_to_nothing_that_was_asked_are_passed_over() {
    let mut bench = writing();
    for id in ["\"r999\"", "\"\"", "1", "null", "{}"] {
        bench.line(&format!(
            r#"{{"type":"control_response","response":{{"subtype":"success","request_id":{id}}}}}"#
        ));
    }
    bench.line(r#"{"type":"command_lifecycle","command_uuid":"none","state":"started"}"#);
    bench.line(r#"{"type":"control_cancel_request","request_id":"none"}"#);
    assert!(bench.effects().is_empty(), "{:?}", bench.effects());
}

#[test]
fn speech_around_a_tool_call_is_two_messages() {
    let mut bench = writing();
    piece(&mut bench, "before");
    event(
        &mut bench,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use"}}"#,
    );
    bench.calls("toolu_1", "Bash", "{}");
    piece(&mut bench, "after");
    event(&mut bench, r#"{"type":"message_stop"}"#);
    assert_eq!(bench.said(), ["before", "msg_1: before", "Bash starts", "after", "msg_1.2: after"]);
}

#[test]
fn a_message_that_was_abandoned_never_ends() {
    let mut bench = writing();
    piece(&mut bench, "half");
    bench.line(r#"{"type":"stream_event","event":{"type":"message_stop"},"abandoned_blocks":{"from_block_index":0}}"#);
    bench.line(r#"{"type":"assistant","message":{"id":"msg_2","content":[{"type":"text","text":"half and half"}],"usage":{"input_tokens":3}}}"#);
    assert_eq!(bench.said(), ["half", "msg_2: half and half"]);
}

#[test]
fn the_blocks_of_a_streamed_message_do_not_say_it_again() {
    let mut bench = writing();
    piece(&mut bench, "hello");
    bench.line(r#"{"type":"assistant","message":{"id":"msg_1","content":[{"type":"text","text":"hello"}]}}"#);
    event(&mut bench, r#"{"type":"message_stop"}"#);
    bench.line(r#"{"type":"assistant","message":{"id":"msg_1","content":[{"type":"text","text":"hello"}]}}"#);
    assert_eq!(bench.said(), ["hello", "msg_1: hello"]);
}

#[test]
fn the_tokens_of_a_call_are_those_of_its_start_and_of_its_end() {
    let mut bench = writing();
    event(
        &mut bench,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
    );
    let Event::Usage(usage) = bench.events()[0] else { panic!("no usage") };
    assert_eq!((usage.input, usage.cache_read, usage.output), (5, 7, 3));
}

#[test]
fn what_a_sub_agent_says_and_does_is_not_part_of_the_conversation() {
    let mut bench = writing();
    for line in [
        r#"{"type":"assistant","message":{"id":"msg_9","content":[{"type":"text","text":"x"},{"type":"tool_use","id":"toolu_9","name":"Bash","input":{}}]},"parent_tool_use_id":"toolu_1"}"#,
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"toolu_9","content":"x"}]},"parent_tool_use_id":"toolu_1"}"#,
        r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"x"}},"parent_tool_use_id":"toolu_1"}"#,
    ] {
        bench.line(line);
    }
    assert!(bench.effects().is_empty(), "{:?}", bench.effects());
}

#[test]
fn what_comes_behind_the_end_of_a_turn_begins_none() {
    let mut bench = writing();
    bench.completes();
    bench.forget();
    piece(&mut bench, "late");
    bench.calls("toolu_9", "Bash", "{}");
    assert!(bench.effects().is_empty(), "{:?}", bench.effects());
}

#[test]
fn a_command_of_claude_that_was_typed_answers_in_claudes_name() {
    let mut bench = writing();
    bench.line(r#"{"type":"assistant","message":{"id":"x","content":[{"type":"text","text":"12 tokens"}]},"local_command_source":"<local-command-stdout>"}"#);
    let Event::MessageEnded(message) = bench.events()[0] else { panic!("no message") };
    assert_eq!((message.role, message.text.as_str()), (Role::System, "12 tokens"));
}

#[test]
fn what_a_tool_gives_is_text_whatever_its_shape() {
    for (content, output) in [
        (r#""plain""#, "plain"),
        (r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#, "a\nb"),
        (r#"[{"type":"tool_reference","tool_name":"mcp__x"}]"#, "mcp__x"),
        (r#"[{"type":"image","source":{"data":"AAAA"}}]"#, "[image]"),
        ("null", ""),
        ("7", ""),
    ] {
        let mut bench = writing();
        bench.calls("toolu_1", "Bash", "{}");
        bench.line(&format!(r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":{content}}}]}}}}"#));
        let Some(Event::ToolEnded(call)) = bench.events().pop() else { panic!("no end") };
        assert_eq!(call.output.as_deref(), Some(output));
    }
}

#[test]
fn a_message_of_16_mib_is_one_message() {
    let mut bench = writing();
    let text = "lorem ipsum\\n".repeat((16 << 20) / 13);
    let begun = Instant::now();
    bench.line(&format!(r#"{{"type":"assistant","message":{{"id":"msg_2","content":[{{"type":"text","text":"{text}"}}]}},"parent_tool_use_id":null}}"#));
    // What looks at a byte again for each that follows would need hours.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let Event::MessageEnded(message) = bench.events()[0] else { panic!("no message") };
    assert_eq!(message.text.len(), text.replace("\\n", "\n").len());
}

#[test]
fn a_piece_costs_no_more_because_many_came_before_it() {
    let mut bench = writing();
    let line = r#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word "}},"session_id":"1a1e0add-5aa8-45f0-b654-5c01de6abfed","parent_tool_use_id":null,"uuid":"ad240f63-4c1f-4812-81b0-794b9b5ca10b","api_message_id":"msg_th0sgm"}"#;
    let mut times = [Duration::ZERO; 2];
    for time in &mut times {
        let begun = Instant::now();
        for _ in 0..50_000 {
            bench.line(line);
        }
        *time = begun.elapsed();
    }
    let [first, second] = times;
    assert!(second < 4 * first + Duration::from_secs(1), "{first:?}, {second:?}");
    assert_eq!(bench.said().len(), 100_000);
}
