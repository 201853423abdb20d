//! What bad input gets: exactly what the wire says, with the router alive and others undisturbed.
//! These tests see nothing but the socket, so they are run against the router in this process and
//! against the whole program.

use serde_json::json;

use crate::client::{Client, id};
use crate::fixture::{Fixture, start};

/// Two peers that can still talk.
pub struct Undisturbed {
    pub one: Client,
    pub two: Client,
}

impl Undisturbed {
    pub async fn on(mesh: &Fixture) -> Undisturbed {
        let one = mesh.peer("one", "/calm").await;
        Undisturbed { one, two: mesh.peer("two", "/calm").await }
    }

    pub async fn still_talk(&mut self) {
        let id = self.one.send("/calm@two", json!("still there?")).await;
        assert_eq!(self.two.message().await["id"], id);
        assert_eq!(self.one.received_by(&id).await, "/calm@two");
    }
}

#[tokio::test]
async fn an_unregistered_connection_that_says_anything_else_is_closed_without_a_word() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    for line in [
        "not JSON",
        "\r",
        "[]",
        "{}",
        "{\"type\":\"register\"}",
        "{\"type\":\"register\",\"name\":7}",
        "{\"type\":\"register\",\"name\":\"a\",\"cwd\":null}",
        "{\"type\":\"register\",\"name\":\"a\",\"cwd\":\"relative\"}",
        "{\"type\":\"register\",\"name\":\"a\",\"cwd\":\"lab:/srv\"}",
        "{\"type\":\"register\",\"name\":\"a\",\"cwd\":\"/a\\u0000\"}",
        "{\"from\":\"a\",\"to\":\"broker\",\"id\":\"00000000-0000-0000-0000-000000000000\",\"re\":null,\"body\":{\"type\":\"list_peers\"}}",
    ] {
        let mut client = Client::connect(&mesh.socket).await;
        client.write(&format!("{line}\n")).await;
        assert_eq!(client.raw_line().await, None, "{line}");
    }
    let name = "n".repeat(300);
    let mut client = Client::connect(&mesh.socket).await;
    client.write(&format!("{}\n", json!({"type": "register", "name": name, "cwd": "/a"}))).await;
    assert_eq!(client.raw_line().await, None);
    calm.still_talk().await;
    assert_eq!(calm.one.peers().await.len(), 3, "nobody else is on the roster");
}

#[tokio::test]
async fn lengths_are_counted_in_utf16_units() {
    let mesh = start().await;
    let name = "😀".repeat(128);
    let longest = mesh.peer(&name, "/a").await;
    assert_eq!(longest.name, name);
    let mut refused = Client::connect(&mesh.socket).await;
    let request = json!({"type": "register", "name": format!("{name}x"), "cwd": "/b"});
    refused.write(&format!("{request}\n")).await;
    refused.closed().await;
}

#[tokio::test]
async fn malformed_lines_of_a_registered_peer_are_ignored() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut client = mesh.peer("api", "/a").await;
    let good = id();
    for line in [
        "not JSON".to_owned(),
        String::new(),
        "\r".to_owned(),
        "[]".to_owned(),
        "{\"type\":\"register\",\"name\":\"again\",\"cwd\":\"/a\"}".to_owned(),
        "{\"type\":\"list_peers\"}".to_owned(),
        json!({"from": "a", "to": "/calm@two", "id": "not-a-uuid", "re": null, "body": 1})
            .to_string(),
        json!({"from": "a", "to": "/calm@two", "id": good.replace('-', ""), "re": null, "body": 1})
            .to_string(),
        json!({"from": "a", "to": "/calm@two", "id": good, "body": 1}).to_string(),
        json!({"from": "a", "to": "/calm@two", "id": good, "re": null}).to_string(),
        json!({"from": "a", "to": "", "id": good, "re": null, "body": 1}).to_string(),
        json!({"from": "", "to": "/calm@two", "id": good, "re": null, "body": 1}).to_string(),
        json!({"from": "a", "to": [], "id": good, "re": null, "body": 1}).to_string(),
    ] {
        client.write(&format!("{line}\n")).await;
    }
    client.hears_nothing().await;
    calm.two.hears_nothing().await;
    assert_eq!(client.peers().await.last().unwrap(), "/a@api");
    calm.still_talk().await;
}

#[tokio::test]
async fn invalid_utf8_is_replaced() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let good = id();
    let mut line =
        format!("{{\"from\":\"a\",\"to\":\"/calm@two\",\"id\":\"{good}\",\"re\":null,\"body\":\"x")
            .into_bytes();
    line.extend_from_slice(b"\xff\"}\n");
    calm.one.write_bytes(&line).await.unwrap();
    assert_eq!(calm.two.message().await["body"], "x\u{fffd}");
    calm.one.received_by(&good).await;
}

#[tokio::test]
async fn a_line_of_64_mib_closes_its_connection() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut client = mesh.peer("api", "/a").await;
    assert_eq!(calm.one.notice().await.0, "peer_joined", "its neighbour");
    assert_eq!(calm.one.notice().await.0, "peer_joined");
    let chunk = vec![b'x'; 1 << 20];
    let mut refused = false;
    for _ in 0..64 {
        refused = refused || client.write_bytes(&chunk).await.is_err();
    }
    assert!(refused, "32 MiB are the limit");
    client.closed().await;
    assert_eq!(calm.one.notice().await, ("peer_left".into(), "/a@api".into()));
    calm.still_talk().await;
}

#[tokio::test]
async fn who_has_not_registered_cannot_make_the_router_keep_much() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut client = Client::connect(&mesh.socket).await;
    let chunk = vec![b'x'; 256 << 10];
    let mut refused = false;
    for _ in 0..8 {
        refused = refused || client.write_bytes(&chunk).await.is_err();
    }
    assert!(refused, "256 KiB are the limit");
    client.closed().await;
    calm.still_talk().await;
}

#[tokio::test]
async fn a_line_just_below_the_limit_passes() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let body = "x".repeat(30 << 20);
    let Undisturbed { one, two } = &mut calm;
    let (id, line) = tokio::join!(one.send("/calm@two", json!(body)), two.message());
    assert_eq!(line["id"], id);
    assert_eq!(line["body"].as_str().unwrap().len(), body.len());
    one.received_by(&id).await;
    calm.still_talk().await;
}

#[tokio::test]
async fn a_client_that_closes_mid_line_leaves_and_its_half_line_is_forgotten() {
    let mesh = start().await;
    let mut calm = Undisturbed::on(&mesh).await;
    let mut client = mesh.peer("api", "/a").await;
    client.write("{\"from\":\"a\",\"to\":\"/calm@two\",\"id\":").await;
    drop(client);
    assert_eq!(calm.two.notice().await.0, "peer_joined");
    assert_eq!(calm.two.notice().await, ("peer_left".into(), "/a@api".into()));
    calm.two.hears_nothing().await;
    calm.still_talk().await;
}
