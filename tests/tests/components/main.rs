//! Components that a person drops in, adds, grants and takes away, while the host runs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

mod adapters;
mod grants;
#[path = "../../../host/engine/tests/components/guest.rs"]
mod guest;
mod packages;
mod policies;

use std::{
    fs,
    path::{Path, PathBuf},
};

use guest::Guest;
use rp_tests::{PATIENCE, host::Host};
use serde_json::Value;

/// A decision to hold, with a reason, at 2048.
const HOLD: &str = r#"
    (data (i32.const 2048) "\03\00\00\00\10\08\00\00\0b\00\00\00")
    (data (i32.const 2064) "look at it!")"#;

/// Holds everything.
fn holding() -> Guest {
    Guest::policy().item(HOLD).body("decide", "(i32.const 2048)")
}

/// Writes "what is 3+3?" into every message.
fn asking_three_plus_three() -> Guest {
    Guest::policy()
        .item(
            r#"(data (i32.const 2048) "\04\00\00\00\10\08\00\00\0e\00\00\00")
               (data (i32.const 2064) "\"what is 3+3?\"")"#,
        )
        .body("decide", "(i32.const 2048)")
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
