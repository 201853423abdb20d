//! The scripted model makes the real Pi do what models make it do: think, call tools, fail,
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
