//! A WASI with nothing in it.

use std::time::{Duration, Instant};

use rp_engine::{CallError, Limits};

use crate::fixture::{FACTS, Guest, Place};

const WASI: &str = "
package wasi:io@0.2.0;
interface poll {
    resource pollable { block: func(); }
}
package wasi:clocks@0.2.0;
interface monotonic-clock {
    use wasi:io/poll@0.2.0.{pollable};
    subscribe-duration: func(when: u64) -> pollable;
}
package wasi:cli@0.2.0;
interface environment {
    get-environment: func() -> list<tuple<string, string>>;
    get-arguments: func() -> list<string>;
}
interface exit { exit: func(status: result); }
package wasi:filesystem@0.2.0;
interface preopens { get-directories: func() -> list<tuple<u32, string>>; }
package test:guest;
world adapter {
    include rp:harness/harness-adapter@0.1.0;
    import wasi:cli/environment@0.2.0;
    import wasi:cli/exit@0.2.0;
    import wasi:clocks/monotonic-clock@0.2.0;
}
world policy {
    include rp:routing/routing-policy@0.1.0;
    import wasi:clocks/monotonic-clock@0.2.0;
}
";

const SLEEP: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
        (func $subscribe (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
"#;

fn sleep(nanoseconds: u64) -> String {
    format!("(call $block (call $subscribe (i64.const {nanoseconds}))) (i32.const 1024)")
}

#[tokio::test]
async fn there_is_no_environment_and_there_are_no_arguments() {
    let guest = Guest::adapter()
        .import(
            r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $env (param i32)))
               (import "wasi:cli/environment@0.2.0" "get-arguments" (func $args (param i32)))"#,
        )
        .body(
            "[method]session.wake",
            "(call $env (i32.const 4096)) (call $args (i32.const 4112))
             (if (i32.load (i32.const 4100)) (then unreachable))
             (if (i32.load (i32.const 4116)) (then unreachable))
             (i32.const 1024)",
        )
        .world(WASI, "test:guest/adapter");
    let mut session = Place::new().session(&guest).await;
    session.wake().await.unwrap();
}

#[tokio::test]
async fn a_component_that_ends_itself_ends_only_itself() {
    let guest = Guest::adapter()
        .import(r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#)
        .body("[method]session.wake", "(call $exit (i32.const 1)) (i32.const 1024)")
        .world(WASI, "test:guest/adapter");
    let error = Place::new().session(&guest).await.wake().await.unwrap_err();
    assert_eq!(error.to_string(), "the component crashed: it ended itself with exit code 1");
}

#[tokio::test]
async fn an_adapter_that_waits_too_long_is_ended() {
    let place =
        Place::with(Limits { adapter_wait: Duration::from_millis(50), ..Limits::default() });
    let guest = Guest::adapter()
        .import(SLEEP)
        .body("[method]session.wake", &sleep(3_600_000_000_000))
        .world(WASI, "test:guest/adapter");
    let error = place.session(&guest).await.wake().await.unwrap_err();
    assert_eq!(error, CallError::Timeout { limit: Duration::from_millis(50) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_may_wait_for_a_moment_and_no_longer() {
    let place = Place::new();
    let guest = |nanoseconds| {
        Guest::policy()
            .import(SLEEP)
            .body("decide", &sleep(nanoseconds))
            .world(WASI, "test:guest/policy")
    };
    let policy = place.policy(&guest(1_000_000)).await.unwrap();
    policy.decide(&FACTS).unwrap();

    let policy = place.policy(&guest(3_600_000_000_000)).await.unwrap();
    let start = Instant::now();
    assert_eq!(
        policy.decide(&FACTS),
        Err(CallError::Timeout { limit: Duration::from_millis(200) })
    );
    assert!(start.elapsed() < Duration::from_secs(60));
}
