//! What an adapter can do to a session, and what outlives it.

use rp_tests::host::Host;
use serde_json::{Value, json};

use crate::guest::Guest;
use crate::{manifest, write_package};

/// Describes and launches `ls`.
fn listing() -> Guest {
    Guest::adapter()
        .item(
            r#"(data (i32.const 2072) "\10\09\00\00\02\00\00\00") (data (i32.const 2320) "ls")
               (data (i32.const 2400) "\00\00\00\00\10\09\00\00\02\00\00\00")"#,
        )
        .body("launch", "(i32.const 2400)")
}

/// Installs an adapter for a harness `test` that runs `ls`, starts an agent of it, and gives the
/// notices of its session up to the one with this text.
async fn noticed(adapter: &Guest, text: &str) -> Vec<String> {
    let host = Host::start(Vec::new()).await.unwrap();
    let asks = "[permissions.run]\nprograms = [\"ls\"]\nreason = \"it lists\"\n";
    let folder = host.agent_folder("lister").unwrap();
    write_package(&folder, &manifest("lister", "adapter", asks), &adapter.build());
    host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    let agent = host.agent_folder("api").unwrap();
    let agent = json!({ "folder": agent, "harness": "test" });
    let agent = host.post("/v1/agents", &agent).await.unwrap();
    let notices = |events: &[Value]| -> Vec<String> {
        let texts = events.iter().map(|event| &event["event"]["text"]);
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let suffices = |events: &[Value]| notices(events).iter().any(|notice| notice == text);
    let events = host.events_until(agent["id"].as_str().unwrap(), "after=0", suffices).await;
    notices(&events.unwrap())
}

#[tokio::test]
async fn an_adapter_that_floods_the_host_loses_its_session() {
    // A hundred effects that share one megabyte: `write` is case 0, its list is at 8.
    let flooding = listing().item("(global $at (mut i32) (i32.const 65536))").body(
        "[method]session.started",
        "(drop (memory.grow $memory (i32.const 800)))
         (loop $next
            (i32.store offset=8 (global.get $at) (i32.const 0))
            (i32.store offset=12 (global.get $at) (i32.const 1048576))
            (global.set $at (i32.add (global.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (global.get $at) (i32.const 131072))))
         (i32.store (i32.const 4096) (i32.const 65536))
         (i32.store (i32.const 4100) (i32.const 100))
         (i32.const 4096)",
    );
    let expected = "the adapter failed: the component returned too much: more than 33554432 bytes \
                    in one call";
    noticed(&flooding, expected).await;
}

#[tokio::test]
async fn what_an_adapter_writes_to_a_harness_that_has_ended_is_told() {
    let late = listing().body(
        "[method]session.exited",
        "(i32.store (i32.const 4096) (i32.const 8192))
         (i32.store (i32.const 4100) (i32.const 1))
         (i32.store (i32.const 8200) (i32.const 1024))
         (i32.store (i32.const 8204) (i32.const 5))
         (i32.const 4096)",
    );
    noticed(&late, "the adapter wrote 5 bytes to a harness that had ended").await;
}

#[tokio::test]
async fn an_adapter_that_was_switched_off_starts_nothing_any_more() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("api").await.unwrap();
    host.run_json(&["component", "disable", "demo"]).await.unwrap();
    let restarted = host.run(&["daemon", "restart", "api"]).await.unwrap();
    assert_eq!(restarted.code, Some(1), "{restarted:?}");
    assert!(restarted.stderr.starts_with("error: there is no harness demo"), "{restarted:?}");
}

#[tokio::test]
async fn what_runs_keeps_its_adapter_and_the_next_start_gets_the_new_one() {
    // Describes and launches `cat`, which goes on until its input ends.
    let adapter = || {
        Guest::adapter()
            .item(
                r#"(data (i32.const 2072) "\10\09\00\00\03\00\00\00") (data (i32.const 2320) "cat")
                   (data (i32.const 2400) "\00\00\00\00\10\09\00\00\03\00\00\00")"#,
            )
            .body("launch", "(i32.const 2400)")
    };
    let host = Host::start(Vec::new()).await.unwrap();
    let asks = "[permissions.run]\nprograms = [\"cat\"]\nreason = \"it echoes\"\n";
    let folder = host.agent_folder("echo").unwrap();
    let path = folder.to_str().unwrap();
    let first = manifest("echo", "adapter", asks);
    write_package(&folder, &first, &adapter().build());
    host.run_json(&["component", "add", path, "--yes"]).await.unwrap();
    let agent = json!({ "folder": host.agent_folder("api").unwrap(), "harness": "test" });
    let agent = host.post("/v1/agents", &agent).await.unwrap();
    let agent = format!("/v1/agents/{}", agent["id"].as_str().unwrap());
    let pid = host.get(&agent).await.unwrap()["pid"].clone();
    assert!(pid.is_u64(), "it runs");

    let second = adapter().body("[method]session.started", "unreachable").build();
    write_package(&folder, &first.replace("1.0.0", "2.0.0"), &second);
    let added = host.run_json(&["component", "add", path]).await.unwrap();
    assert_eq!(added["in_force"], "2.0.0", "{added}");
    assert_eq!(host.get(&agent).await.unwrap()["pid"], pid, "it still runs");
    // Whether the restart is over when it ends does not matter: its end is in the session.
    let _ = host.post(&format!("{agent}/restart"), &Value::Null).await;
    let trapped = "the adapter failed: the component crashed: wasm trap";
    let told = |event: &Value| event["event"]["text"].as_str().unwrap_or("").starts_with(trapped);
    let id = agent.trim_start_matches("/v1/agents/");
    host.events_until(id, "after=0", |events| events.iter().any(told)).await.unwrap();
}
