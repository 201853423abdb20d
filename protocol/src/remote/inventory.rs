//! What machines tell each other about who is on them.

use serde::Deserialize;
use serde_json::Value;

use crate::mesh::{
    MAX_ADDRESS_UNITS, MAX_CWD_UNITS, MAX_NAME_UNITS, MAX_PEERS, RosterEntry, utf16_units,
    write_json_string,
};

/// The body that asks for an inventory.
pub const PEERS_REQUEST: &str = "{\"type\":\"peers_request\"}";
/// The `type` of the body that asks.
pub(super) const REQUEST_TYPE: &str = "peers_request";
/// The `type` of the body that tells.
pub(super) const UPDATE_TYPE: &str = "peers_update";

/// Who is on a machine: addresses without an alias, `pc` not set.
pub type Inventory = Vec<RosterEntry>;

/// Why an inventory is not taken, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// A list is missing, or holds something else than it should.
    #[error("the inventory has the wrong shape")]
    Shape,
    /// More peers than [`MAX_PEERS`].
    #[error("the inventory has more than {MAX_PEERS} peers")]
    Peers,
    /// A folder, name or address is longer than it may be.
    #[error("the inventory has a folder, name or address that is too long")]
    Length,
}

#[derive(Deserialize)]
struct Update {
    peers: Vec<String>,
    #[serde(default)]
    peers_detailed: Value,
}

#[derive(Deserialize)]
struct Detailed {
    cwd: String,
    name: String,
    address: String,
}

/// Writes the body that tells who is on this machine. Peers of other machines are left out.
///
/// # Errors
/// When the roster is larger than others would take.
pub fn write_inventory(roster: &[RosterEntry]) -> Result<String, InventoryError> {
    let local: Vec<&RosterEntry> = roster.iter().filter(|entry| entry.pc.is_none()).collect();
    check(local.len(), local.iter().copied())?;
    let mut out = format!("{{\"type\":\"{UPDATE_TYPE}\",\"peers\":[").into_bytes();
    for (index, entry) in local.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_string(&mut out, &entry.address);
    }
    out.extend_from_slice(b"],\"peers_detailed\":[");
    for (index, entry) in local.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"cwd\":" } else { b"{\"cwd\":" });
        write_json_string(&mut out, &entry.cwd);
        out.extend_from_slice(b",\"name\":");
        write_json_string(&mut out, &entry.name);
        out.extend_from_slice(b",\"address\":");
        write_json_string(&mut out, &entry.address);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    // Written above as UTF-8.
    String::from_utf8(out).map_err(|_| InventoryError::Shape)
}

/// Reads the body that tells who is on another machine. `peers` must be right even where
/// `peers_detailed` counts; machines of old send `peers` only, then the address stands for the
/// name.
///
/// # Errors
/// When anything in it is wrong: then nothing of it counts.
pub fn parse_inventory(body: &str) -> Result<Inventory, InventoryError> {
    let update: Update = serde_json::from_str(body).map_err(|_| InventoryError::Shape)?;
    let plain: Inventory = update
        .peers
        .into_iter()
        .map(|address| RosterEntry { pc: None, cwd: String::new(), name: address.clone(), address })
        .collect();
    check_addresses(&plain)?;
    if !update.peers_detailed.is_array() {
        return Ok(plain);
    }
    let detailed: Vec<Detailed> =
        serde_json::from_value(update.peers_detailed).map_err(|_| InventoryError::Shape)?;
    let inventory: Inventory = detailed
        .into_iter()
        .map(|Detailed { cwd, name, address }| RosterEntry { pc: None, cwd, name, address })
        .collect();
    check(inventory.len(), inventory.iter())?;
    Ok(inventory)
}

fn check_addresses(plain: &Inventory) -> Result<(), InventoryError> {
    if plain.len() > MAX_PEERS {
        return Err(InventoryError::Peers);
    }
    let fits = plain.iter().all(|entry| utf16_units(&entry.address) <= MAX_ADDRESS_UNITS);
    if fits { Ok(()) } else { Err(InventoryError::Length) }
}

fn check<'a>(
    count: usize,
    mut entries: impl Iterator<Item = &'a RosterEntry>,
) -> Result<(), InventoryError> {
    if count > MAX_PEERS {
        return Err(InventoryError::Peers);
    }
    let fits = entries.all(|entry| {
        utf16_units(&entry.cwd) <= MAX_CWD_UNITS
            && utf16_units(&entry.name) <= MAX_NAME_UNITS
            && utf16_units(&entry.address) <= MAX_ADDRESS_UNITS
    });
    if fits { Ok(()) } else { Err(InventoryError::Length) }
}
