//! Everything that Codex asks, and every way to answer it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, THREAD, TURN};
use rp_sdk::interface::{Command, Event};
use rp_sdk::session::{Answer, FailureKind, Question, QuestionKind};
use serde_json::{Value, json};

const COMMAND: &str = "item/commandExecution/requestApproval";
const ELICITATION: &str = "mcpServer/elicitation/request";
const USER_INPUT: &str = "item/tool/requestUserInput";

fn questions(bench: &Bench) -> Vec<Question> {
    let questions = bench.events().into_iter().filter_map(|event| match event {
        Event::Question(question) => Some(question.clone()),
        _ => None,
    });
    questions.collect()
}

fn give(bench: &mut Bench, number: u64, question: &str, answer: Answer) {
    bench.command(number, Command::Answer((question.to_owned(), answer)));
}

fn choice(id: &str) -> Answer {
    Answer::Choice(id.to_owned())
}

/// A session in which Codex asks whether it may run a command.
fn asking() -> Bench {
    let mut bench = Bench::working();
    bench.command_item("item/started", "c", json!({}));
    let approval = json!({
        "threadId": THREAD, "turnId": TURN, "itemId": "c", "command": "make", "cwd": "/",
        "reason": "it needs the network", "proposedExecpolicyAmendment": ["make"],
    });
    bench.ask(0, COMMAND, approval);
    bench
}

/// What Codex is told for an answer to the only question.
fn told(method: &str, params: Value, answer: Answer) -> Value {
    let mut bench = Bench::working();
    bench.ask(7, method, params);
    let id = questions(&bench)[0].id.clone();
    give(&mut bench, 2, &id, answer);
    assert!(bench.is_done(2));
    let line = bench.lines().pop().unwrap();
    assert_eq!(line["id"], 7);
    bench.close();
    line["result"].clone()
}

#[test]
fn each_option_of_a_command_is_a_decision_of_codex() {
    let amendment = json!({"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["make"]}});
    for (id, decision) in [
        ("allow", json!("accept")),
        ("session", json!("acceptForSession")),
        ("always", amendment),
        ("deny", json!("decline")),
        ("cancel", json!("cancel")),
    ] {
        let mut bench = asking();
        give(&mut bench, 2, "question-0", choice(id));
        assert_eq!(
            bench.lines().pop().unwrap(),
            json!({"id": 0, "result": {"decision": decision}})
        );
        assert!(bench.is_done(2));
        assert!(bench.has(&Event::QuestionSettled("question-0".to_owned())));
        bench.close();
    }
}

#[test]
fn a_question_tells_what_for_and_about_what() {
    let bench = asking();
    let question = questions(&bench).remove(0);
    assert_eq!(question.detail, "it needs the network\nmake");
    let QuestionKind::Permission(request) = question.kind else {
        panic!("no question of permission");
    };
    assert_eq!(request.tool, "exec_command");
    assert_eq!(request.input, r#"{"command":"make","cwd":"/"}"#);
    assert_eq!(request.options[2].label, "Always allow commands that begin with `make`");
    bench.close();
}

#[test]
fn a_long_command_is_cut_in_the_label_only() {
    let mut bench = Bench::working();
    let words = json!(["sh", "-c", "echo ü".repeat(50), "second\nline"]);
    let approval = json!({"itemId": "c", "command": "sh", "proposedExecpolicyAmendment": words});
    bench.ask(0, COMMAND, approval);
    let QuestionKind::Permission(request) = questions(&bench).remove(0).kind else {
        panic!("no question of permission");
    };
    assert!(request.options[2].label.ends_with("…`") && request.options[2].label.len() < 140);
    give(&mut bench, 2, "question-0", choice("always"));
    let decision = &bench.lines().pop().unwrap()["result"]["decision"];
    assert_eq!(decision["acceptWithExecpolicyAmendment"]["execpolicy_amendment"], words);
    bench.close();
}

#[test]
fn a_denial_with_guidance_is_a_denial_and_a_word_to_the_turn() {
    let mut bench = asking();
    let guidance = Answer::DenyWithGuidance("use the mirror".to_owned());
    give(&mut bench, 2, "question-0", guidance.clone());
    let lines = bench.lines();
    assert_eq!(lines[0]["result"]["decision"], "decline");
    assert_eq!(bench.prompts("turn/steer"), ["use the mirror"]);
    assert_eq!(lines[1]["params"]["expectedTurnId"], TURN);
    assert!(bench.outcome(2).is_none());
    bench.answer("turn/steer", json!({"turnId": TURN}));
    assert!(bench.is_done(2));
    bench.close();
    let mut bench = asking();
    give(&mut bench, 2, "question-0", guidance);
    bench.fail("turn/steer", "no active turn to steer");
    assert_eq!(bench.failure(2).kind, FailureKind::Harness);
    bench.close();
}

#[test]
fn a_dismissed_question_of_permission_is_a_denial() {
    let mut bench = asking();
    give(&mut bench, 2, "question-0", Answer::Dismiss);
    assert_eq!(bench.lines()[0]["result"]["decision"], "decline");
    bench.close();
}

#[test]
fn an_answer_that_does_not_fit_leaves_the_question_open() {
    let mut bench = asking();
    let answers = [choice("maybe"), Answer::Confirm(true), Answer::Text("allow".to_owned())];
    for (number, answer) in (2..).zip(answers) {
        give(&mut bench, number, "question-0", answer);
        assert_eq!(bench.failure(number).kind, FailureKind::Invalid);
    }
    assert!(bench.lines().is_empty());
    give(&mut bench, 9, "question-0", choice("allow"));
    give(&mut bench, 10, "question-0", choice("allow"));
    assert!(bench.is_done(9));
    assert_eq!(bench.failure(10).kind, FailureKind::NotFound);
    bench.close();
}

#[test]
fn a_question_that_was_answered_elsewhere_is_settled() {
    let mut bench = asking();
    bench.tell("serverRequest/resolved", json!({"requestId": 0}));
    assert!(bench.has(&Event::QuestionSettled("question-0".to_owned())));
    bench.close();
}

#[test]
fn an_aborted_turn_takes_its_questions_with_it_and_ends_no_command_that_never_ran() {
    let mut bench = asking();
    bench.command(2, Command::Abort);
    bench.end(TURN, "interrupted");
    bench.tell("serverRequest/resolved", json!({"requestId": 0}));
    assert!(bench.has(&Event::QuestionSettled("question-0".to_owned())));
    assert_eq!(bench.notices(), "");
    bench.close();
}

#[test]
fn a_question_of_another_thread_outlives_the_turn_and_goes_with_the_session() {
    let mut bench = Bench::working();
    bench.ask(0, COMMAND, json!({"threadId": "of-a-helper", "itemId": "c", "command": "make"}));
    bench.end(TURN, "completed");
    let settled = Event::QuestionSettled("question-0".to_owned());
    assert!(!bench.has(&settled));
    bench.command(2, Command::NewSession);
    bench.answer("thread/start", common::thread("thread-2"));
    assert!(bench.has(&settled));
    bench.close();
}

#[test]
fn further_permissions_are_granted_as_they_were_asked_for() {
    let method = "item/permissions/requestApproval";
    let wanted = json!({"fileSystem": {"write": ["/srv"]}});
    let params = json!({"itemId": "p", "reason": null, "permissions": wanted});
    for (id, granted, scope) in [
        ("allow", wanted.clone(), "turn"),
        ("session", wanted.clone(), "session"),
        ("deny", json!({}), "turn"),
    ] {
        let result = told(method, params.clone(), choice(id));
        assert_eq!(result, json!({"permissions": granted, "scope": scope}), "{id}");
    }
}

#[test]
fn an_mcp_tool_is_allowed_for_as_long_as_codex_offers() {
    let params = |persist: Value| {
        json!({
            "serverName": "hub", "mode": "form", "message": "Allow it?", "turnId": TURN,
            "_meta": {"codex_approval_kind": "mcp_tool_call", "persist": persist, "tool_name": "t",
                      "tool_params": {"a": 1}},
            "requestedSchema": {"type": "object", "properties": {}},
        })
    };
    let options = |persist: Value| {
        let mut bench = Bench::working();
        bench.ask(0, ELICITATION, params(persist));
        let QuestionKind::Permission(request) = questions(&bench).remove(0).kind else {
            panic!("no question of permission");
        };
        assert_eq!((request.tool.as_str(), request.input.as_str()), ("mcp__hub__t", r#"{"a":1}"#));
        request.options.into_iter().map(|option| option.id).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(options(json!(["session", "always"])), "allow session always deny");
    assert_eq!(options(json!("session")), "allow session deny");
    assert_eq!(options(Value::Null), "allow deny");
    let result = told(ELICITATION, params(json!("always")), choice("always"));
    assert_eq!(result, json!({"action": "accept", "content": {}, "_meta": {"persist": "always"}}));
}

#[test]
fn a_server_can_ask_for_one_thing_of_each_kind() {
    let form = |properties: Value| json!({"serverName": "hub", "message": "?", "requestedSchema": {"properties": properties}});
    let accepted = |content: Value| json!({"action": "accept", "content": content, "_meta": null});
    let refused = |action: &str| json!({"action": action, "content": null, "_meta": null});
    for (properties, answer, result) in [
        (json!({}), Answer::Confirm(true), accepted(json!({}))),
        (json!({}), Answer::Confirm(false), refused("decline")),
        (json!({"n": {"type": "boolean"}}), Answer::Confirm(false), accepted(json!({"n": false}))),
        (
            json!({"n": {"type": "string"}}),
            Answer::Text("x".to_owned()),
            accepted(json!({"n": "x"})),
        ),
        (
            json!({"n": {"type": "string", "enum": ["a", "b"]}}),
            choice("b"),
            accepted(json!({"n": "b"})),
        ),
        (json!({"n": {"type": "string"}}), Answer::Dismiss, refused("cancel")),
    ] {
        assert_eq!(told(ELICITATION, form(properties), answer), result);
    }
}

#[test]
fn what_no_question_can_hold_is_refused_so_that_codex_goes_on() {
    let two = json!({"a": {"type": "string"}, "b": {"type": "string"}});
    let number = json!({"a": {"type": "number"}});
    let form = |properties: Value| json!({"serverName": "hub", "requestedSchema": {"properties": properties}});
    for (method, params) in [
        (ELICITATION, form(two)),
        (ELICITATION, form(number)),
        (COMMAND, json!({"another": "shape"})),
        (USER_INPUT, json!({"itemId": "i", "questions": []})),
        ("item/tool/call", json!({"callId": "c"})),
    ] {
        let mut bench = Bench::working();
        bench.ask(3, method, params);
        let line = bench.lines().pop().unwrap();
        assert_eq!((&line["id"], &line["error"]["code"]), (&json!(3), &json!(-32601)), "{method}");
        assert!(questions(&bench).is_empty() && bench.notices().contains(method));
        bench.close();
    }
}

#[test]
fn the_models_own_questions_are_answered_together() {
    let mut bench = Bench::working();
    let asked = json!([
        {"id": "q1", "header": "Colour", "question": "Which?", "isOther": false,
         "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": ""}]},
        {"id": "q2", "header": "Name", "question": "What name?", "options": null},
        {"id": "q3", "header": "Size", "question": "How big?", "isOther": true,
         "options": [{"label": "Small"}]},
    ]);
    bench.ask(0, USER_INPUT, json!({"itemId": "i", "questions": asked, "autoResolutionMs": 60000}));
    let open = questions(&bench);
    assert_eq!(open[0].kind, QuestionKind::Choose(vec!["Red".to_owned(), "Blue".to_owned()]));
    assert_eq!((open[0].detail.as_str(), open[0].expires_ms), ("Which?\nRed: warm", Some(60000)));
    assert_eq!(open[1].kind, QuestionKind::Text(None));
    give(&mut bench, 2, "question-0.q1", Answer::Text("Green".to_owned()));
    assert_eq!(bench.failure(2).kind, FailureKind::Invalid);
    give(&mut bench, 3, "question-0.q1", choice("Blue"));
    give(&mut bench, 4, "question-0.q2", Answer::Dismiss);
    assert!(bench.lines().is_empty() && bench.is_done(3) && bench.is_done(4));
    give(&mut bench, 5, "question-0.q3", Answer::Text("huge".to_owned()));
    assert_eq!(
        bench.lines().pop().unwrap()["result"],
        json!({"answers": {"q1": {"answers": ["Blue"]}, "q2": {"answers": []}, "q3": {"answers": ["huge"]}}})
    );
    bench.close();
}

#[test]
fn only_permission_can_be_denied_with_guidance() {
    let mut bench = Bench::working();
    let asked = json!([{"id": "q", "header": "Name", "question": "What name?"}]);
    bench.ask(0, USER_INPUT, json!({"itemId": "i", "questions": asked}));
    give(&mut bench, 2, "question-0.q", Answer::DenyWithGuidance("no".to_owned()));
    assert_eq!(bench.failure(2).kind, FailureKind::Unsupported);
    bench.close();
}

#[test]
fn there_is_no_end_to_questions_but_there_is_to_open_ones() {
    let mut bench = Bench::working();
    for id in 0..70 {
        bench.ask(id, COMMAND, json!({"itemId": "c", "command": "make"}));
    }
    assert_eq!(questions(&bench).len(), 64);
    assert_eq!(bench.lines().len(), 6);
    bench.close();
}
