//! What the tests of a component begin with.
//!
//! An adapter is tested on a [`Bench`], and against recordings with [`replay`](crate::replay); a
//! policy with the envelopes in [`policy`]; actions with the contexts in [`actions`].

pub mod actions;
mod adapter;
mod bench;
pub mod policy;

pub use adapter::{launch_request, mesh_access};
pub use bench::Bench;
