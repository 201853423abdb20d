//! Harnesses that misbehave: a program named `pi` that is not what it should be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::{os::unix::fs::PermissionsExt, path::Path};

use rp_tests::{PATIENCE, host::Host};
use serde_json::Value;
use tempfile::TempDir;

/// A daemon whose `pi` is this script; it answers `--version` with the version.
async fn host_with_pi(version: &str, script: &str) -> (Host, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pi");
    let text =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo {version}; exit; }}\n{script}\n");
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    (Host::start(vec![("PATH".to_owned(), path)]).await.unwrap(), folder)
}

async fn create(host: &Host) -> Value {
    let folder = host.agent_folder("api").unwrap();
    host.run_json(&["create", folder.to_str().unwrap(), "--harness", "pi"]).await.unwrap()
}

/// Waits until the agent is as wanted.
async fn until(host: &Host, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    host.until(PATIENCE, &format!("/v1/agents/{id}"), wanted).await.unwrap()
}

fn is_running(pid: &Value) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn one_that_exits_at_once_is_tried_again_and_says_why() {
    let (host, _folder) = host_with_pi("0.87.1", "echo 'no key' >&2; exit 7").await;
    let agent = create(&host).await;
    let id = agent["id"].as_str().unwrap();
    let waiting = until(&host, id, |agent| agent["state"] == "backing-off").await;
    let detail = waiting["detail"].as_str().unwrap();
    let expected = "the harness ended with exit code 7: no key; restart 1 in ";
    assert!(detail.starts_with(expected), "{detail}");
    until(&host, id, |agent| agent["restarts"] == 2).await;
    let stopped = host.run_json(&["daemon", "stop", id]).await.unwrap();
    assert_eq!(stopped["agents"][0]["state"], "stopped");
}

#[tokio::test]
async fn one_that_was_killed_is_started_again() {
    let (host, _folder) = host_with_pi("0.87.1", "sleep 1000").await;
    let agent = create(&host).await;
    let id = agent["id"].as_str().unwrap();
    let pid = i32::try_from(agent["pid"].as_u64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // As the kernel does it when memory has run out.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let waiting = until(&host, id, |agent| agent["state"] == "backing-off").await;
    let detail = waiting["detail"].as_str().unwrap();
    let expected = "the harness was ended by signal 9; restart 1 in ";
    assert!(detail.starts_with(expected), "{detail}");
    until(&host, id, |agent| agent["state"] == "starting" && agent["restarts"] == 1).await;
}

#[tokio::test]
async fn one_that_prints_garbage_and_never_answers_is_noticed_and_can_be_stopped() {
    let script = "echo 'this is not JSON'; printf '\\377\\376\\n'; sleep 1000";
    let (host, _folder) = host_with_pi("0.87.1", script).await;
    let agent = create(&host).await;
    let id = agent["id"].as_str().unwrap();
    assert_eq!(agent["state"], "starting");
    let mut watch =
        tokio::process::Command::new(rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap());
    watch.args(["attach", id]).env("REMOTE_PI_HOME", host.root().ancestors().nth(2).unwrap());
    watch.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut watch = watch.kill_on_drop(true).spawn().unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watch.stdout.take().unwrap()));
    let expected = "! Pi printed a line of 16 bytes that is no message; \
                    such lines are skipped";
    let told = async {
        // On a busy machine a person is told first that the harness is slow.
        while let Some(line) = lines.next_line().await.unwrap()
            && line != expected
        {
            assert!(!line.contains("JSON"), "what it printed may be anything: {line}");
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();

    host.run_json(&["daemon", "stop", id]).await.unwrap();
    assert!(!is_running(&agent["pid"]), "nothing of it is left");
}

#[tokio::test]
async fn one_of_an_untested_version_is_used_and_said_to_be_untested() {
    let (host, _folder) = host_with_pi("9.9.9", "sleep 1000").await;
    let agent = create(&host).await;
    assert_eq!(agent["version"], "9.9.9");
    let listed = host.run(&["harnesses"]).await.unwrap().stdout;
    let line = listed.lines().find(|line| line.starts_with("pi ")).unwrap();
    assert!(line.contains("9.9.9"), "{line}");
    assert!(line.ends_with("not a tested version; it may still work"), "{line}");
}

#[tokio::test]
async fn one_that_does_not_say_its_version_is_not_called_missing() {
    let (host, folder) = host_with_pi("", "sleep 1000").await;
    let listed = host.run(&["harnesses"]).await.unwrap().stdout;
    let line = listed.lines().find(|line| line.starts_with("pi ")).unwrap();
    let expected = format!("{} does not say its version", folder.path().join("pi").display());
    assert!(line.ends_with(&expected), "{line}");
}
