//! What the author of a component depends on.
//!
//! A harness adapter implements [`Adapter`] on plain Rust types and ends with
//! [`export_adapter!`]; nothing else in it needs to know about WebAssembly. A routing policy
//! implements [`routing::exports::rp::routing::policy::Guest`] and ends with
//! [`routing::export!`]. The machine that runs the tests needs no WebAssembly either: the
//! `replay` module feeds a recorded transcript of a harness to an adapter and writes down
//! what it does.

pub mod adapter;
pub mod bindings;
#[cfg(not(target_arch = "wasm32"))]
pub mod replay;

pub use adapter::Adapter;
pub use bindings::harness::exports::rp::harness::adapter as interface;
pub use bindings::harness::rp::session::types as session;
pub use bindings::{harness, routing};
pub use wit_bindgen;
