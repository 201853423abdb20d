//! The wire of the local mesh: what goes over the broker's socket, and its rules.
//!
//! A connection is a stream of lines ([`LineDecoder`]), one JSON value each. It opens with an
//! [`Opening`]; once registered, everything either side says is an [`Envelope`].

mod control;
mod envelope;
mod id;
mod json;
mod line;
mod name;

pub use control::{
    AckOrigin, AckStatus, Inbound, Notice, Opening, RegisterAck, RegisterReply, RosterEntry,
    TransportError, asks_for_roster, classify, parse_roster, write_ack, write_probe, write_roster,
    write_roster_request,
};
pub use envelope::{Body, Destination, Envelope, EnvelopeError};
pub use id::{EnvelopeId, NotAnId};
pub use json::MalformedJson;
pub use line::{LineDecoder, LineTooLong, MAX_LINE_BYTES};
pub use name::{
    Assignment, BROADCAST, BROKER, MAX_ADDRESS_UNITS, MAX_CWD_UNITS, MAX_NAME_UNITS, MAX_PEERS,
    MAX_SUFFIX, OBSERVER, Refusal, Register, assign_address, compose_address, default_name,
    is_drive_path, is_javascript_whitespace, is_valid_cwd, migrate_configured_name, sanitise_name,
    split_alias, split_suffix, utf16_units,
};

/// Appends `text` as a JSON string with its quotes.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    json::write_string(out, text);
}
