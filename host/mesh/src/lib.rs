//! The local mesh: the broker that programs on this machine find each other by, the part of a
//! follower while another program leads, and the durable mailboxes of this host's agents.
//!
//! [`Mesh`] is the door. Behind it: `election` finds out who leads, `supervisor` acts on it;
//! `serve` takes lines from connections, `route` sends envelopes on their way through the routing
//! policy, `deliver` hands them over, `connection` writes them out; `follower` does the same through
//! another leader.

mod acks;
mod agent;
mod audit;
mod bridge;
mod broker;
mod config;
mod connection;
mod deliver;
mod election;
mod event;
mod follower;
mod ids;
mod judge;
mod mailbox;
mod member;
mod mesh;
mod policy;
mod receipt;
mod roster;
mod route;
mod serve;
mod supervisor;
mod undelivered;

pub use agent::AgentId;
pub use bridge::{Bridge, Carriage};
pub use config::{Clock, Limits, MeshConfig, system_clock};
pub use election::ElectionError;
pub use event::{MeshEvent, Role};
pub use mailbox::{
    Accepted, Expired, HeldMessage, Incoming, Letter, MailboxLimits, Mailboxes, Origin, Pending,
    Refused, Stage, TraceStep,
};
pub use member::person_mailbox;
pub use mesh::{Agent, Injection, JoinError, Mesh, PeerInfo, ReleaseError};
pub use policy::{DeliverEverything, RoutingPolicy, Ruling};
pub use receipt::{Delivery, Outcome, Receipt, Recipients, SendError, Sender};
