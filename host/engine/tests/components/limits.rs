//! Each limit, biting.

use std::time::Duration;

use rp_engine::{CallError, Limits};
use rp_protocol::session::{Command, Exit};

use crate::fixture::{ADAPTER, Guest, POLICY, Place, request};

const FOREVER: &str = "(loop $forever (br $forever)) unreachable";

/// Calls the function of that name on a session of the guest.
async fn call(place: &Place, guest: &Guest, function: &str) -> Result<(), CallError> {
    let adapter = place.adapter(guest).await.unwrap();
    if function == "launch" {
        return adapter.launch(&request()).await.map(|_| ());
    }
    let mut session = adapter.session(&request()).await?;
    let outcome = match function {
        "[constructor]session" => return Ok(()),
        "[method]session.started" => session.started().await,
        "[method]session.output" => session.output(b"line").await,
        "[method]session.diagnostics" => session.diagnostics("line").await,
        "[method]session.command" => session.command(1, &Command::Abort).await,
        "[method]session.wake" => session.wake().await,
        "[method]session.exited" => session.exited(&Exit::Code { code: 0 }).await,
        other => panic!("{other}"),
    };
    outcome.map(|effects| assert_eq!(effects, []))
}

#[tokio::test]
async fn a_guest_that_does_nothing_passes_every_call() {
    let place = Place::new();
    for (function, _) in &ADAPTER[1..] {
        call(&place, &Guest::adapter(), function).await.unwrap();
    }
}

#[tokio::test]
async fn a_trap_in_any_function_of_an_adapter_ends_that_call_only() {
    let place = Place::new();
    for (function, _) in ADAPTER {
        let guest = Guest::adapter().body(function, "unreachable");
        let message = match *function {
            "describe" => place.adapter(&guest).await.err().unwrap().to_string(),
            function => call(&place, &guest, function).await.unwrap_err().to_string(),
        };
        let crash = "the component crashed: wasm trap: wasm `unreachable` instruction executed";
        let expected = match *function {
            "describe" => format!("the component failed when it was tried: {crash}"),
            _ => String::from(crash),
        };
        assert_eq!(message, expected, "{function}");
    }
    call(&place, &Guest::adapter(), "[method]session.wake").await.unwrap();
}

#[tokio::test]
async fn a_trap_in_any_function_of_a_policy_ends_that_call_only() {
    let place = Place::new();
    for (function, _) in POLICY {
        let guest = Guest::policy().body(function, "unreachable");
        let message = match place.policy(&guest).await {
            Err(error) => error.to_string(),
            Ok(policy) => policy.decide(&crate::fixture::FACTS).unwrap_err().to_string(),
        };
        assert!(
            message.ends_with(
                "the component crashed: wasm trap: wasm `unreachable` instruction executed"
            ),
            "{function}: {message}"
        );
    }
}

#[tokio::test]
async fn a_crash_says_where_and_is_in_the_log() {
    let place = Place::new();
    let guest = Guest::adapter()
        .item("(func $inner unreachable)")
        .body("[method]session.wake", "(call $inner) unreachable");
    let error = call(&place, &guest, "[method]session.wake").await.unwrap_err();
    let CallError::Trap { backtrace, .. } = error else { panic!("{error:?}") };
    assert!(backtrace.contains("!inner"), "{backtrace}");
    let log = place.log();
    assert_eq!(
        log[0],
        "ERROR scout the component crashed: wasm trap: wasm `unreachable` instruction executed"
    );
    assert!(log.iter().any(|line| line.contains("!inner")), "{log:?}");
}

#[tokio::test]
async fn after_an_error_the_instance_is_gone_and_others_go_on() {
    let place = Place::new();
    let guest = Guest::adapter().body("[method]session.wake", "unreachable");
    let adapter = place.adapter(&guest).await.unwrap();
    let mut broken = adapter.session(&request()).await.unwrap();
    let mut healthy = adapter.session(&request()).await.unwrap();
    broken.wake().await.unwrap_err();
    let error = broken.started().await.unwrap_err();
    assert_eq!(error, CallError::Gone);
    assert_eq!(error.to_string(), "the component's instance is gone after an earlier error");
    assert_eq!(healthy.started().await.unwrap(), []);
}

#[tokio::test]
async fn an_endless_loop_is_cut_off() {
    let place =
        Place::with(Limits { adapter_call: Duration::from_millis(100), ..Limits::default() });
    let guest = Guest::adapter().body("[method]session.output", FOREVER);
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(error, CallError::Timeout { limit: Duration::from_millis(100) });
    assert_eq!(error.to_string(), "the component took too long: it was ended after 100 ms");
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_adapter_lets_others_run_between_its_slices() {
    let place =
        Place::with(Limits { adapter_call: Duration::from_millis(200), ..Limits::default() });
    let guest = Guest::adapter().body("[method]session.output", FOREVER);
    let mut session = place.session(&guest).await;
    let mut turns = 0;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = session.output(b"") => assert!(outcome.is_err()),
        () = others => {}
    }
    assert!(turns > 5, "{turns}");
}

#[tokio::test]
async fn a_call_nobody_waits_for_any_more_ends_the_instance() {
    let place = Place::new();
    let guest = Guest::adapter().body("[method]session.output", FOREVER);
    let mut session = place.session(&guest).await;
    tokio::select! {
        _ = session.output(b"") => panic!("it never ends"),
        () = tokio::time::sleep(Duration::from_millis(30)) => {}
    }
    assert_eq!(session.started().await, Err(CallError::Gone));
}

#[tokio::test]
async fn memory_is_bounded() {
    let place = Place::new();
    let guest = Guest::adapter().body(
        "[method]session.output",
        "(loop $more (drop (memory.grow $memory (i32.const 16))) (br $more)) unreachable",
    );
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the component ran out of memory: it asked for 67174400 bytes in total, and 67108864 \
         are allowed"
    );
}

#[tokio::test]
async fn memories_are_bounded_together() {
    let place = Place::new();
    let guest = Guest::adapter().item("(memory $other 1)").body(
        "[method]session.output",
        "(drop (memory.grow $memory (i32.const 600)))
         (drop (memory.grow $other (i32.const 600))) (i32.const 1024)",
    );
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(error, CallError::Memory { wanted: 1202 << 16, limit: 64 << 20 });
}

#[tokio::test]
async fn memory_a_guest_starts_with_counts() {
    let place = Place::new();
    let guest = Guest::adapter().item("(memory $other 2000)");
    let error = place.adapter(&guest).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the component failed when it was tried: the component ran out of memory: it asked \
         for 131137536 bytes in total, and 67108864 are allowed"
    );
}

#[tokio::test]
async fn tables_are_bounded() {
    let place = Place::new();
    let guest = Guest::adapter().item("(table $table 1 funcref)").body(
        "[method]session.output",
        "(drop (table.grow $table (ref.null func) (i32.const 20000))) (i32.const 1024)",
    );
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the component asked for too much: 20001 table elements, and 20000 are allowed"
    );
}

#[tokio::test]
async fn the_number_of_memories_is_bounded() {
    let place = Place::new();
    let guest = Guest::adapter().item(&"(memory 0)".repeat(64));
    let error = place.adapter(&guest).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the component failed when it was tried: the component asked for too much: resource \
         limit exceeded: memory count too high at 65"
    );
}

#[tokio::test]
async fn deep_recursion_is_a_stack_overflow() {
    let place = Place::new();
    let guest = Guest::adapter()
        .item("(func $deeper (call $deeper) (drop (i32.const 0)))")
        .body("[method]session.output", "(call $deeper) (i32.const 1024)");
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(error, CallError::StackOverflow);
    assert_eq!(error.to_string(), "the component ran out of stack: it called itself too deeply");
}

/// A body that returns a list of `count` effects read from address 65536 on.
fn effects(count: usize) -> String {
    format!(
        "(drop (memory.grow $memory (i32.const 800)))
         (i32.store (i32.const 4096) (i32.const 65536))
         (i32.store (i32.const 4100) (i32.const {count}))
         (i32.const 4096)"
    )
}

#[tokio::test]
async fn the_number_of_effects_is_bounded() {
    let place = Place::new();
    let guest = Guest::adapter().body("[method]session.output", &effects(100_000));
    let effects_at_the_limit = place.session(&guest).await.output(b"").await.unwrap();
    assert_eq!(effects_at_the_limit.len(), 100_000);

    let guest = Guest::adapter().body("[method]session.output", &effects(100_001));
    let mut session = place.session(&guest).await;
    let error = session.output(b"").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the component returned too much: 100001 effects in one call, and 100000 are allowed"
    );
    assert_eq!(session.wake().await, Err(CallError::Gone));
}

#[tokio::test]
async fn the_bytes_of_effects_are_bounded_together() {
    let place = Place::new();
    // Effects that share one megabyte of memory: `write` is case 0, its list is at 8.
    let guest = Guest::adapter().item("(global $at (mut i32) (i32.const 65536))").body(
        "[method]session.output",
        &format!(
            "{} (local.set $list)
             (loop $next
                (i32.store offset=8 (global.get $at) (i32.const 0))
                (i32.store offset=12 (global.get $at) (i32.const 1048576))
                (global.set $at (i32.add (global.get $at) (i32.const 8)))
                (br_if $next (i32.lt_u (global.get $at) (i32.const 131072))))
             (local.get $list)",
            effects(100)
        )
        .replacen("(drop", "(local $list i32) (drop", 1),
    );
    let error = call(&place, &guest, "[method]session.output").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the component returned too much: more than 33554432 bytes in one call"
    );
}
