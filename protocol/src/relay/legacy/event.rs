//! What the relay tells those who watch, and its answers to checks.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::room::{RoomMeta, RoomState};
use crate::key::PublicKey;

/// Something that happened. Times are milliseconds since 1970 by the relay's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer without any connection has one now.
    PeerOnline {
        /// The peer.
        peer: PublicKey,
    },
    /// The last connection of a peer is gone.
    PeerOffline {
        /// The peer.
        peer: PublicKey,
        /// When it went.
        since: u64,
    },
    /// The first connection of a room is there.
    RoomAnnounced {
        /// The room's peer.
        peer: PublicKey,
        /// The room.
        state: RoomState,
    },
    /// The last connection of a room is gone.
    RoomEnded {
        /// The room's peer.
        peer: PublicKey,
        /// The room's id.
        room: Box<str>,
        /// When it went.
        since: u64,
    },
    /// The metadata of a room was changed.
    RoomMetaUpdated {
        /// The room's peer.
        peer: PublicKey,
        /// The room's id.
        room: Box<str>,
        /// All of the metadata after the change.
        meta: RoomMeta,
    },
}

impl Event {
    /// The event as a frame.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only maps with string keys are written, which cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::PeerOnline { peer } => {
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("type", "peer_online")?;
            }
            Self::PeerOffline { peer, since } => {
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("since_ts", since)?;
                map.serialize_entry("type", "peer_offline")?;
            }
            Self::RoomAnnounced { peer, state } => {
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("type", "room_announced")?;
                write_room(&mut map, state)?;
            }
            Self::RoomEnded { peer, room, since } => {
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("room_id", room)?;
                map.serialize_entry("since_ts", since)?;
                map.serialize_entry("type", "room_ended")?;
            }
            Self::RoomMetaUpdated { peer, room, meta } => {
                map.serialize_entry("meta", &Mutable(meta))?;
                map.serialize_entry("peer", peer)?;
                map.serialize_entry("room_id", room)?;
                map.serialize_entry("type", "room_meta_updated")?;
            }
        }
        map.end()
    }
}

/// What is unknown is absent, never `null`.
fn write_known<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    text: Option<&str>,
) -> Result<(), M::Error> {
    text.map_or(Ok(()), |text| map.serialize_entry(name, text))
}

fn write_room<M: SerializeMap>(map: &mut M, room: &RoomState) -> Result<(), M::Error> {
    map.serialize_entry("room_id", &room.room)?;
    write_known(map, "name", room.meta.name.as_deref())?;
    write_known(map, "cwd", room.meta.cwd.as_deref())?;
    write_known(map, "model", room.meta.model.as_deref())?;
    write_known(map, "thinking", room.meta.thinking.as_deref())?;
    map.serialize_entry("working", &room.meta.working)?;
    map.serialize_entry("started_at", &room.started_at)
}

/// The part of the metadata that can change.
struct Mutable<'a>(&'a RoomMeta);

impl Serialize for Mutable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_known(&mut map, "model", self.0.model.as_deref())?;
        write_known(&mut map, "thinking", self.0.thinking.as_deref())?;
        map.serialize_entry("working", &self.0.working)?;
        map.end()
    }
}

/// One line of the answer to a presence check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresenceState<'a> {
    /// The peer as the asker spelled it.
    pub peer: &'a str,
    /// Whether it has a connection.
    pub online: bool,
    /// When it went; nothing when it is online, or was not seen to go.
    pub since_ts: Option<u64>,
}

/// The answer to a presence check.
#[must_use]
pub fn write_presence(states: &[PresenceState<'_>]) -> String {
    #[derive(Serialize)]
    struct Presence<'a> {
        states: &'a [PresenceState<'a>],
        #[serde(rename = "type")]
        kind: &'static str,
    }
    // Only maps with string keys are written, which cannot fail.
    serde_json::to_string(&Presence { states, kind: "presence" }).unwrap_or_default()
}

/// The answer to a rooms check for one peer, which is named as the asker spelled it.
#[must_use]
pub fn write_rooms(peer: &str, rooms: &[RoomState]) -> String {
    struct Room<'a>(&'a RoomState);
    impl Serialize for Room<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            write_room(&mut map, self.0)?;
            map.end()
        }
    }
    #[derive(Serialize)]
    struct Rooms<'a> {
        peer: &'a str,
        rooms: Vec<Room<'a>>,
        #[serde(rename = "type")]
        kind: &'static str,
    }
    let rooms = rooms.iter().map(Room).collect();
    // Only maps with string keys are written, which cannot fail.
    serde_json::to_string(&Rooms { peer, rooms, kind: "rooms" }).unwrap_or_default()
}
