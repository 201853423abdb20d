//! Other machines: what they are called here, who is on them, and how envelopes go to and fro.
//!
//! A [`Topology`] comes out of the memberships of the owners; the [`Bridge`] carries envelopes
//! between the local mesh and the machines in it. What an envelope says about its sender counts for
//! nothing: the relay's connection or the seal proves which machine it is from, and everything else
//! is that machine's word.

mod alias;
mod bridge;
mod inventory;
mod topology;
mod wire;

pub use alias::{Identity, assign_aliases, choose_nickname, encode_nickname};
pub use bridge::{
    ANNOUNCE_INTERVAL_MS, Around, Bridge, INVENTORY_LIFETIME_MS, Kind, OtherMachine, Outgoing,
    REQUEST_PATIENCE_MS, Received,
};
pub use inventory::{Inventory, InventoryError, PEERS_REQUEST, parse_inventory, write_inventory};
pub use topology::{Machine, Topology};
pub use wire::{
    Dropped, INVENTORY_ENDPOINT, RELAY, Receipt, read_relay_error, strip_label, transport_error,
};
