//! Who decides what happens to each envelope.

use rp_protocol::routing::{Decision, Facts};

/// Decides what happens to each envelope between peers. Asked for every one, from several
/// threads at once, so it must answer in microseconds and never wait.
///
/// Not asked about what is said to the router itself and what the router says.
pub trait RoutingPolicy: Send + Sync {
    /// Decides about one envelope.
    ///
    /// # Errors
    /// When no decision could be made; the text says why, for a person. The envelope is held:
    /// a broken policy lets nothing through.
    fn decide(&self, facts: &Facts<'_>) -> Result<Decision, String>;

    /// Whether the facts are to contain the body.
    fn wants_bodies(&self) -> bool {
        false
    }
}

/// Delivers everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliverEverything;

impl RoutingPolicy for DeliverEverything {
    fn decide(&self, _facts: &Facts<'_>) -> Result<Decision, String> {
        Ok(Decision::Deliver)
    }
}
