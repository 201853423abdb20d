//! Hosts on `rp/1`, over WebSocket and QUIC, and the old wire beside them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use rp_protocol::key::PublicKey;
use rp_protocol::relay::login::{ClientLogin, ClientStep, EXPORTER_LABEL, LoginError, Transport};
use rp_protocol::relay::{
    ALPN, Answer, CloseCode, Content, Frame, FrameReader, Instance, MAX_LARGE_FRAME_BYTES,
    MessageId, Parts, Presence, Refusal, RelayName, RoomDescription, SUBPROTOCOL, Verdict, Welcome,
    is_large, parts, read_large, read_message,
};
use rp_relay::tls::{Source, local_names};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::client::{Client, PATIENCE, TestRelay, WebSocket, key, secret, until};
use crate::encrypted::believing_everything;
use crate::mesh::publish;

pub fn public(number: u8) -> PublicKey {
    secret(number).public()
}

pub fn id(number: u8) -> MessageId {
    MessageId([number; 16])
}

pub fn name(relay: &TestRelay) -> RelayName {
    RelayName::new("127.0.0.1", relay.address().port()).unwrap()
}

pub enum Wire {
    Socket(Box<WebSocket>, Parts),
    Quic {
        connection: quinn::Connection,
        _endpoint: quinn::Endpoint,
        sink: quinn::SendStream,
        source: quinn::RecvStream,
        reader: FrameReader,
    },
}

/// A host, or what pretends to be one.
pub struct HostClient {
    pub wire: Wire,
}

impl HostClient {
    async fn open_socket(relay: &TestRelay) -> Self {
        let mut request = relay.url().into_client_request().unwrap();
        let offered = format!("other, {SUBPROTOCOL}").parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offered);
        let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        Self { wire: Wire::Socket(Box::new(socket), Parts::default()) }
    }

    pub async fn open_quic(relay: &TestRelay) -> Self {
        let (endpoint, connection) = dial(relay).await;
        let connection = connection.unwrap();
        let (sink, source) = connection.open_bi().await.unwrap();
        let reader = FrameReader::default();
        Self { wire: Wire::Quic { connection, _endpoint: endpoint, sink, source, reader } }
    }

    fn transport(&self) -> Transport {
        match &self.wire {
            Wire::Socket(..) => Transport::WebSocket,
            Wire::Quic { connection, .. } => {
                let mut exporter = [0; 32];
                connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]).unwrap();
                Transport::Quic { exporter }
            }
        }
    }

    async fn log_in(
        &mut self,
        number: u8,
        instance: u8,
        relay: RelayName,
    ) -> Result<Welcome, LoginError> {
        let secret = secret(number);
        let instance = Instance([instance; 16]);
        let (mut login, first) =
            ClientLogin::start(self.transport(), &secret, instance, relay, "test");
        self.say_bytes(first).await;
        loop {
            let bytes = self.hear_bytes().await.expect("the connection ended");
            let frame = read_message(&bytes).unwrap().unwrap();
            match login.on_frame(&frame, &secret)? {
                ClientStep::Send(bytes) => self.say_bytes(bytes).await,
                ClientStep::LoggedIn(welcome) => return Ok(welcome),
            }
        }
    }

    /// A host that is logged in, over either transport.
    pub async fn connect(relay: &TestRelay, number: u8, over_quic: bool) -> Self {
        let mut host = match over_quic {
            true => Self::open_quic(relay).await,
            false => Self::open_socket(relay).await,
        };
        host.log_in(number, number, name(relay)).await.unwrap();
        host
    }

    pub async fn say(&mut self, frame: Frame<'_>) {
        self.say_bytes(frame.to_bytes()).await;
    }

    pub async fn say_bytes(&mut self, bytes: Vec<u8>) {
        match &mut self.wire {
            Wire::Socket(socket, _) if is_large(&bytes) => {
                for part in parts(&bytes) {
                    socket.send(Message::binary(part)).await.unwrap();
                }
            }
            Wire::Socket(socket, _) => socket.send(Message::binary(bytes)).await.unwrap(),
            Wire::Quic { connection, .. } if is_large(&bytes) => {
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.finish().unwrap();
            }
            Wire::Quic { sink, .. } => sink.write_all(&bytes).await.unwrap(),
        }
    }

    /// The next frame, encoded; nothing when the connection has ended.
    pub async fn hear_bytes(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("nothing came")
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        match &mut self.wire {
            Wire::Socket(socket, large) => loop {
                match socket.next().await?.ok()? {
                    Message::Binary(bytes) => match read_message(&bytes).unwrap() {
                        Some(Frame::Part { last, bytes }) => {
                            if let Some(frame) = large.push(last, bytes).unwrap() {
                                return Some(frame);
                            }
                        }
                        _ => return Some(bytes.to_vec()),
                    },
                    Message::Ping(_) | Message::Pong(_) => {}
                    _ => return None,
                }
            },
            Wire::Quic { connection, source, reader, .. } => loop {
                if let Some(frame) = reader.next_frame().unwrap() {
                    return Some(frame.to_bytes());
                }
                tokio::select! {
                    chunk = source.read_chunk(64 << 10, true) => {
                        let chunk = chunk.ok()??;
                        reader.buffer(chunk.bytes.len()).extend_from_slice(&chunk.bytes);
                    }
                    stream = connection.accept_uni() => {
                        return stream.ok()?.read_to_end(MAX_LARGE_FRAME_BYTES + 16).await.ok();
                    }
                }
            },
        }
    }

    /// The next frame, which must be this one.
    pub async fn expect(&mut self, expected: Frame<'_>) {
        let bytes = self.hear_bytes().await.expect("the connection ended");
        assert_eq!(decode(&bytes), expected);
    }

    pub async fn expect_answer(&mut self, id: MessageId, answer: Answer) {
        self.expect(Frame::Answer { id, answer }).await;
    }

    /// That the connection ends for this reason.
    pub async fn expect_close(&mut self, expected: CloseCode) {
        loop {
            let bytes = self.hear_bytes().await.expect("it ended without a word");
            if let Frame::Close(close) = decode(&bytes) {
                assert_eq!(close.code, expected);
                break;
            }
        }
        match &mut self.wire {
            Wire::Socket(socket, _) => match socket.next().await {
                Some(Ok(Message::Close(Some(close)))) => {
                    let number = match expected {
                        CloseCode::GoingAway => 1001,
                        other => 4000 + other.number(),
                    };
                    assert_eq!(u64::from(u16::from(close.code)), number);
                }
                other => panic!("not closed but {other:?}"),
            },
            Wire::Quic { connection, source, .. } => {
                assert_eq!(source.read_chunk(1, true).await.ok().flatten(), None);
                let _ = connection;
            }
        }
    }

    /// That nothing else has come until now.
    async fn expect_silence(&mut self) {
        self.say(Frame::Ping([7; 8])).await;
        self.expect(Frame::Pong([7; 8])).await;
    }

    /// Watches machines, and hears how each is connected.
    async fn watch(&mut self, numbers: &[u8]) -> Vec<Presence> {
        self.say(Frame::Watch(numbers.iter().map(|number| public(*number)).collect())).await;
        let mut heard = std::collections::HashMap::new();
        for _ in numbers {
            let bytes = self.hear_bytes().await.unwrap();
            let Frame::Presence { peer, presence, .. } = decode(&bytes) else {
                panic!("no presence")
            };
            heard.insert(peer, presence);
        }
        numbers.iter().map(|number| heard[&public(*number)]).collect()
    }

    async fn expect_presence(&mut self, number: u8, expected: Presence) {
        let bytes = self.hear_bytes().await.unwrap();
        match decode(&bytes) {
            Frame::Presence { peer, presence, .. } => {
                assert_eq!((peer, presence), (public(number), expected));
            }
            other => panic!("no presence but {other:?}"),
        }
    }
}

/// A connection by QUIC that has not logged in.
pub async fn dial(
    relay: &TestRelay,
) -> (quinn::Endpoint, Result<quinn::Connection, quinn::ConnectionError>) {
    let mut tls = believing_everything();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, relay.address(), "localhost").unwrap();
    let connection = connecting.await;
    (endpoint, connection)
}

pub fn decode(bytes: &[u8]) -> Frame<'_> {
    match is_large(bytes) {
        true => read_large(bytes).unwrap(),
        false => read_message(bytes).unwrap().unwrap(),
    }
}

/// A relay that speaks QUIC and, on TCP, plain WebSocket.
pub async fn start() -> TestRelay {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut rp_relay::server::Settings)) -> TestRelay {
    TestRelay::start_with(|settings| {
        settings.plain_tcp = true;
        settings.certificate = Some(Source::Own {
            file: settings.database.with_extension("pem"),
            names: local_names(settings.listen),
        });
        change(settings);
    })
    .await
}

pub fn sealed(number: u8, to: u8, bytes: &[u8]) -> Frame<'_> {
    Frame::Send { id: id(number), to: public(to), content: Content::Sealed(bytes) }
}

#[tokio::test]
async fn hosts_reach_each_other_whatever_transport_each_uses() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    for (from_quic, to_quic) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut one = HostClient::connect(&relay, 1, from_quic).await;
        let mut two = HostClient::connect(&relay, 2, to_quic).await;
        one.say(sealed(1, 2, b"secret")).await;
        one.expect_answer(id(1), Answer::Accepted).await;
        let content = Content::Sealed(b"secret");
        two.expect(Frame::Deliver { id: id(1), from: public(1), content }).await;
        one.expect_silence().await;
        let verdict = Verdict::Received;
        two.say(Frame::Received { id: id(1), from: public(1), verdict }).await;
        one.expect_answer(id(1), Answer::Received).await;
        drop((one, two));
        until("both are gone", || relay.relay.hub().hosts().everybody().next().is_none()).await;
    }
}

#[tokio::test]
async fn a_large_message_goes_over_every_pair_of_transports() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    for (from_quic, to_quic) in [(false, true), (true, false)] {
        let mut one = HostClient::connect(&relay, 1, from_quic).await;
        let mut two = HostClient::connect(&relay, 2, to_quic).await;
        one.say(sealed(1, 2, &large)).await;
        one.expect_answer(id(1), Answer::Accepted).await;
        let content = Content::Sealed(&large);
        two.expect(Frame::Deliver { id: id(1), from: public(1), content }).await;
    }
}

#[tokio::test]
async fn what_a_recipient_says_about_a_message_is_what_the_sender_hears() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = HostClient::connect(&relay, 1, true).await;
    let mut two = HostClient::connect(&relay, 2, false).await;
    for (number, verdict, answer) in [
        (1, Verdict::Busy { retry_after_ms: 5 }, Answer::Busy { retry_after_ms: 5 }),
        (2, Verdict::Refused(Refusal::NoSession), Answer::Refused(Refusal::NoSession)),
    ] {
        one.say(sealed(number, 2, b"x")).await;
        one.expect_answer(id(number), Answer::Accepted).await;
        two.hear_bytes().await.unwrap();
        two.say(Frame::Received { id: id(number), from: public(1), verdict }).await;
        one.expect_answer(id(number), answer).await;
        // Said again, it means nothing.
        two.say(Frame::Received { id: id(number), from: public(1), verdict }).await;
        two.expect_silence().await;
        one.expect_silence().await;
    }
}

#[tokio::test]
async fn a_message_for_nobody_or_from_a_stranger_gets_its_answer() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = HostClient::connect(&relay, 1, true).await;
    one.say(sealed(1, 2, b"x")).await;
    one.expect_answer(id(1), Answer::Offline { since_ms: 0 }).await;
    // Of a machine that no owner lists it does not learn whether it is there.
    one.say(sealed(2, 3, b"x")).await;
    one.expect_answer(id(2), Answer::Refused(Refusal::NotAuthorised)).await;
    let mut three = HostClient::connect(&relay, 3, false).await;
    one.say(sealed(3, 3, b"x")).await;
    one.expect_answer(id(3), Answer::Refused(Refusal::NotAuthorised)).await;
    three.expect_silence().await;
    // And after a revocation at once.
    let mut two = HostClient::connect(&relay, 2, false).await;
    one.say(sealed(4, 2, b"x")).await;
    one.expect_answer(id(4), Answer::Accepted).await;
    two.hear_bytes().await.unwrap();
    publish(&relay, 9, 2, &[1]).await;
    one.expect(Frame::Membership).await;
    one.say(sealed(5, 2, b"x")).await;
    one.expect_answer(id(5), Answer::Refused(Refusal::NotAuthorised)).await;
}

#[tokio::test]
async fn a_recipient_that_goes_before_it_answers_has_lost_the_message() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = HostClient::connect(&relay, 1, true).await;
    let mut two = HostClient::connect(&relay, 2, false).await;
    one.say(sealed(1, 2, b"x")).await;
    one.expect_answer(id(1), Answer::Accepted).await;
    two.hear_bytes().await.unwrap();
    drop(two);
    one.expect_answer(id(1), Answer::Lost).await;
    one.say(sealed(1, 2, b"x")).await;
    let bytes = one.hear_bytes().await.unwrap();
    let Frame::Answer { answer: Answer::Offline { since_ms }, .. } = decode(&bytes) else {
        panic!("not offline")
    };
    assert!(since_ms > 0);
}

#[tokio::test]
async fn a_message_beyond_the_window_is_busy_and_an_id_on_its_way_ends_the_connection() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = HostClient::connect(&relay, 1, false).await;
    let mut two = HostClient::connect(&relay, 2, false).await;
    let large = vec![7; 5 << 20];
    one.say(sealed(1, 2, &large)).await;
    one.expect_answer(id(1), Answer::Accepted).await;
    two.hear_bytes().await.unwrap();
    one.say(sealed(2, 2, &large)).await;
    one.expect_answer(id(2), Answer::Busy { retry_after_ms: 1000 }).await;
    one.say(sealed(1, 2, b"x")).await;
    one.expect_close(CloseCode::ProtocolError).await;
}

#[tokio::test]
async fn a_login_for_another_relay_or_with_a_wrong_signature_is_refused() {
    let relay = start().await;
    let mut host = HostClient::open_socket(&relay).await;
    let other = RelayName::parse("relay.example.org:443").unwrap();
    let refused = host.log_in(1, 1, other.clone()).await.unwrap_err();
    assert!(matches!(refused, LoginError::Closed { code: CloseCode::OtherRelay, .. }));
    // Over QUIC the login is bound to the connection, and the name is not asked for.
    let mut host = HostClient::open_quic(&relay).await;
    host.log_in(1, 1, other).await.unwrap();

    for over_quic in [false, true] {
        let mut host = match over_quic {
            true => HostClient::open_quic(&relay).await,
            false => HostClient::open_socket(&relay).await,
        };
        let transport = match over_quic {
            // As if it were recorded on another connection.
            true => Transport::Quic { exporter: [7; 32] },
            false => Transport::WebSocket,
        };
        let instance = Instance([1; 16]);
        let (mut login, first) =
            ClientLogin::start(transport, &secret(1), instance, name(&relay), "test");
        host.say_bytes(first).await;
        if !over_quic {
            let bytes = host.hear_bytes().await.unwrap();
            // With another key than that of the hello.
            let step = login.on_frame(&decode(&bytes), &secret(2)).unwrap();
            let ClientStep::Send(bytes) = step else { panic!("no login") };
            host.say_bytes(bytes).await;
        }
        host.expect_close(CloseCode::LoginRefused).await;
    }
}

#[tokio::test]
async fn who_does_not_log_in_or_sends_no_frames_is_ended() {
    let relay = start().await;
    let mut early = HostClient::open_socket(&relay).await;
    early.say(Frame::Ping([0; 8])).await;
    early.expect_close(CloseCode::ProtocolError).await;
    let mut random = HostClient::connect(&relay, 1, true).await;
    // A type that is not to be skipped and does not exist.
    random.say_bytes(vec![0x3E, 0]).await;
    random.expect_close(CloseCode::ProtocolError).await;
    let mut text = HostClient::connect(&relay, 2, false).await;
    let Wire::Socket(socket, _) = &mut text.wire else { panic!("no socket") };
    socket.send(Message::text("{}")).await.unwrap();
    text.expect_close(CloseCode::ProtocolError).await;
    let mut silent = HostClient::open_socket(&relay).await;
    assert_eq!(silent.hear_bytes().await, None);
}

#[tokio::test]
async fn a_host_sees_how_other_machines_are_connected() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2, 3]).await;
    let mut one = HostClient::connect(&relay, 1, true).await;
    let _three = HostClient::connect(&relay, 3, false).await;
    let _stranger = HostClient::connect(&relay, 4, false).await;
    let seen = one.watch(&[2, 3, 4]).await;
    assert_eq!(seen, [Presence::Offline, Presence::Online, Presence::Offline]);
    let legacy = Client::connect(&relay, 2, "main").await;
    one.expect_presence(2, Presence::Legacy).await;
    let two = HostClient::connect(&relay, 2, false).await;
    one.expect_presence(2, Presence::Online).await;
    drop(legacy);
    until("the old connection is gone", || relay.relay.hub().registry().connections() == 0).await;
    one.expect_silence().await;
    drop(two);
    one.expect_presence(2, Presence::Offline).await;
    assert_eq!(one.watch(&[3]).await, [Presence::Online]);
    let _two = HostClient::connect(&relay, 2, false).await;
    one.expect_silence().await;
}

#[tokio::test]
async fn what_an_owner_publishes_shows_at_once_in_what_a_host_watches() {
    let relay = start().await;
    let mut one = HostClient::connect(&relay, 1, true).await;
    let two = HostClient::connect(&relay, 2, false).await;
    assert_eq!(one.watch(&[2]).await, [Presence::Offline]);
    publish(&relay, 9, 1, &[1, 2]).await;
    one.expect_presence(2, Presence::Online).await;
    one.expect(Frame::Membership).await;
    publish(&relay, 9, 2, &[1]).await;
    one.expect_presence(2, Presence::Offline).await;
    one.expect(Frame::Membership).await;
    drop(two);
    let _two = HostClient::connect(&relay, 2, false).await;
    one.expect_silence().await;
}

fn open<'a>(room: &'a str, description: RoomDescription<'a>) -> Frame<'a> {
    Frame::Room { room, description }
}

#[tokio::test]
async fn rooms_of_a_host_look_to_an_app_as_if_each_were_a_connection() {
    let relay = start().await;
    let mut app = Client::connect(&relay, 5, "main").await;
    app.say(json!({ "type": "subscribe_rooms", "peers": [key(1)] })).await;
    app.say(json!({ "type": "subscribe_presence", "peers": [key(1)] })).await;
    app.expect_silence().await;
    let mut host = HostClient::connect(&relay, 1, true).await;
    let mut description =
        RoomDescription { name: Some("atlas"), cwd: Some("/a"), ..RoomDescription::default() };
    host.say(open("r1", description)).await;
    let told = app.hear().await;
    assert_eq!((&told["type"], &told["name"]), (&json!("room_announced"), &json!("atlas")));
    assert_eq!(app.hear().await["type"], "peer_online");
    description.model = Some("m");
    description.working = true;
    host.say(open("r1", description)).await;
    assert_eq!(app.hear().await["meta"], json!({ "model": "m", "working": true }));

    app.envelope(&key(1), Some("r1"), "ask").await;
    let bytes = host.hear_bytes().await.unwrap();
    let Frame::Deliver { from, content, id: drawn } = decode(&bytes) else { panic!("no message") };
    assert_eq!(from, public(5));
    assert_eq!(content, Content::App { from_room: "main", to_room: "r1", text: "ask" });
    host.say(Frame::Received { id: drawn, from, verdict: Verdict::Received }).await;

    let answer = Content::App { from_room: "r1", to_room: "main", text: "a \"b\" \\ \n" };
    host.say(Frame::Send { id: id(1), to: public(5), content: answer }).await;
    assert_eq!(app.hear().await, json!({ "peer": key(1), "room": "r1", "ct": "a \"b\" \\ \n" }));
    host.expect_answer(id(1), Answer::Handed).await;
    let lost = Content::App { from_room: "r1", to_room: "none", text: "x" };
    host.say(Frame::Send { id: id(2), to: public(5), content: lost }).await;
    host.expect_answer(id(2), Answer::Offline { since_ms: 0 }).await;

    host.say(Frame::RoomClose { room: "r1" }).await;
    host.say(Frame::RoomClose { room: "never open" }).await;
    assert_eq!(app.hear().await["type"], "room_ended");
    assert_eq!(app.hear().await["type"], "peer_offline");
}

#[tokio::test]
async fn a_host_and_a_machine_on_the_old_wire_write_to_each_other_in_the_clear() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut host = HostClient::connect(&relay, 1, true).await;
    let mut old = Client::connect(&relay, 2, "main").await;
    host.say(sealed(1, 2, b"x")).await;
    host.expect_answer(id(1), Answer::Refused(Refusal::LegacyOnly)).await;
    let text = r#"{"b":1.0,"a":"\u0041"}"#;
    host.say(Frame::Send { id: id(2), to: public(2), content: Content::Envelope(text) }).await;
    host.expect_answer(id(2), Answer::Handed).await;
    let expected =
        format!(r#"{{"type":"pi_envelope_in","from_pc":"{}","envelope":{text}}}"#, key(1));
    assert_eq!(old.hear_text().await, expected);
    for bad in ["[1]", "{} x", "not json", r#"{"a":1}{"#] {
        host.say(Frame::Send { id: id(3), to: public(2), content: Content::Envelope(bad) }).await;
        host.expect_answer(id(3), Answer::Refused(Refusal::Malformed)).await;
    }

    let request: Value = serde_json::from_str(text).unwrap();
    old.say(json!({ "type": "pi_envelope", "to_pc": key(1), "envelope": request })).await;
    let bytes = host.hear_bytes().await.unwrap();
    let Frame::Deliver { from, content: Content::Envelope(heard), .. } = decode(&bytes) else {
        panic!("no envelope")
    };
    assert_eq!((from, serde_json::from_str::<Value>(heard).unwrap()), (public(2), request));
    old.expect_silence().await;
}

#[tokio::test]
async fn the_same_host_that_connects_again_takes_the_place_of_its_older_connection() {
    let relay = start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut older = HostClient::connect(&relay, 1, false).await;
    let mut newer = HostClient::connect(&relay, 1, true).await;
    older.expect_close(CloseCode::Replaced).await;
    let mut two = HostClient::connect(&relay, 2, false).await;
    two.say(sealed(1, 1, b"x")).await;
    let bytes = newer.hear_bytes().await.unwrap();
    assert!(matches!(decode(&bytes), Frame::Deliver { .. }));
}

#[tokio::test]
async fn two_live_hosts_with_one_key_are_told_of_each_other() {
    let relay = start().await;
    let mut older = HostClient::open_socket(&relay).await;
    older.log_in(1, 1, name(&relay)).await.unwrap();
    let mut newer = HostClient::open_quic(&relay).await;
    newer.log_in(1, 2, name(&relay)).await.unwrap();
    let bytes = older.hear_bytes().await.unwrap();
    let Frame::Ping(ping) = decode(&bytes) else { panic!("no ping") };
    older.say(Frame::Pong(ping)).await;
    for (host, other) in [(&mut older, 2), (&mut newer, 1)] {
        let bytes = host.hear_bytes().await.unwrap();
        let Frame::Clone { instance, since_ms } = decode(&bytes) else { panic!("no clone") };
        assert_eq!(instance, Instance([other; 16]));
        assert!(since_ms > 0);
    }
    older.expect_silence().await;
}

#[tokio::test]
async fn an_older_connection_that_is_dead_is_ended_when_another_host_has_its_key() {
    let relay = start().await;
    let mut older = HostClient::open_socket(&relay).await;
    older.log_in(1, 1, name(&relay)).await.unwrap();
    let mut newer = HostClient::open_socket(&relay).await;
    newer.log_in(1, 2, name(&relay)).await.unwrap();
    // It does not answer the ping.
    older.expect_close(CloseCode::TooSlow).await;
    newer.expect_silence().await;
}

#[tokio::test]
async fn hosts_are_told_when_to_leave_before_the_relay_ends() {
    let relay = start().await;
    let mut hosts =
        [HostClient::connect(&relay, 1, true).await, HostClient::connect(&relay, 2, false).await];
    let TestRelay { relay, .. } = relay;
    let ending = tokio::spawn(relay.end());
    for host in &mut hosts {
        let bytes = host.hear_bytes().await.unwrap();
        assert!(matches!(decode(&bytes), Frame::Drain { .. }));
        host.expect_close(CloseCode::GoingAway).await;
    }
    drop(hosts);
    tokio::time::timeout(Duration::from_secs(10), ending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_host_with_too_many_rooms_or_watches_is_ended() {
    let relay = start_with(|settings| {
        settings.limits.rooms = 1;
        settings.limits.subscriptions = 1;
    })
    .await;
    let mut host = HostClient::open_quic(&relay).await;
    let welcome = host.log_in(1, 1, name(&relay)).await.unwrap();
    assert_eq!((welcome.max_rooms, welcome.max_watches), (1, 1));
    host.say(open("a", RoomDescription::default())).await;
    host.say(open("b", RoomDescription::default())).await;
    host.expect_close(CloseCode::TooMuch).await;
    let mut host = HostClient::connect(&relay, 1, false).await;
    host.say(Frame::Watch(vec![public(2), public(3)])).await;
    host.expect_close(CloseCode::TooMuch).await;
}
