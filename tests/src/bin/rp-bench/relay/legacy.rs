//! Connections of the wire of Remote Pi, written from its description alone.

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use rp_protocol::key::{PublicKey, SecretKey};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::load::{BODY, Receives, Sends, body, time_in};

/// What a busy connection reads into at once, and what an idle one does: of those there are many.
const BUSY_BYTES: usize = 128 << 10;
const IDLE_BYTES: usize = 1 << 10;

pub(super) type Socket = WebSocketStream<TcpStream>;

/// Connects for many messages without saying anything.
pub(super) async fn connect_busy(address: &str) -> Result<Socket> {
    connect(address, BUSY_BYTES).await
}

async fn connect(address: &str, read_bytes: usize) -> Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(read_bytes);
    let url = format!("ws://{address}/");
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}

/// A key that no other number has.
pub(super) fn key(number: u64) -> SecretKey {
    let mut seed = [7; 32];
    if let Some(place) = seed.first_chunk_mut() {
        *place = number.to_be_bytes();
    }
    SecretKey::from_seed(&seed)
}

/// Connects and proves a key. The relay says nothing after a good login.
pub(super) async fn log_in(address: &str, key: &SecretKey) -> Result<Socket> {
    log_in_on(connect(address, IDLE_BYTES).await?, key).await
}

async fn log_in_on(mut socket: Socket, key: &SecretKey) -> Result<Socket> {
    let hello = json!({ "type": "hello", "pubkey": key.public().to_string(), "room_id": "main" });
    socket.send(Message::text(hello.to_string())).await?;
    let challenge = socket.next().await.context("no challenge")??;
    let challenge: Value = serde_json::from_str(challenge.to_text()?)?;
    let nonce = STANDARD.decode(challenge["nonce"].as_str().context("no nonce")?)?;
    let auth = json!({ "type": "auth", "sig": key.sign(&nonce).to_string() });
    socket.send(Message::text(auth.to_string())).await?;
    Ok(socket)
}

/// Pairs of connections of strangers: on this wire everybody reaches everybody's room.
pub(super) async fn pairs(address: &str, count: usize) -> Result<Vec<(Sender, Receiver)>> {
    let mut pairs = Vec::new();
    for number in (0..).take(count) {
        let (from, to) = (key(2 * number), key(2 * number + 1));
        let sending = log_in_on(connect_busy(address).await?, &from).await?;
        let receiving = log_in_on(connect_busy(address).await?, &to).await?;
        let (sink, stream) = sending.split();
        let sender = Sender::new(sink, Some(stream), to.public());
        let (sink, stream) = receiving.split();
        pairs.push((sender, Receiver { stream, _sink: Some(sink) }));
    }
    until_logged_in(&mut pairs).await?;
    Ok(pairs)
}

/// Nothing tells when a login is through: messages to a connection that is not in its room yet are
/// dropped. So one is sent again and again until it comes.
async fn until_logged_in(pairs: &mut [(Sender, Receiver)]) -> Result<()> {
    for (sender, receiver) in pairs {
        let mut sent = 0;
        loop {
            sender.send(sent).await?;
            sent += 1;
            let wait = std::time::Duration::from_millis(20);
            if let Ok(received) = tokio::time::timeout(wait, receiver.receive()).await {
                // Those that were on their way as well.
                let mut last = received?;
                while last + 1 < sent {
                    last = receiver.receive().await?;
                }
                break;
            }
        }
    }
    Ok(())
}

/// One connection whose other side sends everything back.
pub(super) fn echoed(socket: Socket) -> (Sender, Receiver) {
    let (sink, stream) = socket.split();
    (Sender::new(sink, None, key(0).public()), Receiver { stream, _sink: None })
}

pub(super) struct Sender {
    sink: SplitSink<Socket, Message>,
    _stream: Option<SplitStream<Socket>>,
    to: PublicKey,
    filler: String,
}

pub(super) struct Receiver {
    stream: SplitStream<Socket>,
    _sink: Option<SplitSink<Socket, Message>>,
}

impl Sender {
    fn new(
        sink: SplitSink<Socket, Message>,
        stream: Option<SplitStream<Socket>>,
        to: PublicKey,
    ) -> Self {
        Sender { sink, _stream: stream, to, filler: STANDARD.encode([b'x'; BODY]) }
    }
}

impl Sends for Sender {
    async fn send(&mut self, time: u64) -> Result<()> {
        let (to, body) = (self.to, body(time, &self.filler));
        let envelope = format!("{{\"peer\":\"{to}\",\"ct\":\"{body}\"}}");
        Ok(self.sink.send(Message::text(envelope)).await?)
    }
}

impl Receives for Receiver {
    async fn receive(&mut self) -> Result<u64> {
        loop {
            // The library answers the relay's pings.
            if let Message::Text(text) = self.stream.next().await.context("the end")?? {
                return time_in(text.as_bytes());
            }
        }
    }
}
