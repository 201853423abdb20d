//! What the rest of the program can be told about the mesh.

use rp_protocol::mesh::EnvelopeId;

/// Something that happened on the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshEvent {
    /// This program leads, follows, or is looking for a leader.
    RoleChanged(Role),
    /// A peer registered.
    PeerJoined {
        /// Its address.
        address: String,
    },
    /// A peer is gone.
    PeerLeft {
        /// Its address.
        address: String,
    },
    /// A peer did not read what was sent to it; its connection was closed. `PeerLeft` follows.
    SlowReaderDisconnected {
        /// Its address.
        address: String,
    },
    /// The routing policy held an envelope back.
    EnvelopeHeld {
        /// Its id.
        id: EnvelopeId,
        /// Why.
        reason: String,
    },
}

/// What this program is on the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The broker runs here.
    Leader,
    /// The broker runs in another program; each agent has a connection to it.
    Follower,
    /// There is no broker right now.
    Searching,
}
