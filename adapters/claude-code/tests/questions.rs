//! What Claude asks, and how it is answered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::Bench;
use rp_sdk::interface::Event;
use rp_sdk::session::{Answer, FailureKind, PermissionRequest, Question, QuestionKind};
use serde_json::json;

const RULE: &str = r#"{"type":"addRules","rules":[{"toolName":"Bash","ruleContent":"touch x"}],"behavior":"allow","destination":"localSettings"}"#;
const FOLDER: &str = r#"{"type":"addDirectories","directories":["/tmp"],"destination":"session"}"#;
const MODE: &str = r#"{"type":"setMode","mode":"acceptEdits","destination":"session"}"#;

fn choice(text: &str) -> Answer {
    Answer::Choice(text.to_owned())
}

fn questions(bench: &Bench) -> Vec<Question> {
    let questions = bench.events().into_iter().filter_map(|event| match event {
        Event::Question(question) => Some(question.clone()),
        _ => None,
    });
    questions.collect()
}

fn permission(question: &Question) -> &PermissionRequest {
    match &question.kind {
        QuestionKind::Permission(request) => request,
        other => panic!("{other:?} is no permission"),
    }
}

fn asks_for_bash(bench: &mut Bench, suggestions: &[&str]) {
    let suggestions = suggestions.join(",");
    bench.asks("q", &format!(r#""tool_name":"Bash","input":{{"command":"touch x"}},"permission_suggestions":[{suggestions}],"tool_use_id":"toolu_1""#));
}

/// What the options of a question are, and what Claude is told for `allow-always`.
fn always(suggestions: &[&str]) -> (Vec<String>, serde_json::Value) {
    let mut bench = Bench::working();
    asks_for_bash(&mut bench, suggestions);
    let question = questions(&bench).remove(0);
    let options = permission(&question).options.iter().map(|option| option.label.clone());
    let options = options.collect();
    bench.answer_question(2, "q", choice("allow-always"));
    (options, bench.answered().pop().unwrap_or_default())
}

#[test]
fn always_means_a_rule_for_such_calls_and_nothing_more() {
    let (options, answer) = always(&[RULE, FOLDER, MODE]);
    assert_eq!(options, ["Allow once", "Always allow Bash(touch x)", "Deny"]);
    let rule: serde_json::Value = serde_json::from_str(RULE).unwrap();
    assert_eq!(answer, json!({"behavior": "allow", "updatedPermissions": [rule]}));
}

#[test]
fn always_means_another_mode_where_that_is_all_claude_offers() {
    let (options, answer) = always(&[MODE]);
    assert_eq!(options[1], "Allow, and go on in the mode acceptEdits");
    assert_eq!(answer["updatedPermissions"][0]["mode"], "acceptEdits");
}

#[test]
fn without_a_suggestion_there_is_no_always() {
    let mut bench = Bench::working();
    asks_for_bash(&mut bench, &[]);
    bench.answer_question(2, "q", choice("allow-always"));
    assert_eq!(bench.failure(2).kind, FailureKind::Invalid);
    assert!(bench.answered().is_empty());
}

#[test]
fn a_denial_tells_the_model_why() {
    for (answer, why) in [
        (choice("deny-once"), "The user did not allow this."),
        (Answer::DenyWithGuidance("use make".to_owned()), "use make"),
        (Answer::Dismiss, "The user did not answer."),
    ] {
        let mut bench = Bench::working();
        asks_for_bash(&mut bench, &[RULE]);
        bench.answer_question(2, "q", answer);
        assert_eq!(bench.answered(), [json!({"behavior": "deny", "message": why})]);
        assert!(bench.is_done(2));
        assert!(bench.events().contains(&&Event::QuestionSettled("q".to_owned())));
    }
}

#[test]
fn an_answer_that_does_not_fit_leaves_the_question_open() {
    let mut bench = Bench::working();
    asks_for_bash(&mut bench, &[RULE]);
    for (number, answer) in
        (2..).zip([choice("maybe"), Answer::Confirm(true), Answer::Text("allow-once".to_owned())])
    {
        bench.answer_question(number, "q", answer);
        assert_eq!(bench.failure(number).kind, FailureKind::Invalid);
    }
    bench.answer_question(9, "q", choice("allow-once"));
    assert!(bench.is_done(9));
    bench.answer_question(10, "q", choice("allow-once"));
    assert_eq!(bench.failure(10).kind, FailureKind::NotFound);
    assert_eq!(bench.answered().len(), 1);
}

#[test]
fn a_plan_is_shown_with_the_question_about_it() {
    let mut bench = Bench::working();
    bench.calls("toolu_1", "ExitPlanMode", r#"{"plan":"1. do it"}"#);
    bench.asks("q", r#""tool_name":"ExitPlanMode","input":{},"tool_use_id":"toolu_1","requires_user_interaction":true"#);
    assert_eq!(permission(&questions(&bench)[0]).input, r#"{"plan":"1. do it"}"#);
}

#[test]
fn a_question_of_a_sub_agent_is_asked_outside_of_a_turn_too() {
    let mut bench = Bench::new();
    bench.asks(
        "q",
        r#""tool_name":"Bash","input":{"command":"ls"},"agent_id":"a1","tool_use_id":"toolu_9""#,
    );
    assert!(questions(&bench)[0].detail.contains("sub-agent"));
    bench.answer_question(1, "q", choice("allow-once"));
    assert!(bench.is_done(1));
}

#[test]
fn a_question_that_claude_withdraws_is_settled() {
    let mut bench = Bench::working();
    asks_for_bash(&mut bench, &[]);
    bench.line(r#"{"type":"control_cancel_request","request_id":"q"}"#);
    assert!(bench.events().contains(&&Event::QuestionSettled("q".to_owned())));
    bench.answer_question(2, "q", choice("allow-once"));
    assert_eq!(bench.failure(2).kind, FailureKind::NotFound);
}

const ASK: &str = r#""tool_name":"AskUserQuestion","tool_use_id":"toolu_1","input":{"questions":[
    {"question":"Which colour?","header":"Colour","multiSelect":false,"options":[{"label":"Red","description":"r"},{"label":"Blue","description":"b"}]},
    {"question":"Which sizes?","header":"Size","multiSelect":true,"options":[{"label":"S","description":"s"},{"label":"M","description":"m"}]}]}"#;

#[test]
fn several_questions_at_once_are_answered_one_by_one_and_sent_together() {
    let mut bench = Bench::working();
    bench.asks("q", ASK);
    let asked = questions(&bench);
    assert_eq!(asked[0].kind, QuestionKind::Choose(vec!["Red".to_owned(), "Blue".to_owned()]));
    assert_eq!(asked[0].detail, "Red: r\nBlue: b");
    assert!(asked[1].detail.ends_with("Several can be chosen, as text."));
    bench.answer_question(2, &asked[1].id, Answer::Text("S, M".to_owned()));
    assert!(bench.is_done(2) && bench.answered().is_empty());
    bench.answer_question(3, &asked[1].id, choice("S"));
    assert_eq!(bench.failure(3).kind, FailureKind::NotFound);
    bench.answer_question(4, &asked[0].id, choice("Green"));
    assert_eq!(bench.failure(4).kind, FailureKind::Invalid);
    bench.answer_question(5, &asked[0].id, choice("Blue"));
    let answer = bench.answered().pop().unwrap();
    assert_eq!(answer["behavior"], "allow");
    assert_eq!(
        answer["updatedInput"]["answers"],
        json!({"Which colour?": "Blue", "Which sizes?": "S, M"})
    );
    assert_eq!(answer["updatedInput"]["questions"].as_array().unwrap().len(), 2);
    for question in asked {
        assert!(bench.events().contains(&&Event::QuestionSettled(question.id)));
    }
}

#[test]
fn who_dismisses_one_of_several_questions_dismisses_all() {
    let mut bench = Bench::working();
    bench.asks("q", ASK);
    bench.answer_question(2, "q.1", choice("Red"));
    bench.answer_question(3, "q.2", Answer::Dismiss);
    assert_eq!(bench.answered().pop().unwrap()["behavior"], "deny");
    bench.exited(&rp_sdk::interface::Exit::Code(0));
    bench.finish();
}

#[test]
fn a_request_that_nobody_here_can_answer_is_refused_at_once() {
    let mut bench = Bench::working();
    bench.line(r#"{"type":"control_request","request_id":"q","request":{"subtype":"elicitation","message":"?"}}"#);
    let written = format!("{:?}", bench.effects().last());
    assert!(questions(&bench).is_empty() && written.contains("Write"));
}

#[test]
fn more_questions_than_anybody_answers_are_denied() {
    let mut bench = Bench::working();
    for number in 0..70 {
        bench.asks(&format!("q{number}"), r#""tool_name":"Bash","input":{}"#);
    }
    assert_eq!(questions(&bench).len(), 64);
    assert_eq!(bench.answered().len(), 6);
}
