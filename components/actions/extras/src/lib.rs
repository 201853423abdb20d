//! Buttons that hand work over, run tests and leave notes.
//!
//! - `buttons`: what they are and what they take
//! - `hand_over`: the agent sums its work up, and another agent is told
//! - `run_tests`: the agent runs the project's tests, and what it says becomes a report
//! - `broadcast_note`: everybody in the folder is told something
//! - `answers`: what an agent answers when it is asked

mod answers;
mod broadcast_note;
mod buttons;
mod hand_over;
mod run_tests;

pub use buttons::Extras;

rp_sdk::export_actions!(Extras);
