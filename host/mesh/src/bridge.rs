//! Where another machine's peers are attached.

use rp_protocol::mesh::{Envelope, RosterEntry};

/// What the sender of an envelope wants when it cannot be carried at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carriage {
    /// Whether it may wait for a machine that is not connected. If not, it fails at once, as on
    /// the wire.
    pub may_wait: bool,
    /// When it fails if it still waits, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
}

/// Carries envelopes to peers of other machines. Called while messages are routed: nothing here
/// may wait.
pub trait Bridge: Send + Sync {
    /// The peers of other machines, as far as they are known: `pc` set, and the machine's alias
    /// in front of the address.
    fn roster(&self) -> Vec<RosterEntry>;

    /// Whether `alias` is a machine that envelopes can be sent to.
    fn knows(&self, alias: &str) -> bool;

    /// Takes an envelope whose destination starts with a known alias and a colon. False when too
    /// much waits already; then it is not taken.
    fn send(&self, envelope: &Envelope<'_>, carriage: Carriage) -> bool;
}
