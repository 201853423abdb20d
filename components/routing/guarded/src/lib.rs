//! A routing policy with limits, allow-lists, quiet hours and held messages.
//!
//! What a person can set, and what each rule does, is in the README beside `Cargo.toml`. Each rule
//! is a module that reads its settings, checks an envelope and says why it objects:
//!
//! - `allow`: who may write, and who may be written to
//! - `size`: how long a message may be
//! - `rate`: how many messages one peer may send another
//! - `replies`: two agents that answer each other for ever
//! - `quiet`: when nobody is to be woken up
//! - `rules`: messages that a person wants to see first
//!
//! Below them: `fields` reads settings, `verdict` is what a rule says, `glob`, `who` and `body` are
//! what patterns are and what they are compared with, `recent` remembers what was delivered.

mod allow;
mod body;
mod fields;
mod glob;
mod guarded;
mod quiet;
mod rate;
mod recent;
mod replies;
mod rules;
mod size;
mod verdict;
mod who;

pub use guarded::Guarded;

rp_sdk::export_policy!(Guarded);
