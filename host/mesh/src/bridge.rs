//! Where another machine's peers are attached.

use rp_protocol::mesh::{Envelope, RosterEntry};

/// Carries envelopes to peers of other machines. Called while messages are routed: nothing here
/// may wait.
pub trait Bridge: Send + Sync {
    /// The peers of other machines, as far as they are known: `pc` set, and the machine's alias
    /// in front of the address.
    fn roster(&self) -> Vec<RosterEntry>;

    /// Whether `alias` is a machine that envelopes can be sent to.
    fn knows(&self, alias: &str) -> bool;

    /// Takes an envelope whose destination starts with a known alias and a colon.
    fn send(&self, envelope: &Envelope<'_>);
}
