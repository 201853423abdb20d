//! A connection to a relay that knows only the old wire: one JSON document in each message.
//!
//! It carries envelopes between machines and what apps and rooms of this machine say to each other; each
//! room is a connection. Nothing on it is sealed, and nobody says whether a message has arrived: a message without an
//! error within [`ERROR_DEADLINE`] is [`Answer::Handed`].

mod rooms;

use std::collections::VecDeque;
use std::time::Duration;

use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::relay::{Answer, MessageId, Presence, Refusal};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::link::{End, Host, Wanted};
use crate::message::{Command, Message, Peer, Room};
use crate::websocket::LegacySocket;
use crate::wire::WireError;
use rooms::Rooms;

pub(crate) use rooms::Origin;

/// How long a relay's error about an envelope is waited for.
const ERROR_DEADLINE: Duration = Duration::from_secs(5);
/// Most envelopes that wait for an error.
const MAX_WAITING: usize = 1024;
/// After how long without anything from the relay the connection is over: it pings each 25 s.
const SILENCE: Duration = Duration::from_secs(70);
/// The room of those who name none.
const DEFAULT_ROOM: &str = "main";

/// The room that a connection is for: a host's first.
pub(crate) fn room_of(wanted: &Wanted) -> (String, Room) {
    match wanted.rooms.first_key_value() {
        Some((id, room)) => (id.clone(), room.clone()),
        None => (DEFAULT_ROOM.to_owned(), Room::default()),
    }
}

impl LegacySocket {
    /// Logs in: signs the bare bytes of the challenge, as that wire wants it.
    pub(crate) async fn log_in(
        &mut self,
        key: &SecretKey,
        (id, room): &(String, Room),
    ) -> Result<(), WireError> {
        let hello = json!({
            "type": "hello", "pubkey": key.public(), "room_id": id, "room_meta": meta(room),
        });
        self.send(hello.to_string()).await?;
        let challenge = loop {
            let text = self.next().await?;
            if !text.is_empty() {
                break serde_json::from_str::<Value>(&text).unwrap_or_default();
            }
        };
        let nonce = challenge.get("nonce").and_then(Value::as_str).unwrap_or_default();
        let nonce = PublicKey::parse(nonce).map_err(|_| WireError::Protocol)?;
        // Any 32 bytes are signed here, so no other format of this key may be as long.
        let signature = key.sign(nonce.as_bytes());
        self.send(json!({ "type": "auth", "sig": signature.to_string() }).to_string()).await
    }
}

fn meta(room: &Room) -> Value {
    let texts = [
        ("name", &room.name),
        ("cwd", &room.cwd),
        ("model", &room.model),
        ("thinking", &room.thinking),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some((key, Value::from(text.clone()?))));
    texts.chain([("working", Value::from(room.working))]).map(|(k, v)| (k.to_owned(), v)).collect()
}

/// An envelope that was sent and may still come back as an error.
struct Waiting {
    until: Instant,
    envelope_id: String,
    answers: mpsc::Sender<Answer>,
}

struct Session<'a> {
    socket: LegacySocket,
    room: (String, Room),
    /// All wanted rooms but that one.
    rooms: Rooms,
    waiting: VecDeque<Waiting>,
    wanted: &'a mut Wanted,
    host: &'a Host,
}

/// Runs a connection until it ends.
pub(crate) async fn run(
    socket: LegacySocket,
    room: (String, Room),
    commands: &mut mpsc::Receiver<Command>,
    wanted: &mut Wanted,
    origin: Origin,
) -> End {
    let host = &*origin.host.clone();
    let mut rooms = Rooms::new(origin);
    for (id, other) in wanted.rooms.iter().filter(|(id, _)| **id != room.0) {
        rooms.open(id, other);
    }
    let mut session = Session { socket, room, rooms, waiting: VecDeque::new(), wanted, host };
    let mut heard = Instant::now();
    if let Err(error) = session.watch().await {
        return error.into();
    }
    loop {
        let deadline = session.waiting.front().map_or(heard + SILENCE, |first| first.until);
        let step = tokio::select! {
            text = session.socket.next() => {
                heard = Instant::now();
                text.map_err(End::from).map(|text| session.on_text(&text))
            }
            command = commands.recv() => match command {
                Some(command) => session.on_command(command).await,
                None => Err(End::Wanted),
            },
            () = tokio::time::sleep_until(deadline.min(heard + SILENCE)) => Ok(()),
        };
        session.settle_old();
        if let Err(end) = step {
            return end;
        }
        if heard.elapsed() >= SILENCE {
            return WireError::Failed("the relay is silent".to_owned()).into();
        }
    }
}

impl Session<'_> {
    async fn watch(&mut self) -> Result<(), WireError> {
        let peers = &self.wanted.watches;
        let subscribe = json!({ "type": "subscribe_presence", "peers": peers }).to_string();
        let check = json!({ "type": "presence_check", "peers": peers }).to_string();
        self.socket.send(subscribe).await?;
        self.socket.send(check).await
    }

    fn settle_old(&mut self) {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|first| first.until <= now)
            || self.waiting.len() > MAX_WAITING
        {
            let Some(first) = self.waiting.pop_front() else { return };
            let _ = first.answers.try_send(Answer::Handed);
        }
    }

    async fn on_command(&mut self, command: Command) -> Result<(), End> {
        self.wanted.note(&command);
        match command {
            Command::Send { to, message, answers, .. } => self.send(to, message, answers).await?,
            // The first room needs a login of its own.
            Command::Room { .. } if self.room.0 == DEFAULT_ROOM => return Err(End::Drained),
            Command::RoomClose { id } if id == self.room.0 => return Err(End::Drained),
            Command::RoomClose { id } => self.rooms.close(&id),
            Command::Room { id, room } => {
                let meta = json!({
                    "model": room.model, "thinking": room.thinking, "working": room.working,
                });
                let update = json!({ "type": "room_meta_update", "room_id": id, "meta": meta });
                if id == self.room.0 {
                    self.room.1 = room;
                } else {
                    self.rooms.open(&id, &room);
                }
                self.socket.send(update.to_string()).await?;
            }
            Command::Watch(_) => {
                let watches = &self.wanted.watches;
                self.host.peers.send_modify(|peers| peers.retain(|peer, _| watches.contains(peer)));
                self.watch().await?;
            }
            Command::Stop => return Err(End::Wanted),
            Command::GoBack => return Err(End::Back),
            Command::Answer { .. } | Command::NetworkChanged | Command::Start => {}
        }
        Ok(())
    }

    async fn send(
        &mut self,
        to: PublicKey,
        message: Message,
        answers: mpsc::Sender<Answer>,
    ) -> Result<(), WireError> {
        match message {
            Message::Sealed(_) => {
                let _ = answers.try_send(Answer::Refused(Refusal::LegacyOnly));
            }
            Message::Envelope(text) => {
                let envelope: Option<&RawValue> = serde_json::from_str(&text).ok();
                let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
                let Some(envelope) = envelope.filter(|_| parsed.is_object()) else {
                    let _ = answers.try_send(Answer::Refused(Refusal::Malformed));
                    return Ok(());
                };
                let id = parsed.get("id").and_then(Value::as_str).unwrap_or_default();
                let until = Instant::now() + ERROR_DEADLINE;
                self.waiting.push_back(Waiting { until, envelope_id: id.to_owned(), answers });
                let frame =
                    format!(r#"{{"type":"pi_envelope","to_pc":"{to}","envelope":{envelope}}}"#);
                self.socket.send(frame).await?;
            }
            Message::App { from_room, to_room, text } => {
                let frame = json!({ "peer": to, "room": to_room, "ct": text }).to_string();
                let answer = if from_room == self.room.0 {
                    self.socket.send(frame).await?;
                    Answer::Handed
                } else if self.rooms.send(&from_room, frame) {
                    Answer::Handed
                } else {
                    Answer::Refused(Refusal::NoSuchRoom)
                };
                let _ = answers.try_send(answer);
            }
        }
        Ok(())
    }

    /// Takes what the relay says. What has not the form of anything is passed over.
    fn on_text(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
        let string = |key: &str| frame.get(key).and_then(Value::as_str);
        let key = |key: &str| string(key).and_then(|text| PublicKey::parse(text).ok());
        let time = |value: &Value| value.get("since_ts").and_then(Value::as_u64).unwrap_or(0);
        match string("type") {
            None => {
                if let Some((from, message)) = app_message(text, &self.room.0) {
                    deliver(self.host, from, message);
                }
            }
            Some("pi_envelope_in") if string("from_pc") == Some("_relay") => self.on_error(&frame),
            Some("pi_envelope_in") => {
                let Some(from) = key("from_pc") else { return };
                if let Some(envelope) = raw_envelope(text) {
                    deliver(self.host, from, Message::Envelope(envelope));
                }
            }
            Some("peer_online") => self.presence(key("peer"), Presence::Legacy, 0),
            Some("peer_offline") => self.presence(key("peer"), Presence::Offline, time(&frame)),
            Some("presence") => {
                let states = frame.get("states").and_then(Value::as_array);
                for state in states.into_iter().flatten() {
                    let peer = state.get("peer").and_then(Value::as_str);
                    let peer = peer.and_then(|text| PublicKey::parse(text).ok());
                    let online = state.get("online").and_then(Value::as_bool) == Some(true);
                    let presence = if online { Presence::Legacy } else { Presence::Offline };
                    self.presence(peer, presence, time(state));
                }
            }
            Some(_) => {}
        }
    }

    fn presence(&self, peer: Option<PublicKey>, presence: Presence, since_ms: u64) {
        let Some(peer) = peer.filter(|peer| self.wanted.watches.contains(peer)) else { return };
        self.host.peers.send_modify(|peers| {
            peers.insert(peer, Peer { presence, since_ms });
        });
    }

    /// The relay says that an envelope of this host cannot be delivered.
    fn on_error(&mut self, frame: &Value) {
        let envelope = frame.get("envelope");
        let id = envelope.and_then(|envelope| envelope.get("re")).and_then(Value::as_str);
        let reason = envelope.and_then(|envelope| envelope.pointer("/body/reason"));
        let answer = match reason.and_then(Value::as_str) {
            Some("offline") => Answer::Offline { since_ms: 0 },
            Some("not_authorized") => Answer::Refused(Refusal::NotAuthorised),
            Some("bad_envelope") => Answer::Refused(Refusal::Malformed),
            _ => return,
        };
        let place =
            self.waiting.iter().position(|waiting| Some(waiting.envelope_id.as_str()) == id);
        if let Some(waiting) = place.and_then(|place| self.waiting.remove(place)) {
            let _ = waiting.answers.try_send(answer);
        }
    }
}

/// What an app says to a room of this machine. `None` when the frame is not that.
fn app_message(frame: &str, room: &str) -> Option<(PublicKey, Message)> {
    let frame: Value = serde_json::from_str(frame).ok()?;
    let string = |key: &str| frame.get(key).and_then(Value::as_str);
    if string("type").is_some() {
        return None;
    }
    let from = PublicKey::parse(string("peer")?).ok()?;
    let from_room = string("room").unwrap_or(DEFAULT_ROOM).to_owned();
    let text = string("ct")?.to_owned();
    Some((from, Message::App { from_room, to_room: room.to_owned(), text }))
}

fn deliver(host: &Host, from: PublicKey, message: Message) {
    let mut id = [0; 16];
    // The id is only for this host; nothing on this wire answers it.
    let _ = getrandom::fill(&mut id);
    if !host.deliver(MessageId(id), from, message) {
        tracing::warn!("a message from the old wire is lost: too many wait");
    }
}

/// The envelope of a frame as it was written.
fn raw_envelope(frame: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Forwarded<'a> {
        #[serde(borrow)]
        envelope: &'a RawValue,
    }
    let forwarded: Forwarded<'_> = serde_json::from_str(frame).ok()?;
    Some(forwarded.envelope.get().to_owned())
}
