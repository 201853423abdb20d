//! The extension that gives Pi the mesh tools, in every tested version of the real Pi: a
//! scripted model calls the tools, and a control server of this file's own stands in for the
//! host and notes what it is asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use rp_tests::{PATIENCE, install::PiVersion, model::Model, pi::PiProcess};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::Notify, time::timeout};

const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../adapters/pi/extension/mesh.ts");
const SENT: &str = "0198c2f4-6b1e-7a03-9c55-3f0d2e8b7a11";
const ANSWER: &str = "0198c2f4-6b20-7f10-8a31-5d2c4b6e9f02";

/// One test for each version of Pi, so that a failure names the version.
macro_rules! with_every_pi {
    ($($test:ident),* $(,)?) => {
        mod pi_0_74_2 { $( #[tokio::test] async fn $test() {
            super::$test(super::PiVersion::V0_74_2).await;
        } )* }
        mod pi_0_87_1 { $( #[tokio::test] async fn $test() {
            super::$test(super::PiVersion::V0_87_1).await;
        } )* }
    };
}

with_every_pi!(
    the_tools_reach_the_host_and_tell_the_model_what_it_said,
    an_injected_message_is_answered_to_its_sender,
    refusals_reach_the_model_with_their_hints,
    an_abort_ends_a_wait_and_hangs_up,
    without_its_environment_it_offers_nothing,
);

async fn the_tools_reach_the_host_and_tell_the_model_what_it_said(version: PiVersion) {
    let host = FakeHost::start(|call| match call.path.as_str() {
        "/v1/agents/a%2F1/peers" => ok(json!({ "peers": [
            { "address": "/srv/api@api", "name": "api", "cwd": "/srv/api", "harness": "pi", "state": "idle" },
            { "address": "lab:/srv/web@web", "name": "web", "cwd": "/srv/web", "pc": "lab" },
        ] })),
        "/v1/agents/a%2F1/messages" => ok(json!({ "id": SENT, "outcomes": [
            { "to": "/srv/api@api", "status": "received" },
            { "to": "/srv/ape@ape", "status": "unknown", "closest": ["/srv/api@api"] },
        ] })),
        "/v1/agents/a%2F1/inbox?waiting=true" => ok(json!({ "messages": [] })),
        "/v1/agents/a%2F1/inbox?take=true" => ok(json!({ "messages": [
            { "id": ANSWER, "from": "/srv/api@api", "re": SENT, "body": { "n": 1 }, "at_ms": 5 },
        ] })),
        path if path == format!("/v1/agents/a%2F1/answers/{SENT}?wait_ms=60000") => ok(json!({
            "answer": { "id": ANSWER, "from": "/srv/api@api", "re": SENT, "body": "at last" },
        })),
        path if path == format!("/v1/agents/a%2F1/answers/{SENT}?wait_ms=600000") => {
            ok(json!({ "answer": null }))
        }
        path => panic!("nobody should ask for {path}"),
    });
    let model = Model::start().await.unwrap();
    let mut pi = start_pi(version, &model, Some(&host)).await;

    pi.prompt(
        r#"script: tool list_peers {} ;; tool agent_send {"to":["/srv/api@api","/srv/ape@ape"],"body":{"ask":["π",null]},"re":null} ;; tool agent_wait {"id":"$id"} ;; tool agent_wait {"id":"$id","seconds":9999} ;; tool get_messages {"peek":true} ;; tool get_messages {} ;; say finished"#,
    ).await.unwrap();
    pi.until_the_turn_ends().await.unwrap();

    let call = |path: &str, body| Call {
        path: path.to_owned(),
        authorization: "Bearer secret".to_owned(),
        body,
    };
    let message = json!({ "to": ["/srv/api@api", "/srv/ape@ape"], "body": { "ask": ["π", null] } });
    let answers = format!("/v1/agents/a%2F1/answers/{SENT}?wait_ms");
    let calls = host.calls();
    assert_eq!(calls[0], call("/v1/agents/a%2F1/peers", Value::Null));
    assert_eq!(calls[1], call("/v1/agents/a%2F1/messages", message));
    assert_eq!(calls[2], call(&format!("{answers}=60000"), Value::Null));
    assert_eq!(calls.len(), 6);

    let told = model.requests().pop().unwrap().tool_results;
    assert_eq!(told[0], "/srv/api@api (pi, idle)\nlab:/srv/web@web (on lab)");
    assert!(told[1].starts_with(&format!("id {SENT}\n/srv/api@api: received")), "{}", told[1]);
    assert!(told[1].contains("/srv/ape@ape: unknown"), "{}", told[1]);
    assert!(told[1].ends_with("; closest: /srv/api@api"), "{}", told[1]);
    assert_eq!(told[2], format!("from \"/srv/api@api\" (id={ANSWER}, re={SENT}):\nat last"));
    assert!(told[3].starts_with(&format!("No answer to {SENT} within 600 s.")), "{}", told[3]);
    assert_eq!(told[4], "No messages wait for you.");
    assert_eq!(told[5], format!("from \"/srv/api@api\" (id={ANSWER}, re={SENT}):\n{{\"n\":1}}"));
}

async fn an_injected_message_is_answered_to_its_sender(version: PiVersion) {
    let host = FakeHost::start(|_| {
        ok(json!({ "id": ANSWER, "outcomes": [{ "to": "/srv/api@api", "status": "received" }] }))
    });
    let model = Model::start().await.unwrap();
    let mut pi = start_pi(version, &model, Some(&host)).await;

    pi.prompt(&format!(
        "[mesh] message from \"/srv/api@api\" (agent, id={SENT})\nhow many?\n\nAnswer it."
    ))
    .await
    .unwrap();
    pi.until_the_turn_ends().await.unwrap();
    let expected = json!({ "to": "/srv/api@api", "body": "answer to: how many?", "re": SENT });
    assert_eq!(host.calls()[0].body, expected);

    pi.prompt(&format!(
        "[mesh] message from \"/srv/api@api\" (agent, id={ANSWER}, re={SENT})\nthree"
    ))
    .await
    .unwrap();
    let end = pi.until_the_turn_ends().await.unwrap();
    assert!(end.to_string().contains("got answer: three"), "{end}");
    assert_eq!(host.calls().len(), 1, "an answer is not answered");
}

async fn refusals_reach_the_model_with_their_hints(version: PiVersion) {
    let host = FakeHost::start(|call| {
        match call.body["body"].as_str() {
        Some("nobody") => ok(json!({ "id": SENT, "outcomes": [
            { "to": "/x", "status": "unknown", "reason": "no such peer", "closest": ["/srv/x@x"] },
        ] })),
        Some("garbage") => StatusCode::BAD_GATEWAY.into_response(),
        _ => (
            StatusCode::FORBIDDEN,
            Json(json!({ "error": { "message": "this agent may not write", "hint": "ask a person" } })),
        )
            .into_response(),
    }
    });
    let model = Model::start().await.unwrap();
    let mut pi = start_pi(version, &model, Some(&host)).await;

    pi.prompt(
        r#"script: tool list_peers {} ;; tool agent_send {"to":"/x","body":"nobody"} ;; tool agent_send {"to":"/x","body":"garbage"} ;; say sorry"#,
    ).await.unwrap();
    pi.until_the_turn_ends().await.unwrap();
    let told = model.requests().pop().unwrap().tool_results;
    assert_eq!(told[0], "this agent may not write\nhint: ask a person");
    assert!(told[1].starts_with(&format!("id {SENT}\n/x: unknown")), "{}", told[1]);
    assert!(told[1].ends_with("(no such peer); closest: /srv/x@x"), "{}", told[1]);
    assert!(told[2].starts_with("rp-host answered 502"), "{}", told[2]);
    assert_eq!(pi.failed_tools, 3);

    host.stop();
    pi.prompt("script: tool list_peers {} ;; say sorry").await.unwrap();
    pi.until_the_turn_ends().await.unwrap();
    let told = model.requests().pop().unwrap().tool_results;
    assert!(told[0].starts_with("rp-host cannot be reached: "), "{}", told[0]);
    assert!(told[0].contains("\nhint: "), "{}", told[0]);
}

async fn an_abort_ends_a_wait_and_hangs_up(version: PiVersion) {
    let host = FakeHost::silent();
    let model = Model::start().await.unwrap();
    let mut pi = start_pi(version, &model, Some(&host)).await;

    pi.prompt(&format!(r#"script: tool agent_wait {{"id":"{SENT}"}} ;; say never"#)).await.unwrap();
    timeout(PATIENCE, host.shared.waiting.notified()).await.expect("the wait is asked for");
    pi.send(&json!({ "type": "abort" })).await.unwrap();
    timeout(PATIENCE, host.shared.hung_up.notified()).await.expect("the wait is given up");
    pi.until_the_turn_ends().await.unwrap();
    assert_eq!(model.requests().len(), 1);
}

async fn without_its_environment_it_offers_nothing(version: PiVersion) {
    let model = Model::start().await.unwrap();
    let mut pi = start_pi(version, &model, None).await;
    pi.prompt("script: say hello").await.unwrap();
    pi.until_the_turn_ends().await.unwrap();
    let request = model.request_about("say hello").await.unwrap();
    assert_eq!(request.tools, ["read", "bash", "edit", "write"]);
}

/// Pi with the extension, and with what makes it the agent of a host.
async fn start_pi(version: PiVersion, model: &Model, host: Option<&FakeHost>) -> PiProcess {
    let environment: Vec<_> = host.map_or(Vec::new(), |host| {
        let socket = host.socket.to_str().unwrap();
        vec![("RP_HOST_SOCKET", socket), ("RP_AGENT_TOKEN", "secret"), ("RP_AGENT_ID", "a/1")]
    });
    PiProcess::start(version, &model.url(), &["-e", EXTENSION], &environment).await.unwrap()
}

/// A control server that answers as it is told to and notes what it was asked.
struct FakeHost {
    socket: PathBuf,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

struct Shared {
    calls: Mutex<Vec<Call>>,
    /// Without one, nothing is ever answered.
    answer: Option<AnswerCall>,
    /// A call waits for an answer that does not come.
    waiting: Notify,
    /// The client of that call is gone.
    hung_up: Notify,
}

type AnswerCall = Box<dyn Fn(&Call) -> Response + Send + Sync>;

#[derive(Debug, Clone, PartialEq)]
struct Call {
    path: String,
    authorization: String,
    body: Value,
}

fn ok(value: Value) -> Response {
    Json(value).into_response()
}

impl FakeHost {
    fn start(answer: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Self {
        Self::with(Some(Box::new(answer)))
    }

    fn silent() -> Self {
        Self::with(None)
    }

    fn with(answer: Option<AnswerCall>) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("host.sock");
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            answer,
            waiting: Notify::new(),
            hung_up: Notify::new(),
        });
        let router = Router::new().fallback(answer_call).with_state(shared.clone());
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { socket, shared, server, _folder: folder }
    }

    fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// As if the host had crashed: its socket is there and nobody listens.
    fn stop(&self) {
        self.server.abort();
    }
}

async fn answer_call(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let header = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let call = Call {
        path: head.uri.to_string(),
        authorization: header.unwrap_or_default().to_owned(),
        body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
    };
    shared.calls.lock().unwrap().push(call.clone());
    match &shared.answer {
        Some(answer) => answer(&call),
        None => {
            let _told_when_dropped = HungUp(shared.clone());
            shared.waiting.notify_one();
            std::future::pending().await
        }
    }
}

struct HungUp(Arc<Shared>);

impl Drop for HungUp {
    fn drop(&mut self) {
        self.0.hung_up.notify_one();
    }
}
