//! The daemon's own life: starting, being asked at the wrong moment, ending.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails panics, and one that is left out says so"
)]

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use futures_util::future::join_all;
use rp_tests::{PATIENCE, host::Host};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

fn process(of: &Value) -> Pid {
    Pid::from_raw(i32::try_from(of["pid"].as_u64().unwrap()).unwrap()).unwrap()
}

/// Waits until a process is gone that is nobody's child here.
async fn until_gone(pid: Pid) {
    let gone = async {
        while test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_message_sent_the_moment_the_daemon_starts_finds_its_agent() {
    let host = Host::stopped(Vec::new()).unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    for round in 0..3 {
        host.run_json(&["stop"]).await.unwrap();
        let question = format!("what is {round}+1?");
        let sent = host.run_json(&["send", &address, &question, "--wait", "answered"]).await;
        assert_eq!(sent.unwrap()["outcomes"][0]["status"], "received");
    }
    host.run_json(&["stop"]).await.unwrap();
}

#[tokio::test]
async fn stopped_means_that_nothing_runs_any_more() {
    let host = Host::stopped(Vec::new()).unwrap();
    let agents = join_all(["one", "two", "three"].map(|name| host.create(name))).await;
    let daemon = host.run_json(&["status"]).await.unwrap();
    host.run_json(&["stop"]).await.unwrap();
    for agent in agents.iter().flatten() {
        assert!(test_kill_process(process(agent)).is_err(), "{agent} runs");
    }
    // Its socket is the last thing it closes.
    until_gone(process(&daemon)).await;
    assert!(!host.control().exists() && !host.broker().exists());
}

#[tokio::test]
async fn commands_that_start_the_daemon_at_the_same_time_share_one() {
    let host = Host::stopped(Vec::new()).unwrap();
    let answers = join_all((0..6).map(|_| host.run_json(&["status"]))).await;
    assert!(answers.iter().all(Result::is_err), "status starts nothing");
    let answers = join_all((0..6).map(|_| host.run_json(&["peers"]))).await;
    for answer in answers {
        assert_eq!(answer.unwrap()["peers"][0]["address"], "person");
    }
    host.run_json(&["stop"]).await.unwrap();
}

#[tokio::test]
async fn a_closed_terminal_ends_the_daemon_as_ctrl_c_does() {
    for signal in [Signal::HUP, Signal::INT, Signal::TERM, Signal::QUIT] {
        let host = Host::stopped(Vec::new()).unwrap();
        host.bring_compiled_components().unwrap();
        let agent = host.create("api").await.unwrap();
        let daemon = process(&host.run_json(&["status"]).await.unwrap());
        kill_process(daemon, signal).unwrap();
        until_gone(daemon).await;
        assert!(test_kill_process(process(&agent)).is_err(), "{signal:?} left the agent behind");
        assert!(!host.control().exists(), "{signal:?} left the socket behind");
    }
}

#[tokio::test]
async fn an_answer_that_was_refused_is_not_an_answer() {
    let limit = ("RP_HOST_MAILBOX_MESSAGES".to_owned(), "2".to_owned());
    let host = Host::start(vec![limit]).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        host.run_json(&["send", &address, "1+1", "--wait", "answered"]).await.unwrap();
    }
    let status = host.run_json(&["status"]).await.unwrap();
    assert_eq!(status["unread"], 2);
    let full = ["send", &address, "1+1", "--wait", "answered", "--timeout", "2"];
    let unanswered = host.run(&full).await.unwrap();
    assert_eq!(unanswered.code, Some(1), "{unanswered:?}");

    // Reading makes room.
    host.run_json(&["inbox"]).await.unwrap();
    host.run_json(&["send", &address, "1+1", "--wait", "answered"]).await.unwrap();
}

#[tokio::test]
async fn an_answered_message_is_not_told_again_when_the_host_is_killed() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    for round in 0..4 {
        let question = format!("{round}+{round}");
        host.run_json(&["send", &address, &question, "--wait", "answered"]).await.unwrap();
        host.kill().unwrap();
        host.start_again().await.unwrap();
    }
    // Behind it in line is whatever would have been told again.
    host.run_json(&["send", &address, "50+50", "--wait", "answered"]).await.unwrap();
    let inbox = host.run_json(&["inbox"]).await.unwrap();
    let said: Vec<_> =
        inbox["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
    assert_eq!(said, ["0", "2", "4", "6", "100"]);
}

#[tokio::test]
async fn a_kept_agent_that_cannot_be_brought_up_says_why() {
    let mut host = Host::stopped(Vec::new()).unwrap();
    std::fs::create_dir_all(host.root()).unwrap();
    let folder = host.agent_folder("odd").unwrap();
    let registry = json!({ "daemons": [{ "cwd": folder, "harness": "nope" }] });
    std::fs::write(host.root().join("daemons.json"), registry.to_string()).unwrap();
    host.start_again().await.unwrap();
    let api = host.create("api").await.unwrap();
    let listed = host.run_json(&["daemons"]).await.unwrap();
    let odd = &listed["agents"][0];
    assert_eq!(
        (&odd["state"], &odd["detail"]),
        (&json!("failed"), &json!("there is no harness nope"))
    );

    // One that fails does not keep the others from being restarted.
    let restarted = host.run(&["daemon", "restart"]).await.unwrap();
    assert_eq!(restarted.code, Some(1));
    let expected = "error: could not restart odd: there is no harness nope\n\
                    hint: did you mean opencode? the harnesses are acp, claude-code, codex, demo, gemini, opencode, pi, pi-acp\n";
    assert_eq!(restarted.stderr, expected);
    assert!(restarted.stdout.contains("api"), "{restarted:?}");
    until_gone(process(&api)).await;
    host.run_json(&["remove", folder.to_str().unwrap()]).await.unwrap();
    let listed = host.run_json(&["daemons"]).await.unwrap();
    assert_eq!(listed["agents"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lone_copy_of_the_program_works_on_an_empty_machine() {
    let home = tempfile::Builder::new().prefix("rp-").tempdir_in("/tmp").unwrap();
    let original = rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap();
    let program = home.path().join("rp-host");
    std::fs::copy(original, &program).unwrap();
    let folder = home.path().join("work");
    std::fs::create_dir(&folder).unwrap();
    let run = async |arguments: &[&str]| -> Value {
        let mut command = tokio::process::Command::new(&program);
        command.args(arguments).arg("--json").env_clear().env("HOME", home.path());
        command.current_dir("/").stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let agent = run(&["create", folder.to_str().unwrap(), "--harness", "demo"]).await;
    let address = agent["address"].as_str().unwrap();
    run(&["send", address, "what is 6*7?", "--wait", "answered"]).await;
    assert_eq!(run(&["inbox"]).await["messages"][0]["body"], "42");
    let skill = home.path().join(".pi/remote/skills/agent-network/SKILL.md");
    assert!(std::fs::read_to_string(skill).unwrap().contains("agent_send"));
    run(&["stop"]).await;
}

#[tokio::test]
async fn a_full_disk_is_said_once_and_loses_nothing() {
    // A disk of its own needs a namespace, which not every machine gives.
    let mount = ["-Urm", "mount", "-t", "tmpfs", "none", "/tmp"];
    let may = std::process::Command::new("unshare").args(mount).output();
    if !may.is_ok_and(|tried| tried.status.success()) || !Path::new("/usr/bin/dd").exists() {
        eprintln!("left out: this machine gives no namespaces");
        return;
    }
    let program = rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap();
    let home = tempfile::Builder::new().prefix("rp-").tempdir_in("/tmp").unwrap();
    let script = r#"
        mount -t tmpfs -o size=200m none "$HOME" && mkdir "$HOME/api" && cd "$HOME" || exit 9
        rp() { "$RP" "$@" 2>&1; echo "exit $?"; }
        "$RP" create api --harness demo > /dev/null 2>&1
        dd if=/dev/zero of=fill bs=1M count=150 2> /dev/null
        rp send "$HOME/api@api" "what is 1+1?"
        rp remove api
        rp daemons --json | cut -c1-60
        rm fill
        rp send "$HOME/api@api" "what is 2+2?" --wait answered | tail -1
        rp inbox | grep -c '^  4'
        "$RP" stop
    "#;
    let mut command = tokio::process::Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script]).env("HOME", home.path()).env("RP", program);
    command.env_remove("REMOTE_PI_HOME").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said = said.replace(&home.path().display().to_string(), "HOME");
    let lines: Vec<_> = said.lines().collect();
    let full = "the disk of HOME/.pi/remote/host/host.redb is full, or less than 64 MiB are free";
    let hint = "hint: free some disk space; the database goes on by itself once there is room";
    assert_eq!(lines[0], format!("error: HOME/api@api was not given the message: {full}"));
    assert_eq!(&lines[1..3], [hint, "exit 1"]);
    assert_eq!(lines[3], format!("error: could not remove api: {full}"));
    assert_eq!(&lines[4..6], [hint, "exit 1"]);
    assert!(lines[6].starts_with(r#"{"agents":["#), "it is still there: {said}");
    assert_eq!(&lines[8..10], ["exit 0", "1"], "{said}");
}

#[tokio::test]
async fn a_client_that_comes_back_asks_for_everything_after_a_number() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let agent = host.create("api").await.unwrap();
    let id = agent["id"].as_str().unwrap();
    let say = async |host: &Host, word: &str| {
        let prompt = json!({ "type": "prompt", "text": format!("say {word}") });
        host.post(&format!("/v1/agents/{id}/commands"), &prompt).await.unwrap();
    };
    let words = |events: &[Value]| -> Vec<String> {
        let pieces = events.iter().filter(|event| event["event"]["type"] == "text");
        pieces.map(|event| event["event"]["piece"].as_str().unwrap().to_owned()).collect()
    };
    let number = |event: &Value| event["sequence"].as_u64().unwrap();

    say(&host, "one").await;
    let mut count = 1;
    let first = loop {
        let events = host.events(id, "after=0", count).await.unwrap();
        if events.last().unwrap()["event"]["type"] == "turn-ended" {
            break events;
        }
        count += 1;
    };
    assert_eq!(words(&first), ["one"]);
    assert!(first.is_sorted_by(|a, b| number(a) < number(b)));

    // The same again from the middle, and what comes later follows without a gap or a repeat.
    let middle = first.len() / 2;
    let query = format!("after={}", number(&first[middle - 1]));
    let rest = host.events(id, &query, first.len() - middle).await.unwrap();
    assert_eq!(rest, first[middle..]);
    host.stop().await.unwrap();
    host.start_again().await.unwrap();
    assert_eq!(host.events(id, &query, first.len() - middle).await.unwrap(), rest);
}

#[tokio::test]
async fn a_state_root_of_somebody_else_is_named_with_a_hint() {
    // Only who may become another user can be refused as one.
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let may = std::process::Command::new("setpriv").args(as_nobody).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("left out: this user may not become another one");
        return;
    }
    let home = tempfile::Builder::new().prefix("rp-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = home.path().join("rp-host");
    std::fs::copy(rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap(), &program).unwrap();
    for command in ["serve", "peers"] {
        let mut run = tokio::process::Command::new("setpriv");
        run.args(as_nobody).arg(&program).arg(command).env_clear().env("HOME", home.path());
        let output = tokio::time::timeout(PATIENCE, run.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.replace(&home.path().display().to_string(), "HOME");
        assert!(said.contains("error: could not create HOME/.pi/remote/host"), "{command}: {said}");
        assert!(said.contains("Permission denied"), "{command}: {said}");
        assert!(said.contains("REMOTE_PI_HOME names another place"), "{command}: {said}");
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(!home.path().join(".pi").exists(), "nothing is half-written");
    }
}
