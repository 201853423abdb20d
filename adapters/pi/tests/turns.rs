//! What no recording shows: races, interruptions, ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::Bench;
use rp_sdk::interface::{Command, Effect, Event, Exit};
use rp_sdk::session::{Answer, FailureKind, TurnEnd, Urgency};

const OLD: Option<&str> = Some("0.74.2");
const NEW: Option<&str> = Some("0.87.1");
const OK: &str = r#""success":true"#;

#[test]
fn an_interrupting_prompt_waits_for_the_answer_to_the_abort() {
    for version in [OLD, NEW, None] {
        let mut bench = Bench::new(version);
        bench.prompt(1, "long work", Urgency::WhenIdle);
        bench.answer("prompt", OK);
        bench.run("long work");
        bench.prompt(2, "stop that", Urgency::Interrupt);
        assert_eq!(bench.written("abort").len(), 1);
        assert_eq!(bench.written("prompt").len(), 1);
        bench.end_run("aborted");
        if version == NEW {
            bench.line(r#"{"type":"agent_settled"}"#);
        }
        bench.answer("abort", OK);
        assert_eq!(bench.turn_ends(), [TurnEnd::Aborted], "{version:?}");
        let prompts = bench.written("prompt");
        assert_eq!(prompts.len(), 2, "{version:?}");
        assert_eq!(prompts[1]["message"], "stop that");
    }
}

#[test]
fn an_interrupting_prompt_overtakes_those_that_wait_and_is_plain_when_idle() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "one", Urgency::Interrupt);
    assert!(bench.written("abort").is_empty());
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.prompt(3, "three", Urgency::Interrupt);
    bench.answer("prompt", OK);
    bench.run("one");
    bench.end_run("aborted");
    bench.line(r#"{"type":"agent_settled"}"#);
    for abort in bench.written("abort") {
        bench.line(&format!(
            r#"{{"id":{},"type":"response","command":"abort","success":true}}"#,
            abort["id"]
        ));
    }
    let sent: Vec<String> =
        bench.written("prompt").iter().map(|line| line["message"].to_string()).collect();
    assert_eq!(sent, ["\"one\"", "\"three\""]);
}

#[test]
fn a_second_prompt_waits_until_the_first_has_started_its_run() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.prompt(2, "two", Urgency::AfterTools);
    assert_eq!(bench.written("prompt").len(), 1);
    bench.answer("prompt", OK);
    bench.run("one");
    assert_eq!(bench.written("prompt")[1]["streamingBehavior"], "steer");
}

#[test]
fn a_prompt_that_starts_no_run_does_not_hold_up_the_next() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "swallowed by an extension", Urgency::WhenIdle);
    bench.answer("prompt", OK);
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.wake();
    assert_eq!(bench.written("prompt").len(), 2);
    assert!(bench.turn_ends().is_empty());
}

#[test]
fn a_prompt_during_a_compaction_is_held_until_it_is_over() {
    for version in [OLD, NEW] {
        let mut bench = Bench::new(version);
        bench.command(1, Command::Compact(None));
        bench.line(r#"{"type":"compaction_start","reason":"manual"}"#);
        bench.prompt(2, "hello", Urgency::WhenIdle);
        bench.line(
            r#"{"type":"compaction_end","reason":"manual","aborted":false,"willRetry":false}"#,
        );
        bench.answer("compact", OK);
        assert!(bench.written("prompt").is_empty());
        bench.wake();
        assert_eq!(bench.written("prompt").len(), 1);
        assert!(bench.is_done(1) && bench.outcome(2).is_none());
    }
}

#[test]
fn a_prompt_behind_a_change_of_session_waits_for_its_answer() {
    for (command, kind) in
        [(Command::NewSession, "new_session"), (Command::Compact(None), "compact")]
    {
        for (answer, end) in [(OK, "agreed"), (r#""success":false,"error":"no""#, "refused")] {
            let mut bench = Bench::new(OLD);
            bench.command(1, command.clone());
            bench.prompt(2, "hello", Urgency::WhenIdle);
            assert!(bench.written("prompt").is_empty());
            bench.answer(kind, answer);
            assert_eq!(bench.written("prompt").len(), 1, "{kind} {end}");
        }
    }
}

#[test]
fn shortening_the_context_does_not_cost_a_running_turn() {
    let mut bench = Bench::new(OLD);
    bench.run("hi");
    bench.command(1, Command::Compact(None));
    assert_eq!(bench.outcome(1).unwrap().as_ref().unwrap_err().kind, FailureKind::Busy);
    assert!(bench.written("compact").is_empty());
}

#[test]
fn a_prompt_refused_because_of_a_compaction_is_sent_again() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.answer("prompt", r#""success":false,"error":"Cannot submit a prompt while compaction is in progress. Wait.""#);
    assert_eq!((bench.written("prompt").len(), bench.outcome(1)), (1, None));
    bench.wake();
    bench.answer("prompt", OK);
    assert_eq!(bench.written("prompt").len(), 2);
    assert!(bench.is_done(1));
}

#[test]
fn a_prompt_that_is_always_refused_fails_in_the_end() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "hello", Urgency::WhenIdle);
    for _ in 0..100 {
        if bench.outcome(1).is_some() {
            break;
        }
        bench
            .answer("prompt", r#""success":false,"error":"Agent is already processing a prompt.""#);
        bench.wake();
    }
    assert_eq!(bench.outcome(1).unwrap().as_ref().unwrap_err().kind, FailureKind::Busy);
}

#[test]
fn the_end_of_a_turn_is_held_back_where_pi_does_not_tell() {
    let mut bench = Bench::new(OLD);
    bench.run("hi");
    bench.end_run("error");
    assert!(bench.turn_ends().is_empty());
    bench.line(r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":2000,"errorMessage":"529"}"#);
    bench.wake();
    assert!(bench.turn_ends().is_empty());
    bench.line(r#"{"type":"agent_start"}"#);
    bench.end_run("stop");
    bench.wake();
    assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
}

#[test]
fn a_limit_of_the_model_ends_a_turn_as_that() {
    let mut bench = Bench::new(NEW);
    bench.run("hi");
    bench.end_run("length");
    bench.line(r#"{"type":"agent_settled"}"#);
    assert_eq!(bench.turn_ends(), [TurnEnd::Limit]);
}

#[test]
fn an_abort_that_came_before_its_run_is_repeated() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.command(2, Command::Abort);
    bench.answer("abort", OK);
    bench.answer("prompt", OK);
    bench.run("hello");
    assert_eq!(bench.written("abort").len(), 2);
    bench.end_run("error");
    bench.line(r#"{"type":"agent_settled"}"#);
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert!(bench.notices().is_empty());
}

#[test]
fn an_abort_says_which_prompts_the_queue_gave_back() {
    let mut bench = Bench::new(NEW);
    bench.run("hi");
    bench.prompt(1, "one", Urgency::AfterTools);
    bench.answer("prompt", OK);
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.answer("prompt", OK);
    bench.command(3, Command::Abort);
    bench.answer("clear_queue", r#""success":true,"data":{"steering":["one"],"followUp":["two"]}"#);
    let back = Event::PromptsDropped(vec![1, 2]);
    assert!(bench.events().contains(&&back));
}

#[test]
fn what_waits_with_pi_is_dropped_when_pi_ends_or_turns_to_another_session() {
    let waiting = || {
        let mut bench = Bench::new(OLD);
        bench.prompt(1, "work", Urgency::WhenIdle);
        bench.answer("prompt", OK);
        bench.run("work");
        bench.prompt(2, "later", Urgency::WhenIdle);
        bench.answer("prompt", OK);
        bench
    };
    let mut bench = waiting();
    bench.exited(&Exit::Signal(9));
    assert_eq!(bench.dropped(), [2]);
    let mut bench = waiting();
    bench.command(3, Command::NewSession);
    assert!(bench.dropped().is_empty());
    bench.answer("new_session", OK);
    assert_eq!(bench.dropped(), [2]);
}

#[test]
fn an_abort_answers_open_questions_first() {
    let mut bench = Bench::new(NEW);
    bench.run("hi");
    bench.line(r#"{"type":"extension_ui_request","id":"q","method":"select","title":"Allow?","options":["Allow","Deny"]}"#);
    bench.forget();
    bench.command(1, Command::Abort);
    let written: Vec<String> = bench
        .effects()
        .iter()
        .filter_map(|effect| match effect {
            Effect::Write(bytes) => Some(
                serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["type"].to_string(),
            ),
            _ => None,
        })
        .collect();
    assert_eq!(written, ["\"extension_ui_response\"", "\"clear_queue\"", "\"abort\""]);
    bench.command(2, Command::Answer(("q".to_owned(), Answer::Choice("Allow".to_owned()))));
    assert_eq!(bench.outcome(2).unwrap().as_ref().unwrap_err().kind, FailureKind::NotFound);
}

#[test]
fn an_answer_that_does_not_fit_its_question_is_refused() {
    let mut bench = Bench::new(NEW);
    bench.line(r#"{"type":"extension_ui_request","id":"q","method":"select","title":"Allow?","options":["Allow","Deny"]}"#);
    let answers = [
        Answer::Choice("Maybe".to_owned()),
        Answer::Confirm(true),
        Answer::Text("Allow".to_owned()),
    ];
    for (number, answer) in (1..).zip(answers) {
        bench.command(number, Command::Answer(("q".to_owned(), answer)));
        assert_eq!(bench.outcome(number).unwrap().as_ref().unwrap_err().kind, FailureKind::Invalid);
    }
    bench.command(9, Command::Answer(("q".to_owned(), Answer::DenyWithGuidance("no".to_owned()))));
    assert_eq!(bench.outcome(9).unwrap().as_ref().unwrap_err().kind, FailureKind::Unsupported);
    assert!(bench.written("extension_ui_response").is_empty());
}

#[test]
fn a_process_that_dies_in_a_turn_leaves_nothing_open() {
    let mut bench = Bench::new(NEW);
    bench.prompt(1, "hello", Urgency::WhenIdle);
    bench.answer("prompt", OK);
    bench.run("hello");
    bench.line(r#"{"type":"tool_execution_start","toolCallId":"t","toolName":"bash","args":{}}"#);
    bench.line(r#"{"type":"extension_ui_request","id":"q","method":"confirm","title":"Sure?"}"#);
    bench.command(2, Command::History);
    bench.prompt(3, "more", Urgency::WhenIdle);
    bench.exited(&Exit::Signal(9));
    assert_eq!(bench.turn_ends(), [TurnEnd::Failed]);
    assert!(bench.events().contains(&&Event::QuestionSettled("q".to_owned())));
    assert!(
        bench.events().iter().any(|event| matches!(event, Event::ToolEnded(call) if call.failed))
    );
    for number in [2, 3] {
        assert_eq!(bench.outcome(number).unwrap().as_ref().unwrap_err().kind, FailureKind::Harness);
    }
}

#[test]
fn a_start_that_fails_is_explained_with_what_pi_printed_and_what_to_do() {
    let mut bench = Bench::new(OLD);
    bench.diagnostics("Error: Unknown option: --approve");
    bench.exited(&Exit::Code(1));
    let notice = bench.notices().concat();
    assert!(notice.contains("Unknown option: --approve") && notice.contains("hint: "), "{notice}");
    let mut bench = Bench::new(OLD);
    bench.exited(&Exit::FailedToStart("no such file".to_owned()));
    assert!(bench.notices().concat().contains("npm install --global"));
}

#[test]
fn a_version_that_was_not_tested_is_said_to_be_so() {
    assert!(Bench::new(Some("0.80.1")).notices().concat().contains("0.80.1"));
    assert!(Bench::new(OLD).notices().is_empty() && Bench::new(None).notices().is_empty());
}

#[test]
fn a_session_that_may_not_exist_is_resumed_by_another_process() {
    let mut bench = Bench::new(NEW);
    bench.answer("get_state", OK);
    bench.command(1, Command::Resume("/home/user/old.jsonl".to_owned()));
    assert!(bench.written("switch_session").is_empty());
    let relaunched = bench.effects().iter().any(|effect| match effect {
        Effect::Relaunch(spec) => spec.args.join(" ").contains("--session /home/user/old.jsonl"),
        _ => false,
    });
    assert!(relaunched);
    bench.exited(&Exit::Signal(15));
    assert!(bench.outcome(1).is_none() && bench.notices().is_empty());
    bench.forget();
    bench.started();
    bench.answer(
        "get_state",
        r#""success":true,"data":{"sessionFile":"/home/user/old.jsonl","messageCount":2}"#,
    );
    assert!(bench.is_done(1));
    bench.command(2, Command::Resume("/home/user/old.jsonl".to_owned()));
    assert_eq!(bench.written("switch_session").len(), 1);
}

#[test]
fn a_session_that_does_not_exist_fails_the_command() {
    let mut bench = Bench::new(NEW);
    bench.command(1, Command::Resume("gone".to_owned()));
    bench.exited(&Exit::Signal(15));
    bench.started();
    bench.diagnostics("No session found matching 'gone'");
    bench.exited(&Exit::Code(1));
    assert_eq!(bench.outcome(1).unwrap().as_ref().unwrap_err().kind, FailureKind::NotFound);
}

#[test]
fn commands_of_pi_that_would_confuse_the_adapter_are_refused_by_name() {
    let mut bench = Bench::new(NEW);
    bench.command(1, Command::Other(("steer".to_owned(), r#"{"message":"x"}"#.to_owned())));
    let failure = bench.outcome(1).unwrap().as_ref().unwrap_err();
    assert!(failure.hint.as_deref().unwrap().contains("`prompt`"));
    bench.command(2, Command::Other(("bash".to_owned(), "[]".to_owned())));
    assert_eq!(bench.outcome(2).unwrap().as_ref().unwrap_err().kind, FailureKind::Invalid);
    bench.command(
        3,
        Command::Other((
            "bash".to_owned(),
            r#"{"command":"ls","id":"r1","type":"abort"}"#.to_owned(),
        )),
    );
    assert_eq!(bench.written("bash").len(), 1);
}

#[test]
fn a_session_named_by_its_id_is_never_taken_for_a_file() {
    let mut bench = Bench::new(NEW);
    bench.command(1, Command::Resume("01a1fb96".to_owned()));
    bench.exited(&Exit::Signal(15));
    bench.started();
    bench.answer("get_state", OK);
    bench.command(2, Command::Resume("01a1fb96".to_owned()));
    assert!(bench.written("switch_session").is_empty());
}
