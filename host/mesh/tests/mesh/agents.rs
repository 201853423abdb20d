//! Agents of this host: peers without a socket.

use std::time::Duration;

use rp_mesh::{
    AgentId, DeliverEverything, JoinError, MeshEvent, Origin, Outcome, PeerInfo, Recipients,
    SendError, Sender, person_mailbox,
};
use rp_protocol::mesh::EnvelopeId;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::fixture::{Fixture, agent, event, start, start_with};

fn body(text: &str) -> Box<RawValue> {
    to_raw_value(text).unwrap()
}

fn api() -> AgentId {
    "0a0a0a0a".parse().unwrap()
}

fn web() -> AgentId {
    "0b0b0b0b".parse().unwrap()
}

async fn two_agents(mesh: &Fixture) {
    mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    mesh.mesh.join(agent("0b0b0b0b", "/b", "web")).await.unwrap();
}

async fn send(mesh: &Fixture, to: impl Into<Recipients>) -> Vec<(String, Outcome)> {
    let receipt =
        mesh.mesh.send(Sender::Agent(api()), to.into(), body("hello"), None, None).await.unwrap();
    let deliveries = receipt.deliveries.into_iter();
    deliveries.map(|delivery| (delivery.address, delivery.outcome)).collect()
}

fn one(address: &str, outcome: Outcome) -> Vec<(String, Outcome)> {
    vec![(address.to_owned(), outcome)]
}

#[tokio::test]
async fn an_agent_is_a_peer_like_any_other() {
    let mesh = start().await;
    let mut peer = mesh.peer("peer", "/p").await;
    assert_eq!(mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap(), "/a@api");
    assert_eq!(peer.notice().await, ("peer_joined".into(), "/a@api".into()));
    assert_eq!(peer.peers().await, ["person", "/p@peer", "/a@api"]);
    assert_eq!(mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap(), "/a@api", "again");
    assert_eq!(mesh.mesh.join(agent("0b0b0b0b", "/a", "api")).await.unwrap(), "/a@api#2");
    assert_eq!(mesh.mesh.address(&web()).as_deref(), Some("/a@api#2"));
    let peers = mesh.mesh.peers().await;
    assert_eq!(
        peers[2],
        PeerInfo {
            pc: None,
            cwd: "/a".into(),
            name: "api".into(),
            address: "/a@api".into(),
            harness: Some("demo".into()),
            agent: Some(api()),
        }
    );
    mesh.mesh.leave(&api());
    assert_eq!(peer.notice().await, ("peer_joined".into(), "/a@api#2".into()));
    assert_eq!(peer.notice().await, ("peer_left".into(), "/a@api".into()));
    assert_eq!(mesh.mesh.address(&api()), None);
}

#[tokio::test]
async fn an_agent_that_cannot_be_let_in_is_told_why() {
    let mesh = start().await;
    let refused = mesh.mesh.join(agent("0a0a0a0a", "relative", "api")).await;
    assert!(matches!(refused, Err(JoinError::Refused(_))));
    assert_eq!(mesh.mesh.peers().await.len(), 1);
    let sent = mesh.mesh.send(Sender::Agent(api()), "person".into(), body("x"), None, None).await;
    assert_eq!(sent, Err(SendError::NotJoined));
}

#[tokio::test]
async fn a_message_to_an_agent_is_acknowledged_when_it_is_on_disk() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/p").await;
    let id = peer.send("/a@api", json!({"ask": 1})).await;
    assert_eq!(peer.received_by(&id).await, "/a@api");
    let stored = mesh.mailboxes.pending(&api(), 10).unwrap();
    assert_eq!(stored.len(), 1, "stored before it was acknowledged");
    let message = &stored[0].message;
    assert_eq!((message.id.as_str(), message.from.as_str()), (id.as_str(), "/p@peer"));
    assert_eq!((message.to.as_str(), message.body.get()), ("/a@api", "{\"ask\":1}"));
    assert_eq!(message.origin, Origin::Agent);
    let log = mesh.audit_after_shutdown().await;
    assert_eq!(log[0]["delivered"], json!(["/a@api"]));
    assert_eq!(log[0]["ack_status"], "received");
}

#[tokio::test]
async fn notices_are_not_stored_for_agents_but_broadcasts_are() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/a").await;
    peer.send("broadcast", json!("all")).await;
    let inbox = mesh.inbox(&api(), 1).await;
    assert_eq!((inbox[0].to.as_str(), inbox[0].body.get()), ("broadcast", "\"all\""));
    peer.hears_nothing().await;
    assert_eq!(mesh.mailboxes.waiting(&web()), 0);
}

#[tokio::test]
async fn a_message_that_a_mailbox_refuses_is_denied() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/p").await;
    let id = peer.send("/a@api", json!("x".repeat(9 << 20))).await;
    assert_eq!(peer.ack(&id).await, ("denied".into(), "/a@api".into()));
}

#[tokio::test]
async fn agents_send_to_agents_and_programs() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/p").await;
    assert_eq!(send(&mesh, "/b@web").await, one("/b@web", Outcome::Received));
    assert_eq!(mesh.inbox(&web(), 1).await[0].from, "/a@api");
    let question = EnvelopeId::parse("0198c2f4-6b1e-7a03-9c55-3f0d2e8b7a11");
    let receipt = mesh
        .mesh
        .send(Sender::Agent(api()), "/p@peer".into(), body("hello"), question, None)
        .await
        .unwrap();
    assert_eq!(receipt.deliveries[0].outcome, Outcome::Received);
    assert_eq!(
        peer.message().await,
        json!({"from": "/a@api", "to": "/p@peer", "id": receipt.id.as_str(), "re": question.unwrap().as_str(), "body": "hello"})
    );
}

#[tokio::test]
async fn unknown_recipients_are_refused_with_the_closest_names() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let _peer = mesh.peer("reviewer", "/p").await;
    let sent = send(&mesh, "/p@reviwer").await;
    let Outcome::Unknown { closest } = &sent[0].1 else { panic!("{sent:?}") };
    assert_eq!(closest[0], "/p@reviewer");
    let sent = send(&mesh, "web").await;
    let Outcome::Unknown { closest } = &sent[0].1 else { panic!("{sent:?}") };
    assert_eq!(closest[0], "/b@web");
    assert!(matches!(&send(&mesh, "/a@api").await[0].1, Outcome::Denied { .. }), "oneself");
    assert!(matches!(&send(&mesh, "broker").await[0].1, Outcome::Denied { .. }));
}

#[tokio::test]
async fn a_list_has_an_outcome_for_each_recipient_in_order() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/p").await;
    let to = ["/nowhere@x", "/b@web", "/p@peer"].map(str::to_owned).to_vec();
    let sent = send(&mesh, Recipients::Many(to.clone())).await;
    assert!(matches!(sent[0].1, Outcome::Unknown { .. }));
    assert_eq!(sent[1..], [(to[1].clone(), Outcome::Received), (to[2].clone(), Outcome::Received)]);
    assert_eq!(peer.message().await["to"], json!(to));
    let none =
        mesh.mesh.send(Sender::Agent(api()), Recipients::Many(vec![]), body("x"), None, None).await;
    assert_eq!(none, Err(SendError::NoRecipient));
}

#[tokio::test]
async fn a_broadcast_of_an_agent_reaches_its_folder() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/a").await;
    let sent = send(&mesh, "broadcast").await;
    assert_eq!(sent, one("/a@peer", Outcome::Received));
    assert_eq!(peer.message().await["to"], "broadcast");
}

#[tokio::test]
async fn the_person_sends_and_is_answered() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let receipt = mesh
        .mesh
        .send(Sender::Person, "/a@api".into(), body("how far are you?"), None, None)
        .await
        .unwrap();
    assert_eq!(receipt.deliveries[0].outcome, Outcome::Received);
    let question = &mesh.inbox(&api(), 1).await[0];
    assert_eq!((question.from.as_str(), question.origin), ("person", Origin::Person));
    let answer = mesh
        .mesh
        .send(Sender::Agent(api()), "person".into(), body("done"), Some(receipt.id), None)
        .await
        .unwrap();
    assert_eq!(answer.deliveries[0].outcome, Outcome::Received);
    let answer = &mesh.inbox(&person_mailbox(), 1).await[0];
    assert_eq!(answer.re.as_deref(), Some(receipt.id.as_str()));
}

#[tokio::test]
async fn a_body_written_over_several_lines_still_is_one_line() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let mut peer = mesh.peer("peer", "/p").await;
    let pretty = RawValue::from_string("{\n \"a\": [\r\n 1 ] }".to_owned()).unwrap();
    mesh.mesh.send(Sender::Agent(api()), "/p@peer".into(), pretty, None, None).await.unwrap();
    assert_eq!(peer.message().await["body"], json!({"a": [1]}));
}

#[tokio::test]
async fn a_message_that_fits_on_no_line_is_not_sent() {
    let mesh = start_with(DeliverEverything, |config| config.limits.line_bytes = 64 << 10).await;
    two_agents(&mesh).await;
    let sent = mesh
        .mesh
        .send(Sender::Agent(api()), "/b@web".into(), body(&"x".repeat(64 << 10)), None, None)
        .await;
    assert!(matches!(sent, Err(SendError::TooLong { .. })));
}

#[tokio::test]
async fn joins_and_leaves_are_events() {
    let mesh = start().await;
    let mut events = mesh.mesh.events();
    let peer = mesh.peer("peer", "/p").await;
    let address = "/p@peer".to_owned();
    event(&mut events, |event| *event == MeshEvent::PeerJoined { address: address.clone() }).await;
    drop(peer);
    event(&mut events, |event| *event == MeshEvent::PeerLeft { address: address.clone() }).await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_in_time_fails_and_its_sender_is_told() {
    let mesh = start().await;
    two_agents(&mesh).await;
    let soon = Some(Duration::from_millis(20));
    let later = Some(Duration::from_secs(3600));
    let send = async |body_text: &str, expires_in| {
        let from = Sender::Agent(api());
        let to = "/b@web".into();
        mesh.mesh.send(from, to, body(body_text), None, expires_in).await.unwrap().id
    };
    let arrivals = mesh.mailboxes.arrivals(&api());
    let kept = send("for ever", None).await;
    let expired = send("quick", soon).await;
    let patient = send("slow", later).await;
    tokio::time::timeout(Duration::from_secs(20), arrivals.notified()).await.unwrap();

    let waiting = mesh.mailboxes.pending(&web(), 9).unwrap();
    let waiting: Vec<_> = waiting.iter().map(|pending| pending.message.id.as_str()).collect();
    assert_eq!(waiting, [kept.as_str(), patient.as_str()]);
    let told = mesh.mailboxes.pending(&api(), 9).unwrap().pop().unwrap().message;
    assert_eq!((told.from.as_str(), told.origin), ("broker", Origin::Router));
    assert_eq!(told.re.as_deref(), Some(expired.as_str()));
    assert_eq!(
        told.body.get(),
        r#""Your message to /b@web was not delivered: it expired before it could be handed to the agent.""#
    );
    mesh.mailboxes.settled().await.unwrap();
    let last = mesh.mailboxes.trace(expired.as_str()).unwrap().pop().unwrap();
    assert_eq!(last.stage.to_string(), "failed: expired before the agent could take it");
}
