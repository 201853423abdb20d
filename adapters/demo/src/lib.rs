//! Adapter for the demo agent: see `PROTOCOL.md` beside this crate.

mod launch;
mod questions;
mod session;
mod wire;

pub use session::Demo;

rp_sdk::export_adapter!(Demo);
