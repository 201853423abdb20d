//! Lines as they come: large, odd, broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, TURN};
use rp_sdk::interface::Event;
use serde_json::{Value, json};

fn piece(text: &str) -> Value {
    json!({"turnId": TURN, "itemId": "m", "delta": text})
}

#[test]
fn separators_of_lines_inside_text_are_text() {
    let mut bench = Bench::working();
    bench.tell("item/agentMessage/delta", piece("a\u{2028}b\u{2029}c\u{85}d"));
    assert_eq!(bench.texts(), "a\u{2028}b\u{2029}c\u{85}d");
    bench.close();
}

#[test]
fn every_escape_in_a_piece_is_decoded() {
    let mut bench = Bench::working();
    let text = "\"quoted\"\\ \n\t\r\u{8}\u{c}\u{1b}[0m ü 😀";
    bench.tell("item/agentMessage/delta", piece(text));
    assert_eq!(bench.texts(), text);
    bench.line(r#"{"method":"item/agentMessage/delta","params":{"threadId":"thread-1","turnId":"turn-1","itemId":"m","delta":"\ud83d\ude00\u00e9"}}"#);
    assert!(bench.texts().ends_with("😀é"));
    bench.close();
}

#[test]
fn a_piece_is_the_same_in_whatever_order_its_line_is_written() {
    let params = r#"{"delta":"a\nb","itemId":"m","turnId":"turn-1","threadId":"thread-1"}"#;
    for line in [
        format!(r#"{{"method":"item/agentMessage/delta","params":{params},"emittedAtMs":1}}"#),
        format!(r#"{{"params":{params},"emittedAtMs":1,"method":"item/agentMessage/delta"}}"#),
        format!(r#" {{ "method" : "item/agentMessage/delta" , "params" : {params} }}"#),
    ] {
        let mut bench = Bench::working();
        bench.line(&line);
        assert_eq!(bench.texts(), "a\nb", "{line}");
        bench.close();
    }
}

#[test]
fn empty_lines_are_nothing() {
    let mut bench = Bench::working();
    for line in ["", " ", "\r", "\t \r"] {
        bench.line(line);
    }
    assert_eq!(bench.events().len(), 0);
    bench.close();
}

#[test]
fn what_is_no_message_is_mentioned_once_without_its_content() {
    let mut bench = Bench::working();
    for line in ["null", "[]", "\"secret\"", "secret words", "{", r#"{"method":7}"#] {
        bench.line(line);
    }
    assert!(bench.notices().contains("4 bytes") && !bench.notices().contains("secret"));
    assert_eq!(bench.events().len(), 1);
    bench.close();
}

#[test]
fn methods_items_and_fields_that_are_unknown_are_passed_over() {
    let mut bench = Bench::working();
    bench.tell("turn/somethingNew", json!({"text": "x"}));
    bench.tell("account/rateLimits/updated", json!({"rateLimits": {}}));
    bench.line("{}");
    bench.line(r#"{"id":999,"result":{}}"#);
    bench.line(r#"{"id":"text","error":{"code":1,"message":"m"}}"#);
    bench.item("item/completed", &json!({"type": "somethingNew", "id": "s", "text": "x"}));
    assert_eq!(bench.events().len(), 0);
    let mut params = piece("y");
    params["new"] = json!([{}]);
    bench.tell("item/agentMessage/delta", params);
    assert_eq!(bench.texts(), "y");
    bench.close();
}

#[test]
fn lines_of_a_known_method_that_have_another_shape_are_passed_over() {
    let mut bench = Bench::working();
    for method in [
        "item/agentMessage/delta",
        "item/started",
        "item/completed",
        "turn/completed",
        "error",
        "thread/tokenUsage/updated",
        "thread/settings/updated",
        "serverRequest/resolved",
    ] {
        for params in ["null", "[]", "7", r#"{"threadId":"thread-1"}"#, r#"{"item":7,"turn":[]}"#] {
            bench.line(&format!(r#"{{"method":"{method}","params":{params}}}"#));
        }
        bench.line(&format!(r#"{{"method":"{method}"}}"#));
    }
    assert_eq!(bench.events().len(), 0);
    bench.close();
}

#[test]
fn a_large_message_comes_through_whole() {
    let text = "line with \"quotes\" and ü\n".repeat(100_000);
    let mut bench = Bench::working();
    bench.tell("item/agentMessage/delta", piece(&text));
    bench.item("item/completed", &json!({"type": "agentMessage", "id": "m", "text": text}));
    let ended = bench
        .events()
        .into_iter()
        .any(|event| matches!(event, Event::MessageEnded(message) if message.text == text));
    assert!(ended && bench.texts() == text);
    bench.close();
}
