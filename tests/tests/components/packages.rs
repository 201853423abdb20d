//! What becomes of a folder that is dropped in: in force, refused with the reason, or the last good one.

use std::fs;

use rp_tests::host::Host;
use wit_parser::Resolve;

use crate::guest::{self, Guest};
use crate::{STORE, holding, inbox, manifest, refused, row, until, until_in_force, write_package};

/// A policy of an interface that nobody has seen yet.
fn newer_policy() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let interface = "package rp:routing@0.2.0;
        interface policy { greet: func(); }
        world routing-policy { export policy; }";
    resolve.push_str("newer.wit", interface).unwrap();
    let module = r#"(module (func (export "rp:routing/policy@0.2.0#greet")))"#;
    guest::encode(wat::parse_str(module).unwrap(), &resolve, "rp:routing/routing-policy")
}

/// A policy that imports something of its author's imagination.
fn dialling_policy() -> Vec<u8> {
    Guest::policy()
        .import(r#"(import "test:guest/net" "dial" (func $dial))"#)
        .body("decide", "(call $dial) (i32.const 1024)")
        .world(
            "package test:guest;
             interface net { dial: func(); }
             world guest { include rp:routing/routing-policy@0.1.0; import net; }",
            "test:guest/guest",
        )
        .build()
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason_and_the_last_good_one_stays() {
    let host = Host::start(Vec::new()).await.unwrap();
    let good = Guest::policy().build();
    let policy = |id: &str| manifest(id, "policy", "");
    let cut = good.get(..good.len() / 2).unwrap().to_vec();
    let sh = Guest::adapter()
        .item(r#"(data (i32.const 2072) "\10\09\00\00\02\00\00\00") (data (i32.const 2320) "sh")"#);
    let cases: Vec<(&str, String, Vec<u8>, &str)> = vec![
        (
            "typo",
            manifest("typo", "policy", "[permissions.stor]\nreason = \"x\"\n"),
            good.clone(),
            "component.toml: stor is not a key of [permissions]\nhint: did you mean store?",
        ),
        (
            "misnamed",
            policy("other"),
            good.clone(),
            "the folder is named misnamed and the component in it other\nhint: name the folder like the component",
        ),
        (
            "module",
            policy("module"),
            Guest::policy().module(),
            "could not load the component module: the file is a core WebAssembly module, not a component\nhint: make a component of it with `wasm-tools component new`",
        ),
        (
            "cut",
            policy("cut"),
            cut,
            "could not load the component cut: the file is cut short\nhint: copy or download it again",
        ),
        (
            "text",
            policy("text"),
            b"hello".to_vec(),
            "component.wasm is not WebAssembly, or its beginning is missing\nhint: if it is being copied, it is looked at again when that is done",
        ),
        (
            "wrong-world",
            policy("wrong-world"),
            Guest::adapter().build(),
            "could not load the component wrong-world: the component is not a routing policy: it imports rp:session/types@0.1.0, and it may only import rp:plugin/log, rp:plugin/store and WASI 0.2",
        ),
        (
            "newer",
            policy("newer"),
            newer_policy(),
            "could not load the component newer: the component needs rp:routing/policy 0.2.0, which is newer than this program knows (0.1.0)\nhint: update rp-host",
        ),
        (
            "newer-world",
            policy("newer-world").replace("@0.1.0", "@0.2.0"),
            good.clone(),
            "could not load the component newer-world: the component needs rp:routing/routing-policy 0.2.0, which is newer than this program knows (0.1.0)\nhint: update rp-host",
        ),
        (
            "dialler",
            policy("dialler"),
            dialling_policy(),
            "could not load the component dialler: the component is not a routing policy: it imports test:guest/net, and it may only import rp:plugin/log, rp:plugin/store and WASI 0.2",
        ),
        (
            "liar",
            manifest("liar", "adapter", "[permissions.run]\nprograms = [\"pi\"]\nreason = \"x\"\n"),
            sh.build(),
            "could not load the component liar: it describes test as the program sh, and its manifest does not ask to run that",
        ),
        (
            "slow",
            policy("slow"),
            Guest::policy().body("configure", "(loop $l (br $l)) (i32.const 1024)").build(),
            "could not load the component slow: the component failed when it was tried: the component took too long: it was ended after 50 ms",
        ),
    ];
    for (name, manifest, wasm, _) in &cases {
        write_package(&inbox(&host).join(name), manifest, wasm);
    }
    for (name, _, _, expected) in &cases {
        assert_eq!(refused(&host, name).await, *expected, "{name}");
    }
    // One that works and then is replaced by one that does not.
    let folder = inbox(&host).join("careful");
    write_package(&folder, &policy("careful"), &holding().build());
    until_in_force(&host, "careful").await;
    fs::write(folder.join("component.wasm"), b"\0asm oh no").unwrap();
    refused(&host, "careful").await;
    let listing = host.get("/v1/components").await.unwrap();
    assert_eq!(row(&listing, "careful").unwrap()["state"], "ready");
    fs::write(folder.join("component.wasm"), good).unwrap();
    until(&host, "/v1/components", |listing| {
        !listing["refused"].as_array().unwrap().iter().any(|refused| refused["name"] == "careful")
    })
    .await;
}

#[tokio::test]
async fn links_lead_nowhere() {
    let host = Host::start(Vec::new()).await.unwrap();
    let outside = host.agent_folder("outside").unwrap();
    write_package(&outside, &manifest("linked", "policy", ""), &Guest::policy().build());
    let linked = inbox(&host).join("linked");
    std::os::unix::fs::symlink(&outside, &linked).unwrap();
    let hint = "is a symbolic link, which can lead out of the package\nhint: copy what it points to in its place";
    assert_eq!(refused(&host, "linked").await, format!("{} {hint}", linked.display()));
    let half = inbox(&host).join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("component.toml"), manifest("half", "policy", "")).unwrap();
    std::os::unix::fs::symlink(outside.join("component.wasm"), half.join("component.wasm"))
        .unwrap();
    until(&host, "/v1/components", |listing| {
        listing.to_string().contains("component.wasm is a symbolic")
    })
    .await;
    let expected = format!("{} {hint}", half.join("component.wasm").display());
    assert_eq!(refused(&host, "half").await, expected);
}

#[tokio::test]
async fn a_package_that_is_still_being_copied_goes_in_force_when_it_is_whole() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = inbox(&host).join("slowly");
    fs::create_dir(&folder).unwrap();
    assert_eq!(
        refused(&host, "slowly").await,
        "the package has no component.toml\nhint: a package is a folder with component.toml and component.wasm"
    );
    fs::write(folder.join("component.toml"), manifest("slowly", "policy", "")).unwrap();
    until(&host, "/v1/components", |listing| listing.to_string().contains("has no component.wasm"))
        .await;
    fs::write(folder.join("component.wasm"), Guest::policy().build()).unwrap();
    until_in_force(&host, "slowly").await;
}

#[tokio::test]
async fn an_id_stays_with_the_key_that_had_it_first() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = host.agent_folder("signed").unwrap();
    write_package(&folder, &manifest("signed", "policy", STORE), &Guest::policy().build());
    let pack = async |key: &str| {
        let (archive, key) = (folder.with_extension("rpc"), folder.with_file_name(key));
        let (archive, key) = (archive.to_str().unwrap(), key.to_str().unwrap());
        let folder = folder.to_str().unwrap();
        host.run_json(&["component", "pack", folder, "-o", archive, "--key", key]).await.unwrap();
        host.run(&["component", "add", archive, "--yes"]).await.unwrap()
    };
    let first = pack("ann.key").await;
    assert_eq!(first.stdout, "signed 1.0.0 is in force; it may store\n", "{}", first.stderr);
    let inspected = host.run_json(&["component", "inspect", "signed"]).await.unwrap();
    let ann = inspected["signer"].as_str().unwrap().to_owned();
    assert!(ann.starts_with("ed25519:"), "{ann}");
    assert_eq!(pack("ann.key").await.code, Some(0), "the same key again");
    // One that asks for nothing belongs to its first publisher too.
    write_package(&folder, &manifest("plain", "policy", ""), &Guest::policy().build());
    assert_eq!(pack("ann.key").await.code, Some(0));
    let other = pack("bob.key").await;
    assert!(other.stderr.starts_with("error: the id plain belongs to"), "{}", other.stderr);
    write_package(&folder, &manifest("signed", "policy", STORE), &Guest::policy().build());
    let other = pack("bob.key").await;
    let start = format!(
        "error: the id signed belongs to the publisher {ann}, and this package is of another publisher: ed25519:"
    );
    assert!(other.stderr.starts_with(&start), "{}", other.stderr);
    let unsigned =
        host.run(&["component", "add", folder.to_str().unwrap(), "--yes"]).await.unwrap();
    assert_eq!(
        unsigned.stderr,
        format!(
            "error: the id signed belongs to the publisher {ann}, and this package is of another publisher: unsigned\n\
             hint: if you trust the new one, `rp-host component remove signed` first\n"
        )
    );
    assert_eq!(host.run_json(&["component", "inspect", "signed"]).await.unwrap()["signer"], ann);
}

#[tokio::test]
async fn what_is_moved_away_and_back_is_in_force_again() {
    let host = Host::start(Vec::new()).await.unwrap();
    let (folder, aside) = (inbox(&host).join("plain"), host.root().join("aside"));
    write_package(&folder, &manifest("plain", "policy", ""), &Guest::policy().build());
    until_in_force(&host, "plain").await;
    fs::rename(&folder, &aside).unwrap();
    until(&host, "/v1/components", |listing| row(listing, "plain").is_none()).await;
    fs::rename(&aside, &folder).unwrap();
    until_in_force(&host, "plain").await;
}

#[tokio::test]
async fn the_last_good_version_comes_back_when_nothing_compiled_is_left_and_a_newer_one_is_broken()
{
    let mut host = Host::start(Vec::new()).await.unwrap();
    let folder = inbox(&host).join("listing");
    write_package(&folder, &manifest("listing", "adapter", ""), &Guest::adapter().build());
    until_in_force(&host, "listing").await;
    host.stop().await.unwrap();
    fs::remove_dir_all(host.root().join("host/cache")).unwrap();
    fs::write(folder.join("component.toml"), "broken").unwrap();
    host.start_again().await.unwrap();
    until_in_force(&host, "listing").await;
    refused(&host, "listing").await;
}

#[tokio::test]
async fn a_project_is_written_for_every_kind_and_language() {
    let host = Host::stopped(Vec::new()).unwrap();
    let folder = host.agent_folder("projects").unwrap();
    for kind in ["adapter", "policy", "action"] {
        for language in ["rust", "js", "python"] {
            let project = folder.join(format!("{kind}-{language}"));
            let path = project.to_str().unwrap();
            host.run_json(&["component", "new", kind, path, "--lang", language]).await.unwrap();
            let manifest = fs::read_to_string(project.join("component.toml")).unwrap();
            assert!(manifest.contains(&format!("id = \"{kind}-{language}\"")), "{manifest}");
        }
    }
    let again = folder.join("policy-js");
    let again = host.run(&["component", "new", "policy", again.to_str().unwrap()]).await.unwrap();
    assert!(
        again
            .stderr
            .ends_with("is there already\nhint: choose another folder, or remove that one\n")
    );
    let odd = host.run(&["component", "new", "policy", "My Policy"]).await.unwrap();
    assert_eq!(
        odd.stderr,
        "error: \"My Policy\" cannot be the id of a component\nhint: name the folder with \
         lower-case letters, digits and hyphens, beginning with a letter\n"
    );
}
