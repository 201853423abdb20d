//! What the end-to-end tests stand on: the real program, real harnesses, a scripted model, and
//! a client of the mesh written from its wire format alone.
//!
//! Every test has its own temporary folders and its own ports, and leaves no process behind.

pub mod control;
pub mod forwarder;
pub mod home;
pub mod host;
pub mod install;
pub mod load;
pub mod machines;
pub mod model;
pub mod network;
pub mod old_machine;
pub mod pi;
pub mod project;
pub mod relay;
pub mod script;
pub mod target;
pub mod terminal;
pub mod traces;
pub mod wire;

use std::time::Duration;

/// How long anything may take before a test gives up on it. It is long because the machines
/// that run the tests are busy; nothing ever waits this long when it works.
pub const PATIENCE: Duration = Duration::from_secs(60);
