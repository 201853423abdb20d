//! The mesh over real sockets: what its wire promises, what bad input gets, what happens to this
//! host's agents, and what happens when a leader dies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod agents;
mod bad_input;
mod bounds;
mod client;
mod election;
mod fixture;
mod policy;
mod router;
mod wire;
