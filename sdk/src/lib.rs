//! What the author of a component depends on.
//!
//! A harness adapter implements [`Adapter`] on plain Rust types and ends with
//! [`export_adapter!`], a routing policy implements [`Policy`] and ends with [`export_policy!`],
//! app actions implement [`Handler`] and end with [`export_actions!`]; nothing else in them needs
//! to know about WebAssembly. The machine that runs the tests needs no WebAssembly either: the
//! `replay` module feeds a recorded transcript of a harness to an adapter and writes down what it
//! does.

pub mod adapter;
pub mod bindings;
pub mod handler;
pub mod policy;
#[cfg(not(target_arch = "wasm32"))]
pub mod replay;
pub mod settings;

pub use adapter::Adapter;
pub use bindings::harness::exports::rp::harness::adapter as interface;
pub use bindings::harness::rp::session::types as session;
pub use bindings::{actions, harness, routing};
pub use handler::Handler;
pub use policy::Policy;
pub use wit_bindgen;
