//! `component test`: what ships passes it, what is wrong fails it with the reason, and a live run
//! measures the real harnesses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

#[path = "../../host/engine/tests/components/guest.rs"]
mod guest;
#[macro_use]
mod shown;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use guest::Guest;
use rp_tests::host::Host;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The report on a component, whether it passed or not.
async fn report(host: &Host, what: &str) -> Value {
    let output = host.run(&["component", "test", what, "--json"]).await.unwrap();
    let report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.code == Some(0), report["failed"] == 0, "{output:?}");
    report
}

/// The abilities of a harness that a report says were seen.
fn seen(report: &Value, harness: &str) -> Vec<String> {
    let all = report["abilities"].as_array().unwrap();
    let of = all.iter().find(|measured| measured["harness"] == harness).unwrap();
    let shown = of["abilities"].as_array().unwrap().iter();
    let is_seen = |shown: &&Value| {
        shown["shown_by"].as_array().is_some_and(|by| !by.is_empty()) || shown["live"] == "yes"
    };
    shown.filter(is_seen).map(|shown| shown["ability"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_component_that_ships_passes() {
    let host = Host::stopped(Vec::new()).unwrap();
    host.bring_compiled_components().unwrap();
    for id in ["default", "guarded", "core", "extras"] {
        let report = report(&host, id).await;
        assert_eq!(report["failed"], 0, "{report:#}");
    }
    let adapters = [
        ("demo", "demo", "abort steer queue questions"),
        ("pi", "pi", "abort images set-model compact cost"),
        ("claude-code", "claude-code", "abort permission-questions resume"),
        ("codex", "codex", "abort permission-questions survives-denial"),
        ("acp", "opencode", "abort permission-questions"),
        ("acp", "pi-acp", "abort stream-thinking"),
        ("acp", "gemini", "abort survives-denial"),
    ];
    for (id, harness, abilities) in adapters {
        let folder = repository().join("adapters").join(id);
        let report = report(&host, folder.to_str().unwrap()).await;
        assert_eq!(report["failed"], 0, "{report:#}");
        let seen = seen(&report, harness);
        for ability in abilities.split(' ') {
            assert!(seen.iter().any(|seen| seen == ability), "{harness} {ability}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn what_a_test_saw_is_in_the_listing_of_the_harnesses() {
    let host = Host::start(Vec::new()).await.unwrap();
    let folder = repository().join("adapters/demo");
    let report = report(&host, folder.to_str().unwrap()).await;
    assert_eq!(report["failed"], 0, "{report:#}");
    let listed = host.run(&["harness", "list", "--abilities"]).await.unwrap();
    let header = listed.stdout.lines().next().unwrap();
    let column = header.find("DEMO").unwrap();
    let cell = |ability: &str| {
        let line = listed.stdout.lines().find(|line| line.starts_with(ability)).unwrap();
        line.chars().skip(column).collect::<String>().split("  ").next().unwrap().to_owned()
    };
    assert_eq!(cell("abort"), "seen", "{}", listed.stdout);
    assert_eq!(cell("interrupt"), "yes", "{}", listed.stdout);
    assert_eq!(cell("cost"), "·", "{}", listed.stdout);
    assert!(listed.stdout.ends_with("seen: so has `rp-host component test`\n"));
}

#[tokio::test]
async fn a_report_names_everything_that_was_checked() {
    let host = Host::stopped(Vec::new()).unwrap();
    let folder = write(&host, "careful", "policy", "", &Guest::policy().build());
    let text = shown::show(&host, &["component", "test", folder.to_str().unwrap()]).await;
    let text = text.lines().map(|line| {
        // How fast it is depends on the machine.
        match line.split_once(" faster than: ") {
            Some((start, _)) => format!("{start} faster than: [time]\n"),
            None => format!("{line}\n"),
        }
    });
    assert_shown!("report_of_a_policy", text.collect::<String>());
}

fn write(host: &Host, id: &str, kind: &str, more: &str, wasm: &[u8]) -> PathBuf {
    let world = match kind {
        "adapter" => "rp:harness/harness-adapter",
        "policy" => "rp:routing/routing-policy",
        _ => "rp:actions/app-actions",
    };
    let manifest = format!(
        "id = \"{id}\"\nversion = \"1.0.0\"\nkind = \"{kind}\"\nworld = \"{world}@0.1.0\"\n\
         about = \"For a test.\"\n{more}"
    );
    let folder = host.agent_folder(id).unwrap();
    fs::write(folder.join("component.toml"), manifest).unwrap();
    fs::write(folder.join("component.wasm"), wasm).unwrap();
    folder
}

#[tokio::test]
async fn what_is_wrong_with_a_component_fails_with_what_was_expected_and_what_came() {
    let host = Host::stopped(Vec::new()).unwrap();
    let runs = "[permissions.run]\nprograms = [\"pi\"]\nreason = \"x\"\n";
    let good = Guest::policy().build();
    // The third case of a decision, a redirect, to an empty list.
    let nobody = r#"(data (i32.const 2048) "\02\00\00\00")"#;
    // A body at 2064 that is no JSON.
    let no_json = r#"(data (i32.const 2048) "\04\00\00\00\10\08\00\00\02\00\00\00")
                     (data (i32.const 2064) "no")"#;
    let sh = r#"(data (i32.const 2072) "\10\09\00\00\02\00\00\00") (data (i32.const 2320) "sh")"#;
    let decides = |item: &str| Guest::policy().item(item).body("decide", "(i32.const 2048)");
    let waits = "(if (i32.eq (i32.load offset=92 (local.get $0)) (i32.const 2)) \
                 (then (loop $l (br $l)))) (i32.const 1024)";
    let greedy = "(drop (memory.grow (i32.const 1000))) (i32.const 1024)";
    let cases: Vec<(&str, &str, &str, Vec<u8>)> = vec![
        ("typo", "policy", "[permissions.stor]\nreason = \"x\"\n", good.clone()),
        ("text", "policy", "", b"hello".to_vec()),
        ("module", "policy", "", Guest::policy().module()),
        ("wrong-world", "policy", "", Guest::adapter().build()),
        (
            "slow",
            "policy",
            "",
            Guest::policy().body("configure", "(loop $l (br $l)) (i32.const 1024)").build(),
        ),
        ("traps", "policy", "", Guest::policy().body("decide", "unreachable").build()),
        ("waits", "policy", "", Guest::policy().body("decide", waits).build()),
        ("greedy", "policy", "", Guest::policy().body("decide", greedy).build()),
        ("nobody", "policy", "", decides(nobody).build()),
        ("no-json", "policy", "", decides(no_json).build()),
        ("endless", "actions", "", Guest::actions().build()),
        ("liar", "adapter", runs, Guest::adapter().item(sh).build()),
        ("silent", "adapter", runs, Guest::adapter().build()),
    ];
    let mut text = String::new();
    for (id, kind, more, wasm) in &cases {
        let folder = write(&host, id, kind, more, wasm);
        let report = report(&host, folder.to_str().unwrap()).await;
        assert_ne!(report["failed"], 0, "{id} is wrong: {report:#}");
        writeln!(text, "{id}").unwrap();
        let checks = report["checks"].as_array().unwrap().iter();
        for check in checks.filter(|check| check["ok"] == false).take(3) {
            let part =
                |key: &str| check[key].as_str().unwrap().replace("\n\n", "; ").replace('\n', "; ");
            writeln!(text, "  {}", part("check")).unwrap();
            writeln!(text, "    expected  {}", part("expected")).unwrap();
            writeln!(text, "    came      {}", part("came")).unwrap();
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("wrong_components", text));
}

#[tokio::test]
async fn a_transcript_that_breaks_off_shows_what_the_adapter_leaves_open() {
    let host = Host::stopped(Vec::new()).unwrap();
    let folder = host.agent_folder("recorded").unwrap();
    fs::write(folder.join("odd.jsonl"), "{\"dir\":\"out\",\"at_ms\":1}\n").unwrap();
    let path = folder.to_str().unwrap();
    let output = host.run(&["component", "test", "demo", "--transcripts", path]).await.unwrap();
    assert_eq!(output.code, Some(1));
    let expected = format!("came      {path}/odd.jsonl:1: missing field `line`");
    assert!(output.stdout.contains(&expected), "{}", output.stdout);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_tested() {
    let host = Host::stopped(Vec::new()).unwrap();
    let output = host.run(&["component", "test", "no-such-thing"]).await.unwrap();
    assert_eq!(
        output.stderr,
        "error: there is no folder, archive or component no-such-thing\nhint: `rp-host component \
         list` lists the ids; a project is built before it is tested\n"
    );
    assert_eq!(output.code, Some(2));
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod live {
    use rp_tests::{
        home::Home,
        install::{self, PiVersion, Program},
        model::Model,
    };
    use serde_json::Value;
    use tokio::task::spawn_blocking;

    use super::{Host, seen};

    /// Runs a harness live against the scripted model; these abilities must show.
    async fn shows(
        id: &str,
        install: fn() -> anyhow::Result<Program>,
        settings: &str,
        wanted: &[&str],
    ) {
        let program = spawn_blocking(install).await.unwrap().unwrap();
        let model = Model::start().await.unwrap();
        let home = Home::new(&model.url(), &[program]).unwrap();
        let host = Host::stopped(home.environment()).unwrap();
        host.bring_compiled_components().unwrap();
        let arguments = ["component", "test", id, "--live", "--settings", settings, "--json"];
        let output = host.run(&arguments).await.unwrap();
        assert!(output.stderr.contains("it uses your account with its model"), "{output:?}");
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(report["failed"], 0, "{report:#}");
        let seen = seen(&report, id);
        for ability in wanted {
            assert!(seen.iter().any(|seen| seen == ability), "{ability}: {report:#}");
        }
    }

    #[tokio::test]
    async fn pi_is_measured_live() {
        let wanted = ["abort", "list-models", "mesh-tools", "resume", "usage"];
        shows("pi", || install::pi(PiVersion::V0_87_1), "{}", &wanted).await;
    }

    #[tokio::test]
    async fn claude_code_is_measured_live() {
        let wanted =
            ["abort", "list-models", "mesh-tools", "resume", "permission-questions", "usage"];
        shows("claude-code", install::claude_code, "{}", &wanted).await;
    }

    #[tokio::test]
    async fn codex_is_measured_live() {
        let wanted =
            ["abort", "list-models", "mesh-tools", "resume", "permission-questions", "usage"];
        // Its sandbox needs namespaces, which not every machine gives.
        let settings = r#"{"approval":"untrusted","sandbox":"danger-full-access"}"#;
        shows("codex", install::codex, settings, &wanted).await;
    }
}
