//! What no recording shows: ids that Claude follows, races, interruptions, ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, request};
use rp_sdk::interface::{Command, Effect, Event, Exit, LaunchRequest};
use rp_sdk::session::{FailureKind, TurnEnd, Urgency};
use serde_json::json;

#[test]
fn a_prompt_is_accepted_when_claude_has_it_and_seen_when_it_turns_to_it() {
    let mut bench = Bench::new();
    bench.prompt(1, "hello", Urgency::WhenIdle);
    assert!(bench.outcome(1).is_none());
    bench.lifecycle("hello", "queued");
    assert!(bench.is_done(1) && bench.seen().is_empty());
    bench.lifecycle("hello", "started");
    bench.init();
    assert_eq!(bench.seen(), [1]);
    bench.completes();
    bench.lifecycle("hello", "completed");
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
    assert!(bench.dropped().is_empty());
}

#[test]
fn each_urgency_has_its_priority() {
    let mut bench = Bench::working();
    for (number, urgency, priority) in [
        (2, Urgency::WhenIdle, "later"),
        (3, Urgency::AfterTools, "next"),
        (4, Urgency::Interrupt, "now"),
    ] {
        bench.prompt(number, priority, urgency);
        assert_eq!(bench.sent(priority)["priority"], priority);
    }
    assert_eq!(bench.requests("interrupt").len(), 1);
}

#[test]
fn a_prompt_that_joins_a_turn_is_seen_in_it() {
    let mut bench = Bench::working();
    bench.prompt(2, "also this", Urgency::AfterTools);
    bench.lifecycle("also this", "queued");
    bench.lifecycle("also this", "started");
    assert_eq!(bench.seen(), [2]);
    bench.completes();
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn prompts_that_waited_together_are_one_turn() {
    let mut bench = Bench::working();
    for (number, text) in [(2, "two"), (3, "three")] {
        bench.prompt(number, text, Urgency::WhenIdle);
        bench.lifecycle(text, "queued");
    }
    bench.completes();
    bench.lifecycle("two", "started");
    bench.lifecycle("three", "started");
    bench.init();
    bench.completes();
    assert_eq!(bench.seen(), [2, 3]);
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed, TurnEnd::Completed]);
}

#[test]
fn an_interrupting_prompt_ends_the_turn_first_and_leaves_what_waits() {
    let mut bench = Bench::working();
    bench.prompt(2, "stop that", Urgency::Interrupt);
    let interrupt = bench.asked("interrupt");
    assert_eq!(interrupt["request"].get("cancel_queued"), None);
    bench.answers("interrupt", r#"{"still_queued":[]}"#);
    bench.lifecycle("stop that", "queued");
    bench.is_aborted();
    bench.lifecycle("work", "cancelled");
    bench.lifecycle("stop that", "started");
    assert_eq!((bench.turn_ends(), bench.seen()), (vec![TurnEnd::Aborted], vec![2]));
    assert!(bench.dropped().is_empty());
}

#[test]
fn an_interrupting_prompt_asks_for_no_end_when_nothing_runs() {
    let mut bench = Bench::new();
    bench.prompt(1, "hello", Urgency::Interrupt);
    assert!(bench.requests("interrupt").is_empty());
}

#[test]
fn an_abort_is_done_when_the_turn_is_over_and_says_which_prompts_it_dropped() {
    let mut bench = Bench::working();
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.lifecycle("two", "queued");
    bench.command(3, Command::Abort);
    assert_eq!(bench.asked("interrupt")["request"]["cancel_queued"], true);
    bench.lifecycle("two", "cancelled");
    let two = bench.sent("two")["uuid"].clone();
    bench.answers("interrupt", &json!({"still_queued": [], "cancelled": [two]}).to_string());
    assert_eq!((bench.dropped(), bench.outcome(3)), (vec![2], None));
    bench.is_aborted();
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert!(bench.is_done(3) && bench.notices().is_empty());
}

#[test]
fn an_abort_takes_back_a_prompt_that_has_not_begun() {
    let mut bench = Bench::new();
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.command(2, Command::Abort);
    bench.lifecycle("hello", "queued");
    bench.lifecycle("hello", "cancelled");
    bench.answers("interrupt", r#"{"still_queued":[],"cancelled":[]}"#);
    assert_eq!((bench.dropped(), bench.is_done(2)), (vec![1], true));
    assert!(bench.turn_ends().is_empty());
}

#[test]
fn a_turn_that_was_over_before_its_abort_stays_completed() {
    let mut bench = Bench::working();
    bench.completes();
    bench.command(2, Command::Abort);
    bench.answers("interrupt", r#"{"still_queued":[]}"#);
    assert!(bench.is_done(2));
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn a_prompt_that_claude_is_through_with_before_it_took_it_is_refused() {
    let mut bench = Bench::new();
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.lifecycle("hello", "completed");
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    assert!(bench.dropped().is_empty());
}

#[test]
fn ids_of_messages_differ_between_starts_of_the_process() {
    let id = |launch: &str| {
        let mut bench = Bench::starting(LaunchRequest { launch: launch.to_owned(), ..request() });
        bench.prompt(1, "hello", Urgency::WhenIdle);
        bench.sent("hello")["uuid"].to_string()
    };
    assert_eq!(id("one"), id("one"));
    assert_ne!(id("one"), id("another"));
}

#[test]
fn too_many_waiting_prompts_are_refused() {
    let mut bench = Bench::new();
    for number in 1..=300 {
        bench.prompt(number, &format!("prompt {number}"), Urgency::WhenIdle);
    }
    assert_eq!(bench.failure(300).kind, FailureKind::Busy);
    assert_eq!(bench.messages().len(), 256);
}

#[test]
fn empty_prompts_do_not_go_out() {
    let mut bench = Bench::new();
    for (number, text) in [(1, ""), (2, " \n")] {
        bench.prompt(number, text, Urgency::WhenIdle);
        assert_eq!(bench.failure(number).kind, FailureKind::Invalid);
    }
    assert!(bench.messages().is_empty());
}

#[test]
fn a_turn_that_claude_begins_by_itself_is_a_turn() {
    let mut bench = Bench::working();
    bench.completes();
    bench.forget();
    bench.line(r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#);
    bench.init();
    assert!(bench.events().contains(&&Event::TurnStarted) && bench.seen().is_empty());
    bench.completes();
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn a_claude_that_is_idle_has_ended_its_turn() {
    let mut bench = Bench::working();
    bench.calls("toolu_1", "Bash", "{}");
    bench.line(r#"{"type":"system","subtype":"session_state_changed","state":"idle"}"#);
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn limits_and_failures_are_told_apart() {
    for (fields, how) in [
        (
            r#""subtype":"error_max_turns","is_error":true,"terminal_reason":"max_turns","errors":["Reached maximum number of turns (1)"]"#,
            TurnEnd::Limit,
        ),
        (r#""subtype":"error_max_budget_usd","is_error":true"#, TurnEnd::Limit),
        (
            r#""subtype":"error_during_execution","is_error":true,"errors":["it broke"]"#,
            TurnEnd::Failed,
        ),
        (r#""subtype":"success","is_error":true,"result":"it broke""#, TurnEnd::Failed),
        (r#""subtype":"success","is_error":false"#, TurnEnd::Completed),
        (
            r#""subtype":"success","is_error":false,"terminal_reason":"aborted_tools""#,
            TurnEnd::Aborted,
        ),
    ] {
        let mut bench = Bench::working();
        bench.result(fields);
        assert_eq!(bench.turn_ends(), [how], "{fields}");
        let told = bench.notices() == ["it broke"];
        assert_eq!(told, how == TurnEnd::Failed, "{fields}");
    }
}

#[test]
fn an_answer_that_grew_too_long_ends_the_turn_at_a_limit() {
    let mut bench = Bench::working();
    bench.line(r#"{"type":"assistant","message":{"id":"x","content":[{"type":"text","text":"API Error: too long"}]},"error":"max_output_tokens","is_api_error_message":true}"#);
    bench.result(r#""subtype":"success","is_error":true,"terminal_reason":"api_error","result":"API Error: too long""#);
    assert_eq!(bench.turn_ends(), [TurnEnd::Limit]);
    assert_eq!(bench.notices(), ["API Error: too long"]);
    assert!(bench.said().is_empty());
}

#[test]
fn shortening_the_context_waits_for_the_turn_and_fails_in_claudes_words() {
    let mut bench = Bench::working();
    bench.command(2, Command::Compact(Some("keep\nfile names".to_owned())));
    let compact = "/compact keep file names";
    assert_eq!(bench.sent(compact)["priority"], "later");
    bench.lifecycle(compact, "queued");
    bench.completes();
    bench.lifecycle(compact, "started");
    bench.line(r#"{"type":"system","subtype":"status","status":null,"compact_result":"failed","compact_error":"Not enough messages to compact."}"#);
    bench.init();
    bench.result(r#""subtype":"success","is_error":false,"local_command":"compact""#);
    let failure = bench.outcome(2).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.message, "Not enough messages to compact.");
    // It was no turn.
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn a_compaction_that_is_aborted_is_refused_and_the_abort_done() {
    let mut bench = Bench::new();
    bench.command(1, Command::Compact(None));
    bench.lifecycle("/compact", "queued");
    bench.lifecycle("/compact", "started");
    bench.command(2, Command::Abort);
    bench.answers("interrupt", r#"{"still_queued":[],"cancelled":[]}"#);
    assert!(bench.outcome(2).is_none());
    bench.line(r#"{"type":"system","subtype":"status","status":null,"compact_error":"API Error: Request was aborted."}"#);
    bench.result(r#""subtype":"success","is_error":false,"local_command":"compact""#);
    assert_eq!((bench.failure(1).kind, bench.is_done(2)), (FailureKind::Refused, true));
    bench.exited(&Exit::Code(0));
    bench.finish();
}

#[test]
fn a_new_session_ends_what_runs_and_drops_what_waits() {
    let mut bench = Bench::working();
    bench.line(
        r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"msg_1"}}}"#,
    );
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.lifecycle("two", "queued");
    bench.command(3, Command::NewSession);
    assert_eq!(bench.asked("interrupt")["request"]["cancel_queued"], true);
    // Meant for the new session, it must not overtake it.
    bench.prompt(4, "fresh", Urgency::Interrupt);
    assert_eq!(bench.sent("fresh")["priority"], bench.sent("/clear")["priority"]);
    bench.lifecycle("two", "cancelled");
    bench.answers("interrupt", r#"{"still_queued":[],"cancelled":[]}"#);
    bench.lifecycle("/clear", "queued");
    bench.lifecycle("fresh", "queued");
    bench.is_aborted();
    bench.lifecycle("/clear", "started");
    bench.line(r#"{"type":"conversation_reset","new_conversation_id":"x","trigger":"clear"}"#);
    bench.init();
    bench.result(r#""subtype":"success","is_error":false,"session_id":"22222222-2222-4333-8444-555555555555","total_cost_usd":0"#);
    assert!(bench.is_done(3));
    assert_eq!((bench.dropped(), bench.turn_ends()), (vec![2], vec![TurnEnd::Aborted]));
    let state = bench.events().into_iter().rev().find_map(|event| match event {
        Event::State(state) => Some(state.native_session.clone()),
        _ => None,
    });
    assert_eq!(state, Some(None), "an empty conversation cannot be resumed");
    bench.begins("fresh");
    assert_eq!(bench.seen(), [4]);
}

#[test]
fn a_new_session_of_an_idle_claude_interrupts_nothing() {
    let mut bench = Bench::new();
    bench.command(1, Command::NewSession);
    assert!(bench.requests("interrupt").is_empty());
    assert_eq!(bench.messages(), ["/clear"]);
}

#[test]
fn another_session_takes_another_process_and_the_command_waits_for_it() {
    let mut bench = Bench::working();
    let session = "11111111-2222-4333-8444-555555555555";
    bench.command(2, Command::Resume(session.to_owned()));
    let relaunched = bench.effects().iter().any(|effect| match effect {
        Effect::Relaunch(spec) => spec.args.join(" ").ends_with(&format!("--resume {session}")),
        _ => false,
    });
    assert!(relaunched && bench.requests("interrupt").len() == 1);
    assert_eq!(bench.asked("interrupt")["request"]["cancel_queued"], true);
    bench.exited(&Exit::Signal(15));
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert!(bench.outcome(2).is_none() && bench.notices().is_empty());
    bench.forget();
    bench.started();
    bench.answers("initialize", r#"{"models":[]}"#);
    assert!(bench.is_done(2));
    let state = bench.events().into_iter().find_map(|event| match event {
        Event::State(state) => state.native_session.clone(),
        _ => None,
    });
    assert_eq!(state.as_deref(), Some(session));
}

#[test]
fn a_session_that_does_not_exist_fails_the_command() {
    let mut bench = Bench::new();
    bench.command(1, Command::Resume("99999999-2222-4333-8444-555555555555".to_owned()));
    bench.exited(&Exit::Signal(15));
    bench.started();
    bench.diagnostics("No conversation found with session ID: 99999999");
    bench.result(r#""subtype":"error_during_execution","is_error":true"#);
    bench.exited(&Exit::Code(1));
    assert_eq!(bench.failure(1).kind, FailureKind::NotFound);
    bench.finish();
}

#[test]
fn a_session_is_never_taken_for_an_option() {
    let mut bench = Bench::new();
    bench.command(1, Command::Resume("--continue".to_owned()));
    assert_eq!(bench.failure(1).kind, FailureKind::Invalid);
    assert!(bench.effects().iter().all(|effect| !matches!(effect, Effect::Relaunch(_))));
}

#[test]
fn a_conversation_that_was_resumed_costs_what_its_turns_cost() {
    let session = "11111111-2222-4333-8444-555555555555".to_owned();
    let mut bench = Bench::starting(LaunchRequest { resume: Some(session), ..request() });
    bench.answers("initialize", r#"{"models":[]}"#);
    bench.answers("get_usage", r#"{"session":{"total_cost_usd":1.0,"model_usage":{"claude-opus":{"contextWindow":1000}}}}"#);
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.begins("hello");
    bench.result(r#""subtype":"success","is_error":false,"total_cost_usd":1.25"#);
    let costs: Vec<f64> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Usage(usage) => usage.cost_usd,
            _ => None,
        })
        .collect();
    assert_eq!(costs, [0.25]);
}

#[test]
fn a_refresh_tells_the_state_and_how_full_the_context_is() {
    let mut bench = Bench::new();
    bench.command(1, Command::Refresh);
    bench.answers("get_settings", r#"{"applied":{"model":"claude-opus","effort":"high"}}"#);
    bench.answers("get_context_usage", r#"{"totalTokens":250,"rawMaxTokens":1000}"#);
    let percent = bench.events().into_iter().find_map(|event| match event {
        Event::Usage(usage) => usage.context_percent,
        _ => None,
    });
    assert_eq!((percent, bench.is_done(1)), (Some(25.0), true));
    assert!(bench.events().iter().any(|event| matches!(event, Event::State(_))));
}

#[test]
fn a_thinking_level_is_read_back() {
    let mut bench = Bench::new();
    bench.command(1, Command::SetThinking(rp_sdk::session::Thinking::Medium));
    let asked = bench.asked("apply_flag_settings");
    assert_eq!(asked["request"]["settings"]["effortLevel"], "low", "this model has no medium");
    bench.answers("apply_flag_settings", "{}");
    assert!(bench.outcome(1).is_none());
    bench.answers("get_settings", r#"{"applied":{"model":"claude-opus","effort":"low"}}"#);
    assert!(bench.is_done(1));
    assert!(bench.events().iter().any(|event| matches!(
        event,
        Event::State(state) if state.thinking == Some(rp_sdk::session::Thinking::Low)
    )));
}

#[test]
fn what_claude_cannot_do_is_refused() {
    let mut bench = Bench::new();
    bench.command(1, Command::History);
    assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
    let model = rp_sdk::session::ModelRef { provider: "openai".to_owned(), id: "o".to_owned() };
    bench.command(2, Command::SetModel(model));
    assert_eq!(bench.failure(2).kind, FailureKind::NotFound);
    bench.command(3, Command::Other(("initialize".to_owned(), "{}".to_owned())));
    assert_eq!(bench.failure(3).kind, FailureKind::Unsupported);
    for (number, arguments) in
        [(4, "[]"), (5, "x"), (6, r#"{"mode":"plan","subtype":"interrupt"}"#)]
    {
        let command = ("set-permission-mode".to_owned(), arguments.to_owned());
        bench.command(number, Command::Other(command));
        assert_eq!(bench.failure(number).kind, FailureKind::Invalid, "{arguments}");
    }
    assert!(bench.effects().iter().all(|effect| !matches!(effect, Effect::Write(_))));
}

#[test]
fn a_refusal_of_claude_keeps_its_words() {
    let mut bench = Bench::new();
    bench.command(1, Command::Rename(String::new()));
    bench.refuses("rename_session", "title must be non-empty", "");
    let failure = bench.outcome(1).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.message, "title must be non-empty");
    bench.command(2, Command::ListModels);
    bench.refuses("list_models", "Unsupported control request", "unsupported_request");
    assert_eq!(bench.failure(2).kind, FailureKind::Unsupported);
}

#[test]
fn a_process_that_dies_in_a_turn_leaves_nothing_open() {
    let mut bench = Bench::working();
    bench.calls("toolu_1", "Bash", "{}");
    bench.asks("q", r#""tool_name":"Bash","input":{},"tool_use_id":"toolu_1""#);
    bench.prompt(2, "taken", Urgency::WhenIdle);
    bench.lifecycle("taken", "queued");
    bench.prompt(3, "on its way", Urgency::WhenIdle);
    bench.command(4, Command::ListModels);
    bench.command(5, Command::Compact(None));
    bench.lifecycle("/compact", "queued");
    bench.forget();
    bench.exited(&Exit::Signal(9));
    assert_eq!((bench.turn_ends(), bench.dropped()), (vec![TurnEnd::Failed], vec![2]));
    for number in [3, 4, 5] {
        assert_eq!(bench.failure(number).kind, FailureKind::Harness, "{number}");
    }
    assert!(bench.notices().concat().contains("in the middle of a turn"));
    bench.finish();
}

#[test]
fn a_command_of_claude_itself_does_not_outlive_the_process() {
    let mut bench = Bench::new();
    bench.command(1, Command::Compact(None));
    bench.lifecycle("/compact", "queued");
    bench.lifecycle("/compact", "started");
    bench.exited(&Exit::Signal(9));
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    bench.finish();
}

#[test]
fn a_start_that_fails_is_explained_with_what_claude_printed_and_what_to_do() {
    let mut bench = Bench::starting(request());
    bench.diagnostics("error: unknown option '--bogus'");
    bench.exited(&Exit::Code(1));
    let notice = bench.notices().concat();
    assert!(notice.contains("unknown option '--bogus'") && notice.contains("hint: "), "{notice}");
    let mut bench = Bench::starting(request());
    bench.exited(&Exit::FailedToStart("no such file".to_owned()));
    assert!(bench.notices().concat().contains("npm install --global"));
}

#[test]
fn ends_that_somebody_asked_for_need_no_words() {
    for how in [Exit::Code(0), Exit::Code(143), Exit::Signal(15)] {
        let mut bench = Bench::new();
        bench.exited(&how);
        assert!(bench.notices().is_empty(), "{how:?}");
    }
    let mut bench = Bench::new();
    bench.diagnostics("out of memory");
    bench.exited(&Exit::Code(134));
    assert!(bench.notices().concat().contains("out of memory"));
}

#[test]
fn the_exit_code_of_a_failed_turn_is_not_told_again() {
    let mut bench = Bench::working();
    bench.result(r#""subtype":"success","is_error":true,"result":"it broke""#);
    bench.exited(&Exit::Code(1));
    assert_eq!(bench.notices(), ["it broke"]);
}

#[test]
fn a_version_that_was_not_tested_is_said_to_be_so() {
    let version = |printed: &str| LaunchRequest { version: Some(printed.to_owned()), ..request() };
    let bench = Bench::starting(version("2.0.1 (Claude Code)"));
    assert!(bench.notices().concat().contains("2.0.1"));
    assert!(Bench::starting(request()).notices().is_empty());
}
