//! What a person sees at the terminal: help, answers and errors, each as a snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

#[macro_use]
mod shown;

use std::os::unix::fs::PermissionsExt;

use rp_tests::host::Host;

use crate::shown::{show, transcript};

#[tokio::test]
async fn help_teaches_every_command() {
    let host = Host::stopped(Vec::new()).unwrap();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["serve", "--help"],
        &["status", "--help"],
        &["peers", "--help"],
        &["create", "--help"],
        &["remove", "--help"],
        &["claude", "--help"],
        &["codex", "--help"],
        &["pi", "--help"],
        &["opencode", "--help"],
        &["daemons", "--help"],
        &["daemon", "--help"],
        &["daemon", "start", "--help"],
        &["daemon", "send", "--help"],
        &["send", "--help"],
        &["inbox", "--help"],
        &["trace", "--help"],
        &["held", "--help"],
        &["questions", "--help"],
        &["question", "--help"],
        &["answer", "--help"],
        &["attach", "--help"],
        &["action", "--help"],
        &["action", "list", "--help"],
        &["action", "run", "--help"],
        &["logs", "--help"],
        &["config", "--help"],
        &["harnesses", "--help"],
        &["component", "--help"],
        &["component", "restart", "--help"],
        &["mcp", "--help"],
        &["stop", "--help"],
        &["completions", "--help"],
        &["manual", "--help"],
    ];
    assert_shown!("help", transcript(&host, commands).await);
}

#[tokio::test]
async fn without_a_daemon_the_exit_code_is_3_and_nothing_is_started_unasked() {
    let host = Host::stopped(Vec::new()).unwrap();
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["stop"],
        &["peers", "--no-start"],
        &["config"],
        &["mcp"],
    ];
    assert_shown!("without_a_daemon", transcript(&host, commands).await);
    assert!(!host.root().exists());
}

#[tokio::test]
async fn a_command_that_needs_the_daemon_starts_it_and_says_so() {
    let host = Host::stopped(Vec::new()).unwrap();
    let commands: &[&[&str]] = &[&["daemons"], &["stop"], &["status"]];
    assert_shown!("started_in_the_background", transcript(&host, commands).await);
}

#[tokio::test]
async fn an_agent_is_created_watched_and_removed() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("api").unwrap();
    let folder = folder.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["create", folder, "--harness", "demo"],
        &["daemon", "send", "api", "say", "hello"],
        &["peers"],
        &["daemon", "stop", "api"],
        &["daemons"],
        &["status"],
        &["daemon", "stop", "api"],
        &["inbox", "api"],
        &["remove", folder],
        &["daemons"],
        &["component", "list"],
        &["component", "inspect", "default"],
        &["component", "restart", "default"],
        &["held", "list"],
        &["stop"],
    ];
    assert_shown!("life_of_an_agent", transcript(&host, commands).await);
}

#[tokio::test]
async fn a_message_is_followed_from_a_stopped_agent_to_its_answer() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("api").unwrap();
    let folder = folder.to_str().unwrap();
    let agent = host.run_json(&["create", folder, "--harness", "demo"]).await.unwrap();
    let address = agent["address"].as_str().unwrap();
    let question = "what is 6*7?";
    let mut text = transcript(
        &host,
        &[
            &["daemon", "stop", "api"],
            &["send", address, question, "--expires", "50ms", "--wait", "injected"],
            &["inbox"],
            &["send", address, question, "--wait", "answered", "--timeout", "0"],
            &["inbox", "api"],
        ],
    )
    .await;
    host.run_json(&["daemon", "start", "api"]).await.unwrap();
    let waiting = host.run_json(&["inbox", "api"]).await.unwrap();
    let id = waiting["messages"][1]["id"].as_str().unwrap();
    host.get(&format!("/v1/messages/{id}/trace?until=answered&wait_ms=60000")).await.unwrap();
    text.push_str(
        &transcript(
            &host,
            &[
                &["trace", id],
                &["inbox"],
                &["send", address, "what is 1+1?", "--wait", "answered"],
                &["daemon", "restart", "api"],
            ],
        )
        .await,
    );
    assert_shown!("way_of_a_message", text);
}

#[tokio::test]
async fn everything_that_is_listed_can_be_had_as_json() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("api").unwrap();
    let folder = folder.to_str().unwrap();
    let agent = host.run_json(&["create", folder, "--harness", "demo"]).await.unwrap();
    let address = agent["address"].as_str().unwrap();
    let sent = host.run_json(&["send", address, "hello", "--wait", "answered"]).await.unwrap();
    let id = sent["id"].as_str().unwrap();
    // The keys say what a script can rely on.
    for (command, keys) in [
        (
            vec!["status"],
            "agents held mesh pid questions relay state_root unread uptime_ms version",
        ),
        (vec!["relay", "status"], "detail source state url"),
        (vec!["mesh", "list"], "owners"),
        (vec!["peers"], "peers"),
        (vec!["daemons"], "agents"),
        (vec!["daemon", "status", "api"], "agents"),
        (vec!["inbox"], "messages"),
        (vec!["inbox", "api"], "messages"),
        (vec!["trace", id], "steps"),
        (vec!["held", "list"], "messages"),
        (vec!["questions"], "questions"),
        (vec!["questions", "--all", "api"], "questions"),
        (vec!["action", "list", "api"], "actions"),
        (vec!["harnesses"], "harnesses"),
        (vec!["component", "list"], "components folder refused"),
        (vec!["policy", "list"], "policies settings"),
        (vec!["doctor"], "findings"),
        (
            vec!["component", "inspect", "demo"],
            "about asked granted harnesses id imports in_force kind limits permissions publisher sha256 signer size state version world",
        ),
    ] {
        let answer = host.run_json(&command).await.unwrap();
        let found: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found.join(" "), keys, "{command:?}");
    }
    assert!(host.run_json(&["config"]).await.unwrap().is_array());
}

#[tokio::test]
async fn a_wrong_request_gets_one_clear_error_and_changes_nothing() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("api").unwrap();
    let folder = folder.to_str().unwrap();
    let file = host.root().join("file");
    std::fs::write(&file, "").unwrap();
    let commands: &[&[&str]] = &[
        &["create", "/no/such/folder", "--harness", "demo"],
        &["create", file.to_str().unwrap(), "--harness", "demo"],
        &["create", "", "--harness", "demo"],
        &["create", folder, "--harness", "dmeo"],
        &["create", folder, "--harness", "demo", "--settings", "no"],
        &["create", folder, "--harness", "demo", "--settings", "{\"a\":1}"],
        &["create", folder, "--harness", "demo"],
        &["create", folder, "--harness", "demo"],
        &["create", folder, "--harness", "demo", "--name", "second"],
        &["daemon", "start", "apj"],
        &["daemon", "send", folder, "hello"],
        &["remove", "00000000"],
        &["send", "/no/such@peer", "hello"],
        &["send", "api", "hello"],
        &["send", "broadcast", "hello"],
        &["send", "x", "--body", "{"],
        &["send", "x"],
        &["inbox", "nobody"],
        &["trace", "00000000-0000-0000-0000-000000000000"],
        &["trace", "../status"],
        &["component", "logs", "none"],
        &["send", "x", "hello", "--re", "no id"],
        &["send", "x", "hello", "--expires", "soon"],
        &["attach", "nobody"],
        &["manual", "/no/such/folder"],
        &["completions", "tcsh"],
        &["held", "allow", "00000000-0000-0000-0000-000000000000"],
        &["held", "deny", "00000000-0000-0000-0000-000000000000"],
        &["question", "q1"],
        &["question", "../status"],
        &["questions", "nobody"],
        &["answer", "q1"],
        &["answer", "q1", "allow"],
        &["answer", "q1,q2", "allow"],
        &["answer", "all", "allow"],
        &["answer", "all", "allow", "--agent", "api", "--tool", "bash"],
        &["answer", "all", "--dismiss"],
        &["answer", "all", "yes"],
        &["answer", "q1", "allow", "--tool", "bash"],
        &["answer", "q1", "allow", "--guidance", "ask first"],
        &["answer", "q1", "--guidance", ""],
        &["answer", "q1", "allow", "--dismiss"],
        &["component", "inspect", "none"],
        &["component", "restart", "none"],
        &["component", "restart", "pi"],
        &["serve"],
        &["frobnicate"],
        &["status", "--frobnicate"],
    ];
    assert_shown!("wrong_requests", transcript(&host, commands).await);
    let registry = std::fs::read_to_string(host.root().join("daemons.json")).unwrap();
    assert_eq!(registry.matches("\"cwd\"").count(), 2);
}

#[tokio::test]
async fn a_daemon_that_cannot_start_says_why() {
    let host = Host::stopped(Vec::new()).unwrap();
    let root = host.root();
    std::fs::create_dir_all(root.join("host")).unwrap();
    let mut text = String::new();

    std::fs::write(root.join("host/config.json"), r#"{"harnes":"pi"}"#).unwrap();
    text.push_str(&show(&host, &["serve"]).await);
    std::fs::write(root.join("host/config.json"), r#"{"mailbox_bytes":"lots"}"#).unwrap();
    text.push_str(&show(&host, &["serve"]).await);
    std::fs::remove_file(root.join("host/config.json")).unwrap();

    std::fs::write(root.join("daemons.json"), "{").unwrap();
    text.push_str(&show(&host, &["serve"]).await);
    std::fs::remove_file(root.join("daemons.json")).unwrap();

    std::fs::write(root.join("host/host.redb"), "not a database").unwrap();
    text.push_str(&show(&host, &["serve"]).await);
    std::fs::remove_file(root.join("host/host.redb")).unwrap();

    let long = "x".repeat(100);
    let mut command =
        std::process::Command::new(rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap());
    let output =
        command.arg("serve").env("REMOTE_PI_HOME", format!("/tmp/{long}")).output().unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert_shown!("cannot_start", text);
}

#[tokio::test]
async fn a_state_root_that_is_not_writable_is_named() {
    let host = Host::stopped(Vec::new()).unwrap();
    let home = host.root().ancestors().nth(2).unwrap().to_owned();
    // An administrator may write anywhere; a file in the way stops everybody.
    std::fs::write(home.join(".pi"), "").unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o500)).unwrap();
    let shown = show(&host, &["serve"]).await;
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_shown!("not_writable", shown);
}

#[tokio::test]
async fn a_database_that_another_process_has_is_named() {
    let host = Host::start(Vec::new()).await.unwrap();
    // The socket of the daemon is gone, its database is not.
    std::fs::remove_file(host.control()).unwrap();
    assert_shown!("database_locked", show(&host, &["serve"]).await);
}

#[tokio::test]
async fn a_harness_that_is_not_installed_says_how_to_install_it() {
    let path = ("PATH".to_owned(), "/nowhere".to_owned());
    let host = Host::start(vec![path]).await.unwrap();
    let folder = host.agent_folder("api").unwrap();
    let folder = folder.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["create", folder, "--harness", "pi"],
        &["codex", folder],
        &["gemini", folder],
        &["claude", folder, "--settings", "{}"],
        &["claude", "-p", "hello"],
        &["daemons"],
        &["harnesses"],
    ];
    assert_shown!("not_installed", transcript(&host, commands).await);
}

#[tokio::test]
async fn completions_and_manual_pages_are_made() {
    let host = Host::stopped(Vec::new()).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = host.run(&["completions", shell]).await.unwrap();
        assert!(output.stdout.contains("daemon"), "{shell}");
    }
    let folder = host.agent_folder("manual").unwrap();
    let output = host.run(&["manual", folder.to_str().unwrap()]).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(folder.join("rp-host.1").exists());
    assert!(folder.join("rp-host-daemon-send.1").exists());
}
