//! What a sender on this host says and is told.

use rp_protocol::mesh::EnvelopeId;

use crate::agent::AgentId;

/// Who sends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// An agent that this host runs.
    Agent(AgentId),
    /// The person at this machine.
    Person,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// One address.
    One(String),
    /// Several addresses.
    Many(Vec<String>),
    /// Everybody in the sender's folder.
    Broadcast,
}

impl From<&str> for Recipients {
    /// `broadcast` means everybody in the folder, as on the wire.
    fn from(address: &str) -> Self {
        if address == rp_protocol::mesh::BROADCAST {
            Recipients::Broadcast
        } else {
            Recipients::One(address.to_owned())
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the envelope; an answer carries it in `re`.
    pub id: EnvelopeId,
    /// For each recipient, in the order they were named.
    pub deliveries: Vec<Delivery>,
}

/// What became of a message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The recipient's address, or `broadcast` when another program leads.
    pub address: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Handed over: stored on disk for an agent of this host, written to its connection for
    /// another program, acknowledged by the router that leads otherwise.
    Received,
    /// Handed to the router that leads, which gives no receipts for lists and broadcasts.
    Sent,
    /// Not delivered.
    Denied {
        /// Why, for a person or a model.
        reason: String,
    },
    /// Nobody has that address.
    Unknown {
        /// Addresses that look like it, best first.
        closest: Vec<String>,
    },
    /// Kept until a person allows it.
    Held {
        /// Why.
        reason: String,
    },
    /// On disk for another machine, which is not connected or has not said in time that it has it.
    /// It is sent until that machine confirms it.
    Waiting {
        /// For what.
        reason: String,
    },
    /// No word within five seconds. It may still arrive.
    Timeout,
}

impl Outcome {
    /// Whether the recipient has the message, or will have it without anybody's doing.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self, Outcome::Received | Outcome::Sent | Outcome::Waiting { .. })
    }

    pub(crate) fn denied(reason: &str) -> Self {
        Outcome::Denied { reason: reason.to_owned() }
    }
}

/// Why a message was not sent at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The sender has not joined the mesh.
    #[error("the sender has not joined the mesh")]
    NotJoined,
    /// Nobody leads the mesh right now.
    #[error("there is no mesh right now; another attempt to find or lead it is under way")]
    NoMesh,
    /// A list without addresses, or with an empty one.
    #[error("a message needs at least one recipient, and no address can be empty")]
    NoRecipient,
    /// Another program leads the mesh, and the wire knows no expiry.
    #[error("another program leads the mesh, and a message through it cannot expire")]
    NoExpiry,
    /// The envelope does not fit on a line.
    #[error("the message has {bytes} bytes, at most {limit} are possible")]
    TooLong {
        /// Bytes of the message.
        bytes: usize,
        /// The most there can be.
        limit: usize,
    },
}

/// The addresses that look most like one that nobody has, best first, at most three.
pub(crate) fn closest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    const SIMILAR_ENOUGH: f64 = 0.6;
    let leaf = |address: &str| match address.rsplit_once('@') {
        Some((_, leaf)) => leaf.to_owned(),
        None => address.to_owned(),
    };
    let wanted_leaf = leaf(wanted);
    let mut scored: Vec<(f64, &str)> = known
        .map(|address| {
            let whole = strsim::jaro_winkler(wanted, address);
            let name = strsim::jaro_winkler(&wanted_leaf, &leaf(address));
            (whole.max(name), address)
        })
        .filter(|(score, _)| *score >= SIMILAR_ENOUGH)
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().take(3).map(|(_, address)| address.to_owned()).collect()
}
