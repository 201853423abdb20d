//! What the rules in force do with messages, and how they change.

use std::fs;

use rp_tests::{PATIENCE, host::Host};
use serde_json::json;

use crate::guest::Guest;
use crate::{
    asking_three_plus_three, holding, inbox, manifest, until, until_in_force, write_package,
};

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
async fn what_a_person_sees_of_a_held_message_is_what_another_policy_made_of_it() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let asks = "[permissions.rewrite]\nreason = \"it edits\"\n";
    let packages =
        [("editor", asks, asking_three_plus_three().build()), ("careful", "", holding().build())];
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
