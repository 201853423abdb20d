//! The buttons every agent has: compact, new session, model and thinking.
//!
//! Each is one command of the session, and says in a sentence what came of it. What a harness
//! cannot do it refuses itself, and its words are shown.
//!
//! - `buttons`: what they are and what they take
//! - `models`: names of models, as people write and read them

mod buttons;
mod models;

pub use buttons::Core;

rp_sdk::export_actions!(Core);
