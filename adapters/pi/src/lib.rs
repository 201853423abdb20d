//! Adapter for the Pi coding agent (`@earendil-works/pi-coding-agent`), over its RPC mode.
//!
//! Pi reads commands and writes events as JSON lines. Two generations of it are spoken here:
//! 0.74.2, which never says that a turn is over for good, and 0.87.1, which does. What
//! follows is one state machine for both; `version` says where they part.
//!
//! - `launch`: what the adapter is and how Pi is started
//! - `decode`: lines of Pi, read no further than needed
//! - `session`: the state machine and the calls of the host
//! - `process`: start, standard error, end
//! - `commands` and `responses`: what clients want, and what Pi answers
//! - `prompts`: which prompt goes out when, and when the model sees it
//! - `turn`, `messages`, `tools`, `retries`: what happens inside a turn
//! - `questions`: dialogs of extensions
//! - `state` and `history`: what Pi says when asked

mod commands;
mod decode;
mod history;
mod launch;
mod messages;
mod process;
mod prompts;
mod questions;
mod requests;
mod responses;
mod retries;
mod session;
mod state;
mod tools;
mod turn;
mod version;

pub use session::Pi;

rp_sdk::export_adapter!(Pi);
