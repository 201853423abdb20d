//! Files that are not what they are loaded for.

use rp_engine::{Code, Limits, LoadError, NoStore};
use std::sync::Arc;
use wit_parser::Resolve;

use crate::fixture::{Guest, Place, ZEROES, encode};

async fn refused(wasm: Vec<u8>) -> String {
    Place::new().engine.load_adapter(Code::new("test", wasm)).await.err().unwrap().to_string()
}

#[tokio::test]
async fn a_policy_is_not_an_adapter() {
    assert_eq!(
        refused(Guest::policy().build()).await,
        "the component is not a harness adapter: it does not export rp:harness/adapter, but \
         rp:routing/policy@0.1.0"
    );
}

#[tokio::test]
async fn an_adapter_is_not_a_policy() {
    let place = Place::new();
    let adapter = Guest::adapter().build();
    let error = place
        .engine
        .load_policy(Code::new("test", adapter), "{}", Arc::new(NoStore))
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "the component is not a routing policy: it imports rp:session/types@0.1.0, and it may \
         only import rp:plugin/log, rp:plugin/store and WASI 0.2"
    );
}

#[tokio::test]
async fn an_adapter_may_not_import_storage() {
    let guest = Guest::adapter()
        .import(r#"(import "rp:plugin/store@0.1.0" "keys" (func $keys (param i32 i32 i32)))"#)
        .body(
            "describe",
            "(call $keys (i32.const 0) (i32.const 0) (i32.const 4096)) (i32.const 1024)",
        )
        .world(
            "package test:guest;
             world guest {
                include rp:harness/harness-adapter@0.1.0;
                import rp:plugin/store@0.1.0;
             }",
            "test:guest/guest",
        );
    assert_eq!(
        refused(guest.build()).await,
        "the component is not a harness adapter: it imports rp:plugin/store@0.1.0, and it may \
         only import rp:plugin/log, rp:session/types and WASI 0.2"
    );
}

#[tokio::test]
async fn a_core_module_is_told_apart() {
    assert_eq!(
        refused(Guest::adapter().module()).await,
        "the file is a core WebAssembly module, not a component\n\n\
         hint: make a component of it with `wasm-tools component new`"
    );
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_told_apart() {
    let whole = Guest::adapter().build();
    for length in [5, 100, whole.len() / 2, whole.len() - 1] {
        assert_eq!(
            refused(whole[..length].to_vec()).await,
            "the file is cut short\n\nhint: copy or download it again"
        );
    }
}

#[tokio::test]
async fn other_files_are_told_apart() {
    assert_eq!(refused(b"#!/bin/sh\n".to_vec()).await, "the file is not WebAssembly");
    assert_eq!(refused(Vec::new()).await, "the file is not WebAssembly");
}

#[tokio::test]
async fn a_damaged_component_does_not_compile() {
    let mut wasm = Guest::adapter().build();
    let middle = wasm.len() / 2;
    for byte in &mut wasm[middle..middle + 64] {
        *byte ^= 0x55;
    }
    let place = Place::new();
    let error = place.engine.load_adapter(Code::new("test", wasm)).await.err().unwrap();
    assert!(matches!(error, LoadError::Compile(_) | LoadError::Truncated), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_looked_at() {
    let place = Place::with(Limits { component_bytes: 1000, ..Limits::default() });
    let error = place.engine.load_adapter(Code::new("test", vec![0; 1001])).await.err().unwrap();
    assert_eq!(error.to_string(), "the component is too large: 1001 bytes, and 1000 are allowed");
}

/// A component of a world that only looks like ours.
fn of_another_world(wit: &str, module: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("test.wit", wit).unwrap();
    encode(wat::parse_str(module).unwrap(), &resolve, world)
}

#[tokio::test]
async fn a_component_for_a_newer_interface_asks_for_an_update() {
    let wasm = of_another_world(
        "package rp:harness@0.2.0;
         interface adapter { greet: func(); }
         world harness-adapter { export adapter; }",
        r#"(module (func (export "rp:harness/adapter@0.2.0#greet")))"#,
        "rp:harness/harness-adapter",
    );
    assert_eq!(
        refused(wasm).await,
        "the component needs rp:harness/adapter 0.2.0, which is newer than this program knows \
         (0.1.0)\n\nhint: update rp-host"
    );
}

#[tokio::test]
async fn a_missing_function_is_named() {
    let wasm = of_another_world(
        "package rp:harness@0.1.0;
         interface adapter { greet: func(); }
         world harness-adapter { export adapter; }",
        r#"(module (func (export "rp:harness/adapter@0.1.0#greet")))"#,
        "rp:harness/harness-adapter",
    );
    let message = refused(wasm).await;
    assert!(message.starts_with("the component is not a harness adapter: "), "{message}");
    assert!(message.contains("`describe`"), "{message}");
}

#[tokio::test]
async fn an_adapter_that_describes_what_cannot_be_is_refused() {
    let nothing = Guest::adapter().body("describe", ZEROES);
    assert_eq!(
        refused(nothing.build()).await,
        "the adapter describes itself wrongly: it drives no harness"
    );
    let odd = Guest::adapter().item("(data (i32.const 2200) \"a/b!\")");
    assert_eq!(
        refused(odd.build()).await,
        "the adapter describes itself wrongly: the harness name \"a/b!\" must be lower-case \
         letters, digits and hyphens"
    );
    let twice = Guest::adapter().item(
        r#"(data (i32.const 2052) "\02") (data (i32.const 2108) "\98\08\00\00\04\00\00\00")"#,
    );
    assert_eq!(
        refused(twice.build()).await,
        "the adapter describes itself wrongly: it names the harness test twice"
    );
}
