//! A small relay for these tests: forwards, answers, tells presence. It knows no limits and no owners.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicServerConfig;
use rp_link::{Fingerprint, Relay, RelayUrl, Trust};
use rp_protocol::key::PublicKey;
use rp_protocol::relay::login::{EXPORTER_LABEL, RelayLogin, RelayStep, Transport};
use rp_protocol::relay::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message as SocketMessage;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What a relay can do.
#[derive(Clone, Copy)]
pub struct Abilities {
    /// Without it UDP is blocked: packets vanish.
    pub quic: bool,
    /// Without it nothing listens for TCP.
    pub socket: bool,
    /// Without it the relay knows only the old wire.
    pub modern: bool,
}

pub const ALL: Abilities = Abilities { quic: true, socket: true, modern: true };

/// A relay that runs. Dropped, it is gone.
pub struct SmallRelay {
    port: u16,
    fingerprint: Fingerprint,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    abilities: Abilities,
    state: Shared,
    tasks: tokio::task::JoinSet<()>,
    endpoint: Option<quinn::Endpoint>,
}

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    clients: BTreeMap<PublicKey, mpsc::Sender<Vec<u8>>>,
    legacy: BTreeMap<PublicKey, mpsc::Sender<String>>,
    watches: BTreeMap<PublicKey, Vec<PublicKey>>,
    /// The rooms each machine has open.
    rooms: BTreeMap<PublicKey, BTreeSet<String>>,
    /// Every frame of a client.
    carried: Vec<u8>,
    /// How often clients asked for a sign of life, and whether they get one.
    asked: usize,
    is_silent: bool,
    /// Changes when any of it does.
    changed: Option<watch::Sender<()>>,
}

impl SmallRelay {
    pub async fn start(abilities: Abilities) -> Self {
        let state = State { changed: Some(watch::channel(()).0), ..State::default() };
        SmallRelay::with_state(abilities, Arc::new(Mutex::new(state))).await
    }

    /// The same relay at another port and with other abilities.
    pub async fn beside(relay: &SmallRelay, abilities: Abilities) -> Self {
        SmallRelay::with_state(abilities, relay.state.clone()).await
    }

    async fn with_state(abilities: Abilities, state: Shared) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let mut relay = SmallRelay {
            port: 0,
            fingerprint: Fingerprint::of(&certificate),
            certificate,
            key: made.signing_key.serialize_der(),
            abilities,
            state,
            tasks: tokio::task::JoinSet::new(),
            endpoint: None,
        };
        relay.listen().await;
        relay
    }

    /// How a link finds it.
    pub fn address(&self) -> Relay {
        let url = format!("https://127.0.0.1:{}", self.port);
        let trust = Trust::Pinned(self.fingerprint);
        Relay { url: RelayUrl::from_person(&url).unwrap(), trust }
    }

    /// Ends all connections, forgets everything, and listens no more.
    pub async fn kill(&mut self) {
        self.tasks.shutdown().await;
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.close(7_u32.into(), b"");
            endpoint.wait_idle().await;
        }
        let mut state = self.state.lock().unwrap();
        *state = State { changed: state.changed.take(), ..State::default() };
    }

    /// Listens again at the same port.
    pub async fn listen(&mut self) {
        let (listener, socket) = loop {
            // The sockets of before are closed by tasks that have to run for it.
            tokio::task::yield_now().await;
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await {
                self.port = port;
                break (listener, socket);
            }
        };
        let key = || PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = |alpn: &[u8]| {
            let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], key())
                .unwrap();
            config.alpn_protocols = vec![alpn.to_vec()];
            config
        };
        let name = RelayName::new("127.0.0.1", self.port).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls(b"http/1.1")));
        let (state, modern) = (self.state.clone(), self.abilities.modern);
        if self.abilities.socket {
            self.tasks.spawn(accept_sockets(listener, acceptor, state, name.clone(), modern));
        }
        if self.abilities.quic && self.abilities.modern {
            let crypto = QuicServerConfig::try_from(tls(ALPN)).unwrap();
            let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
            let runtime = Arc::new(quinn::TokioRuntime);
            let socket = socket.into_std().unwrap();
            let endpoint =
                quinn::Endpoint::new(Default::default(), Some(config), socket, runtime).unwrap();
            self.endpoint = Some(endpoint.clone());
            self.tasks.spawn(accept_quic(endpoint, self.state.clone(), name));
        } else {
            self.tasks.spawn(async move {
                let mut packet = [0; 2048];
                while socket.recv_from(&mut packet).await.is_ok() {}
            });
        }
    }

    /// Waits until a machine has exactly these rooms open.
    pub async fn has_rooms(&self, key: PublicKey, rooms: &[&str]) {
        let mut changes = self.state.lock().unwrap().changed.as_ref().unwrap().subscribe();
        loop {
            let open = self.state.lock().unwrap().rooms.get(&key).cloned().unwrap_or_default();
            if open.iter().map(String::as_str).eq(rooms.iter().copied()) {
                return;
            }
            changes.changed().await.unwrap();
        }
    }

    /// Waits until clients have asked so often for a sign of life.
    pub async fn is_asked(&self, times: usize) {
        let mut changes = self.state.lock().unwrap().changed.as_ref().unwrap().subscribe();
        while self.state.lock().unwrap().asked < times {
            changes.changed().await.unwrap();
        }
    }

    /// Gives no sign of life any more.
    pub fn fall_silent(&self) {
        self.state.lock().unwrap().is_silent = true;
    }

    /// Every byte that clients have sent after their logins.
    pub fn carried(&self) -> Vec<u8> {
        self.state.lock().unwrap().carried.clone()
    }

    /// Says something to a machine.
    pub async fn say(&self, key: PublicKey, frame: Frame<'_>) {
        let client = self.state.lock().unwrap().clients[&key].clone();
        client.send(frame.to_bytes()).await.unwrap();
    }
}

async fn accept_sockets(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    state: Shared,
    name: RelayName,
    modern: bool,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, state, name) = (acceptor.clone(), state.clone(), name.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if modern {
                modern_socket(stream, state, name).await
            } else {
                legacy_socket(stream, state).await
            }
        });
    }
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;

async fn modern_socket(stream: Tls, state: Shared, name: RelayName) {
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let choose = |_: &Request, mut response: Response| {
        let chosen = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
    let (mut sink, mut source) = socket.split();
    let (out, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
    let (incoming, frames) = mpsc::channel(64);
    let write = async {
        while let Some(frame) = outgoing.recv().await {
            let messages = match is_large(&frame) {
                true => parts(&frame).collect(),
                false => vec![frame],
            };
            for message in messages {
                if sink.send(SocketMessage::binary(message)).await.is_err() {
                    return;
                }
            }
        }
        let _ = sink.close().await;
    };
    let read = async move {
        let mut large = Parts::default();
        while let Some(Ok(SocketMessage::Binary(message))) = source.next().await {
            let whole = match read_message(&message).unwrap() {
                Some(Frame::Part { last, bytes }) => large.push(last, bytes).unwrap(),
                _ => Some(message.to_vec()),
            };
            if let Some(frame) = whole
                && incoming.send(frame).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(write, read, serve(Transport::WebSocket, name, frames, out, state));
}

async fn accept_quic(endpoint: quinn::Endpoint, state: Shared, name: RelayName) {
    let mut connections = tokio::task::JoinSet::new();
    while let Some(connection) = endpoint.accept().await {
        let (state, name) = (state.clone(), name.clone());
        connections.spawn(async move {
            let Ok(connection) = connection.await else { return };
            let _ = quic_connection(connection, state, name).await;
        });
    }
}

async fn quic_connection(
    connection: quinn::Connection,
    state: Shared,
    name: RelayName,
) -> Option<()> {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]).ok()?;
    let (mut sink, mut source) = connection.accept_bi().await.ok()?;
    let (out, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
    let (incoming, frames) = mpsc::channel(64);
    let write = async {
        while let Some(frame) = outgoing.recv().await {
            if is_large(&frame) {
                let mut stream = connection.open_uni().await.ok()?;
                stream.write_all(&frame).await.ok()?;
                stream.finish().ok()?;
            } else {
                sink.write_all(&frame).await.ok()?;
            }
        }
        sink.finish().ok()?;
        sink.stopped().await.ok()
    };
    let large = incoming.clone();
    let streams = connection.clone();
    let read_large = async move {
        while let Ok(mut stream) = streams.accept_uni().await {
            let frame = stream.read_to_end(MAX_LARGE_FRAME_BYTES + 16).await.ok()?;
            large.send(frame).await.ok()?;
        }
        Some(())
    };
    let read = async move {
        let mut reader = FrameReader::default();
        while let Ok(Some(chunk)) = source.read_chunk(64 * 1024, true).await {
            reader.buffer(chunk.bytes.len()).extend_from_slice(&chunk.bytes);
            while let Some(frame) = reader.next_frame().unwrap() {
                incoming.send(frame.to_bytes()).await.ok()?;
            }
        }
        Some(())
    };
    let transport = Transport::Quic { exporter };
    tokio::join!(write, read, read_large, serve(transport, name, frames, out, state));
    Some(())
}

/// One client from the login to the end.
async fn serve(
    transport: Transport,
    name: RelayName,
    mut frames: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<Vec<u8>>,
    state: Shared,
) {
    let mut login = RelayLogin::new(transport, [7; 32]);
    let key = loop {
        let Some(frame) = frames.recv().await else { return };
        let step =
            login.on_frame(&read_message(&frame).unwrap().unwrap(), std::slice::from_ref(&name));
        match step.unwrap() {
            RelayStep::Wait => {}
            RelayStep::Send(frame) => out.send(frame).await.unwrap(),
            RelayStep::LoggedIn(client) => break client.key,
        }
    };
    let welcome = Welcome {
        version: VERSION,
        clock_ms: 1,
        keepalive_ms: 25_000,
        max_body: MAX_BODY_BYTES as u64,
        window_bytes: 1 << 20,
        window_messages: 1000,
        max_rooms: 8,
        max_watches: 8,
    };
    out.send(Frame::Welcome(welcome).to_bytes()).await.unwrap();
    state.lock().unwrap().clients.insert(key, out.clone());
    tell(&state, key, Presence::Online).await;
    while let Some(bytes) = frames.recv().await {
        state.lock().unwrap().carried.extend_from_slice(&bytes);
        let frame = match is_large(&bytes) {
            true => read_large(&bytes).unwrap(),
            false => read_message(&bytes).unwrap().unwrap(),
        };
        if on_frame(&state, key, &out, frame).await.is_none() {
            break;
        }
    }
    {
        let mut state = state.lock().unwrap();
        state.clients.remove(&key);
        state.watches.remove(&key);
        state.rooms.remove(&key);
    }
    tell(&state, key, Presence::Offline).await;
}

async fn on_frame(
    state: &Shared,
    key: PublicKey,
    out: &mpsc::Sender<Vec<u8>>,
    frame: Frame<'_>,
) -> Option<()> {
    let client = |of: &PublicKey| state.lock().unwrap().clients.get(of).cloned();
    let answer = |id, answer| Frame::Answer { id, answer }.to_bytes();
    match frame {
        Frame::Send { id, to, content } => match client(&to) {
            Some(recipient) => {
                out.send(answer(id, Answer::Accepted)).await.ok()?;
                recipient.send(Frame::Deliver { id, from: key, content }.to_bytes()).await.ok()?;
            }
            None => out.send(answer(id, Answer::Offline { since_ms: 5 })).await.ok()?,
        },
        Frame::Received { id, from, verdict } => {
            if let Some(sender) = client(&from) {
                sender.send(answer(id, verdict.into())).await.ok()?;
            }
        }
        Frame::Watch(keys) => {
            // From here on changes are told; only then comes how it is now.
            state.lock().unwrap().watches.insert(key, keys.clone());
            for peer in keys {
                let online = client(&peer).is_some();
                let presence = if online { Presence::Online } else { Presence::Offline };
                let frame = Frame::Presence { peer, presence, since_ms: 5 };
                out.send(frame.to_bytes()).await.ok()?;
            }
        }
        Frame::Room { room, .. } => {
            let mut state = state.lock().unwrap();
            state.rooms.entry(key).or_default().insert(room.to_owned());
            state.changed.as_ref()?.send_replace(());
        }
        Frame::RoomClose { room } => {
            let mut state = state.lock().unwrap();
            state.rooms.entry(key).or_default().remove(room);
            state.changed.as_ref()?.send_replace(());
        }
        Frame::Ping(bytes) => {
            let is_silent = {
                let mut state = state.lock().unwrap();
                state.asked += 1;
                state.changed.as_ref()?.send_replace(());
                state.is_silent
            };
            if !is_silent {
                out.send(Frame::Pong(bytes).to_bytes()).await.ok()?;
            }
        }
        Frame::Pong(_) => {}
        other => panic!("a client sent {other:?}"),
    }
    Some(())
}

async fn tell(state: &Shared, peer: PublicKey, presence: Presence) {
    let watchers: Vec<mpsc::Sender<Vec<u8>>> = {
        let state = state.lock().unwrap();
        let watching = state.watches.iter().filter(|(_, watched)| watched.contains(&peer));
        watching.filter_map(|(watcher, _)| state.clients.get(watcher).cloned()).collect()
    };
    for watcher in watchers {
        let _ = watcher.send(Frame::Presence { peer, presence, since_ms: 5 }.to_bytes()).await;
    }
}

/// A client of the old wire from the login to the end.
async fn legacy_socket(stream: Tls, state: Shared) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let Some(Ok(SocketMessage::Text(hello))) = socket.next().await else { return };
    let hello: Value = serde_json::from_str(&hello).unwrap();
    let key = PublicKey::parse(hello["pubkey"].as_str().unwrap()).unwrap();
    let nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let challenge = json!({ "type": "challenge", "nonce": nonce }).to_string();
    socket.send(SocketMessage::text(challenge)).await.unwrap();
    let Some(Ok(SocketMessage::Text(auth))) = socket.next().await else { return };
    let auth: Value = serde_json::from_str(&auth).unwrap();
    let signature = rp_protocol::key::Signature::parse(auth["sig"].as_str().unwrap()).unwrap();
    let nonce: Vec<u8> = (0..32).collect();
    key.verify(&nonce, &signature).unwrap();
    let room = hello["room_id"].as_str().unwrap().to_owned();
    let (out, mut outgoing) = mpsc::channel::<String>(64);
    {
        let mut state = state.lock().unwrap();
        state.legacy.entry(key).or_insert(out.clone());
        state.rooms.entry(key).or_default().insert(room.clone());
        state.changed.as_ref().unwrap().send_replace(());
    }
    loop {
        tokio::select! {
            Some(text) = outgoing.recv() => socket.send(SocketMessage::text(text)).await.unwrap(),
            message = socket.next() => {
                let Some(Ok(message)) = message else { break };
                let Ok(text) = message.to_text() else { continue };
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                on_legacy(&state, key, &room, &out, frame).await;
            }
        }
    }
    let mut state = state.lock().unwrap();
    state.rooms.entry(key).or_default().remove(&room);
    if state.rooms[&key].is_empty() {
        state.legacy.remove(&key);
    }
    state.changed.as_ref().unwrap().send_replace(());
}

async fn on_legacy(
    state: &Shared,
    key: PublicKey,
    room: &str,
    out: &mpsc::Sender<String>,
    frame: Value,
) {
    let client = |of: &Value| {
        let of = PublicKey::parse(of.as_str().unwrap()).unwrap();
        state.lock().unwrap().legacy.get(&of).cloned()
    };
    match frame["type"].as_str() {
        None => {
            if let Some(to) = client(&frame["peer"]) {
                let text = json!({ "peer": key, "room": room, "ct": frame["ct"] }).to_string();
                to.send(text).await.unwrap();
            }
        }
        Some("pi_envelope") => match client(&frame["to_pc"]) {
            Some(to) => {
                let envelope = &frame["envelope"];
                let text =
                    json!({ "type": "pi_envelope_in", "from_pc": key, "envelope": envelope });
                to.send(text.to_string()).await.unwrap();
            }
            None => {
                let body = json!({ "type": "transport_error", "reason": "offline" });
                let envelope = json!({ "from": "_relay", "to": frame["envelope"]["from"],
                    "id": "5b0c6c1e-6f0a-4d52-9b7e-2f4d0a8c9e11", "re": frame["envelope"]["id"],
                    "body": body });
                let text =
                    json!({ "type": "pi_envelope_in", "from_pc": "_relay", "envelope": envelope });
                out.send(text.to_string()).await.unwrap();
            }
        },
        Some("presence_check") => {
            let states: Vec<Value> = frame["peers"].as_array().unwrap().iter()
                .map(|peer| json!({ "peer": peer, "online": client(peer).is_some(), "since_ts": null }))
                .collect();
            out.send(json!({ "type": "presence", "states": states }).to_string()).await.unwrap();
        }
        Some(_) => {}
    }
}
