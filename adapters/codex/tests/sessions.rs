//! From the first word to the last: handshake, threads, settings, ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, THREAD, TURN, thread, turn};
use rp_adapter_codex::Codex;
use rp_sdk::interface::{Command, Event, Exit, LaunchRequest, Reply};
use rp_sdk::session::{FailureKind, ModelRef, State, Thinking, TurnEnd, Urgency};
use rp_sdk::testing::{self, launch_request};
use serde_json::json;

fn states(bench: &Bench) -> Vec<State> {
    let states = bench.events().into_iter().filter_map(|event| match event {
        Event::State(state) => Some(state.clone()),
        _ => None,
    });
    states.collect()
}

#[test]
fn commands_wait_for_the_thread_and_are_carried_out_in_their_order() {
    let mut bench = Bench::greeted(None);
    bench.forget();
    bench.command(1, Command::Rename("title".to_owned()));
    bench.prompt(2, "one", Urgency::WhenIdle);
    bench.prompt(3, "two", Urgency::WhenIdle);
    assert!(bench.lines().is_empty());
    // The request for the thread is the second that was written.
    bench.line(&json!({"id": 2, "result": thread(THREAD)}).to_string());
    let methods: Vec<String> =
        bench.lines().iter().map(|line| line["method"].as_str().unwrap().to_owned()).collect();
    assert_eq!(methods, ["thread/name/set", "turn/start"]);
    assert_eq!(bench.prompts("turn/start"), ["one"]);
    bench.close();
}

#[test]
fn an_abort_before_the_thread_is_open_takes_prompts_back_and_nothing_else() {
    let mut bench = Bench::greeted(None);
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.command(2, Command::ListModels);
    bench.command(3, Command::Abort);
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    assert!(bench.is_done(3) && bench.outcome(2).is_none());
    bench.answer("thread/start", thread(THREAD));
    assert!(bench.written("turn/start").is_empty());
    assert_eq!(bench.written("model/list").len(), 1);
    bench.close();
}

#[test]
fn a_thread_that_cannot_be_had_ends_the_process_without_a_word_of_a_session() {
    for resume in [None, Some("gone")] {
        let mut bench = Bench::greeted(resume);
        bench.prompt(1, "one", Urgency::WhenIdle);
        let method = if resume.is_some() { "thread/resume" } else { "thread/start" };
        bench.fail(method, "no rollout found for thread id gone");
        assert_eq!(bench.failure(1).kind, FailureKind::Harness);
        assert!(bench.stopped() && bench.notices().contains("no rollout found"));
        bench.prompt(2, "two", Urgency::WhenIdle);
        assert_eq!(bench.failure(2).kind, FailureKind::Harness);
        bench.forget();
        bench.exited(&Exit::Code(0));
        assert_eq!(bench.events().len(), 0);
    }
}

#[test]
fn the_launch_names_model_provider_and_session() {
    let bench = Bench::greeted(None);
    let params = bench.last("thread/start")["params"].clone();
    assert_eq!((&params["model"], &params["modelProvider"]), (&json!("model-1"), &json!("own")));
    assert_eq!(params["approvalPolicy"], "on-request");
    let mut bench = Bench::greeted(Some(THREAD));
    assert_eq!(bench.last("thread/resume")["params"]["threadId"], THREAD);
    bench.answer("thread/resume", thread(THREAD));
    assert_eq!(states(&bench)[0].native_session.as_deref(), Some(THREAD));
    bench.close();
}

#[test]
fn a_thread_is_named_for_resuming_once_the_model_has_answered_in_it() {
    let mut bench = Bench::working();
    bench.item("item/started", &json!({"type": "agentMessage", "id": "m", "text": ""}));
    bench.item("item/started", &json!({"type": "agentMessage", "id": "n", "text": ""}));
    let told: Vec<_> = states(&bench).into_iter().map(|state| state.native_session).collect();
    assert_eq!(told, [Some(THREAD.to_owned())]);
    bench.close();
}

#[test]
fn a_new_session_ends_the_turn_that_runs_and_leaves_its_thread() {
    let mut bench = Bench::working();
    bench.prompt(2, "aside", Urgency::AfterTools);
    bench.answer("turn/steer", json!({"turnId": TURN}));
    bench.command(3, Command::NewSession);
    bench.prompt(4, "for the new one", Urgency::WhenIdle);
    assert_eq!(bench.last("turn/interrupt")["params"]["turnId"], TURN);
    assert!(bench.outcome(4).is_none());
    bench.answer("thread/start", thread("thread-2"));
    assert_eq!(bench.turn_ends(), [TurnEnd::Aborted]);
    assert!(bench.is_done(3) && bench.has(&Event::PromptsDropped(vec![2])));
    assert_eq!(bench.last("thread/unsubscribe")["params"]["threadId"], THREAD);
    assert_eq!(bench.last("turn/start")["params"]["threadId"], "thread-2");
    // The old thread says its last words.
    let before = bench.events().len();
    bench.answer("turn/interrupt", json!({}));
    bench.end(TURN, "interrupted");
    assert_eq!(bench.events().len(), before);
    bench.close();
}

#[test]
fn a_session_that_cannot_be_resumed_leaves_the_current_one_as_it_is() {
    let mut bench = Bench::open();
    bench.command(1, Command::Resume("gone".to_owned()));
    bench.prompt(2, "here", Urgency::WhenIdle);
    bench.fail("thread/resume", "no rollout found for thread id gone");
    assert_eq!(bench.failure(1).kind, FailureKind::NotFound);
    assert_eq!(bench.last("turn/start")["params"]["threadId"], THREAD);
    bench.command(3, Command::Resume(String::new()));
    assert_eq!(bench.failure(3).kind, FailureKind::Invalid);
    bench.close();
}

#[test]
fn a_session_is_resumed_in_place_with_its_own_model() {
    let mut bench = Bench::open();
    bench.command(1, Command::SetThinking(Thinking::High));
    bench.command(2, Command::Resume("old".to_owned()));
    assert!(bench.last("thread/resume")["params"]["model"].is_null());
    bench.answer("thread/resume", thread("old"));
    let state = states(&bench).pop().unwrap();
    assert_eq!((state.native_session.as_deref(), state.thinking), (Some("old"), None));
    bench.prompt(3, "go on", Urgency::WhenIdle);
    assert!(bench.last("turn/start")["params"]["effort"].is_null());
    bench.close();
}

#[test]
fn model_and_thinking_level_go_with_the_next_turn_and_into_new_sessions() {
    let mut bench = Bench::open();
    let model = |provider: &str| ModelRef { provider: provider.to_owned(), id: "big/2".to_owned() };
    bench.command(1, Command::SetModel(model("own")));
    bench.command(2, Command::SetThinking(Thinking::Off));
    bench.command(3, Command::SetModel(model("elsewhere")));
    assert!(bench.is_done(1) && bench.is_done(2));
    assert_eq!(bench.failure(3).kind, FailureKind::Unsupported);
    let state = states(&bench).pop().unwrap();
    assert_eq!(state.model.unwrap().ref_, model("own"));
    assert_eq!(state.thinking, Some(Thinking::Off));
    bench.prompt(4, "go", Urgency::WhenIdle);
    let params = bench.last("turn/start")["params"].clone();
    assert_eq!((&params["model"], &params["effort"]), (&json!("big/2"), &json!("none")));
    assert_eq!(params["summary"], "detailed");
    bench.answer("turn/start", turn(TURN, "inProgress"));
    bench.begin(TURN);
    bench.end(TURN, "completed");
    bench.command(5, Command::NewSession);
    assert_eq!(bench.last("thread/start")["params"]["model"], "big/2");
    bench.close();
}

#[test]
fn a_thread_in_which_nothing_was_said_has_an_empty_history() {
    let mut bench = Bench::open();
    bench.command(1, Command::History);
    bench.fail("thread/read", "includeTurns is unavailable before the first user message");
    assert_eq!(bench.outcome(1), Some(&Ok(Reply::History(Vec::new()))));
    bench.close();
    let mut bench = Bench::working();
    bench.item("item/started", &json!({"type": "agentMessage", "id": "m", "text": ""}));
    bench.command(2, Command::History);
    bench.fail("thread/read", "thread not loaded: thread-1");
    assert_eq!(bench.failure(2).kind, FailureKind::NotFound);
    bench.close();
}

#[test]
fn answers_of_a_thread_that_was_left_do_not_touch_the_next() {
    let mut bench = Bench::open();
    bench.prompt(1, "old", Urgency::WhenIdle);
    bench.command(2, Command::Abort);
    let id = bench.last("turn/start")["id"].clone();
    bench.command(3, Command::NewSession);
    bench.answer("thread/start", thread("thread-2"));
    assert!(bench.is_done(2));
    bench.prompt(4, "new", Urgency::WhenIdle);
    bench.line(&json!({"id": id, "error": {"code": -32600, "message": "too late"}}).to_string());
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    bench.prompt(5, "newer", Urgency::WhenIdle);
    assert_eq!(bench.prompts("turn/start"), ["old", "new"]);
    bench.close();
}

#[test]
fn whoever_asks_is_told_state_and_context_at_once() {
    let mut bench = Bench::working();
    let tokens = json!({"totalTokens": 500, "inputTokens": 480, "cachedInputTokens": 80, "outputTokens": 20});
    let usage = json!({"total": tokens, "last": tokens, "modelContextWindow": 1000});
    bench.tell("thread/tokenUsage/updated", json!({"tokenUsage": usage}));
    let told = bench.events().into_iter().find_map(|event| match event {
        Event::Usage(usage) => Some(*usage),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!((told.input, told.cache_read, told.output), (400, 80, 20));
    assert_eq!((told.context_percent, told.cost_usd), (Some(50.0), None));
    bench.forget();
    bench.command(2, Command::Refresh);
    assert!(states(&bench)[0].working && bench.is_done(2));
    assert!(bench.events().into_iter().any(
        |event| matches!(event, Event::Usage(usage) if usage.context_percent == Some(50.0) && usage.input == 0)
    ));
    bench.close();
}

#[test]
fn methods_with_a_command_of_their_own_are_refused_by_name() {
    let mut bench = Bench::open();
    bench.command(1, Command::Other(("turn/start".to_owned(), "{}".to_owned())));
    let failure = bench.outcome(1).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("use the command `prompt`"));
    bench.command(2, Command::Other(("skills/list".to_owned(), "[]".to_owned())));
    assert_eq!(bench.failure(2).kind, FailureKind::Invalid);
    bench.command(3, Command::Other(("skills/list".to_owned(), r#"{"cwds":[]}"#.to_owned())));
    bench.answer("skills/list", json!({"data": []}));
    assert_eq!(bench.outcome(3), Some(&Ok(Reply::Data(r#"{"data":[]}"#.to_owned()))));
    bench.command(4, Command::Other(("no/such".to_owned(), "{}".to_owned())));
    bench.fail("no/such", "Invalid request: unknown variant `no/such`, expected one of `a`, `b`");
    let failure = bench.outcome(4).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert_eq!(failure.message, "Invalid request: unknown variant `no/such`");
    bench.close();
}

#[test]
fn a_version_that_was_not_tested_is_said_to_be_so() {
    let version = Some("codex-cli 0.200.0".to_owned());
    let bench: testing::Bench<Codex> =
        testing::Bench::start(LaunchRequest { version, ..launch_request("codex") });
    assert!(bench.notices().concat().contains("not with codex-cli 0.200.0"));
}

#[test]
fn a_start_that_fails_is_explained_in_plain_text_with_what_to_do() {
    let start = |lines: &[&str], how: Exit| {
        let mut bench = Bench::started();
        lines.iter().for_each(|line| bench.diagnostics(line));
        bench.exited(&how);
        bench.notices()
    };
    assert_eq!(
        start(
            &["\u{1b}[31merror:\u{1b}[0m unexpected argument '--bogus' found", ""],
            Exit::Code(2)
        ),
        "Codex did not start (Codex ended with code 2):\nerror: unexpected argument '--bogus' found\n\
         hint: this Codex does not know that option: check the `args` of the agent's settings, or update Codex"
    );
    let missing = start(&[], Exit::FailedToStart("no such file".to_owned()));
    assert!(missing.contains("no such file") && missing.contains("npm install --global"));
}

#[test]
fn an_end_that_was_asked_for_needs_no_explanation() {
    for how in [Exit::Code(0), Exit::Signal(15)] {
        let mut bench = Bench::open();
        bench.exited(&how);
        assert_eq!(bench.notices(), "");
    }
    let mut bench = Bench::open();
    bench.diagnostics("thread 'main' panicked");
    bench.exited(&Exit::Code(101));
    assert_eq!(bench.notices(), "Codex ended with code 101:\nthread 'main' panicked");
}
