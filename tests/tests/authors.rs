//! What authors of components do: the pages they read, and the projects they begin with.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rp_tests::{host::Host, target};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The commands of a page, one behind the other.
fn commands(page: &str) -> String {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "{page} has no commands");
    blocks.join("\n")
}

/// Runs a script in a folder, with the program on its PATH and a state root of its own.
fn shell(script: &str, folder: &Path, home: &Path) -> std::process::Output {
    let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
    let programs = program.parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::iter::once(programs).chain(std::env::split_paths(&path));
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("REMOTE_PI_HOME", home)
        .output()
        .unwrap()
}

fn text(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn the_page_for_authors_of_adapters_leads_to_an_agent_that_answers() {
    let host = Host::stopped(Vec::new()).unwrap();
    let home = host.root().parent().unwrap().parent().unwrap().to_owned();
    let folder = host.agent_folder("author").unwrap();
    let script = commands("docs/writing-an-adapter.md");
    let done = tokio::task::spawn_blocking(move || shell(&script, &folder, &home)).await.unwrap();
    assert!(done.status.success(), "{}", text(&done));
    let said = text(&done);
    assert!(said.contains("parrot 0.1.0 is in force; it may run=parrot"), "{said}");
    assert!(said.contains("You said: "), "{said}");
    assert!(said.contains("parrot.rpc"), "{said}");
    host.run_json(&["stop"]).await.unwrap();
}

#[tokio::test]
async fn a_policy_in_javascript_is_written_built_and_dropped_in() {
    let host = Host::start(Vec::new()).await.unwrap();
    let address = host.create("api").await.unwrap()["address"].as_str().unwrap().to_owned();
    let folder = host.agent_folder("author").unwrap();
    let script = "rp-host component new policy slow-down --lang js; cd slow-down; \
                  npm install --silent --no-audit --no-fund; npm test; npm run build";
    let home = host.root().parent().unwrap().parent().unwrap().to_owned();
    let built = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || shell(script, &folder, &home)).await.unwrap()
    };
    assert!(built.status.success(), "{}", text(&built));
    fs::write(host.root().join("host/policy.toml"), "[slow-down]\nper_minute = 2\n").unwrap();
    let inbox = host.root().join("host/components/slow-down");
    fs::create_dir(&inbox).unwrap();
    for file in ["component.toml", "component.wasm"] {
        fs::copy(folder.join("slow-down").join(file), inbox.join(file)).unwrap();
    }
    until(&host, "/v1/policies", |chain| chain["policies"].to_string().contains("slow-down")).await;
    for number in 0..2 {
        let question = format!("what is {number}+1?");
        host.run_json(&["send", &address, &question]).await.unwrap();
    }
    let third = host.run(&["send", &address, "what is 2+1?"]).await.unwrap();
    assert!(third.stderr.contains("person may send 2 messages a minute"), "{third:?}");
}

async fn until(host: &Host, path: &str, wanted: impl Fn(&Value) -> bool) {
    // Compiling an interpreter takes a while on a busy machine.
    host.until(Duration::from_secs(120), path, wanted).await.unwrap();
}
