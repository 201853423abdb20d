//! What no recording shows: prompts, aborts and ends in other orders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, THREAD, TURN, turn};
use rp_sdk::interface::{Command, Event, Exit};
use rp_sdk::session::{FailureKind, ToolCall, TurnEnd, Urgency};
use serde_json::json;

#[test]
fn a_prompt_for_later_is_accepted_at_once_and_goes_out_behind_the_turn() {
    let mut bench = Bench::working();
    bench.prompt(2, "later", Urgency::WhenIdle);
    bench.prompt(3, "later still", Urgency::WhenIdle);
    assert!(bench.is_done(2) && bench.is_done(3) && bench.lines().is_empty());
    bench.end(TURN, "completed");
    assert_eq!(bench.prompts("turn/start"), ["later"]);
    bench.answer("turn/start", turn("turn-2", "inProgress"));
    bench.begin("turn-2");
    bench.end("turn-2", "completed");
    assert_eq!(bench.prompts("turn/start"), ["later", "later still"]);
    bench.close();
}

#[test]
fn a_prompt_behind_tools_joins_the_turn_and_overtakes_those_for_later() {
    let mut bench = Bench::working();
    bench.prompt(2, "later", Urgency::WhenIdle);
    bench.prompt(3, "now", Urgency::AfterTools);
    assert_eq!(bench.prompts("turn/steer"), ["now"]);
    assert_eq!(bench.last("turn/steer")["params"]["expectedTurnId"], TURN);
    assert!(bench.outcome(3).is_none());
    bench.answer("turn/steer", json!({"turnId": TURN}));
    bench.user_message(3, "now");
    assert!(bench.is_done(3) && bench.has(&Event::PromptSeen(3)));
    bench.close();
}

#[test]
fn a_prompt_that_comes_before_the_turn_has_begun_joins_it_then() {
    let mut bench = Bench::open();
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.answer("turn/start", turn(TURN, "inProgress"));
    assert!(bench.written("turn/steer").is_empty());
    bench.begin(TURN);
    assert_eq!(bench.prompts("turn/steer"), ["two"]);
    bench.close();
}

#[test]
fn a_prompt_whose_turn_ended_meanwhile_starts_one_of_its_own() {
    for message in ["no active turn to steer", "expected active turn id `a` but found `b`"] {
        let mut bench = Bench::working();
        bench.prompt(2, "too late", Urgency::AfterTools);
        bench.end(TURN, "completed");
        bench.fail("turn/steer", message);
        assert_eq!(bench.prompts("turn/start"), ["too late"], "{message}");
        assert!(bench.outcome(2).is_none());
        bench.close();
    }
}

#[test]
fn a_turn_that_takes_no_prompts_is_asked_once() {
    let mut bench = Bench::working();
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.fail("turn/steer", "the active turn is not steerable");
    bench.prompt(3, "three", Urgency::AfterTools);
    assert_eq!(bench.written("turn/steer").len(), 1);
    assert!(bench.is_done(2) && bench.is_done(3));
    bench.end(TURN, "completed");
    assert_eq!(bench.prompts("turn/start"), ["two"]);
    bench.close();
}

#[test]
fn a_prompt_that_codex_took_and_the_model_did_not_see_is_told_as_dropped() {
    let mut bench = Bench::working();
    bench.prompt(2, "two", Urgency::AfterTools);
    bench.answer("turn/steer", json!({"turnId": TURN}));
    bench.prompt(3, "three", Urgency::AfterTools);
    bench.end(TURN, "completed");
    assert!(bench.has(&Event::PromptsDropped(vec![2])));
    // This one was answered only behind the end.
    bench.answer("turn/steer", json!({"turnId": TURN}));
    assert!(bench.is_done(3) && bench.has(&Event::PromptsDropped(vec![3])));
    bench.close();
}

#[test]
fn an_interrupting_prompt_goes_out_when_the_turn_is_over_and_before_all_others() {
    let mut bench = Bench::working();
    bench.prompt(2, "later", Urgency::WhenIdle);
    bench.prompt(3, "stop that", Urgency::Interrupt);
    bench.prompt(4, "and do this", Urgency::Interrupt);
    bench.prompt(5, "aside", Urgency::AfterTools);
    assert_eq!(bench.written("turn/interrupt").len(), 1);
    assert_eq!(bench.lines().len(), 1);
    bench.answer("turn/interrupt", json!({}));
    bench.end(TURN, "interrupted");
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert_eq!(bench.prompts("turn/start"), ["stop that"]);
    bench.close();
}

#[test]
fn an_interrupting_prompt_is_plain_when_nothing_runs() {
    let mut bench = Bench::open();
    bench.prompt(1, "go", Urgency::Interrupt);
    assert_eq!(bench.lines().len(), 1);
    assert_eq!(bench.prompts("turn/start"), ["go"]);
    bench.close();
}

#[test]
fn an_abort_takes_back_what_waits_and_says_so() {
    let mut bench = Bench::working();
    bench.prompt(2, "later", Urgency::WhenIdle);
    bench.command(3, Command::Abort);
    assert!(bench.has(&Event::PromptsDropped(vec![2])));
    bench.answer("turn/interrupt", json!({}));
    bench.end(TURN, "interrupted");
    assert!(bench.is_done(3) && bench.written("turn/start").is_empty());
    bench.close();
}

#[test]
fn an_abort_before_the_turn_has_a_name_or_has_begun_is_not_lost() {
    let mut bench = Bench::open();
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.command(2, Command::Abort);
    assert!(bench.written("turn/interrupt").is_empty());
    bench.answer("turn/start", turn(TURN, "inProgress"));
    assert_eq!(bench.last("turn/interrupt")["params"]["turnId"], TURN);
    bench.fail("turn/interrupt", "no active turn to interrupt");
    assert!(bench.outcome(2).is_none());
    bench.begin(TURN);
    assert_eq!(bench.written("turn/interrupt").len(), 2);
    bench.answer("turn/interrupt", json!({}));
    bench.end(TURN, "interrupted");
    assert!(bench.is_done(2));
    assert!(bench.has(&Event::PromptsDropped(vec![1])));
    bench.close();
}

#[test]
fn an_abort_of_a_turn_that_never_came_is_done() {
    let mut bench = Bench::open();
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.command(2, Command::Abort);
    bench.fail("turn/start", "the model is not supported");
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    assert!(bench.is_done(2) && bench.turn_ends().is_empty());
    bench.prompt(3, "again", Urgency::WhenIdle);
    assert_eq!(bench.prompts("turn/start"), ["one", "again"]);
    bench.close();
}

#[test]
fn a_turn_that_ends_before_it_has_begun_is_told_whole() {
    let mut bench = Bench::open();
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.answer("turn/start", turn(TURN, "inProgress"));
    bench.end(TURN, "failed");
    assert!(bench.has(&Event::TurnStarted));
    assert_eq!(bench.turn_ends(), [TurnEnd::Failed]);
    assert!(bench.has(&Event::PromptsDropped(vec![1])));
    bench.close();
}

#[test]
fn a_turn_that_codex_begins_by_itself_is_a_turn() {
    let mut bench = Bench::open();
    bench.begin("its-own");
    bench.prompt(1, "aside", Urgency::AfterTools);
    assert_eq!(bench.last("turn/steer")["params"]["expectedTurnId"], "its-own");
    bench.end("its-own", "completed");
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
    bench.close();
}

#[test]
fn a_full_context_and_a_used_up_account_end_a_turn_as_a_limit() {
    for info in ["contextWindowExceeded", "usageLimitExceeded"] {
        let mut bench = Bench::working();
        let error =
            json!({"message": "too much", "codexErrorInfo": info, "additionalDetails": null});
        let turn = json!({"turn": {"id": TURN, "status": "failed", "error": error}});
        bench.tell("turn/completed", turn);
        assert_eq!(bench.turn_ends(), [TurnEnd::Limit]);
        assert_eq!(bench.notices(), "too much");
        bench.close();
    }
}

#[test]
fn other_threads_of_the_process_are_not_mistaken_for_the_current_one() {
    let mut bench = Bench::working();
    let other = |rest: serde_json::Value| {
        let mut params = json!({"threadId": "of-a-helper", "turnId": TURN, "itemId": "m"});
        params.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        params
    };
    bench.tell("item/agentMessage/delta", other(json!({"delta": "not ours"})));
    bench.tell("turn/started", other(turn("theirs", "inProgress")));
    bench.tell("turn/completed", other(turn(TURN, "completed")));
    bench.tell("thread/name/updated", other(json!({"threadName": "theirs"})));
    assert_eq!(bench.events().len(), 0);
    bench.close();
}

#[test]
fn a_command_that_outlives_its_turn_is_closed_with_it_and_its_end_is_told() {
    let mut bench = Bench::working();
    bench.command_item("item/started", "c", json!({}));
    let piece = json!({"turnId": TURN, "itemId": "c", "delta": "begun\n"});
    bench.tell("item/commandExecution/outputDelta", piece.clone());
    bench.forget();
    bench.end(TURN, "completed");
    let ended = bench.events().into_iter().find_map(|event| match event {
        Event::ToolEnded(ToolCall { output, failed, .. }) => Some((output.clone(), *failed)),
        _ => None,
    });
    assert_eq!(ended, Some((Some("begun\n".to_owned()), false)));
    assert!(bench.notices().contains("goes on behind its turn: make"));
    bench.forget();
    // What it still says belongs to no turn, not even to the next.
    bench.prompt(2, "next", Urgency::WhenIdle);
    bench.answer("turn/start", turn("turn-2", "inProgress"));
    bench.begin("turn-2");
    bench.forget();
    bench.tell("item/commandExecution/outputDelta", piece);
    bench.command_item("item/completed", "c", json!({"status": "failed", "exitCode": 2}));
    assert_eq!(
        bench.notices(),
        "a command that went on behind its turn ended with exit code 2: make"
    );
    assert_eq!(bench.events().len(), 1);
    bench.close();
}

#[test]
fn a_compaction_is_a_turn_that_takes_no_prompts() {
    let mut bench = Bench::open();
    bench.command(1, Command::Compact(None));
    bench.prompt(2, "aside", Urgency::AfterTools);
    bench.answer("thread/compact/start", json!({}));
    bench.begin(TURN);
    assert!(bench.outcome(1).is_none() && bench.is_done(2));
    assert!(bench.written("turn/steer").is_empty());
    bench.end(TURN, "completed");
    assert!(bench.is_done(1));
    assert_eq!(bench.prompts("turn/start"), ["aside"]);
    bench.close();
}

#[test]
fn a_compaction_that_does_not_come_about_fails_its_command() {
    let mut bench = Bench::open();
    bench.command(1, Command::Compact(None));
    bench.fail("thread/compact/start", "not now");
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    bench.command(2, Command::Compact(None));
    bench.answer("thread/compact/start", json!({}));
    bench.begin(TURN);
    bench.command(3, Command::Abort);
    bench.end(TURN, "interrupted");
    assert_eq!(bench.failure(2).kind, FailureKind::Refused);
    bench.command(4, Command::Compact(Some("keep the plan".to_owned())));
    assert_eq!(bench.failure(4).kind, FailureKind::Unsupported);
    bench.close();
}

#[test]
fn shortening_the_context_does_not_cost_a_running_turn() {
    let mut bench = Bench::working();
    bench.command(2, Command::Compact(None));
    assert_eq!(bench.failure(2).kind, FailureKind::Busy);
    assert!(bench.lines().is_empty());
    bench.close();
}

#[test]
fn a_process_that_dies_in_a_turn_leaves_nothing_open() {
    let mut bench = Bench::working();
    bench.command_item("item/started", "c", json!({}));
    let approval = json!({"threadId": THREAD, "turnId": TURN, "itemId": "c", "command": "make"});
    bench.ask(0, "item/commandExecution/requestApproval", approval);
    bench.command(2, Command::History);
    bench.prompt(3, "later", Urgency::WhenIdle);
    bench.prompt(4, "aside", Urgency::AfterTools);
    bench.forget();
    bench.exited(&Exit::Signal(9));
    assert_eq!(bench.turn_ends(), [TurnEnd::Failed]);
    assert_eq!(bench.notices(), "Codex was ended by signal 9 in the middle of a turn");
    assert!(bench.has(&Event::QuestionSettled("question-0".to_owned())));
    assert!(bench.has(&Event::PromptsDropped(vec![3])));
    assert_eq!(
        (bench.failure(2).kind, bench.failure(4).kind),
        (FailureKind::Harness, FailureKind::Harness)
    );
}
