//! Components at the command line: fetched, granted, developed, followed, looked after.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

#[path = "../../host/engine/tests/components/guest.rs"]
mod guest;
#[path = "../../host/packages/tests/server/mod.rs"]
mod server;

use std::{fs, path::Path};

use guest::{Guest, LOG};
use rp_tests::{PATIENCE, host::Host, target, terminal::Terminal};
use serde_json::{Value, json};

fn manifest(version: &str, asks: &str) -> String {
    format!(
        "id = \"picky\"\nversion = \"{version}\"\nkind = \"policy\"\n\
         world = \"rp:routing/routing-policy@0.1.0\"\nabout = \"For a test.\"\n{asks}"
    )
}

const STORE: &str = "[permissions.store]\nreason = \"it counts\"\n";

fn write_package(folder: &Path, manifest: &str, guest: &Guest) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("component.wasm"), guest.build()).unwrap();
    fs::write(folder.join("component.toml"), manifest).unwrap();
}

/// A command of the program in a terminal.
fn terminal(host: &Host, words: &[&str]) -> Terminal {
    let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
    let command: Vec<&str> =
        std::iter::once(program.to_str().unwrap()).chain(words.iter().copied()).collect();
    Terminal::run(&command, host.variables()).unwrap()
}

async fn row(host: &Host) -> Value {
    host.run_json(&["component", "inspect", "picky"]).await.unwrap()
}

#[tokio::test]
async fn a_component_comes_from_an_address_if_it_is_what_was_expected() {
    let trusted = tempfile::tempdir().unwrap();
    let certificate = trusted.path().join("server.pem");
    let trust = ("SSL_CERT_FILE".to_owned(), certificate.display().to_string());
    let host = Host::start(vec![trust]).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", ""), &Guest::policy());
    let archive = folder.join("picky.rpc");
    let (from, to) = (folder.to_str().unwrap(), archive.to_str().unwrap());
    let packed = host.run_json(&["component", "pack", from, "--output", to]).await.unwrap();
    let sha256 = packed["sha256"].as_str().unwrap();
    let url = server::answering(fs::read(&archive).unwrap(), &certificate);

    let blind = host.run(&["component", "add", &url]).await.unwrap();
    assert_eq!(
        (blind.stderr.as_str(), blind.code),
        (
            "error: an address needs the SHA-256 of what is to be found there\nhint: get it from \
             the author another way, and add it with --sha256\n",
            Some(2)
        )
    );
    let other = "0".repeat(64);
    let wrong = host.run(&["component", "add", &url, "--sha256", &other]).await.unwrap();
    let expected = format!("{url} is not what was expected: its SHA-256 is {sha256}, not {other}");
    assert!(wrong.stderr.contains(&expected) && wrong.code == Some(1), "{wrong:?}");
    let added = host.run_json(&["component", "add", &url, "--sha256", sha256]).await.unwrap();
    assert_eq!((&added["id"], &added["state"]), (&json!("picky"), &json!("ready")));
}

/// While the person reads, the package becomes another one that asks for more.
async fn asks_for_more_meanwhile(host: &Host, folder: &Path, mut person: Terminal) {
    let greedy = format!("{STORE}[permissions.bodies]\nreason = \"it is curious\"\n");
    write_package(folder, &manifest("1.0.0", &greedy), &Guest::policy());
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    person.press("y\n").await.unwrap();
    person.until("error: picky is not what it was any more").await.unwrap();
    assert_eq!(person.ended().await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_person_is_asked_and_grants_only_what_was_shown() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", STORE), &Guest::policy());
    let mut person = terminal(&host, &["component", "add", folder.to_str().unwrap()]);
    person.until("Grant this? [y/N]").await.unwrap();

    asks_for_more_meanwhile(&host, &folder, person).await;
    assert_eq!(
        (&row(&host).await["state"], &row(&host).await["granted"]),
        (&json!("pending"), &json!([]))
    );

    let mut person = terminal(&host, &["component", "add", folder.to_str().unwrap()]);
    person.until("Grant this? [y/N]").await.unwrap();
    person.press("y\n").await.unwrap();
    person.until("picky 1.0.0 is in force").await.unwrap();
    assert_eq!(person.ended().await.unwrap(), Some(0));
    assert_eq!(row(&host).await["granted"], json!(["bodies", "store"]));
}

#[tokio::test]
async fn a_component_that_is_developed_is_swapped_in_with_every_change_that_works() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", STORE), &Guest::policy());
    let mut author = terminal(&host, &["component", "dev", folder.to_str().unwrap(), "--yes"]);
    author.until("picky 1.0.0 is in force; it may store").await.unwrap();
    author.until("waiting for changes").await.unwrap();

    fs::write(folder.join("component.wasm"), "half of it").unwrap();
    author.until("component.wasm is not WebAssembly").await.unwrap();
    author.until("waiting for changes").await.unwrap();
    assert_eq!(row(&host).await["in_force"], "1.0.0");

    write_package(&folder, &manifest("1.0.1", STORE), &Guest::policy());
    author.until("picky 1.0.1 is in force").await.unwrap();
    drop(author);
    assert_eq!(row(&host).await["in_force"], "1.0.1");
}

#[tokio::test]
async fn an_author_is_reminded_once_to_build_what_was_changed() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    fs::create_dir_all(folder.join("src/rules")).unwrap();
    fs::write(folder.join("build.sh"), "#!/bin/sh").unwrap();
    write_package(&folder, &manifest("1.0.0", ""), &Guest::policy());
    let mut author = terminal(&host, &["component", "dev", folder.to_str().unwrap()]);
    author.until("picky 1.0.0 is in force").await.unwrap();
    author.until("waiting for changes").await.unwrap();

    let newer = "src/rules/a.rs is newer than component.wasm: `./build.sh` builds it again";
    fs::write(folder.join("src/rules/a.rs"), "fn a() {}").unwrap();
    author.until(newer).await.unwrap();
    fs::write(folder.join("src/rules/a.rs"), "fn b() {}").unwrap();
    write_package(&folder, &manifest("1.0.1", ""), &Guest::policy());
    let built = author.until("picky 1.0.1 is in force").await.unwrap();
    assert!(!built.contains("newer"), "{built}");
    author.until("waiting for changes").await.unwrap();
    fs::write(folder.join("src/rules/a.rs"), "fn c() {}").unwrap();
    author.until(newer).await.unwrap();
}

#[tokio::test]
async fn a_grant_at_the_terminal_is_for_what_was_shown() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", STORE), &Guest::policy());
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    let mut person = terminal(&host, &["component", "grant", "picky"]);
    person.until("keep data of its own: it counts").await.unwrap();
    person.until("Grant this? [y/N]").await.unwrap();

    asks_for_more_meanwhile(&host, &folder, person).await;
    assert_eq!(row(&host).await["granted"], json!([]));

    let mut person = terminal(&host, &["component", "grant", "picky"]);
    person.until("Grant this? [y/N]").await.unwrap();
    person.press("n\n").await.unwrap();
    person.until("error: nothing was granted").await.unwrap();
    assert_eq!(person.ended().await.unwrap(), Some(1));
    let mut person = terminal(&host, &["component", "grant", "picky", "--yes"]);
    person.until("picky 1.0.0 is in force").await.unwrap();
    assert_eq!(person.ended().await.unwrap(), Some(0));
}

#[tokio::test]
async fn what_a_component_that_waits_would_use_is_shown_to_who_decides() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", STORE), &Guest::policy().import(LOG));
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    let shown = host.run(&["component", "inspect", "picky"]).await.unwrap().stdout;
    let stable = |line: &&str| !line.starts_with("size") && !line.starts_with("sha256");
    let shown: Vec<&str> = shown.lines().filter(stable).collect();
    insta::assert_snapshot!(shown.join("\n"));
    let listed = host.run(&["component", "list"]).await.unwrap().stdout;
    let row = listed.lines().find(|line| line.starts_with("picky")).unwrap();
    assert!(row.contains("unsigned"), "{listed}");
}

#[tokio::test]
async fn what_a_component_says_is_shown_as_it_says_it() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let talking =
        Guest::policy().import(LOG).item(r#"(data (i32.const 8192) "an envelope passed")"#).body(
            "decide",
            "(call $log (i32.const 3) (i32.const 8192) (i32.const 18) (i32.const 0) (i32.const 0))
             (i32.const 1024)",
        );
    let folder = host.agent_folder("picky").unwrap();
    write_package(&folder, &manifest("1.0.0", ""), &talking);
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    host.run_json(&["send", &address, "what is 1+1?", "--wait", "answered"]).await.unwrap();

    let mut reader = terminal(&host, &["component", "logs", "picky", "--follow", "--lines", "1"]);
    reader.until("WARN - an envelope passed").await.unwrap();
    let sent = host.run_json(&["send", &address, "what is 1+2?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "received");
    reader.until("WARN - an envelope passed").await.unwrap();
}

#[tokio::test]
async fn a_policy_that_crashed_three_times_holds_everything_until_a_person_restarts_it() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = host.agent_folder("picky").unwrap();
    let crashing = Guest::policy().body("decide", "(unreachable)");
    write_package(&folder, &manifest("1.0.0", ""), &crashing);
    host.run_json(&["component", "add", folder.to_str().unwrap()]).await.unwrap();
    for question in ["one?", "two?", "three?", "four?"] {
        let sent = host.run_json(&["send", &address, question]).await.unwrap();
        assert_eq!(sent["outcomes"][0]["status"], "held");
    }
    let held = host.run_json(&["held", "list"]).await.unwrap();
    let crash = "the component crashed: wasm trap: wasm `unreachable` instruction executed";
    let failed = format!(
        "the component failed three times within a minute and stays off; last: {crash}\n\nhint: \
         run `rp-host component restart`"
    );
    let reasons: Vec<&str> = held["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons[2], format!("the routing policy does not answer: picky: {crash}"));
    assert_eq!(reasons[3], format!("the routing policy does not answer: picky: {failed}"));

    let found = host.run(&["doctor"]).await.unwrap();
    let wrong: Vec<&str> = found.stdout.lines().filter(|line| line.contains("picky")).collect();
    assert_eq!(found.code, Some(1), "{found:?}");
    insta::assert_snapshot!(wrong.join("\n"));

    let restarted = host.run_json(&["component", "restart", "picky"]).await.unwrap();
    assert_eq!(restarted["state"], "ready");
    let sent = host.run_json(&["send", &address, "five?"]).await.unwrap();
    assert_eq!(sent["outcomes"][0]["status"], "held");
    let held = host.run_json(&["held", "list"]).await.unwrap();
    assert_eq!(held["messages"][4]["reason"], reasons[2], "it was asked again");
    tokio::time::timeout(PATIENCE, host.run_json(&["component", "remove", "picky"]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(host.run(&["doctor"]).await.unwrap().code, Some(0));
}
