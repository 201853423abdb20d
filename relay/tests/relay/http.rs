//! Plain HTTP: routes, methods, status codes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, PATIENCE, TestRelay, open};

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request on a connection of its own.
pub async fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat()).await
}

/// Whatever is sent, and what comes back until the connection ends.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The relay may answer and end before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = reading.expect("the connection did not end");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("no head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

#[tokio::test]
async fn health_is_two_letters() {
    let relay = TestRelay::start().await;
    let answer = relay.request("GET", "/health", b"").await;
    assert_eq!((answer.status, answer.text()), (200, "OK"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(relay.request("GET", "/ready", b"").await.status, 200);
}

#[tokio::test]
async fn one_port_serves_health_memberships_and_websockets() {
    let relay = TestRelay::start().await;
    assert_eq!(relay.request("GET", "/health", b"").await.status, 200);
    let path = format!("/mesh/{}", "0".repeat(64));
    assert_eq!(relay.request("GET", &path, b"").await.status, 404);
    open(&relay).await;
    Client::connect(&relay, 1, "main").await;
}

#[tokio::test]
async fn other_methods_are_not_allowed_and_other_paths_are_not_found() {
    let relay = TestRelay::start().await;
    let answer = relay.request("POST", "/health", b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
    let answer = relay.request("DELETE", "/mesh/00", b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD,POST")));
    assert_eq!(relay.request("OPTIONS", "/mesh/00", b"").await.status, 405);
    assert_eq!(relay.request("POST", "/", b"").await.status, 405);
    assert_eq!(relay.request("HEAD", "/", b"").await.status, 405);
    for path in ["/nothing", "/mesh", "/mesh/", "/mesh/a/b"] {
        let answer = relay.request("GET", path, b"").await;
        assert_eq!((answer.status, answer.text()), (404, ""), "{path}");
    }
    let answer = relay.request("HEAD", "/health", b"").await;
    assert_eq!((answer.status, answer.text()), (200, ""));
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused_with_the_header_that_is_wrong() {
    let relay = TestRelay::start().await;
    let ask = async |headers: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
        raw(relay.address(), head.as_bytes()).await
    };
    let answer = ask("Connection: close\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("Connection"), "{}", answer.text());
    let answer = ask("Connection: upgrade, close\r\nUpgrade: tea\r\n").await;
    assert!(answer.text().contains("Upgrade"), "{}", answer.text());
    let answer = ask("Connection: close, upgrade\r\nUpgrade: websocket\r\n").await;
    assert!(answer.text().contains("Sec-WebSocket-Version"), "{}", answer.text());
    let answer =
        ask("Connection: close, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            .await;
    assert!(answer.text().contains("Sec-WebSocket-Key"), "{}", answer.text());
    let old = raw(
        relay.address(),
        b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(old.status, 426);
}

#[tokio::test]
async fn metrics_tell_what_was_done_and_nothing_about_who() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "secret-room").await;
    let mut two = Client::connect(&relay, 2, "main").await;
    one.envelope(&two.key.clone(), None, "secret-content").await;
    two.hear().await;
    let answer = relay.request("GET", "/metrics", b"").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.contains("\nrp_relay_connections 2\n"), "{text}");
    assert!(text.contains("\nrp_relay_logins_total 2\n"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert!(!text.contains(&one.key), "{text}");
}
