//! What the router itself says and understands: registration, roster, notices, acknowledgements.

use serde::Deserialize;
use std::borrow::Cow;

use super::envelope::{Destination, Envelope};
use super::id::EnvelopeId;
use super::json::{Scanner, decode_string, write_string};
use super::name::{BROKER, OBSERVER, Register, is_drive_path, split_alias};

/// What an unregistered connection may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It wants to be a peer.
    Register(Register),
    /// It wants to see the roster without becoming a peer.
    ListPeers,
}

impl Opening {
    /// Reads a line of an unregistered connection. `None`: the connection is to be closed.
    /// Whether the folder is acceptable is checked when an address is assigned.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (mut kind, mut name, mut cwd, mut takeover) = (None, None, None, None);
        Scanner::new(line)
            .whole_object(|key, value| match decode_string(key).as_deref() {
                Some("type") => kind = Some(value),
                Some("name") => name = Some(value),
                Some("cwd") => cwd = Some(value),
                Some("takeover") => takeover = Some(value),
                _ => {}
            })
            .ok()?;
        match decode_string(kind?)?.as_ref() {
            "list_peers" => Some(Opening::ListPeers),
            "register" => Some(Opening::Register(Register {
                name: decode_string(name?)?.into_owned(),
                cwd: match cwd {
                    Some(cwd) => decode_string(cwd)?.into_owned(),
                    None => String::new(),
                },
                takeover: takeover == Some("true"),
            })),
            _ => None,
        }
    }
}

impl Register {
    /// Appends the request as one line. What is unset is left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"register\",\"name\":");
        write_string(out, &self.name);
        if !self.cwd.is_empty() {
            out.extend_from_slice(b",\"cwd\":");
            write_string(out, &self.cwd);
        }
        if self.takeover {
            out.extend_from_slice(b",\"takeover\":true");
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Appends the observer's request for the roster as one line.
pub fn write_probe(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"list_peers\"}\n");
}

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterAck {
    /// The routing key.
    pub address: String,
    /// The name, possibly with a number.
    pub name: String,
}

/// What a client makes of a line it reads while it waits to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterReply {
    /// It is registered.
    Registered(RegisterAck),
    /// JSON, but no usable answer: the registration has failed.
    Failed,
    /// Not JSON: to be ignored.
    Noise,
}

impl RegisterAck {
    /// Appends the answer as one line, with both fields.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"register_ack\",\"address_assigned\":");
        write_string(out, &self.address);
        out.extend_from_slice(b",\"name_assigned\":");
        write_string(out, &self.name);
        out.extend_from_slice(b"}\n");
    }

    /// Reads the answer as a client does: either field stands in for the other.
    #[must_use]
    pub fn parse(line: &str) -> RegisterReply {
        let (mut kind, mut address, mut name) = (None, None, None);
        let scanned =
            Scanner::new(line).whole_object(|key, value| match decode_string(key).as_deref() {
                Some("type") => kind = decode_string(value),
                Some("address_assigned") => address = decode_string(value),
                Some("name_assigned") => name = decode_string(value),
                _ => {}
            });
        let non_empty =
            |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).filter(|text| !text.is_empty());
        match (scanned, kind.as_deref()) {
            (Err(_), _) => RegisterReply::Noise,
            (Ok(true), Some("register_ack")) => match (non_empty(address), non_empty(name)) {
                (None, None) => RegisterReply::Failed,
                (address, name) => {
                    let either = address.clone().or(name.clone()).unwrap_or_default();
                    RegisterReply::Registered(RegisterAck {
                        address: address.unwrap_or_else(|| either.clone()),
                        name: name.unwrap_or(either),
                    })
                }
            },
            _ => RegisterReply::Failed,
        }
    }
}

/// A change of the roster that the others are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Somebody registered.
    PeerJoined,
    /// Somebody's connection ended.
    PeerLeft,
}

impl Notice {
    /// The `type` of its body.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Notice::PeerJoined => "peer_joined",
            Notice::PeerLeft => "peer_left",
        }
    }

    /// Appends the notice about `address` to the peer `to` as one line.
    pub fn write(self, out: &mut Vec<u8>, to: &str, id: EnvelopeId, address: &str) {
        write_head(out, to, id, None);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(self.type_name().as_bytes());
        out.extend_from_slice(b"\",\"name\":");
        write_string(out, address);
        out.extend_from_slice(b",\"address\":");
        write_string(out, address);
        out.extend_from_slice(b"}}\n");
    }
}

/// The start of an envelope from the router, up to its body.
fn write_head(out: &mut Vec<u8>, to: &str, id: EnvelopeId, re: Option<EnvelopeId>) {
    out.extend_from_slice(b"{\"from\":\"broker\",\"to\":");
    write_string(out, to);
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(id.as_str().as_bytes());
    match re {
        Some(re) => {
            out.extend_from_slice(b"\",\"re\":\"");
            out.extend_from_slice(re.as_str().as_bytes());
            out.extend_from_slice(b"\",\"body\":");
        }
        None => out.extend_from_slice(b"\",\"re\":null,\"body\":"),
    }
}

/// What became of a message, as the router tells its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// Handed to the recipient.
    Received,
    /// Refused.
    Denied,
    /// The recipient was busy and the message was dropped; only routers of old say so.
    Busy,
}

impl AckStatus {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AckStatus::Received => "received",
            AckStatus::Denied => "denied",
            AckStatus::Busy => "busy",
        }
    }
}

/// Appends the acknowledgement of the envelope `re` to its sender `to` as one line.
pub fn write_ack(
    out: &mut Vec<u8>,
    to: &str,
    id: EnvelopeId,
    re: EnvelopeId,
    status: AckStatus,
    target: &str,
) {
    write_head(out, to, id, Some(re));
    out.extend_from_slice(b"{\"type\":\"ack\",\"status\":\"");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b"\",\"target\":");
    write_string(out, target);
    out.extend_from_slice(b"}}\n");
}

/// One line of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RosterEntry {
    /// The machine; `None` for a peer of this one. Nothing else tells the two apart.
    pub pc: Option<String>,
    /// Empty for a peer without a folder.
    pub cwd: String,
    /// The leaf name.
    pub name: String,
    /// The routing key, with the machine's alias in front for remote ones.
    pub address: String,
}

/// Appends the roster as one line: the answer to `re`, or to an observer when `asker` is `None`.
pub fn write_roster<'a>(
    out: &mut Vec<u8>,
    asker: Option<(&str, EnvelopeId)>,
    id: EnvelopeId,
    entries: impl Iterator<Item = (Option<&'a str>, &'a str, &'a str, &'a str)> + Clone,
) {
    let (to, re) = match asker {
        Some((address, re)) => (address, Some(re)),
        None => (OBSERVER, None),
    };
    write_head(out, to, id, re);
    out.extend_from_slice(b"{\"type\":\"list_peers_reply\",\"peers\":[");
    for (index, (_, _, _, address)) in entries.clone().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, address);
    }
    out.extend_from_slice(b"],\"peers_detailed\":[");
    for (index, (pc, cwd, name, address)) in entries.enumerate() {
        out.extend_from_slice(if index > 0 { b",{" } else { b"{" });
        if let Some(pc) = pc {
            out.extend_from_slice(b"\"pc\":");
            write_string(out, pc);
            out.push(b',');
        }
        out.extend_from_slice(b"\"cwd\":");
        write_string(out, cwd);
        out.extend_from_slice(b",\"name\":");
        write_string(out, name);
        out.extend_from_slice(b",\"address\":");
        write_string(out, address);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}\n");
}

/// Reads the body of a roster answer. Routers of old send addresses only; then the address
/// stands for the name. `None` when it is no roster.
#[must_use]
pub fn parse_roster(body: &str) -> Option<Vec<RosterEntry>> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "type")]
        kind: String,
        peers: Vec<serde_json::Value>,
        peers_detailed: Option<Vec<Detailed>>,
    }
    #[derive(Deserialize)]
    struct Detailed {
        pc: Option<String>,
        cwd: String,
        name: String,
        address: String,
    }
    let reply: Reply = serde_json::from_str(body).ok()?;
    if reply.kind != "list_peers_reply" {
        return None;
    }
    Some(match reply.peers_detailed {
        Some(entries) => entries
            .into_iter()
            .map(|entry| RosterEntry {
                pc: entry.pc,
                cwd: entry.cwd,
                name: entry.name,
                address: entry.address,
            })
            .collect(),
        None => reply
            .peers
            .into_iter()
            .filter_map(|peer| match peer {
                serde_json::Value::String(address) => Some(RosterEntry {
                    pc: None,
                    cwd: String::new(),
                    name: address.clone(),
                    address,
                }),
                _ => None,
            })
            .collect(),
    })
}

/// Why the relay could not carry a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// The other machine is not connected.
    Offline,
    /// The two machines are not listed together.
    NotAuthorized,
    /// The relay did not accept the envelope.
    BadEnvelope,
}

impl TransportError {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TransportError::Offline => "offline",
            TransportError::NotAuthorized => "not_authorized",
            TransportError::BadEnvelope => "bad_envelope",
        }
    }
}

/// What a client makes of an envelope that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// The router says that the message `re` (in lower case) was not carried. Never content.
    TransportError {
        /// The id of the message.
        re: EnvelopeId,
        /// Why.
        reason: TransportError,
    },
    /// An acknowledgement. Never content; it settles the message `re` only when `from` is who
    /// [`AckOrigin`] expects.
    Ack {
        /// The id of the message.
        re: EnvelopeId,
        /// What became of it.
        status: AckStatus,
        /// The address it was handed to.
        target: String,
    },
    /// Shaped as an acknowledgement but unusable: to be dropped.
    BadAck,
    /// Anything else, for the application or for whoever waits for an answer.
    Message,
}

/// Sorts an envelope as a client must, in the order the rules apply.
#[must_use]
pub fn classify(envelope: &Envelope<'_>) -> Inbound {
    #[derive(Deserialize)]
    struct ReservedBody<'a> {
        #[serde(borrow)]
        reason: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow)]
        status: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow)]
        target: Option<&'a serde_json::value::RawValue>,
    }
    let from_router = envelope.from == BROKER;
    let from_any_router = from_router || envelope.from.ends_with(":broker");
    if !from_any_router {
        return Inbound::Message;
    }
    let Some(kind) = envelope.body.type_name() else {
        return Inbound::Message;
    };
    let text = |raw: Option<&serde_json::value::RawValue>| {
        raw.and_then(|raw| decode_string(raw.get()).map(Cow::into_owned))
    };
    let fields = serde_json::from_str::<ReservedBody<'_>>(envelope.body.as_str()).ok();
    match kind.as_ref() {
        "transport_error" if from_router => {
            let reason = fields.and_then(|fields| text(fields.reason));
            let reason = match reason.as_deref() {
                Some("offline") => TransportError::Offline,
                Some("not_authorized") => TransportError::NotAuthorized,
                Some("bad_envelope") => TransportError::BadEnvelope,
                _ => return Inbound::Message,
            };
            match envelope.re {
                Some(re) => Inbound::TransportError { re: re.to_lowercase(), reason },
                None => Inbound::Message,
            }
        }
        "ack" => {
            let Some(fields) = fields else {
                return Inbound::BadAck;
            };
            let status = match text(fields.status).as_deref() {
                Some("received") => AckStatus::Received,
                Some("denied") => AckStatus::Denied,
                Some("busy") => AckStatus::Busy,
                _ => return Inbound::BadAck,
            };
            match (envelope.re, text(fields.target)) {
                (Some(re), Some(target)) => Inbound::Ack { re, status, target },
                _ => Inbound::BadAck,
            }
        }
        _ => Inbound::Message,
    }
}

/// Who may acknowledge a message; fixed when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckOrigin {
    local: bool,
    remote: Option<String>,
}

impl AckOrigin {
    /// Whose acknowledgement counts for a message to `destination`.
    ///
    /// `C:/x` can be a folder of this machine's Windows or `/x` on a machine called `C`: there
    /// both routers are believed, or a message that arrived would be reported lost.
    #[must_use]
    pub fn expected(destination: &str) -> Self {
        let remote = |alias: &str| Some(format!("{alias}:{BROKER}"));
        let looks_local = destination.starts_with('/') || destination.starts_with("\\\\");
        match split_alias(destination) {
            Some((alias, _)) if is_drive_path(destination) => AckOrigin {
                local: true,
                remote: if destination.as_bytes().get(2) == Some(&b'/') {
                    remote(alias)
                } else {
                    None
                },
            },
            Some((alias, _)) if !looks_local => AckOrigin { local: false, remote: remote(alias) },
            _ => AckOrigin { local: true, remote: None },
        }
    }

    /// Whether an acknowledgement from `from` counts.
    #[must_use]
    pub fn accepts(&self, from: &str) -> bool {
        (self.local && from == BROKER) || self.remote.as_deref() == Some(from)
    }
}

/// Whether the body of an envelope to the router asks for the roster.
#[must_use]
pub fn asks_for_roster(envelope: &Envelope<'_>) -> bool {
    envelope.body.type_name().as_deref() == Some("list_peers")
}

/// Appends a registered peer's request for the roster as one line.
pub fn write_roster_request(out: &mut Vec<u8>, from: &str, id: EnvelopeId) {
    Envelope {
        from: Cow::Borrowed(from),
        to: Destination::One(Cow::Borrowed(BROKER)),
        id,
        re: None,
        body: super::envelope::Body::constant("{\"type\":\"list_peers\"}"),
    }
    .write(out);
}
