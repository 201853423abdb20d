//! The buttons of an app, pressed from the command line and over the control API.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

#[macro_use]
mod shown;

use rp_tests::{PATIENCE, host::Host};
use serde_json::{Value, json};

use crate::shown::transcript;

/// Keeps an agent on the demo harness, in the folder `project` that all of them share.
async fn create_in_project(host: &Host, name: &str) -> Value {
    let folder = host.agent_folder("project").unwrap();
    let folder = folder.to_str().unwrap();
    host.run_json(&["create", folder, "--harness", "demo", "--name", name]).await.unwrap()
}

/// What the messages in a mailbox say, oldest first.
async fn bodies(host: &Host, agent: &str) -> Vec<String> {
    let inbox = host.run_json(&["inbox", agent]).await.unwrap();
    let messages = inbox["messages"].as_array().unwrap();
    messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn actions_are_listed_and_what_an_agent_cannot_do_is_said() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("web").await.unwrap();
    let commands: &[&[&str]] = &[
        &["action", "list", "web"],
        &["action", "run", "web", "set-thinking", "--param", "level=high"],
        &["action", "run", "web", "compact", "--param", "instructions=keep the plan"],
        &["action", "run", "web", "list-models"],
        &["action", "run", "web", "new-session"],
        &["action", "run", "web", "new-session", "--yes"],
        &["action", "run", "web", "run-tests"],
        &["action", "run", "web", "hand-over", "--param", "to=nobody"],
        &["action", "run", "web", "extras/broadcast-note", "--param", "note=hello"],
        &["daemon", "stop", "web"],
        &["action", "run", "web", "compact"],
    ];
    assert_shown!("actions", transcript(&host, commands).await);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("web").await.unwrap();
    let commands: &[&[&str]] = &[
        &["action", "run", "web", "set-thinking", "--param", "level=lots"],
        &["action", "run", "web", "set-thinking"],
        &["action", "run", "web", "set-thinking", "--param", "levle=high"],
        &["action", "run", "web", "compact", "--param", "instructions=5", "--param", "a=1"],
        &["action", "run", "web", "broadcast-note", "--param", "note="],
        &["action", "run", "web", "set-model", "--param", "model=one", "--param", "model=two"],
        &["action", "run", "web", "set-model", "--param", "model"],
        &["action", "run", "web", "set-model", "--param", "model=small"],
        &["action", "run", "web", "compcat"],
        &["action", "run", "web", "core/run-tests"],
        &["action", "run", "web", "../stop"],
        &["action", "list", "wbe"],
    ];
    assert_shown!("wrong_parameters", transcript(&host, commands).await);
}

#[tokio::test]
async fn an_agent_hands_its_work_over_to_another() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("web").await.unwrap();
    let api = host.create("api").await.unwrap();
    // The last line of what the agent is asked is the note, and the demo agent does what it says.
    let run = ["action", "run", "web", "hand-over", "--param", "to=api"];
    let run = [run.as_slice(), &["--param", "note=say the parser is done, its tests are not"]];
    let output = host.run(&run.concat()).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stderr, "web sums its work up for api\n");
    let address = api["address"].as_str().unwrap();
    assert_eq!(
        output.stdout,
        format!(
            "web handed its work over to {address}:\n\nthe parser is done, its tests are not\n"
        )
    );
    let [body] = bodies(&host, "api").await.try_into().unwrap();
    assert!(body.starts_with("I hand my work in /"), "{body}");
    assert!(body.ends_with("Where it stands:\nthe parser is done, its tests are not"), "{body}");
}

#[tokio::test]
async fn a_note_reaches_everybody_else_in_the_folder() {
    let host = Host::start(Vec::new()).await.unwrap();
    for name in ["web", "api", "docs"] {
        create_in_project(&host, name).await;
    }
    host.create("elsewhere").await.unwrap();
    let run = ["action", "run", "web", "broadcast-note", "--param", "note=the build is broken"];
    let done = host.run_json(&run).await.unwrap();
    assert_eq!((&done["steps"], &done["notes"]), (&json!(2), &json!([])));
    let text = done["text"].as_str().unwrap();
    assert!(text.starts_with("the note went to 2 agents in /"), "{text}");
    for name in ["api", "docs"] {
        let [body] = bodies(&host, name).await.try_into().unwrap();
        assert!(body.ends_with("the build is broken"), "{body}");
    }
    assert!(bodies(&host, "elsewhere").await.is_empty());
}

#[tokio::test]
async fn over_the_api_a_destructive_action_needs_a_confirmation() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let actions = format!("/v1/agents/{}/actions", web["id"].as_str().unwrap());
    let listing = host.get(&actions).await.unwrap();
    let action = &listing["actions"][1];
    assert_eq!((&action["name"], &action["destructive"]), (&json!("new-session"), &json!(true)));
    assert_eq!((&action["component"], &action["parameters"]), (&json!("core"), &json!({})));

    let path = format!("{actions}/new-session");
    let refused = host.post(&path, &json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("409") && refused.contains("new-session needs a confirmation"));
    let refused = host.post(&path, &json!({ "confirmed": true })).await.unwrap_err().to_string();
    assert!(refused.contains("the demo agent cannot do that"), "{refused}");
    let refused = host.post(&path, &json!({ "confirm": true })).await.unwrap_err().to_string();
    assert!(refused.contains("unknown field `confirm`"), "{refused}");
    assert_eq!(host.status_of("POST", &path, "no token of an agent").await.unwrap(), 401);
}

#[tokio::test]
async fn what_is_taken_from_a_component_is_gone_for_an_action_that_runs_already() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("web").await.unwrap();
    host.create("api").await.unwrap();
    let run = ["action", "run", "web", "hand-over", "--param", "to=api"];
    let run = [run.as_slice(), &["--param", "note=confirm shall I?\nsay done"]].concat();
    let revoking = async {
        let asks = |listed: &Value| !listed["questions"].as_array().unwrap().is_empty();
        host.until(PATIENCE, "/v1/questions", asks).await.unwrap();
        host.run_json(&["component", "revoke", "extras"]).await.unwrap();
        host.run_json(&["answer", "q1", "yes"]).await.unwrap();
    };
    let (output, ()) = tokio::join!(host.run(&run), revoking);
    let output = output.unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("the component extras was not granted send="), "{output:?}");
    assert!(bodies(&host, "api").await.is_empty());
}

#[tokio::test]
async fn an_action_that_nobody_waits_for_goes_no_further() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let web = web["id"].as_str().unwrap();
    host.create("api").await.unwrap();
    let run = ["action", "run", "web", "hand-over", "--param", "to=api"];
    let run = [run.as_slice(), &["--param", "note=sleep 1500\nsay done"]].concat();
    let running = host.run(&run);
    let begun = host.events(web, "after=0", 4);
    // The command is ended as soon as the agent is at work.
    let events = tokio::select! {
        events = begun => events.unwrap(),
        output = running => panic!("it did not wait: {output:?}"),
    };
    assert!(events.iter().any(|event| event["event"]["type"] == "prompt-seen"), "{events:?}");
    while host.get(&format!("/v1/agents/{web}")).await.unwrap()["state"] == "working" {
        tokio::task::yield_now().await;
    }
    assert!(bodies(&host, "api").await.is_empty());
    assert!(!host.said().contains("an action is over"));
}
