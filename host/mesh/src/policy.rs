//! Who decides what happens to each envelope.

use rp_protocol::routing::{Decision, Facts};

/// Decides what happens to each envelope between peers. Asked for every one, from several
/// threads at once, so it must answer in microseconds and never wait.
///
/// Not asked about what is said to the router itself and what the router says.
pub trait RoutingPolicy: Send + Sync {
    /// Decides about one envelope.
    fn decide(&self, facts: &Facts<'_>) -> Ruling;

    /// Whether the facts are to contain the body.
    fn wants_bodies(&self) -> bool {
        false
    }
}

/// What is decided about an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The decision, or why none could be made, in words for a person: then the envelope is held,
    /// because a broken policy lets nothing through.
    pub decision: Result<Decision, String>,
    /// Of an envelope that is held: the body that a policy wrote, as JSON. A person sees and
    /// releases this one.
    pub body: Option<String>,
    /// Of an envelope that is held: the addresses that a policy sent it to instead.
    pub recipients: Option<Vec<String>>,
}

impl From<Result<Decision, String>> for Ruling {
    fn from(decision: Result<Decision, String>) -> Self {
        Ruling { decision, body: None, recipients: None }
    }
}

/// Delivers everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliverEverything;

impl RoutingPolicy for DeliverEverything {
    fn decide(&self, _facts: &Facts<'_>) -> Ruling {
        Ok(Decision::Deliver).into()
    }
}
