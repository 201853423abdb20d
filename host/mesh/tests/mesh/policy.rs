//! What a routing policy can do to an envelope.

use std::sync::Mutex;

use rp_mesh::{AgentId, MeshEvent, Origin, Outcome, RoutingPolicy, Ruling, Sender};
use rp_protocol::routing::{Decision, Direction, Facts};
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::fixture::{Fixture, agent, event, start_with};

/// Decides by what the body says.
#[derive(Default)]
struct ByBody {
    seen: Mutex<Vec<String>>,
}

impl RoutingPolicy for ByBody {
    fn decide(&self, facts: &Facts<'_>) -> Ruling {
        self.seen.lock().unwrap().push(format!(
            "{} {} -> {} [{}] type={} bytes={} before={}",
            match facts.direction {
                Direction::Local => "local",
                Direction::Outbound => "outbound",
                Direction::Inbound => "inbound",
            },
            facts.sender.address,
            facts.to.replace('\n', " "),
            facts.recipients.iter().map(|peer| peer.name).collect::<Vec<_>>().join(" "),
            facts.body_type.unwrap_or("-"),
            facts.body_bytes,
            facts.sent_last_minute,
        ));
        let decision = match facts.body.unwrap_or_default() {
            "\"deny\"" => Ok(Decision::Deny("not today".into())),
            "\"redirect\"" => Ok(Decision::Redirect(vec!["/w@web".into(), "/x@gone".into()])),
            "\"nowhere\"" => Ok(Decision::Redirect(vec!["/x@gone".into()])),
            "\"hold\"" => Ok(Decision::Hold("a person must see it".into())),
            "\"rewrite\"" => Ok(Decision::Rewrite("{\n\"was\": \"rewritten\"}".into())),
            "\"garble\"" => Ok(Decision::Rewrite("{".into())),
            "\"down\"" => Err("it trapped".into()),
            "\"redact and hold\"" => {
                return Ruling {
                    decision: Ok(Decision::Hold("a person must see it".into())),
                    body: Some("\"redacted\"".into()),
                    recipients: None,
                };
            }
            "\"redirect and hold\"" => {
                return Ruling {
                    decision: Ok(Decision::Hold("a person must see it".into())),
                    body: None,
                    recipients: Some(vec!["/w@web".into()]),
                };
            }
            _ => Ok(Decision::Deliver),
        };
        decision.into()
    }

    fn wants_bodies(&self) -> bool {
        true
    }
}

async fn start() -> Fixture {
    start_with(ByBody::default(), |_| {}).await
}

#[tokio::test]
async fn a_denied_envelope_goes_nowhere_and_its_sender_is_told() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/w").await;
    let id = api.send("/w@web", json!("deny")).await;
    assert_eq!(api.ack(&id).await, ("denied".into(), "/w@web".into()));
    let list = api.send(json!(["/w@web"]), json!("deny")).await;
    api.hears_nothing().await;
    web.hears_nothing().await;
    let log = mesh.audit_after_shutdown().await;
    assert_eq!(log[0]["ack_status"], "denied");
    assert_eq!(log[0]["delivered"], json!([]));
    assert_eq!(log[1]["id"], list);
}

#[tokio::test]
async fn a_redirected_envelope_goes_to_the_peers_that_the_policy_named() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut named = mesh.peer("named", "/n").await;
    let mut web = mesh.peer("web", "/w").await;
    for to in ["/n@named", "/nobody@x"] {
        let id = api.send(to, json!("redirect")).await;
        assert_eq!(api.received_by(&id).await, "/w@web");
        assert_eq!(web.message().await["to"], to, "as the sender wrote it");
    }
    let id = api.send("/n@named", json!("nowhere")).await;
    assert_eq!(api.ack(&id).await.0, "denied");
    named.hears_nothing().await;
}

#[tokio::test]
async fn a_rewritten_envelope_has_another_body() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/w").await;
    let id = api.send("/w@web", json!("rewrite")).await;
    let line = web.message().await;
    assert_eq!((&line["id"], &line["body"]), (&json!(id), &json!({"was": "rewritten"})));
    api.received_by(&id).await;
}

#[tokio::test]
async fn a_held_envelope_waits_for_a_person() {
    let mesh = start().await;
    let mut events = mesh.mesh.events();
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/w").await;
    for (body, reason) in [
        ("hold", "a person must see it"),
        ("garble", "the routing policy wrote a bad body"),
        ("down", "the routing policy does not answer: it trapped"),
    ] {
        let id = api.send("/w@web", json!(body)).await;
        event(&mut events, |event| matches!(event, MeshEvent::EnvelopeHeld { .. })).await;
        api.hears_nothing().await;
        web.hears_nothing().await;
        let held = mesh.mailboxes.held_message(&id).unwrap().unwrap();
        assert!(held.reason.starts_with(reason), "{}", held.reason);
        let delivered = mesh.mesh.release(&id).await.unwrap();
        assert_eq!(delivered[0].outcome, Outcome::Received);
        let line = web.message().await;
        assert_eq!((&line["id"], &line["body"]), (&json!(id), &json!(body)));
        assert_eq!(line["from"], "/a@api");
        assert!(mesh.mesh.release(&id).await.is_err(), "only once");
    }
}

#[tokio::test]
async fn what_a_person_sees_and_releases_is_what_the_policy_made_of_it() {
    let mesh = start().await;
    let mut events = mesh.mesh.events();
    let mut api = mesh.peer("api", "/a").await;
    let mut named = mesh.peer("named", "/n").await;
    let mut web = mesh.peer("web", "/w").await;
    for (to, body, released) in [
        ("/w@web", "redact and hold", "redacted"),
        ("/n@named", "redirect and hold", "redirect and hold"),
        ("broadcast", "redirect and hold", "redirect and hold"),
    ] {
        let id = api.send(to, json!(body)).await;
        event(&mut events, |event| matches!(event, MeshEvent::EnvelopeHeld { .. })).await;
        let held = mesh.mailboxes.held_message(&id).unwrap().unwrap();
        assert_eq!(held.recipients, ["/w@web"]);
        assert_eq!(held.message.body.get(), json!(released).to_string());
        mesh.mesh.release(&id).await.unwrap();
        assert_eq!(web.message().await["body"], released);
        named.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_held_message_that_a_person_refuses_is_reported_to_its_sender() {
    let mesh = start().await;
    let agent_id: AgentId = "0a0a0a0a".parse().unwrap();
    mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    let mut web = mesh.peer("web", "/w").await;
    let body = to_raw_value("hold").unwrap();
    let from = Sender::Agent(agent_id.clone());
    let sent = mesh.mesh.send(from, "/w@web".into(), body, None, None).await.unwrap();
    let id = sent.id.as_str();
    mesh.mesh.refuse(id, "not today").await.unwrap();
    web.hears_nothing().await;
    assert!(mesh.mailboxes.held().unwrap().is_empty());
    let told = mesh.mailboxes.pending(&agent_id, 9).unwrap().pop().unwrap().message;
    assert_eq!((told.from.as_str(), told.origin), ("broker", Origin::Router));
    assert_eq!(told.re.as_deref(), Some(id));
    assert_eq!(told.body.get(), r#""Your message to /w@web was not delivered: not today.""#);
    let stages: Vec<_> =
        mesh.mailboxes.trace(id).unwrap().iter().map(|step| step.stage.to_string()).collect();
    assert_eq!(stages, ["held: a person must see it", "failed: not today"]);
    let again = mesh.mesh.refuse(id, "not today").await.unwrap_err();
    assert_eq!(again.to_string(), "no message with that id is held");
}

#[tokio::test]
async fn without_a_recipient_there_is_nothing_to_hold_when_the_policy_is_down() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    api.send("/nobody@x", json!("down")).await;
    api.hears_nothing().await;
    assert!(mesh.mailboxes.held().unwrap().is_empty());
}

#[tokio::test]
async fn this_hosts_senders_are_told_the_reason() {
    let mesh = start().await;
    mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    let _web = mesh.peer("web", "/w").await;
    for (body, expected) in [
        ("deny", Outcome::Denied { reason: "not today".into() }),
        ("hold", Outcome::Held { reason: "a person must see it".into() }),
        ("fine", Outcome::Received),
    ] {
        let receipt = mesh
            .mesh
            .send(
                Sender::Agent("0a0a0a0a".parse().unwrap()),
                "/w@web".into(),
                to_raw_value(body).unwrap(),
                None,
                None,
            )
            .await
            .unwrap();
        assert_eq!(receipt.deliveries[0].outcome, expected);
        assert_eq!(receipt.deliveries[0].address, "/w@web");
    }
}

#[tokio::test]
async fn a_policy_is_told_the_facts_and_not_asked_about_the_router() {
    let policy = std::sync::Arc::new(ByBody::default());
    struct Shared(std::sync::Arc<ByBody>);
    impl RoutingPolicy for Shared {
        fn decide(&self, facts: &Facts<'_>) -> Ruling {
            self.0.decide(facts)
        }
    }
    let mesh = start_with(Shared(policy.clone()), |_| {}).await;
    let mut api = mesh.peer("api", "/a").await;
    let _web = mesh.peer("web", "/a").await;
    let _bob = mesh.peer("bob", "/b").await;
    api.send("/b@bob", json!({"type": "note"})).await;
    api.send(json!(["/a@web", "/b@bob", "/x@y"]), json!({"type": "ack"})).await;
    api.send("broadcast", json!("x")).await;
    api.send("broker", json!({"type": "other"})).await;
    api.message().await;
    api.hears_nothing().await;
    assert_eq!(
        *policy.seen.lock().unwrap(),
        [
            "local /a@api -> /b@bob [bob] type=note bytes=15 before=0",
            "local /a@api -> /a@web /b@bob /x@y [web bob] type=ack bytes=14 before=1",
            "local /a@api -> broadcast [web] type=- bytes=3 before=2",
        ]
    );
}
