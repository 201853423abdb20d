//! Envelopes that tests change as they need.

use crate::policy::{Direction, Facts, Peer};

/// A peer of this machine with this name.
#[must_use]
pub fn peer(name: &str) -> Peer {
    Peer {
        pc: None,
        cwd: "/home/ann/project".to_owned(),
        name: name.to_owned(),
        address: format!("/home/ann/project@{name}"),
        harness: None,
        person: false,
    }
}

/// A short text from one peer of this machine to another, sent on a Saturday at 00:51:25 UTC.
#[must_use]
pub fn facts(sender: &str, recipient: &str) -> Facts {
    let recipient = peer(recipient);
    Facts {
        direction: Direction::Local,
        sender: peer(sender),
        to: recipient.address.clone(),
        recipients: vec![recipient],
        id: "0190a1b2-0000-7000-8000-000000000000".to_owned(),
        re: None,
        body_bytes: 7,
        body_type: None,
        body: None,
        sent_last_minute: 0,
        now_ms: 1_795_222_285_492,
    }
}
