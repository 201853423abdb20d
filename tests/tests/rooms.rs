//! What the rooms of the code may depend on, held by the dependency graph itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The direct dependencies of every package of the workspace, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let needed = all.filter(|dependency| dependency["kind"].is_null());
        needed.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), of(package))).collect()
}

fn users<'a>(of: &'a BTreeMap<String, BTreeSet<String>>, library: &str) -> Vec<&'a str> {
    let users = of.iter().filter(|(_, libraries)| libraries.contains(library));
    users.map(|(name, _)| name.as_str()).collect()
}

#[test]
fn each_heavy_library_has_one_room() {
    let of = dependencies();
    assert_eq!(users(&of, "wasmtime"), ["rp-engine"]);
    assert_eq!(users(&of, "wasmtime-wasi"), ["rp-engine"]);
    assert_eq!(users(&of, "axum"), ["rp-host", "rp-relay", "rp-tests"]);
    assert_eq!(users(&of, "rmcp"), ["rp-host"]);
}

#[test]
fn data_flows_one_way_through_the_rooms() {
    // From the bottom to the top: a room may use those before it.
    let order = [
        "rp-protocol",
        "rp-store",
        "rp-vault",
        "rp-link",
        "rp-engine",
        "rp-mesh",
        "rp-remote",
        "rp-session",
        "rp-host",
    ];
    let of = dependencies();
    for (place, room) in order.iter().enumerate() {
        for used in &of[*room] {
            let above = order.iter().skip(place).any(|other| other == used);
            assert!(!above, "{room} uses {used}");
        }
    }
}

#[test]
fn the_protocols_are_pure() {
    let of = dependencies();
    for library in ["tokio", "redb", "rustix", "hyper", "tracing"] {
        assert!(!of["rp-protocol"].contains(library), "rp-protocol uses {library}");
    }
    let mut folders = vec![repository().join("protocol/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for forbidden in
                ["std::fs", "std::net", "std::process", "std::thread", "SystemTime", "Instant"]
            {
                assert!(!text.contains(forbidden), "{} uses {forbidden}", path.display());
            }
        }
    }
}
