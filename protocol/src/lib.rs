//! Every wire format of the mesh and its rules.
//!
//! Nothing here does I/O, reads a clock or spawns anything: parsers and state machines take
//! bytes and times and return values, so that each can be fuzzed and replayed.

pub mod actions;
pub mod component;
pub mod courier;
pub mod key;
pub mod membership;
pub mod mesh;
pub mod relay;
pub mod routing;
pub mod seal;
pub mod session;
