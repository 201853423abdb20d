//! What a component may do, who decides it, and what it gets without.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use rp_tests::host::Host;
use serde_json::{Value, json};

use crate::guest::Guest;
use crate::{STORE, asking_three_plus_three, inbox, manifest, refused, row, until, write_package};

/// Stores two mebibytes for every message, and denies it with the case of the store's error.
fn hoarding() -> Vec<u8> {
    Guest::policy()
        .import(
            r#"(import "rp:plugin/store@0.1.0" "set"
                (func $set (param i32 i32 i32 i32 i32)))"#,
        )
        .item(
            r#"(data (i32.const 2048) "\01\00\00\00\00\20\00\00\01\00\00\00")
               (data (i32.const 8192) "?")"#,
        )
        .body(
            "decide",
            "(drop (memory.grow $memory (i32.const 40)))
             (call $set (i32.const 8192) (i32.const 1) (i32.const 65536) (i32.const 2097152)
                (i32.const 16384))
             (i32.store8 (i32.const 8192)
                (i32.add (i32.const 48) (i32.load8_u (i32.const 16388))))
             (i32.const 2048)",
        )
        .build()
}

#[tokio::test]
async fn what_a_component_asks_for_waits_for_a_person_and_a_greedier_version_does_too() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("counting").unwrap();
    write_package(&folder, &manifest("counting", "policy", STORE), &Guest::policy().build());
    let path = folder.to_str().unwrap();
    let added = host.run(&["component", "add", path]).await.unwrap();
    assert_eq!(
        added.stdout,
        "counting 1.0.0 waits for you: it asks for store\n\
         `rp-host component grant counting` grants that\n\
         nobody signed it: who made it cannot be checked\n"
    );
    let pending = host.run_json(&["component", "pending"]).await.unwrap();
    assert_eq!(pending[0]["pending"], json!(["store"]));
    let wrong = host.run(&["component", "grant", "counting", "run=sh"]).await.unwrap();
    assert_eq!(wrong.stderr, "error: counting does not ask for run=sh\nhint: it asks for store\n");
    let granted = host.run_json(&["component", "grant", "counting"]).await.unwrap();
    assert_eq!((&granted["state"], &granted["granted"]), (&json!("ready"), &json!(["store"])));

    let more = format!("{STORE}[permissions.bodies]\nreason = \"it reads\"\n");
    let greedy = manifest("counting", "policy", &more).replace("1.0.0", "1.1.0");
    write_package(&folder, &greedy, &Guest::policy().build());
    let added = host.run_json(&["component", "add", path]).await.unwrap();
    assert_eq!(added["state"], "pending");
    assert_eq!((&added["in_force"], &added["pending"]), (&json!("1.0.0"), &json!(["bodies"])));
    // A restart forgets nothing of it.
    host.stop().await.unwrap();
    host.start_again().await.unwrap();
    let listing = until(&host, "/v1/components", |listing| {
        row(listing, "counting").is_some_and(|row| row["state"] == "pending")
    })
    .await;
    assert_eq!(row(&listing, "counting").unwrap()["in_force"], "1.0.0");
    let granted = host.run_json(&["component", "grant", "counting", "bodies"]).await.unwrap();
    assert_eq!((&granted["state"], &granted["version"]), (&json!("ready"), &json!("1.1.0")));

    let revoked = host.run_json(&["component", "revoke", "counting", "store"]).await.unwrap();
    assert_eq!(revoked["granted"], json!(["bodies"]));
    let off = host.run_json(&["component", "disable", "counting"]).await.unwrap();
    assert_eq!((&off["state"], &off["in_force"]), (&json!("disabled"), &Value::Null));
    let on = host.run_json(&["component", "enable", "counting"]).await.unwrap();
    assert_eq!(on["state"], "ready");
    host.run_json(&["component", "remove", "counting"]).await.unwrap();
    let gone = host.run(&["component", "inspect", "counting"]).await.unwrap();
    assert_eq!(
        gone.stderr,
        "error: no component has the id counting\nhint: `rp-host component list` lists them\n"
    );
}

#[tokio::test]
async fn what_is_taken_from_a_component_is_gone_at_once_whatever_became_of_its_folder() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = inbox(&host).join("counting");
    write_package(&folder, &manifest("counting", "policy", STORE), &Guest::policy().build());
    until(&host, "/v1/components", |listing| row(listing, "counting").is_some()).await;
    // Switching off and on decides nothing about what it asks for.
    host.run_json(&["component", "disable", "counting"]).await.unwrap();
    let on = host.run_json(&["component", "enable", "counting"]).await.unwrap();
    assert_eq!((&on["state"], &on["in_force"]), (&json!("pending"), &Value::Null));

    host.run_json(&["component", "grant", "counting"]).await.unwrap();
    fs::write(folder.join("component.toml"), "broken").unwrap();
    refused(&host, "counting").await;
    let revoked = host.run_json(&["component", "revoke", "counting"]).await.unwrap();
    assert_eq!((&revoked["granted"], &revoked["state"]), (&json!([]), &json!("ready")));
    let off = host.run_json(&["component", "disable", "counting"]).await.unwrap();
    assert_eq!((&off["state"], &off["in_force"]), (&json!("disabled"), &Value::Null));
}

#[tokio::test]
async fn an_adapter_starts_nothing_that_it_was_not_granted() {
    let host = Host::start(Vec::new()).await.unwrap();
    // Describes the program `ls`, and launches `sh`.
    let sly = Guest::adapter()
        .item(
            r#"(data (i32.const 2072) "\10\09\00\00\02\00\00\00") (data (i32.const 2320) "ls")
               (data (i32.const 2400) "\00\00\00\00\a0\09\00\00\07\00\00\00")
               (data (i32.const 2464) "/bin/sh")"#,
        )
        .body("launch", "(i32.const 2400)");
    let asks = "[permissions.run]\nprograms = [\"ls\"]\nreason = \"it lists\"\n";
    let folder = host.agent_folder("sly").unwrap();
    write_package(&folder, &manifest("sly", "adapter", asks), &sly.build());
    host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    let agent = host.agent_folder("api").unwrap();
    let created = host.run_json(&["create", agent.to_str().unwrap(), "--harness", "test"]).await;
    let created = created.unwrap();
    assert_eq!(created["state"], "failed");
    assert_eq!(
        created["detail"],
        "the adapter may not run the program `/bin/sh` (`rp-host component grant sly run=/bin/sh`, \
         if its manifest asks for that)"
    );
}

#[tokio::test]
async fn a_program_that_was_not_granted_is_not_even_asked_for_its_version() {
    let programs = tempfile::tempdir().unwrap();
    let (spy, trace) = (programs.path().join("spy"), programs.path().join("trace"));
    fs::write(&spy, format!("#!/bin/sh\ntouch {}\n", trace.display())).unwrap();
    fs::set_permissions(&spy, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let host = Host::start(vec![("PATH".to_owned(), path)]).await.unwrap();
    // Describes the program `spy`, which tells its version for `-v`.
    let adapter = Guest::adapter().item(
        r#"(data (i32.const 2072) "\10\09\00\00\03\00\00\00") (data (i32.const 2320) "spy")
           (data (i32.const 2080) "\c4\09\00\00\01\00\00\00")
           (data (i32.const 2500) "\d0\09\00\00\02\00\00\00") (data (i32.const 2512) "-v")"#,
    );
    let asks = "[permissions.run]\nprograms = [\"spy\"]\nreason = \"it spies\"\n";
    let folder = host.agent_folder("spying").unwrap();
    write_package(&folder, &manifest("spying", "adapter", asks), &adapter.build());
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    host.run_json(&["component", "grant", "spying", "--none"]).await.unwrap();
    let listed = host.run_json(&["harness", "list"]).await.unwrap();
    assert!(listed.to_string().contains("/spy\""), "it is found: {listed}");
    assert!(!trace.exists(), "it ran");
    host.run_json(&["component", "grant", "spying"]).await.unwrap();
    host.run_json(&["harness", "list"]).await.unwrap();
    assert!(trace.exists(), "it did not run");
}

#[tokio::test]
async fn storage_has_a_quota_and_without_a_grant_there_is_none() {
    for (asks, told, logged) in [
        (STORE, "1", "its storage is full: nothing was written"),
        ("", "0", "it wants to store something, and it was not granted store"),
    ] {
        let host = Host::start(Vec::new()).await.unwrap();
        let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
        let folder = host.agent_folder("hoarder").unwrap();
        write_package(&folder, &manifest("hoarder", "policy", asks), &hoarding());
        host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
        let sent = host.run(&["send", &address, "what is 1+1?"]).await.unwrap();
        let expected = format!("error: {address} was not given the message: {told}\n");
        assert!(sent.stderr.starts_with(&expected), "{sent:?}");
        let log = host.run(&["component", "logs", "hoarder"]).await.unwrap();
        assert!(log.stdout.contains(logged), "{log:?}");
    }
}

#[tokio::test]
async fn a_policy_changes_what_a_message_says_only_with_a_grant() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = host.agent_folder("editor").unwrap();
    write_package(&folder, &manifest("editor", "policy", ""), &asking_three_plus_three().build());
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(
        sent["outcomes"][0]["reason"],
        "the routing policy does not answer: editor: it wants to change what a message says, and \
         it was not granted rewrite",
        "{sent}"
    );
    let asks = "[permissions.rewrite]\nreason = \"it edits\"\n";
    write_package(&folder, &manifest("editor", "policy", asks), &asking_three_plus_three().build());
    host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    host.run_json(&["send", &address, "what is 1+1?", "--wait", "injected"]).await.unwrap();
    let read = host.run_json(&["inbox", "api"]).await.unwrap();
    assert_eq!(read["messages"][0]["body"], "what is 3+3?", "{read}");
}

#[tokio::test]
async fn the_administrator_of_the_machine_has_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("components.toml");
    fs::write(&rules, "forbidden_components = [\"bad\"]\nforbidden_permissions = [\"bodies\"]\n")
        .unwrap();
    let variable = ("RP_HOST_SYSTEM_POLICY".to_owned(), rules.display().to_string());
    let host = Host::start(vec![variable]).await.unwrap();
    let by = rules.display();
    let bad = host.agent_folder("bad").unwrap();
    write_package(&bad, &manifest("bad", "policy", ""), &Guest::policy().build());
    let refused = host.run(&["component", "add", bad.to_str().unwrap(), "--yes"]).await.unwrap();
    assert_eq!(refused.stderr, format!("error: {by} forbids the component bad\n"));
    let curious = host.agent_folder("curious").unwrap();
    let asks = "[permissions.bodies]\nreason = \"it reads\"\n";
    write_package(&curious, &manifest("curious", "policy", asks), &Guest::policy().build());
    let path = curious.to_str().unwrap();
    let refused = host.run(&["component", "add", path, "--grant", "bodies"]).await.unwrap();
    assert_eq!(refused.stderr, format!("error: {by} forbids the permission bodies\n"));
    // All that is left of what it asks for is nothing, and it runs with that.
    let added = host.run_json(&["component", "add", path, "--yes"]).await.unwrap();
    assert_eq!((&added["state"], &added["granted"]), (&json!("ready"), &json!([])));
}
