//! The life of an action handler.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rp_engine::{CallError, Code, KeyValue, Limits};
use rp_protocol::{
    actions::{Action, Progress},
    session::{Failure, FailureKind, Reply},
};
use serde_json::json;

use crate::{
    fixture::{Guest, Place, context},
    policy::Shelf,
};

/// Returns `finished` with the text at `address`.
fn finished(address: &str, length: &str) -> String {
    format!(
        "(i32.store8 (i32.const 4096) (i32.const 0))
         (i32.store8 (i32.const 4100) (i32.const 1))
         (i32.store (i32.const 4104) {address})
         (i32.store (i32.const 4108) {length})
         (i32.const 4096)"
    )
}

async fn run(place: &Place, guest: &Guest) -> Result<Result<Progress, Failure>, CallError> {
    place.actions(guest).await.unwrap().run("press", &context(), &[]).await
}

async fn refused(guest: Guest) -> String {
    Place::new().actions(&guest).await.err().unwrap().to_string()
}

fn text(text: &str) -> Result<Result<Progress, Failure>, CallError> {
    Ok(Ok(Progress::Finished { text: text.to_owned() }))
}

#[tokio::test]
async fn an_action_is_listed_and_sees_who_it_was_pressed_for() {
    let place = Place::new();
    let actions = place.actions(&Guest::actions()).await.unwrap();
    assert_eq!(actions.id(), "test");
    let press = Action {
        name: "press".into(),
        title: String::new(),
        summary: String::new(),
        icon: None,
        parameters: json!({}),
        destructive: false,
        harnesses: Vec::new(),
    };
    assert_eq!(actions.list(), [press]);
    let nothing = Progress::Steps { steps: Vec::new() };
    assert_eq!(actions.run("press", &context(), &[]).await, Ok(Ok(nothing)));

    // The agent's name is at 28: after the action's name, the machine and the address.
    let name =
        finished("(i32.load offset=28 (local.get $0))", "(i32.load offset=32 (local.get $0))");
    assert_eq!(run(&place, &Guest::actions().body("run", &name)).await, text("scout"));
}

#[tokio::test]
async fn an_action_that_refuses_says_why() {
    let guest = Guest::actions().item(r#"(data (i32.const 8192) "not now")"#).body(
        "run",
        "(i32.store8 (i32.const 4096) (i32.const 1))
         (i32.store8 (i32.const 4100) (i32.const 2))
         (i32.store (i32.const 4104) (i32.const 8192))
         (i32.store (i32.const 4108) (i32.const 7))
         (i32.const 4096)",
    );
    let failure = Failure { kind: FailureKind::Busy, message: "not now".into(), hint: None };
    assert_eq!(run(&Place::new(), &guest).await, Ok(Err(failure)));
}

#[tokio::test]
async fn every_call_has_an_instance_of_its_own() {
    let counting = Guest::actions().item("(global $calls (mut i32) (i32.const 48))").body(
        "run",
        &format!(
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
             (i32.store8 (i32.const 8192) (global.get $calls))
             {}",
            finished("(i32.const 8192)", "(i32.const 1)")
        ),
    );
    let actions = Place::new().actions(&counting).await.unwrap();
    for replies in [vec![], vec![Ok(Reply::Done)]] {
        assert_eq!(actions.run("press", &context(), &replies).await, text("1"));
    }
}

#[tokio::test]
async fn an_action_keeps_what_it_stores() {
    let storing = Guest::actions()
        .import(
            r#"(import "rp:plugin/store@0.1.0" "set"
                (func $set (param i32 i32 i32 i32 i32)))"#,
        )
        .item(r#"(data (i32.const 8192) "keyvalue")"#)
        .body(
            "run",
            "(call $set (i32.const 8192) (i32.const 3) (i32.const 8195) (i32.const 5)
                (i32.const 16384))
             (i32.const 1024)",
        );
    let place = Place::new();
    let shelf = Arc::new(Shelf { room: 1, items: Mutex::default() });
    let storage: Arc<dyn KeyValue> = shelf.clone();
    let code = Code::new("test", storing.build());
    let actions = place.engine.load_actions(code, storage).await.unwrap();
    actions.run("press", &context(), &[]).await.unwrap().unwrap();
    assert_eq!(shelf.get("key"), Ok(Some(b"value".to_vec())));
}

#[tokio::test]
async fn an_action_that_crashes_can_be_pressed_again() {
    let guest = Guest::actions().body("run", "unreachable");
    let place = Place::new();
    let actions = place.actions(&guest).await.unwrap();
    for _ in 0..4 {
        let error = actions.run("press", &context(), &[]).await.unwrap_err();
        assert!(matches!(error, CallError::Trap { .. }), "{error}");
    }
    assert!(place.log().iter().any(|line| line.contains("scout")), "{:?}", place.log());
}

#[tokio::test]
async fn an_action_that_computes_too_long_is_ended() {
    assert_eq!(Limits::default().actions_call, Duration::from_secs(5));
    let limit = Duration::from_millis(50);
    let place = Place::with(Limits { actions_call: limit, ..Limits::default() });
    let guest = Guest::actions().body("run", "(loop $forever (br $forever)) unreachable");
    assert_eq!(run(&place, &guest).await, Err(CallError::Timeout { limit }));
}

#[tokio::test]
async fn an_action_has_bounded_memory() {
    let guest = Guest::actions()
        .body("run", "(drop (memory.grow $memory (i32.const 1024))) (i32.const 1024)");
    assert_eq!(
        run(&Place::new(), &guest).await,
        Err(CallError::Memory { wanted: 1025 << 16, limit: 64 << 20 })
    );
}

#[tokio::test]
async fn what_an_action_returns_is_bounded() {
    let place = Place::new();
    let long = |bytes: usize| {
        let body = finished("(i32.const 65536)", &format!("(i32.const {bytes})"));
        Guest::actions()
            .body("run", &format!("(drop (memory.grow $memory (i32.const 200))) {body}"))
    };
    assert_eq!(run(&place, &long(8 << 20)).await, text(&"\0".repeat(8 << 20)));
    assert_eq!(
        run(&place, &long(9 << 20)).await.unwrap_err().to_string(),
        "the component returned too much: more than 8388608 bytes in one call"
    );
    let steps = Guest::actions().body(
        "run",
        "(i32.store (i32.const 4104) (i32.const 8192))
         (i32.store (i32.const 4108) (i32.const 65))
         (i32.const 4096)",
    );
    assert_eq!(
        run(&place, &steps).await.unwrap_err().to_string(),
        "the component returned too much: 65 steps in one call, and an action may have 64"
    );
}

#[tokio::test]
async fn actions_that_cannot_be_are_not_loaded() {
    let wrong = "the action handler lists its actions wrongly: ";
    let name = Guest::actions().item(r#"(data (i32.const 2200) "Press")"#);
    assert_eq!(
        refused(name).await,
        format!("{wrong}the name \"Press\" must be lower-case words joined by hyphens")
    );
    let parameters = Guest::actions().item(r#"(data (i32.const 2300) "[]")"#);
    assert_eq!(
        refused(parameters).await,
        format!("{wrong}the parameters of press are not a JSON object")
    );
    let schema = Guest::actions()
        .item(r#"(data (i32.const 2092) "\fc\08\00\00\0a\00\00\00")"#)
        .item(r#"(data (i32.const 2300) "{\22type\22:7}")"#);
    let said = refused(schema).await;
    assert!(
        said.starts_with(&format!("{wrong}the parameters of press are not a JSON Schema: ")),
        "{said}"
    );
    let remote = Guest::actions()
        .item(r#"(data (i32.const 2092) "\fc\08\00\00\19\00\00\00")"#)
        .item(r#"(data (i32.const 2300) "{\22$ref\22:\22https://a.test\22}")"#);
    assert!(refused(remote).await.contains("not a JSON Schema"));
    let twice = Guest::actions()
        .item(r#"(data (i32.const 2048) "\08\08\00\00\02\00\00\00")"#)
        .item(
            r#"(data (i32.const 2112) "\98\08\00\00\05\00\00\00")
               (data (i32.const 2148) "\fc\08\00\00\02\00\00\00")"#,
        )
        .item(r#"(data (i32.const 2056) "\98\08\00\00\05\00\00\00")"#);
    assert_eq!(refused(twice).await, format!("{wrong}two of them have the name press"));
    let many = Guest::actions().item(r#"(data (i32.const 2048) "\00\20\00\00\65\00\00\00")"#);
    assert_eq!(refused(many).await, format!("{wrong}it has 101 of them, and 100 are allowed"));
}

#[tokio::test]
async fn a_policy_is_not_an_action_handler() {
    let error = Place::new().actions(&Guest::policy()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the component is not an action handler: it does not export rp:actions/handler, but \
         rp:routing/policy@0.1.0"
    );
}
