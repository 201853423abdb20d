//! Every project that `component new` writes: built by its own script, tested by its own tests, and
//! held to what `component test` holds any component to. The tools are installed once below the
//! target folder.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rp_tests::{host::Host, install, target};
use serde_json::Value;
use tokio::task::spawn_blocking;

const KINDS: [&str; 3] = ["policy", "action", "adapter"];

/// Compiling an interpreter takes a while on a busy machine.
const COMPILING: Duration = Duration::from_secs(240);

/// Writes a project and gives its folder.
async fn project(host: &Host, kind: &str, language: &str) -> PathBuf {
    let folder = host.agent_folder("projects").unwrap().join(format!("{language}-{kind}"));
    let path = folder.to_str().unwrap();
    host.run_json(&["component", "new", kind, path, "--lang", language]).await.unwrap();
    folder
}

/// Runs a script in a folder, with the program on its PATH; it must succeed.
async fn shell(host: &Host, folder: &Path, script: &str) -> String {
    shell_with(host, folder, script, Vec::new()).await
}

async fn shell_with(
    host: &Host,
    folder: &Path,
    script: &str,
    variables: Vec<(&str, OsString)>,
) -> String {
    let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
    let own = variables.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.clone());
    let path = own.unwrap_or_else(|| std::env::var_os("PATH").unwrap());
    let paths = std::iter::once(program.parent().unwrap().to_owned());
    let paths = std::env::join_paths(paths.chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(folder).envs(variables).env("PATH", paths);
    command.env("RUSTUP_TOOLCHAIN", toolchain());
    command.env("REMOTE_PI_HOME", host.root().ancestors().nth(2).unwrap());
    // What describes the build of this test is not about the project.
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "PYTHONPATH"] {
        command.env_remove(name);
    }
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "`{script}` failed in {}:\n{said}", folder.display());
    said
}

/// The compiler of this repository.
fn toolchain() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("rust-toolchain.toml");
    let text = fs::read_to_string(file).unwrap();
    text.split("channel = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Holds what was built to what every component must keep.
async fn conforms(host: &Host, folder: &Path) -> Value {
    let text = shell(host, folder, "rp-host component test . --json").await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["failed"], 0, "{report:#}");
    if folder.to_str().unwrap().ends_with("adapter") {
        let abilities = report["abilities"][0]["abilities"].as_array().unwrap();
        let abort = abilities.iter().find(|shown| shown["ability"] == "abort").unwrap();
        assert_eq!(abort["shown_by"], serde_json::json!(["abort"]), "{report:#}");
    }
    report
}

async fn build_python(host: &Host, kind: &str) -> PathBuf {
    let folder = project(host, kind, "python").await;
    let tools = spawn_blocking(install::componentize_py).await.unwrap().unwrap();
    symlink(tools, folder.join(".venv")).unwrap();
    let said = shell(host, &folder, "python3 build.py; python3 -m unittest").await;
    assert!(said.contains("OK"), "{said}");
    folder
}

#[tokio::test]
async fn every_project_in_javascript_builds_passes_its_tests_and_conforms() {
    let host = Host::stopped(Vec::new()).unwrap();
    let tools = spawn_blocking(install::componentize_qjs).await.unwrap().unwrap();
    for kind in KINDS {
        let folder = project(&host, kind, "js").await;
        symlink(&tools, folder.join("node_modules")).unwrap();
        shell(&host, &folder, "npm run --silent build; npm test").await;
        conforms(&host, &folder).await;
    }
}

#[tokio::test]
async fn every_project_in_rust_builds_passes_its_tests_and_conforms() {
    let host = Host::stopped(Vec::new()).unwrap();
    let target = target::folder().unwrap().join("templates");
    fs::create_dir_all(&target).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let toolchain = rp_guests::find_toolchain(manifest.parent().unwrap()).unwrap();
    let lock = fs::read_to_string(manifest.join("fixtures/rust-template/Cargo.lock")).unwrap();
    for kind in KINDS {
        let folder = project(&host, kind, "rust").await;
        symlink(&target, folder.join("target")).unwrap();
        let id = folder.file_name().unwrap().to_str().unwrap();
        fs::write(folder.join("Cargo.lock"), lock.replace("{{id}}", id)).unwrap();
        shell_with(&host, &folder, "./build.sh", toolchain.environment()).await;
        // So that what runs the macros of the build is not compiled a second time.
        shell(&host, &folder, "cargo test --quiet --release --locked").await;
        conforms(&host, &folder).await;
    }
}

#[tokio::test]
async fn policies_and_adapters_in_python_build_pass_their_tests_and_conform() {
    let host = Host::stopped(Vec::new()).unwrap();
    for kind in ["policy", "adapter"] {
        let folder = build_python(&host, kind).await;
        conforms(&host, &folder).await;
    }
}

#[tokio::test]
async fn an_action_in_python_is_dropped_into_a_running_host_granted_and_run() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("api").await.unwrap();
    let other = host.create("web").await.unwrap()["id"].as_str().unwrap().to_owned();
    let built = build_python(&host, "action").await;
    conforms(&host, &built).await;

    let inbox = host.root().join("host/components/python-action");
    fs::create_dir(&inbox).unwrap();
    for file in ["component.toml", "component.wasm"] {
        fs::copy(built.join(file), inbox.join(file)).unwrap();
    }
    until(&host, "pending").await;
    let granted = host.run_json(&["component", "grant", "python-action"]).await.unwrap();
    assert_eq!(granted["state"], "ready", "{granted}");
    let run = ["action", "run", "api", "summary-to", "--param", "to=web"];
    let run = host.run(&run).await.unwrap();
    assert!(run.stdout.contains("web has the summary"), "{run:?}");
    let inbox = host.get(&format!("/v1/agents/{other}/inbox")).await.unwrap();
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1, "{inbox}");
}

/// Waits until the action that was dropped in is in this state.
async fn until(host: &Host, state: &str) {
    let wanted = |listing: &Value| {
        let rows = listing["components"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == "python-action");
        row.is_some_and(|row| row["state"] == state)
    };
    host.until(COMPILING, "/v1/components", wanted).await.unwrap();
}
