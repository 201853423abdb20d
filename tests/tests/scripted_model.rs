//! The scripted model makes real harnesses do what models make them do: think, call tools, fail,
//! break off and not end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use rp_tests::{install::PiVersion, model::Model, pi::PiProcess};
use serde_json::{Value, json};

async fn start(version: PiVersion) -> (Model, PiProcess) {
    let model = Model::start().await.unwrap();
    let pi = PiProcess::start(version, &model.url(), &[], &[]).await.unwrap();
    (model, pi)
}

async fn turn(pi: &mut PiProcess, prompt: &str) -> Vec<Value> {
    pi.prompt(prompt).await.unwrap();
    pi.until_the_turn_ends().await.unwrap().as_array().unwrap().clone()
}

/// What the newest message says, by kind of content.
fn said<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a str> {
    let parts = messages.last().unwrap()["content"].as_array().unwrap();
    parts.iter().filter_map(|part| part[kind].as_str()).collect()
}

#[tokio::test]
async fn it_thinks_calls_tools_and_talks_slowly() {
    for version in PiVersion::ALL {
        let (model, mut pi) = start(version).await;
        let prompt = "script: shell echo $((6*7)) ;; think well well ;; say it is ;; slow 3 1";
        let messages = turn(&mut pi, prompt).await;
        assert_eq!(said(&messages, "thinking"), ["well well"]);
        assert_eq!(said(&messages, "text"), ["it isword1 word2 word3 "]);
        let last = model.requests().pop().unwrap();
        assert_eq!(last.tool_results, ["42\n"]);
        assert_eq!(last.last_user_text, prompt);
    }
}

#[tokio::test]
async fn it_fails_for_a_while_or_for_good_and_breaks_off() {
    for version in PiVersion::ALL {
        let (model, mut pi) = start(version).await;
        let messages = turn(&mut pi, "script: fail 529 2 ;; say recovered").await;
        assert_eq!(said(&messages, "text"), ["recovered"]);
        assert_eq!(model.requests().len(), 3);

        let messages = turn(&mut pi, "script: fail 400").await;
        assert_eq!(messages.last().unwrap()["stopReason"], "error");
        assert_eq!(model.requests().len(), 4, "this failure is not retried");

        let messages = turn(&mut pi, "script: cut 1 ;; say whole").await;
        assert_eq!(said(&messages, "text"), ["whole"]);
    }
}

#[tokio::test]
async fn it_talks_until_it_is_stopped() {
    for version in PiVersion::ALL {
        let (_model, mut pi) = start(version).await;
        pi.prompt("script: endless").await.unwrap();
        while pi.next().await.unwrap()["type"] != "message_update" {}
        pi.send(&json!({ "type": "abort" })).await.unwrap();
        let messages = pi.until_the_turn_ends().await.unwrap();
        assert_eq!(messages.as_array().unwrap().last().unwrap()["stopReason"], "aborted");
    }
}

/// The harnesses whose providers are spoken to in another dialect than Pi's.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod other_dialects {
    use std::process::Stdio;

    use rp_tests::{
        PATIENCE,
        home::Home,
        install::{self, Program},
        model::Model,
    };
    use tempfile::TempDir;
    use tokio::{process::Command, task::spawn_blocking, time::timeout};

    /// A harness that is given one prompt on its command line.
    struct Once {
        model: Model,
        home: Home,
        program: &'static str,
        arguments: &'static [&'static str],
    }

    impl Once {
        async fn new(
            install: fn() -> anyhow::Result<Program>,
            arguments: &'static [&'static str],
        ) -> Self {
            let program = spawn_blocking(install).await.unwrap().unwrap();
            let model = Model::start().await.unwrap();
            let name = program.name;
            let home = Home::new(&model.url(), &[program]).unwrap();
            Self { model, home, program: name, arguments }
        }

        /// Those that [`install`] knows, running commands without asking.
        async fn all() -> [Self; 2] {
            let claude: &[_] = &["--allowedTools", "Bash", "-p"];
            let codex: &[_] = &["exec", "--skip-git-repo-check", "-s", "danger-full-access"];
            [Self::new(install::claude_code, claude).await, Self::new(install::codex, codex).await]
        }

        /// What it printed, if it thinks that it did what it should.
        async fn run(&self, prompt: &str) -> Option<String> {
            let folder = TempDir::new().unwrap();
            let mut command = Command::new(self.home.program(self.program));
            command.args(self.arguments).arg(prompt).current_dir(folder.path());
            command.stdin(Stdio::null()).kill_on_drop(true);
            let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        }
    }

    #[tokio::test]
    async fn in_every_dialect_it_thinks_calls_tools_and_talks_slowly() {
        for harness in Once::all().await {
            let prompt =
                "script: think well ;; shell echo $((6*7)) ;; say it gave $result ;; slow 3 1";
            let printed = harness.run(prompt).await.unwrap();
            assert!(
                printed.contains("it gave") && printed.contains("word1 word2 word3"),
                "{printed}"
            );
            let last = harness.model.requests().pop().unwrap();
            assert_eq!(last.last_user_text, prompt);
            assert!(last.tool_results[0].contains("42"), "{:?}", last.tool_results);
            let body = last.body.to_string();
            assert!(body.contains("\"thinking\"") || body.contains("\"reasoning\""));
        }
    }

    #[tokio::test]
    async fn in_every_dialect_it_fails_for_a_while_or_for_good_and_breaks_off() {
        for harness in Once::all().await {
            for (prompt, answer) in [
                ("script: fail 529 1 ;; say recovered", "recovered"),
                ("script: cut 1 ;; say whole", "whole"),
            ] {
                let before = harness.model.requests().len();
                let printed = harness.run(prompt).await.unwrap();
                assert!(printed.contains(answer) && !printed.contains("breaks off"), "{printed}");
                assert_eq!(harness.model.requests().len(), before + 2, "it is asked once more");
            }
            assert_eq!(harness.run("script: fail 400").await, None, "{}", harness.program);
        }
    }
}
