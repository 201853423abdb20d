//! Components that a person drops in, adds, grants and takes away, while the host runs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

#[path = "../../host/engine/tests/components/guest.rs"]
mod guest;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use guest::Guest;
use rp_tests::{PATIENCE, host::Host};
use serde_json::{Value, json};
use wit_parser::Resolve;

/// A decision to hold, with a reason, at 2048.
const HOLD: &str = r#"
    (data (i32.const 2048) "\03\00\00\00\10\08\00\00\0b\00\00\00")
    (data (i32.const 2064) "look at it!")"#;

/// Holds everything.
fn holding() -> Guest {
    Guest::policy().item(HOLD).body("decide", "(i32.const 2048)")
}

/// A policy of an interface that nobody has seen yet.
fn newer_policy() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let interface = "package rp:routing@0.2.0;
        interface policy { greet: func(); }
        world routing-policy { export policy; }";
    resolve.push_str("newer.wit", interface).unwrap();
    let module = r#"(module (func (export "rp:routing/policy@0.2.0#greet")))"#;
    guest::encode(wat::parse_str(module).unwrap(), &resolve, "rp:routing/routing-policy")
}

/// A policy that imports something of its author's imagination.
fn dialling_policy() -> Vec<u8> {
    Guest::policy()
        .import(r#"(import "test:guest/net" "dial" (func $dial))"#)
        .body("decide", "(call $dial) (i32.const 1024)")
        .world(
            "package test:guest;
             interface net { dial: func(); }
             world guest { include rp:routing/routing-policy@0.1.0; import net; }",
            "test:guest/guest",
        )
        .build()
}

fn manifest(id: &str, kind: &str, more: &str) -> String {
    let world = match kind {
        "adapter" => "rp:harness/harness-adapter",
        "policy" => "rp:routing/routing-policy",
        _ => "rp:actions/app-actions",
    };
    format!(
        "id = \"{id}\"\nversion = \"1.0.0\"\nkind = \"{kind}\"\nworld = \"{world}@0.1.0\"\n\
         about = \"For a test.\"\n{more}"
    )
}

const STORE: &str = "[permissions.store]\nreason = \"it counts\"\n";

fn write_package(folder: &Path, manifest: &str, wasm: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("component.toml"), manifest).unwrap();
    fs::write(folder.join("component.wasm"), wasm).unwrap();
}

/// The folder that a person drops components into.
fn inbox(host: &Host) -> PathBuf {
    host.root().join("host/components")
}

/// Waits until what is asked for is as wanted.
async fn until(host: &Host, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    host.until(PATIENCE, path, wanted).await.unwrap()
}

fn row<'a>(listing: &'a Value, id: &str) -> Option<&'a Value> {
    listing["components"].as_array().unwrap().iter().find(|row| row["id"] == id)
}

async fn until_in_force(host: &Host, id: &str) {
    until(host, "/v1/components", |listing| {
        row(listing, id).is_some_and(|row| row["state"] == "ready")
    })
    .await;
}

/// What is said of something in the folder that cannot be used.
async fn refused(host: &Host, name: &str) -> String {
    let listing = until(host, "/v1/components", |listing| {
        listing["refused"].as_array().unwrap().iter().any(|refused| refused["name"] == name)
    })
    .await;
    let all = listing["refused"].as_array().unwrap().clone();
    let refused = all.iter().find(|refused| refused["name"] == name).unwrap();
    let message = refused["error"]["message"].as_str().unwrap().to_owned();
    match refused["error"]["hint"].as_str() {
        Some(hint) => format!("{message}\nhint: {hint}"),
        None => message,
    }
}

#[tokio::test]
async fn a_policy_dropped_in_holds_a_message_and_a_person_lets_it_through() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = inbox(&host).join("careful");
    write_package(&folder, &manifest("careful", "policy", ""), &holding().build());
    until_in_force(&host, "careful").await;

    let sent = host.run_json(&["send", &address, "what is 2+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held", "{sent}");
    let held = host.run_json(&["held", "list"]).await.unwrap();
    assert_eq!(held["messages"][0]["reason"], "look at it!", "{held}");
    let id = held["messages"][0]["id"].as_str().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    until(&host, "/v1/policies", |chain| chain["policies"].as_array().unwrap().len() == 1).await;
    host.run_json(&["held", "allow", id]).await.unwrap();
    let answer = until(&host, "/v1/agents/00000000/inbox", |inbox| {
        inbox["messages"].as_array().is_some_and(|messages| !messages.is_empty())
    });
    assert_eq!(answer.await["messages"][0]["body"], "3");
}

#[tokio::test]
async fn one_poisonous_message_is_held_and_the_rest_flows() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    // The length of the body stands 92 bytes into the facts; "poison" with its quotes has 8.
    let picky = Guest::policy().body(
        "decide",
        "(if (i32.eq (i32.load offset=92 (local.get $0)) (i32.const 8)) (then unreachable)) (i32.const 1024)",
    );
    let folder = inbox(&host).join("picky");
    write_package(&folder, &manifest("picky", "policy", ""), &picky.build());
    until_in_force(&host, "picky").await;
    let poison = host.run_json(&["send", &address, "poison"]).await.unwrap();
    assert_eq!(poison["outcomes"][0]["status"], "held");
    let held = host.run_json(&["held", "list"]).await.unwrap();
    assert_eq!(
        held["messages"][0]["reason"],
        "the routing policy does not answer: picky: the component crashed: wasm trap: wasm \
         `unreachable` instruction executed"
    );
    let fine = host.run_json(&["send", &address, "what is 1+1?", "--wait", "answered"]).await;
    assert_eq!(fine.unwrap()["outcomes"][0]["status"], "received");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason_and_the_last_good_one_stays() {
    let host = Host::start(Vec::new()).await.unwrap();
    let good = Guest::policy().build();
    let policy = |id: &str| manifest(id, "policy", "");
    let cut = good.get(..good.len() / 2).unwrap().to_vec();
    let sh = Guest::adapter()
        .item(r#"(data (i32.const 2072) "\10\09\00\00\02\00\00\00") (data (i32.const 2320) "sh")"#);
    let cases: Vec<(&str, String, Vec<u8>, &str)> = vec![
        (
            "typo",
            manifest("typo", "policy", "[permissions.stor]\nreason = \"x\"\n"),
            good.clone(),
            "component.toml: stor is not a key of [permissions]\nhint: did you mean store?",
        ),
        (
            "misnamed",
            policy("other"),
            good.clone(),
            "the folder is named misnamed and the component in it other\nhint: name the folder like the component",
        ),
        (
            "module",
            policy("module"),
            Guest::policy().module(),
            "could not load the component module: the file is a core WebAssembly module, not a component\nhint: make a component of it with `wasm-tools component new`",
        ),
        (
            "cut",
            policy("cut"),
            cut,
            "could not load the component cut: the file is cut short\nhint: copy or download it again",
        ),
        (
            "text",
            policy("text"),
            b"hello".to_vec(),
            "component.wasm is not WebAssembly, or its beginning is missing\nhint: if it is being copied, it is looked at again when that is done",
        ),
        (
            "wrong-world",
            policy("wrong-world"),
            Guest::adapter().build(),
            "could not load the component wrong-world: the component is not a routing policy: it imports rp:session/types@0.1.0, and it may only import rp:plugin/log, rp:plugin/store and WASI 0.2",
        ),
        (
            "newer",
            policy("newer"),
            newer_policy(),
            "could not load the component newer: the component needs rp:routing/policy 0.2.0, which is newer than this program knows (0.1.0)\nhint: update rp-host",
        ),
        (
            "newer-world",
            policy("newer-world").replace("@0.1.0", "@0.2.0"),
            good.clone(),
            "could not load the component newer-world: the component needs rp:routing/routing-policy 0.2.0, which is newer than this program knows (0.1.0)\nhint: update rp-host",
        ),
        (
            "dialler",
            policy("dialler"),
            dialling_policy(),
            "could not load the component dialler: the component is not a routing policy: it imports test:guest/net, and it may only import rp:plugin/log, rp:plugin/store and WASI 0.2",
        ),
        (
            "liar",
            manifest("liar", "adapter", "[permissions.run]\nprograms = [\"pi\"]\nreason = \"x\"\n"),
            sh.build(),
            "could not load the component liar: it describes test as the program sh, and its manifest does not ask to run that",
        ),
        (
            "slow",
            policy("slow"),
            Guest::policy().body("configure", "(loop $l (br $l)) (i32.const 1024)").build(),
            "could not load the component slow: the component failed when it was tried: the component took too long: it was ended after 50 ms",
        ),
    ];
    for (name, manifest, wasm, _) in &cases {
        write_package(&inbox(&host).join(name), manifest, wasm);
    }
    for (name, _, _, expected) in &cases {
        assert_eq!(refused(&host, name).await, *expected, "{name}");
    }
    // One that works and then is replaced by one that does not.
    let folder = inbox(&host).join("careful");
    write_package(&folder, &policy("careful"), &holding().build());
    until_in_force(&host, "careful").await;
    fs::write(folder.join("component.wasm"), b"\0asm oh no").unwrap();
    refused(&host, "careful").await;
    let listing = host.get("/v1/components").await.unwrap();
    assert_eq!(row(&listing, "careful").unwrap()["state"], "ready");
    fs::write(folder.join("component.wasm"), good).unwrap();
    until(&host, "/v1/components", |listing| {
        !listing["refused"].as_array().unwrap().iter().any(|refused| refused["name"] == "careful")
    })
    .await;
}

#[tokio::test]
async fn links_lead_nowhere() {
    let host = Host::start(Vec::new()).await.unwrap();
    let outside = host.agent_folder("outside").unwrap();
    write_package(&outside, &manifest("linked", "policy", ""), &Guest::policy().build());
    let linked = inbox(&host).join("linked");
    std::os::unix::fs::symlink(&outside, &linked).unwrap();
    let hint = "is a symbolic link, which can lead out of the package\nhint: copy what it points to in its place";
    assert_eq!(refused(&host, "linked").await, format!("{} {hint}", linked.display()));
    let half = inbox(&host).join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("component.toml"), manifest("half", "policy", "")).unwrap();
    std::os::unix::fs::symlink(outside.join("component.wasm"), half.join("component.wasm"))
        .unwrap();
    until(&host, "/v1/components", |listing| {
        listing.to_string().contains("component.wasm is a symbolic")
    })
    .await;
    let expected = format!("{} {hint}", half.join("component.wasm").display());
    assert_eq!(refused(&host, "half").await, expected);
}

#[tokio::test]
async fn a_package_that_is_still_being_copied_goes_in_force_when_it_is_whole() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = inbox(&host).join("slowly");
    fs::create_dir(&folder).unwrap();
    assert_eq!(
        refused(&host, "slowly").await,
        "the package has no component.toml\nhint: a package is a folder with component.toml and component.wasm"
    );
    fs::write(folder.join("component.toml"), manifest("slowly", "policy", "")).unwrap();
    until(&host, "/v1/components", |listing| listing.to_string().contains("has no component.wasm"))
        .await;
    fs::write(folder.join("component.wasm"), Guest::policy().build()).unwrap();
    until_in_force(&host, "slowly").await;
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
async fn an_id_stays_with_the_key_that_had_it_first() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("signed").unwrap();
    write_package(&folder, &manifest("signed", "policy", STORE), &Guest::policy().build());
    let pack = async |key: &str| {
        let (archive, key) = (folder.with_extension("rpc"), folder.with_file_name(key));
        let (archive, key) = (archive.to_str().unwrap(), key.to_str().unwrap());
        let folder = folder.to_str().unwrap();
        host.run_json(&["component", "pack", folder, "-o", archive, "--key", key]).await.unwrap();
        host.run(&["component", "add", archive, "--yes"]).await.unwrap()
    };
    let first = pack("ann.key").await;
    assert_eq!(first.stdout, "signed 1.0.0 is in force; it may store\n", "{}", first.stderr);
    let inspected = host.run_json(&["component", "inspect", "signed"]).await.unwrap();
    let ann = inspected["signer"].as_str().unwrap().to_owned();
    assert!(ann.starts_with("ed25519:"), "{ann}");
    assert_eq!(pack("ann.key").await.code, Some(0), "the same key again");
    // One that asks for nothing belongs to its first publisher too.
    write_package(&folder, &manifest("plain", "policy", ""), &Guest::policy().build());
    assert_eq!(pack("ann.key").await.code, Some(0));
    let other = pack("bob.key").await;
    assert!(other.stderr.starts_with("error: the id plain belongs to"), "{}", other.stderr);
    write_package(&folder, &manifest("signed", "policy", STORE), &Guest::policy().build());
    let other = pack("bob.key").await;
    let start = format!(
        "error: the id signed belongs to the publisher {ann}, and this package is of another publisher: ed25519:"
    );
    assert!(other.stderr.starts_with(&start), "{}", other.stderr);
    let unsigned =
        host.run(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    assert_eq!(
        unsigned.stderr,
        format!(
            "error: the id signed belongs to the publisher {ann}, and this package is of another publisher: unsigned\n\
             hint: if you trust the new one, `rp-host component remove signed` first\n"
        )
    );
    assert_eq!(host.run_json(&["component", "inspect", "signed"]).await.unwrap()["signer"], ann);
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

#[tokio::test]
async fn the_settings_of_policies_are_taken_up_when_the_file_changes() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let file = host.root().join("host/policy.toml");
    fs::write(&file, "[guarded.size]\nmax_bytes = 20\n").unwrap();
    until(&host, "/v1/policies", |chain| chain["policies"][1]["id"] == "guarded").await;
    let long = "this is longer than twenty bytes";
    let explained = host.run_json(&["policy", "explain", "person", &address, "--text", long]).await;
    let explained = explained.unwrap();
    assert_eq!(explained["decision"], "deny");
    assert_eq!(explained["policies"][0], json!({"policy": "default", "decision": "deliver"}));
    assert_eq!(explained["reason"], "guarded: size: 34 bytes from person (limit 20)");
    let sent = host.run(&["send", &address, long]).await.unwrap();
    assert!(sent.stderr.contains("guarded: size: 34 bytes from person (limit 20)"), "{sent:?}");

    fs::write(&file, "[guarded.size]\nmax_byte = 20\n").unwrap();
    let chain = until(&host, "/v1/policies", |chain| !chain["problem"].is_null()).await;
    let problem = chain["problem"].as_str().unwrap();
    assert!(problem.contains("max_byte"), "{problem}");
    let still = host.run(&["send", &address, long]).await.unwrap();
    assert_eq!(still.code, Some(1), "the earlier settings stay");

    fs::write(&file, "chain = [\"default\"]\n").unwrap();
    until(&host, "/v1/policies", |chain| chain["policies"].as_array().unwrap().len() == 1).await;
    host.run_json(&["send", &address, long]).await.unwrap();
    fs::write(&file, "chain = [\"gone\"]\n").unwrap();
    let chain = until(&host, "/v1/policies", |chain| !chain["problem"].is_null()).await;
    assert_eq!(
        chain["problem"],
        format!("could not use {}: there is no policy gone in force", file.display())
    );
}

#[tokio::test]
async fn what_was_sent_can_be_asked_about_again_under_other_rules() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    for number in 0..4 {
        let question = format!("what is {number}+1?");
        host.run_json(&["send", &address, &question, "--wait", "answered"]).await.unwrap();
    }
    // The audit log is written behind what it tells of.
    let all = async {
        loop {
            let replayed = host.run_json(&["policy", "replay"]).await.unwrap();
            assert_eq!(replayed["would_change"], 0, "{replayed}");
            if replayed["messages"] == 8 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let draft = host.root().join("draft.toml");
    fs::write(&draft, "[guarded.rate]\nper_minute = 3\n").unwrap();
    let draft = ["policy", "replay", "--settings", draft.to_str().unwrap()];
    let replayed = host.run_json(&draft).await.unwrap();
    assert_eq!(replayed["would_change"], 2, "a question and an answer: {replayed}");
    let chain = host.get("/v1/policies").await.unwrap();
    assert_eq!(chain["policies"].as_array().unwrap().len(), 1, "it stays a draft: {chain}");
    // Nobody can tell what a rule about texts would say.
    let reading = "[[guarded.rule]]\nname = \"secrets\"\ntext = [\"e\"]\n";
    fs::write(host.root().join("draft.toml"), reading).unwrap();
    let replayed = host.run_json(&draft).await.unwrap();
    assert_eq!(
        (&replayed["would_change"], &replayed["left_out"]),
        (&json!(0), &json!(["guarded"])),
        "{replayed}"
    );
    let alone = format!("chain = [\"guarded\"]\n{reading}");
    fs::write(host.root().join("draft.toml"), alone).unwrap();
    let refused = host.run(&draft).await.unwrap();
    assert!(refused.stderr.contains("every policy reads what messages say"), "{refused:?}");
    fs::write(host.root().join("draft.toml"), "chain = [\"nobody\"]\n").unwrap();
    let refused = host.run(&draft).await.unwrap();
    assert_eq!(
        refused.stderr,
        "error: there is no policy nobody in force\n\
         hint: `rp-host component list` shows what is installed\n"
    );
    fs::write(host.root().join("host/policy.toml"), "[guarded.rate]\nper_minute = 2\n").unwrap();
    until(&host, "/v1/policies", |chain| chain["policies"][1]["id"] == "guarded").await;
    let replayed = host.run_json(&["policy", "replay", "--since", "1h"]).await.unwrap();
    assert_eq!(replayed["would_change"], 4, "two questions and two answers: {replayed}");
    assert_eq!(
        replayed["changed"][0]["reason"],
        "guarded: rate: 2 messages a minute from person to api (limit 2)"
    );
}

#[tokio::test]
async fn a_project_is_written_for_every_kind_and_language() {
    let host = Host::stopped(Vec::new()).unwrap();
    let folder = host.agent_folder("projects").unwrap();
    for kind in ["adapter", "policy", "action"] {
        for language in ["rust", "js", "python"] {
            let project = folder.join(format!("{kind}-{language}"));
            let path = project.to_str().unwrap();
            host.run_json(&["component", "new", kind, path, "--lang", language]).await.unwrap();
            let manifest = fs::read_to_string(project.join("component.toml")).unwrap();
            assert!(manifest.contains(&format!("id = \"{kind}-{language}\"")), "{manifest}");
        }
    }
    let again = folder.join("policy-js");
    let again = host.run(&["component", "new", "policy", again.to_str().unwrap()]).await.unwrap();
    assert!(
        again
            .stderr
            .ends_with("is there already\nhint: choose another folder, or remove that one\n")
    );
    let odd = host.run(&["component", "new", "policy", "My Policy"]).await.unwrap();
    assert_eq!(
        odd.stderr,
        "error: \"My Policy\" cannot be the id of a component\nhint: name the folder with \
         lower-case letters, digits and hyphens, beginning with a letter\n"
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
async fn a_policy_that_cannot_be_loaded_at_the_start_holds_everything() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = inbox(&host).join("careful");
    write_package(&folder, &manifest("careful", "policy", ""), &Guest::policy().build());
    until_in_force(&host, "careful").await;
    host.stop().await.unwrap();
    let kept = host.root().join("host/components.in-force/careful/component.wasm");
    fs::write(kept, b"\0asm oh no").unwrap();
    fs::write(folder.join("component.wasm"), b"\0asm oh no").unwrap();
    let settings = host.root().join("host/policy.toml");
    fs::write(&settings, "[guarded]\nbogus = 1\n").unwrap();
    host.start_again().await.unwrap();

    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held", "{sent}");
    let reason = sent["outcomes"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("careful: "), "{reason}");
    let chain = host.get("/v1/policies").await.unwrap().to_string();
    assert!(chain.contains("bogus"), "{chain}");
    fs::write(&settings, "").unwrap();
    host.run_json(&["component", "disable", "careful"]).await.unwrap();
    until(&host, "/v1/policies", |chain| chain["policies"].as_array().unwrap().len() == 1).await;
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received", "{sent}");
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
async fn a_policy_changes_what_a_message_says_only_with_a_grant() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = host.agent_folder("editor").unwrap();
    // The decision to rewrite, with a body, at 2048.
    let editor = Guest::policy()
        .item(
            r#"(data (i32.const 2048) "\04\00\00\00\10\08\00\00\0e\00\00\00")
               (data (i32.const 2064) "\"what is 3+3?\"")"#,
        )
        .body("decide", "(i32.const 2048)");
    write_package(&folder, &manifest("editor", "policy", ""), &editor.build());
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(
        sent["outcomes"][0]["reason"],
        "the routing policy does not answer: editor: it wants to change what a message says, and \
         it was not granted rewrite",
        "{sent}"
    );
    let asks = "[permissions.rewrite]\nreason = \"it edits\"\n";
    write_package(&folder, &manifest("editor", "policy", asks), &editor.build());
    host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    host.run_json(&["send", &address, "what is 1+1?", "--wait", "injected"]).await.unwrap();
    let read = host.run_json(&["inbox", "api"]).await.unwrap();
    assert_eq!(read["messages"][0]["body"], "what is 3+3?", "{read}");
}

#[tokio::test]
async fn what_a_person_sees_of_a_held_message_is_what_another_policy_made_of_it() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    // The decision to rewrite, with a body, at 2048.
    let editor = Guest::policy()
        .item(
            r#"(data (i32.const 2048) "\04\00\00\00\10\08\00\00\0e\00\00\00")
               (data (i32.const 2064) "\"what is 3+3?\"")"#,
        )
        .body("decide", "(i32.const 2048)");
    let asks = "[permissions.rewrite]\nreason = \"it edits\"\n";
    let packages = [("editor", asks, editor.build()), ("careful", "", holding().build())];
    for (id, asks, wasm) in packages {
        let folder = host.agent_folder(id).unwrap();
        write_package(&folder, &manifest(id, "policy", asks), &wasm);
        host.run_json(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    }
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held", "{sent}");
    let held = host.run_json(&["held", "list"]).await.unwrap();
    assert_eq!(held["messages"][0]["body"], "what is 3+3?", "{held}");
    host.run_json(&["held", "allow", sent["id"].as_str().unwrap()]).await.unwrap();
    let read = host.run_json(&["inbox", "api"]).await.unwrap();
    assert_eq!(read["messages"][0]["body"], "what is 3+3?", "{read}");
}

#[tokio::test]
async fn the_last_good_version_comes_back_when_nothing_compiled_is_left_and_a_newer_one_is_broken()
{
    let mut host = Host::start(Vec::new()).await.unwrap();
    let folder = inbox(&host).join("listing");
    write_package(&folder, &manifest("listing", "adapter", ""), &Guest::adapter().build());
    until_in_force(&host, "listing").await;
    host.stop().await.unwrap();
    fs::remove_dir_all(host.root().join("host/cache")).unwrap();
    fs::write(folder.join("component.toml"), "broken").unwrap();
    host.start_again().await.unwrap();
    until_in_force(&host, "listing").await;
    refused(&host, "listing").await;
}

#[tokio::test]
async fn settings_that_kept_a_policy_from_loading_at_the_start_can_be_corrected() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    host.stop().await.unwrap();
    let settings = host.root().join("host/policy.toml");
    fs::write(&settings, "[guarded]\nbogus = 1\n").unwrap();
    host.start_again().await.unwrap();
    let chain = host.get("/v1/policies").await.unwrap();
    assert!(chain["policies"][1]["state"].as_str().unwrap().contains("bogus"), "{chain}");
    fs::write(&settings, "[guarded]\nrate = false\n").unwrap();
    until(&host, "/v1/policies", |chain| {
        chain["policies"][1]["state"] == "ready" && chain["problem"].is_null()
    })
    .await;
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
async fn what_is_moved_away_and_back_is_in_force_again() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (folder, aside) = (inbox(&host).join("plain"), host.root().join("aside"));
    write_package(&folder, &manifest("plain", "policy", ""), &Guest::policy().build());
    until_in_force(&host, "plain").await;
    fs::rename(&folder, &aside).unwrap();
    until(&host, "/v1/components", |listing| row(listing, "plain").is_none()).await;
    fs::rename(&aside, &folder).unwrap();
    until_in_force(&host, "plain").await;
}

#[tokio::test]
async fn rules_that_cannot_be_read_let_nothing_pass_and_are_not_written_over() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    host.stop().await.unwrap();
    let rules = host.root().join("host/policy.toml");
    fs::write(&rules, "[broken").unwrap();
    host.start_again().await.unwrap();
    // Whatever else changes meanwhile.
    host.run_json(&["component", "disable", "extras"]).await.unwrap();
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held", "{sent}");
    fs::write(&rules, "").unwrap();
    until(&host, "/v1/policies", |chain| chain["problem"].is_null()).await;
    let sent = host.run_json(&["send", &address, "what is 1+1?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received", "{sent}");

    let grants = host.root().join("host/grants.toml");
    fs::write(&grants, "[broken").unwrap();
    let refused = host.run(&["component", "enable", "extras"]).await.unwrap();
    assert!(refused.stderr.starts_with(&format!("error: {}: ", grants.display())), "{refused:?}");
    assert_eq!(fs::read_to_string(&grants).unwrap(), "[broken");
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
