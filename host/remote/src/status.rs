//! How it stands with other machines, for people.

use rp_link::{Source, State};
use rp_protocol::key::PublicKey;
use rp_protocol::relay::Presence;

/// How this machine is connected to its relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// There is no link, and why.
    Off {
        /// For a person.
        reason: String,
    },
    /// There is one, and this is how it is.
    Link(State),
}

/// How messages go to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Sealed: the relay cannot read them.
    Sealed,
    /// In the clear, because the machine speaks only the old wire.
    Clear,
    /// It was never seen.
    Unknown,
}

/// Another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineStatus {
    /// Who it is.
    pub key: PublicKey,
    /// What stands in front of its addresses.
    pub alias: String,
    /// How it is connected, as the relay says.
    pub presence: Presence,
    /// How messages go to it.
    pub way: Way,
    /// Messages of agents that wait for it.
    pub waiting: usize,
}

/// A machine in an owner's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who it is.
    pub key: PublicKey,
    /// What stands in front of its addresses here.
    pub alias: String,
    /// What the owner calls it.
    pub nickname: Option<String>,
    /// When it was paired, as the membership says.
    pub paired_at: String,
}

/// An owner whose membership counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerStatus {
    /// Who it is.
    pub owner: PublicKey,
    /// The membership's version.
    pub version: u64,
    /// In the owner's order.
    pub members: Vec<MemberStatus>,
}

/// How it stands with other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The relay's URL as it was given.
    pub relay: String,
    /// Where that was read.
    pub source: Source,
    /// How the relay is reached.
    pub connection: Connection,
    /// Who this machine is, once it has a key.
    pub machine: Option<PublicKey>,
    /// What this machine is called by its owners.
    pub alias: Option<String>,
    /// The machine key is in a file that whoever reads the user's files can take.
    pub key_in_file: bool,
    /// The owners whose memberships count.
    pub owners: Vec<OwnerStatus>,
    /// The other machines.
    pub machines: Vec<MachineStatus>,
    /// What is wrong with memberships.
    pub troubles: Vec<String>,
    /// Another live host with this machine's key was seen.
    pub clone_seen: bool,
}
