//! What no recording shows: prompts that meet a turn, interruptions, ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, SESSION};
use rp_sdk::interface::{Command, Event, Exit};
use rp_sdk::session::{Answer, FailureKind, Image, Prompt, TurnEnd, Urgency};
use serde_json::json;

const ALL: [&str; 4] = ["opencode", "pi-acp", "gemini", "acp"];

#[test]
fn a_prompt_that_comes_while_the_agent_works_waits_here_and_is_accepted_at_once() {
    for harness in ALL {
        let mut bench = Bench::working(harness);
        bench.prompt(2, "two", Urgency::WhenIdle);
        bench.prompt(3, "three", Urgency::WhenIdle);
        assert!(bench.is_done(2) && bench.is_done(3), "{harness}");
        assert_eq!(bench.prompts(), ["work"]);
        bench.stop("end_turn");
        assert_eq!(bench.prompts(), ["work", "two"]);
        bench.stop("end_turn");
        assert_eq!(bench.prompts(), ["work", "two", "three"]);
        assert_eq!(bench.turn_ends().len(), 2);
    }
}

#[test]
fn an_agent_that_takes_no_prompt_into_a_turn_refuses_one_that_should_join() {
    for harness in ["pi-acp", "gemini", "acp"] {
        let mut bench = Bench::working(harness);
        bench.prompt(2, "two", Urgency::AfterTools);
        assert_eq!(bench.failure(2).kind, FailureKind::Unsupported);
        bench.stop("end_turn");
        bench.prompt(3, "three", Urgency::AfterTools);
        assert_eq!(bench.prompts(), ["work", "three"]);
    }
}

#[test]
fn a_prompt_that_joined_a_running_tool_is_seen_by_the_next_call_of_the_model() {
    let mut bench = Bench::working("opencode");
    bench.tool("t", "pending");
    bench.tool("t", "in_progress");
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.tool("t", "completed");
    assert!(!bench.has(&Event::PromptSeen(2)));
    bench.text("m2", "on it");
    assert!(bench.has(&Event::PromptSeen(2)));
}

#[test]
fn a_prompt_that_joined_between_two_calls_is_seen_for_sure_only_by_the_second() {
    let mut bench = Bench::working("opencode");
    bench.tool("t", "pending");
    bench.tool("t", "completed");
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.text("m2", "maybe without it");
    assert!(!bench.has(&Event::PromptSeen(2)));
    bench.text("m3", "with it");
    assert!(bench.has(&Event::PromptSeen(2)));
}

#[test]
fn a_turn_with_a_prompt_that_joined_ends_with_the_last_answer() {
    let mut bench = Bench::working("opencode");
    bench.prompt(2, "two", Urgency::AfterTools);
    let ids: Vec<_> =
        bench.written("session/prompt").iter().map(|line| line["id"].clone()).collect();
    for id in ids {
        assert!(bench.turn_ends().is_empty());
        bench.line(
            &json!({"jsonrpc": "2.0", "id": id, "result": {"stopReason": "end_turn"}}).to_string(),
        );
    }
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
    assert!(bench.has(&Event::PromptSeen(2)) && bench.is_done(2));
}

#[test]
fn a_prompt_that_joined_and_was_not_seen_when_the_turn_was_aborted_is_dropped() {
    let mut bench = Bench::working("opencode");
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.command(3, Command::Abort);
    for line in bench.written("session/prompt") {
        let answer =
            json!({"jsonrpc": "2.0", "id": line["id"], "result": {"stopReason": "cancelled"}});
        bench.line(&answer.to_string());
    }
    assert!(bench.has(&Event::PromptsDropped(vec![2])) && !bench.has(&Event::PromptSeen(2)));
    assert!(bench.is_done(2) && bench.is_done(3));
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
}

#[test]
fn an_abort_takes_back_what_waits_and_is_done_when_the_turn_is_over() {
    let mut bench = Bench::working("gemini");
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.command(3, Command::Abort);
    assert!(bench.has(&Event::PromptsDropped(vec![2])) && bench.outcome(3).is_none());
    assert_eq!(bench.written("session/cancel").len(), 1);
    bench.stop("cancelled");
    assert!(bench.is_done(3));
    assert_eq!(bench.prompts(), ["work"]);
}

#[test]
fn an_abort_when_nothing_runs_is_done_at_once() {
    let mut bench = Bench::open("opencode");
    bench.command(1, Command::Abort);
    assert!(bench.is_done(1) && bench.lines().is_empty());
}

#[test]
fn an_aborted_turn_is_that_whatever_the_agent_calls_its_end() {
    for reason in ["end_turn", "cancelled", "max_tokens"] {
        let mut bench = Bench::working("opencode");
        bench.command(2, Command::Abort);
        bench.stop(reason);
        assert_eq!(bench.turn_ends(), [TurnEnd::Aborted], "{reason}");
        assert_eq!(bench.notices(), "");
    }
}

#[test]
fn a_prompt_that_interrupts_ends_the_turn_and_overtakes_those_that_wait() {
    for harness in ALL {
        let mut bench = Bench::working(harness);
        bench.prompt(2, "two", Urgency::WhenIdle);
        bench.prompt(3, "three", Urgency::Interrupt);
        bench.prompt(4, "four", Urgency::Interrupt);
        assert_eq!(bench.written("session/cancel").len(), 1, "{harness}");
        assert_eq!(bench.prompts(), ["work"]);
        bench.stop("cancelled");
        assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
        assert_eq!(bench.prompts(), ["work", "three"]);
        bench.stop("end_turn");
        bench.stop("end_turn");
        assert_eq!(bench.prompts(), ["work", "three", "four", "two"]);
    }
}

#[test]
fn an_open_question_is_answered_before_a_turn_can_be_cancelled() {
    let mut bench = Bench::working("gemini");
    bench.ask(&json!(0), "t");
    bench.command(2, Command::Abort);
    let last = bench.lines().pop().unwrap();
    assert_eq!(last["result"]["outcome"]["outcome"], "cancelled");
    assert!(bench.has(&Event::QuestionSettled("t.1".to_owned())));
    bench.command(3, Command::Answer(("t.1".to_owned(), Answer::Dismiss)));
    assert_eq!(bench.failure(3).kind, FailureKind::NotFound);
}

#[test]
fn a_question_that_crosses_a_cancel_on_its_way_is_answered_without_asking_anybody() {
    let mut bench = Bench::working("gemini");
    bench.command(2, Command::Abort);
    bench.ask(&json!("a"), "t");
    let last = bench.lines().pop().unwrap();
    assert_eq!(
        (&last["id"], &last["result"]["outcome"]["outcome"]),
        (&json!("a"), &json!("cancelled"))
    );
    assert!(!bench.events().iter().any(|event| matches!(event, Event::Question(_))));
}

#[test]
fn a_question_that_outlives_its_turn_is_withdrawn() {
    let mut bench = Bench::working("opencode");
    bench.ask(&json!(0), "t");
    bench.stop("end_turn");
    assert!(bench.has(&Event::QuestionSettled("t.1".to_owned())));
    assert_eq!(bench.lines().pop().unwrap()["result"]["outcome"]["outcome"], "cancelled");
}

#[test]
fn ids_of_the_agent_and_of_the_adapter_are_not_mixed_up() {
    let mut bench = Bench::open("opencode");
    bench.prompt(1, "work", Urgency::WhenIdle);
    let ours = bench.written("session/prompt")[0]["id"].clone();
    bench.ask(&ours, "t");
    bench.command(2, Command::Answer(("t.1".to_owned(), Answer::Choice("yes".to_owned()))));
    assert!(bench.turn_ends().is_empty() && bench.is_done(2));
    bench.stop("end_turn");
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn an_answer_that_is_no_option_is_refused_and_the_question_stays_open() {
    let mut bench = Bench::working("opencode");
    bench.ask(&json!(0), "t");
    let answers = [
        (Answer::Choice("Allow".to_owned()), FailureKind::Invalid),
        (Answer::Confirm(true), FailureKind::Invalid),
        (Answer::Text("yes".to_owned()), FailureKind::Invalid),
        (Answer::DenyWithGuidance("no".to_owned()), FailureKind::Unsupported),
    ];
    for (number, (answer, kind)) in (2..).zip(answers) {
        bench.command(number, Command::Answer(("t.1".to_owned(), answer)));
        assert_eq!(bench.failure(number).kind, kind);
    }
    bench.command(9, Command::Answer(("t.1".to_owned(), Answer::Choice("no".to_owned()))));
    assert!(bench.is_done(9));
}

#[test]
fn a_tool_that_was_only_asked_about_starts_when_it_is_allowed_and_never_when_it_is_not() {
    for (choice, starts) in [("yes", 1), ("no", 0)] {
        let mut bench = Bench::working("gemini");
        bench.ask(&json!(0), "run__1");
        bench.command(
            2,
            Command::Answer(("run__1.1".to_owned(), Answer::Choice(choice.to_owned()))),
        );
        bench.stop("end_turn");
        let count = |wanted: fn(&Event) -> bool| {
            bench.events().into_iter().filter(|event| wanted(event)).count()
        };
        assert_eq!(count(|event| matches!(event, Event::ToolStarted(_))), starts);
        assert_eq!(count(|event| matches!(event, Event::ToolEnded(_))), starts);
    }
}

#[test]
fn a_call_that_was_denied_before_the_agent_told_its_arguments_still_ends_as_failed() {
    let mut bench = Bench::working("opencode");
    bench.tool("t", "pending");
    bench.ask(&json!(0), "t");
    bench.command(2, Command::Answer(("t.1".to_owned(), Answer::Choice("no".to_owned()))));
    bench.tool("t", "in_progress");
    bench.tool("t", "failed");
    let failed = |event: &Event| matches!(event, Event::ToolEnded(call) if call.failed);
    assert_eq!(bench.events().into_iter().filter(|event| failed(event)).count(), 1);
}

#[test]
fn a_prompt_that_is_refused_at_once_fails_its_command() {
    let mut bench = Bench::open("opencode");
    bench.prompt(1, "work", Urgency::WhenIdle);
    bench.fail("session/prompt", -32602, "session not found");
    assert_eq!(bench.failure(1).message, "session not found");
    assert_eq!(bench.turn_ends(), [TurnEnd::Failed]);
    assert!(!bench.has(&Event::PromptSeen(1)));
}

#[test]
fn a_prompt_that_is_refused_after_it_was_accepted_is_dropped() {
    let mut bench = Bench::open("opencode");
    bench.prompt(1, "work", Urgency::WhenIdle);
    bench.wake();
    assert!(bench.is_done(1));
    bench.fail("session/prompt", -32602, "session not found");
    assert!(bench.has(&Event::PromptsDropped(vec![1])));
}

#[test]
fn a_model_that_fails_is_a_failed_turn_with_the_reason() {
    let mut bench = Bench::open("gemini");
    bench.prompt(1, "work", Urgency::WhenIdle);
    bench.fail("session/prompt", 500, "terminated");
    assert!(bench.is_done(1) && bench.has(&Event::PromptSeen(1)));
    assert_eq!(
        (bench.turn_ends(), bench.notices().as_str()),
        (vec![TurnEnd::Failed], "terminated")
    );
}

#[test]
fn every_reason_to_stop_is_an_end_of_its_kind() {
    for (reason, how) in [
        ("end_turn", TurnEnd::Completed),
        ("max_tokens", TurnEnd::Limit),
        ("max_turn_requests", TurnEnd::Limit),
        ("refusal", TurnEnd::Failed),
        ("cancelled", TurnEnd::Aborted),
        ("something new", TurnEnd::Completed),
    ] {
        let mut bench = Bench::working("acp");
        bench.stop(reason);
        assert_eq!(bench.turn_ends(), [how], "{reason}");
    }
}

#[test]
fn a_turn_without_an_answer_is_remarked_on_where_the_agent_hides_errors() {
    for (harness, remarked) in
        [("pi-acp", true), ("acp", true), ("opencode", false), ("gemini", false)]
    {
        let mut bench = Bench::open(harness);
        bench.prompt(1, "work", Urgency::WhenIdle);
        bench.stop("end_turn");
        assert_eq!(bench.notices().contains("without an answer"), remarked, "{harness}");
    }
}

#[test]
fn what_comes_behind_a_turn_begins_no_other() {
    let mut bench = Bench::working("pi-acp");
    bench.stop("end_turn");
    bench.forget();
    bench.text("m1", "Retry finished, resuming.");
    bench.text("m2", "one more thing");
    bench.tool("t", "completed");
    assert!(bench.effects().is_empty());
}

#[test]
fn images_go_only_to_agents_that_take_them() {
    let prompt = Prompt {
        text: String::new(),
        images: vec![Image { mime: "image/png".to_owned(), data: vec![1, 2, 3] }],
        urgency: Urgency::WhenIdle,
    };
    let mut bench = Bench::open("acp");
    bench.command(1, Command::Prompt(prompt.clone()));
    assert_eq!(
        bench.written("session/prompt")[0]["params"]["prompt"],
        json!([{"type": "image", "data": "AQID", "mimeType": "image/png"}])
    );
    let mut bench = Bench::start(rp_sdk::testing::launch_request("acp"));
    bench.answer("initialize", json!({"protocolVersion": 1}));
    bench.answer("session/new", json!({"sessionId": SESSION}));
    bench.command(1, Command::Prompt(prompt));
    assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
}

#[test]
fn shortening_the_context_is_a_command_of_some_agents_and_takes_a_turn() {
    let mut bench = Bench::working("opencode");
    bench.command(2, Command::Compact(None));
    assert_eq!(bench.failure(2).kind, FailureKind::Busy);
    bench.stop("end_turn");
    bench.command(3, Command::Compact(Some("keep names".to_owned())));
    assert_eq!(bench.failure(3).kind, FailureKind::Unsupported);
    bench.command(4, Command::Compact(None));
    bench.prompt(5, "next", Urgency::AfterTools);
    assert_eq!(bench.prompts(), ["work", "/compact"]);
    assert!(bench.outcome(4).is_none());
    bench.stop("end_turn");
    assert!(bench.is_done(4) && !bench.has(&Event::PromptSeen(4)));
    assert_eq!(bench.prompts(), ["work", "/compact", "next"]);

    bench.stop("end_turn");
    bench.command(6, Command::Compact(None));
    bench.command(7, Command::Abort);
    bench.stop("cancelled");
    assert_eq!(bench.failure(6).message, "an abort ended it");

    let mut bench = Bench::open("pi-acp");
    bench.command(1, Command::Compact(Some("keep names".to_owned())));
    assert_eq!(bench.prompts(), ["/compact keep names"]);
    let mut bench = Bench::open("gemini");
    bench.command(1, Command::Compact(None));
    assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
}

#[test]
fn a_process_that_dies_in_a_turn_leaves_nothing_open() {
    let mut bench = Bench::working("acp");
    bench.tool("t", "pending");
    bench.ask(&json!(0), "t");
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.other(3, "list-sessions", &json!({}));
    bench.command(4, Command::Abort);
    bench.command(5, Command::NewSession);
    bench.command(6, Command::History);
    bench.exited(&Exit::Signal(9));
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert!(bench.has(&Event::PromptsDropped(vec![2])));
    assert!(
        bench.events().iter().any(|event| matches!(event, Event::ToolEnded(call) if call.failed))
    );
    for number in [3, 5, 6] {
        assert_eq!(bench.failure(number).kind, FailureKind::Harness);
    }
    assert!(bench.is_done(4));
}

#[test]
fn a_prompt_that_was_not_accepted_when_the_process_died_has_failed() {
    let mut bench = Bench::open("acp");
    bench.prompt(1, "work", Urgency::WhenIdle);
    bench.exited(&Exit::Code(1));
    assert_eq!(bench.failure(1).kind, FailureKind::Harness);
    assert_eq!(bench.turn_ends(), [TurnEnd::Failed]);
}
