//! A relay to test against, and a client of the wire of Remote Pi.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use rp_protocol::key::SecretKey;
use rp_relay::limits::Limits;
use rp_relay::server::{Relay, Settings};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Long enough for anything that is going to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A relay on a free port with a folder of its own.
pub struct TestRelay {
    pub relay: Relay,
    pub _folder: tempfile::TempDir,
}

impl TestRelay {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            names: Vec::new(),
            certificate: None,
            plain_tcp: false,
            database: folder.path().join("mesh.redb"),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
        };
        change(&mut settings);
        Self { relay: Relay::start(settings).await.unwrap(), _folder: folder }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.relay.address()
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.address())
    }

    /// An HTTP request; see [`crate::http::request`].
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> crate::http::Answer {
        crate::http::request(self.address(), method, path, body).await
    }

    pub fn metric(&self, read: impl Fn(&rp_relay::metrics::Metrics) -> u64) -> u64 {
        read(&self.relay.hub().metrics)
    }
}

/// A key that is always the same for the same number.
pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

/// The canonical text of that key.
pub fn key(number: u8) -> String {
    secret(number).public().to_string()
}

/// A WebSocket that has not logged in.
pub async fn open(relay: &TestRelay) -> WebSocket {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let opening = tokio_tungstenite::connect_async_with_config(relay.url(), Some(config), true);
    let (socket, answer) = tokio::time::timeout(PATIENCE, opening).await.unwrap().unwrap();
    assert!(answer.headers().get("sec-websocket-extensions").is_none());
    assert!(answer.headers().get("sec-websocket-protocol").is_none());
    socket
}

/// The next message, or how the connection ended.
pub async fn next(socket: &mut WebSocket) -> Option<Result<Message, Error>> {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("nothing came")
}

/// Sends a hello and returns the bytes to sign.
pub async fn hello(socket: &mut WebSocket, hello: Value) -> Vec<u8> {
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let challenge: Value = match next(socket).await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
        other => panic!("no challenge but {other:?}"),
    };
    assert_eq!(challenge["type"], "challenge");
    let nonce = STANDARD.decode(challenge["nonce"].as_str().unwrap()).unwrap();
    assert_eq!(nonce.len(), 32);
    nonce
}

pub fn auth(secret: &SecretKey, nonce: &[u8]) -> Message {
    Message::text(json!({ "type": "auth", "sig": secret.sign(nonce).to_string() }).to_string())
}

/// A client that is logged in.
pub struct Client {
    pub socket: WebSocket,
    pub key: String,
}

impl Client {
    /// At a room; registered when this returns.
    pub async fn connect(relay: &TestRelay, number: u8, room: &str) -> Self {
        let first = json!({ "type": "hello", "pubkey": key(number), "room_id": room });
        Self::connect_as(relay, number, first).await
    }

    pub async fn connect_with_meta(relay: &TestRelay, number: u8, room: &str, meta: Value) -> Self {
        let first = json!({
            "type": "hello", "pubkey": key(number), "room_id": room, "room_meta": meta
        });
        Self::connect_as(relay, number, first).await
    }

    pub async fn connect_as(relay: &TestRelay, number: u8, first: Value) -> Self {
        let mut socket = open(relay).await;
        let nonce = hello(&mut socket, first).await;
        socket.send(auth(&secret(number), &nonce)).await.unwrap();
        let mut client = Self { socket, key: key(number) };
        client.settle().await;
        client
    }

    pub async fn say(&mut self, frame: Value) {
        self.say_text(frame.to_string()).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn envelope(&mut self, peer: &str, room: Option<&str>, ct: &str) {
        let mut frame = json!({ "peer": peer, "ct": ct });
        if let Some(room) = room {
            frame["room"] = json!(room);
        }
        self.say(frame).await;
    }

    /// The next text message, as it was written.
    pub async fn hear_text(&mut self) -> String {
        loop {
            match next(&mut self.socket).await {
                Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no text but {other:?}"),
            }
        }
    }

    /// The next frame.
    pub async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// The frames that are there until the relay has handled everything that was said before.
    pub async fn settle(&mut self) -> Vec<Value> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.say(json!({ "type": "presence_check", "peers": [mark] })).await;
        let mut heard = Vec::new();
        loop {
            let frame = self.hear().await;
            if frame["states"][0]["peer"] == mark.as_str() {
                return heard;
            }
            heard.push(frame);
        }
    }

    /// That nothing came, and nothing comes from what was said before.
    pub async fn expect_silence(&mut self) {
        assert_eq!(self.settle().await, Vec::<Value>::new());
    }

    /// Ends the TCP connection without a word.
    pub fn vanish(self) {
        drop(self.socket);
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
