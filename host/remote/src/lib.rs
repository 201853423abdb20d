//! This machine among its owner's machines: it follows the memberships, and carries envelopes
//! between the local mesh and the meshes of the other machines.
//!
//! [`Remote`] is the door. Behind it one task (`task`) lives as long as the program; while there is
//! an owner or a person wants it so, `machine` holds the link to the relay, the bridge and, for each
//! other machine, a `line`: whether it is there, how it is talked to, and what waits for it on disk
//! (`outbox`). What needs the owner's key is in `owner`, joining by a code in `invitation`.
//!
//! Two hosts talk sealed or not at all. With a machine that speaks only the old wire envelopes go in
//! the clear, where the setting allows it; one that has ever been sealed with never again.

mod arrivals;
mod door;
mod files;
mod following;
mod invitation;
mod line;
mod machine;
mod outbox;
mod owner;
mod publications;
mod remote;
mod status;
mod task;
mod traffic;

pub use files::{FileError, set_relay};
pub use invitation::{Conversation, Role, Stage};
pub use owner::{Change, Created, OwnerError};
pub use remote::{Config, Remote, RemoteError, Wanted};
pub use status::{Connection, MachineStatus, MemberStatus, OwnerStatus, Status, Way};
