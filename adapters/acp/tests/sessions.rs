//! What no recording shows: how a session begins, how it is left for another, what it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod common;

use common::{Bench, SESSION, chunk};
use rp_sdk::interface::{Command, Event, Exit, LaunchRequest, Reply};
use rp_sdk::session::{FailureKind, Message, ModelRef, Role, State, Thinking, Urgency};
use rp_sdk::testing::{launch_request, mesh_access};
use serde_json::{Value, json};

fn resuming(harness: &str) -> LaunchRequest {
    LaunchRequest { resume: Some("old".to_owned()), ..launch_request(harness) }
}

fn history(bench: &mut Bench, number: u64) -> Vec<Message> {
    bench.command(number, Command::History);
    match bench.outcome(number) {
        Some(Ok(Reply::History(messages))) => messages.clone(),
        other => panic!("no history: {other:?}"),
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

fn state(bench: &Bench) -> &State {
    let mut states = bench.events().into_iter().filter_map(|event| match event {
        Event::State(state) => Some(state),
        _ => None,
    });
    states.next_back().unwrap()
}

fn options() -> Value {
    json!([
        {"id": "model", "category": "model", "type": "select", "currentValue": "s/one", "options": [
            {"value": "s/one", "name": "One"}, {"value": "s/two", "name": "Two"}]},
        {"id": "effort", "category": "thought_level", "type": "select", "currentValue": "low",
         "options": [{"value": "low", "name": "Low"}, {"value": "high", "name": "High"}]},
    ])
}

#[test]
fn commands_that_come_before_the_session_wait_for_it_and_keep_their_order() {
    let mut bench = Bench::start(launch_request("acp"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.command(3, Command::ListModels);
    bench.introduce();
    assert_eq!(bench.lines().len(), 2);
    bench.answer("session/new", json!({"sessionId": SESSION, "configOptions": options()}));
    assert_eq!(bench.prompts(), ["one"]);
    assert!(matches!(bench.outcome(3), Some(Ok(Reply::Models(models))) if models.len() == 2));
    bench.stop("end_turn");
    assert_eq!(bench.prompts(), ["one", "two"]);
}

#[test]
fn an_abort_before_the_session_takes_back_the_prompts_that_wait() {
    let mut bench = Bench::start(launch_request("acp"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.command(2, Command::NewSession);
    bench.command(3, Command::Abort);
    assert_eq!(bench.failure(1).kind, FailureKind::Refused);
    assert!(bench.is_done(3) && bench.outcome(2).is_none());
}

#[test]
fn the_mesh_is_a_server_of_the_session_and_its_token_is_in_the_environment() {
    for harness in ["opencode", "pi-acp", "gemini", "acp"] {
        let mut bench =
            Bench::start(LaunchRequest { mesh: Some(mesh_access()), ..launch_request(harness) });
        bench.introduce();
        let servers = bench.written("session/new")[0]["params"]["mcpServers"].clone();
        let env = json!([{"name": "RP_AGENT_TOKEN", "value": "secret"}]);
        let server =
            json!({"name": "mesh", "command": "/usr/bin/rp-host", "args": ["mcp"], "env": env});
        assert_eq!(servers, json!([server]));
        assert_eq!(bench.notices().contains("no tools of the mesh"), harness == "pi-acp");
    }
}

#[test]
fn a_client_offers_neither_files_nor_terminals_and_refuses_what_it_does_not_have() {
    let mut bench = Bench::open("gemini");
    for (id, method) in [(json!(0), "fs/write_text_file"), (json!("x"), "terminal/create")] {
        bench
            .line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}).to_string());
        let last = bench.lines().pop().unwrap();
        assert_eq!((&last["id"], &last["error"]["code"]), (&id, &json!(-32601)));
    }
    bench.forget();
    bench.line(r#"{"jsonrpc":"2.0","method":"_vendor/news","params":{}}"#);
    assert!(bench.effects().is_empty());
}

#[test]
fn nobody_is_logged_in_and_the_next_command_tries_again() {
    let mut bench = Bench::start(launch_request("gemini"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.introduce();
    bench.fail("session/new", -32000, "no key");
    assert_eq!(
        bench.failure(1).hint.as_deref().unwrap(),
        "run `gemini` in a terminal and log in, or set GEMINI_API_KEY"
    );
    assert!(bench.notices().contains("no key"));
    bench.forget();
    bench.prompt(2, "two", Urgency::WhenIdle);
    bench.fail("session/new", -32000, "no key");
    assert!(bench.notices().is_empty(), "it was told before");
    assert_eq!(bench.failure(2).kind, FailureKind::Refused);
    bench.prompt(3, "three", Urgency::WhenIdle);
    bench.answer("session/new", json!({"sessionId": SESSION}));
    assert_eq!(bench.prompts(), ["three"]);
}

#[test]
fn an_agent_that_refuses_the_handshake_is_said_to() {
    let mut bench = Bench::start(launch_request("acp"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.fail("initialize", -32603, "too old");
    assert!(bench.notices().contains("refuses the handshake: too old"));
    assert_eq!(bench.failure(1).kind, FailureKind::Harness);
}

#[test]
fn another_version_of_the_protocol_or_of_the_agent_is_remarked_on() {
    let mut bench = Bench::start(launch_request("opencode"));
    bench.answer("initialize", json!({"protocolVersion": 2, "agentInfo": {"version": "9.9"}}));
    assert!(bench.notices().contains("version 2 of the protocol"));
    assert!(bench.notices().contains("tested with 1.18.33, not with 9.9"));
}

#[test]
fn a_loaded_session_brings_its_history_and_none_of_it_is_news() {
    let mut bench = Bench::start(resuming("acp"));
    bench.introduce();
    bench.forget();
    for (kind, message, text) in [
        ("user_message_chunk", "u1", "hello "),
        ("user_message_chunk", "u1", "there"),
        ("agent_thought_chunk", "p1", "hm"),
        ("agent_message_chunk", "a1", "hi"),
    ] {
        bench.update_of("old", &chunk(kind, message, text));
    }
    bench.update_of(
        "old",
        &json!({
            "sessionUpdate": "tool_call", "toolCallId": "t", "title": "ls", "kind": "execute",
            "status": "completed", "rawInput": {"command": "ls"},
        }),
    );
    bench.update_of(
        "old",
        &json!({
            "sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed",
            "content": [{"type": "content", "content": {"type": "text", "text": "a.txt"}}],
        }),
    );
    assert!(bench.effects().is_empty());
}

#[test]
fn the_history_holds_what_was_loaded_and_what_was_said_since() {
    let mut bench = Bench::start(resuming("acp"));
    bench.introduce();
    bench.update_of("old", &chunk("user_message_chunk", "u1", "hello"));
    bench.update_of("old", &chunk("agent_thought_chunk", "p1", "hm"));
    bench.update_of("old", &chunk("agent_message_chunk", "a1", "hi"));
    bench.update_of(
        "old",
        &json!({
            "sessionUpdate": "tool_call", "toolCallId": "t", "title": "ls", "kind": "execute",
            "status": "completed", "rawOutput": {"output": "a.txt"}, "rawInput": {"command": "ls"},
        }),
    );
    bench.answer("session/load", json!({}));
    assert_eq!(state(&bench).native_session.as_deref(), Some("old"));
    bench.prompt(1, "more", Urgency::WhenIdle);
    bench.update_of("old", &chunk("agent_message_chunk", "a2", "sure"));
    bench.stop("end_turn");
    let messages = history(&mut bench, 2);
    assert_eq!(texts(&messages), ["hello", "hi", "a.txt", "more", "sure"]);
    assert_eq!(messages[1].thinking.as_deref(), Some("hm"));
    let tool = messages[2].tool.as_ref().unwrap();
    assert_eq!(
        (tool.name.as_str(), tool.input.as_str(), tool.failed),
        ("execute", r#"{"command":"ls"}"#, false)
    );
    assert_eq!(messages[3].role, Role::User);
}

#[test]
fn gemini_goes_on_with_the_history_behind_its_answer_and_prompts_wait_for_the_rest() {
    let mut bench = Bench::start(resuming("gemini"));
    bench.introduce();
    let made_up = "<session_context>\nToday is Saturday.\n</session_context>";
    bench.update_of("old", &chunk("user_message_chunk", "u0", made_up));
    bench.answer("session/load", json!({}));
    bench.prompt(1, "more", Urgency::WhenIdle);
    bench.update_of("old", &chunk("user_message_chunk", "u1", "hello"));
    bench.update_of("old", &chunk("user_message_chunk", "u2", "[Function Response: ls]"));
    bench.update_of("old", &chunk("agent_message_chunk", "a1", "hi"));
    assert!(bench.prompts().is_empty());
    bench.wake();
    assert_eq!(bench.prompts(), ["more"]);
    assert_eq!(texts(&history(&mut bench, 2)), ["hello", "hi"]);
}

#[test]
fn a_session_that_cannot_be_loaded_is_followed_by_a_new_one_at_the_start() {
    let mut bench = Bench::start(resuming("opencode"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.introduce();
    bench.update_of("old", &chunk("user_message_chunk", "u1", "half"));
    bench.fail("session/load", -32603, "gone");
    assert!(bench.notices().contains("gone; a new conversation begins"));
    bench.answer("session/new", json!({"sessionId": SESSION}));
    assert_eq!(bench.prompts(), ["one"]);
    assert!(history(&mut bench, 2).is_empty());
}

#[test]
fn an_agent_that_only_resumes_tells_no_history() {
    let mut bench = Bench::start(resuming("acp"));
    let capabilities = json!({"sessionCapabilities": {"resume": {}}});
    bench.answer("initialize", json!({"protocolVersion": 1, "agentCapabilities": capabilities}));
    bench.answer("session/resume", json!({}));
    bench.command(1, Command::History);
    assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
}

#[test]
fn an_agent_that_forgets_every_session_begins_a_new_one_and_refuses_to_resume() {
    let mut bench = Bench::start(resuming("acp"));
    bench.answer("initialize", json!({"protocolVersion": 1}));
    assert!(bench.notices().contains("a new one begins"));
    bench.answer("session/new", json!({"sessionId": SESSION}));
    bench.command(1, Command::Resume("old".to_owned()));
    assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
}

#[test]
fn a_session_is_told_only_once_somebody_could_come_back_to_it() {
    let mut bench = Bench::start(launch_request("acp"));
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION}));
    assert_eq!(state(&bench).native_session, None);
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.text("m", "hi");
    assert_eq!(state(&bench).native_session.as_deref(), Some(SESSION));
}

#[test]
fn a_new_session_in_a_running_turn_comes_when_that_is_over() {
    let mut bench = Bench::working("opencode");
    bench.prompt(2, "waits", Urgency::WhenIdle);
    bench.command(3, Command::NewSession);
    bench.prompt(4, "for the new one", Urgency::WhenIdle);
    assert!(bench.has(&Event::PromptsDropped(vec![2])));
    assert!(bench.written("session/new").is_empty());
    bench.stop("cancelled");
    bench.answer("session/new", json!({"sessionId": "s2"}));
    assert!(bench.is_done(3));
    let last = bench.written("session/prompt").pop().unwrap();
    assert_eq!(last["params"]["sessionId"], "s2");
    bench.forget();
    bench.text("m9", "of the old session");
    assert!(bench.effects().is_empty());
    assert!(texts(&history(&mut bench, 5)).is_empty());
}

#[test]
fn a_session_that_cannot_be_resumed_in_place_leaves_the_current_one_as_it_was() {
    let mut bench = Bench::working("opencode");
    bench.stop("end_turn");
    bench.command(2, Command::Resume("gone".to_owned()));
    bench.prompt(3, "still here", Urgency::WhenIdle);
    bench.fail("session/load", -32603, "no such session");
    assert_eq!(bench.failure(2).kind, FailureKind::NotFound);
    let last = bench.written("session/prompt").pop().unwrap();
    assert_eq!(last["params"]["sessionId"], SESSION);
    assert_eq!(texts(&history(&mut bench, 4)), ["work", "I am at it"]);
}

#[test]
fn a_process_that_dies_while_a_history_comes_settles_who_waits_for_it() {
    let mut bench = Bench::open("gemini");
    bench.command(1, Command::Resume("old".to_owned()));
    bench.answer("session/load", json!({}));
    bench.command(2, Command::History);
    bench.exited(&Exit::Code(0));
    assert_eq!(bench.failure(1).kind, FailureKind::Harness);
    assert_eq!(bench.failure(2).kind, FailureKind::Harness);
}

#[test]
fn the_model_that_was_asked_for_is_set_before_the_first_prompt() {
    let wanted = LaunchRequest { model: Some("s/two".to_owned()), ..launch_request("opencode") };
    let mut bench = Bench::start(wanted);
    bench.prompt(1, "one", Urgency::WhenIdle);
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION, "configOptions": options()}));
    let set = bench.written("session/set_config_option");
    assert_eq!(
        set[0]["params"],
        json!({"sessionId": SESSION, "configId": "model", "value": "s/two"})
    );
    assert!(bench.prompts().is_empty());
    bench.answer("session/set_config_option", json!({}));
    assert_eq!(bench.prompts(), ["one"]);
    assert_eq!(state(&bench).model.as_ref().unwrap().ref_.id, "two");
}

#[test]
fn a_model_that_is_not_taken_at_the_start_is_remarked_on_and_the_session_goes_on() {
    let wanted = LaunchRequest { model: Some("s/nope".to_owned()), ..launch_request("opencode") };
    let mut bench = Bench::start(wanted);
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION, "configOptions": options()}));
    bench.fail("session/set_config_option", -32602, "model not found");
    assert!(bench.notices().contains("the model s/nope was not taken: model not found"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    assert_eq!(bench.prompts(), ["one"]);
}

#[test]
fn the_model_that_was_chosen_is_the_model_of_the_next_session_too() {
    let mut bench = Bench::start(launch_request("opencode"));
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION, "configOptions": options()}));
    let model = ModelRef { provider: String::new(), id: "two".to_owned() };
    bench.command(1, Command::SetModel(model));
    bench.answer("session/set_config_option", json!({}));
    bench.command(2, Command::NewSession);
    bench.answer("session/new", json!({"sessionId": "s2", "configOptions": options()}));
    assert!(bench.outcome(2).is_none());
    bench.answer("session/set_config_option", json!({}));
    assert!(bench.is_done(1) && bench.is_done(2));
}

#[test]
fn a_model_that_cannot_be_chosen_is_remarked_on() {
    let wanted = LaunchRequest { model: Some("s/two".to_owned()), ..launch_request("acp") };
    let mut bench = Bench::start(wanted);
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION}));
    assert!(bench.notices().contains("does not let its model be chosen, so it is not s/two"));
    bench.prompt(1, "one", Urgency::WhenIdle);
    assert_eq!(bench.prompts(), ["one"]);
}

#[test]
fn a_level_of_thinking_is_set_where_there_is_one_to_set() {
    let mut bench = Bench::start(launch_request("opencode"));
    bench.introduce();
    bench.answer("session/new", json!({"sessionId": SESSION, "configOptions": options()}));
    bench.command(1, Command::SetThinking(Thinking::Max));
    bench.answer("session/set_config_option", json!({}));
    assert_eq!(state(&bench).thinking, Some(Thinking::High));
    for harness in ["gemini", "acp"] {
        let mut bench = Bench::open(harness);
        bench.command(1, Command::SetThinking(Thinking::Low));
        assert_eq!(bench.failure(1).kind, FailureKind::Unsupported);
    }
}

#[test]
fn what_an_agent_does_not_offer_is_unsupported() {
    let mut bench = Bench::open("acp");
    bench.command(1, Command::ListModels);
    bench.command(2, Command::SetModel(ModelRef { provider: String::new(), id: "x".to_owned() }));
    bench.command(3, Command::Rename("x".to_owned()));
    bench.command(4, Command::Compact(None));
    bench.other(5, "set-mode", &json!({"mode": "plan"}));
    bench.other(6, "set-config-option", &json!({"option": "a", "value": true}));
    bench.other(7, "make-tea", &json!({}));
    for number in 1..=7 {
        assert_eq!(bench.failure(number).kind, FailureKind::Unsupported, "{number}");
    }
    bench.other(8, "set-mode", &json!({"modes": "plan"}));
    assert_eq!(bench.failure(8).kind, FailureKind::Invalid);
    assert!(bench.lines().is_empty());
}

#[test]
fn plans_and_whatever_is_new_are_passed_on_as_they_are() {
    let mut bench = Bench::open("acp");
    bench.update(&json!({"sessionUpdate": "plan", "entries": []}));
    let plan = r#"{"entries":[],"sessionUpdate":"plan"}"#;
    assert!(bench.has(&Event::Other(("plan".to_owned(), plan.to_owned()))));
    bench.update(&json!({"sessionUpdate": "session_info_update", "title": "Tea"}));
    assert_eq!(state(&bench).title.as_deref(), Some("Tea"));
    bench.update(&json!({"sessionUpdate": "mood_update", "mood": "x".repeat(100_000)}));
    assert!(
        !bench
            .events()
            .iter()
            .any(|event| matches!(event, Event::Other((name, _)) if name == "mood_update"))
    );
}

#[test]
fn a_message_that_goes_on_behind_a_tool_is_another_message() {
    let mut bench = Bench::working("acp");
    bench.tool("t", "pending");
    bench.tool("t", "completed");
    bench.text("m1", "and on");
    bench.stop("end_turn");
    let messages = history(&mut bench, 2);
    let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(ids, ["s1.1", "m1", "t", "s1.2"]);
}

#[test]
fn lines_that_are_not_of_the_protocol_are_remarked_on_once() {
    let mut bench = Bench::open("acp");
    for line in
        ["", "hello", "null", "[]", "7", r#"{"jsonrpc":"2.0""#, "{}", r#"{"id":99,"result":{}}"#]
    {
        bench.line(line);
    }
    assert_eq!(bench.effects().len(), 1);
    assert!(bench.notices().contains("a line of 5 bytes"));
}

#[test]
fn half_an_emoji_does_not_cost_the_line() {
    let mut bench = Bench::working("acp");
    bench.line(r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s1","update":{"sessionUpdate":"agent_message_chunk","messageId":"m1","content":{"type":"text","text":"a\ud83d"}}}}"#);
    assert!(bench.has(&Event::Text(("m1".to_owned(), "a\u{fffd}".to_owned()))));
}

#[test]
fn a_start_that_fails_is_explained_with_what_was_printed_first_and_last() {
    let mut bench = Bench::start(launch_request("gemini"));
    bench.diagnostics("Unknown argument: bogus");
    for line in 0..50 {
        bench.diagnostics(&format!("usage {line}"));
    }
    bench.exited(&Exit::Code(1));
    let notice = bench.notices();
    assert!(notice.contains("Unknown argument: bogus") && notice.contains("usage 49"), "{notice}");
    assert!(notice.contains("hint: ") && !notice.contains("usage 20"));
    let mut bench = Bench::start(launch_request("opencode"));
    bench.exited(&Exit::FailedToStart("no such file".to_owned()));
    assert!(bench.notices().contains("npm install --global opencode-ai"));
}

#[test]
fn an_end_that_somebody_asked_for_needs_no_explanation() {
    for how in [Exit::Code(0), Exit::Code(143), Exit::Signal(15)] {
        let mut bench = Bench::open("opencode");
        bench.exited(&how);
        assert_eq!(bench.notices(), "");
    }
    let mut bench = Bench::open("opencode");
    bench.diagnostics("out of memory");
    bench.exited(&Exit::Code(134));
    assert_eq!(bench.notices(), "OpenCode ended with code 134:\nout of memory");
}
