//! Adapter for Claude Code, over its stream-json mode.
//!
//! Claude reads messages and requests as JSON lines and writes what happens the same way. It
//! takes a prompt at any time and says of each what becomes of it, so nothing is held back
//! here and nothing is waited for: the adapter sets no timer.
//!
//! - `launch`: what the adapter is and how Claude is started
//! - `decode`: lines of Claude, read no further than needed
//! - `session`: the state machine and the calls of the host
//! - `process`: start, standard error, end
//! - `commands`, `requests` and `responses`: what clients want, and what Claude answers
//! - `prompts`: what Claude was given to do, and when it does it
//! - `turn`, `messages`, `tools`, `notices`: what happens inside a turn
//! - `permissions` and `questions`: what Claude asks
//! - `models` and `state`: what is known of the session

mod commands;
mod decode;
mod launch;
mod messages;
mod models;
mod notices;
mod permissions;
mod process;
mod prompts;
mod questions;
mod requests;
mod responses;
mod session;
mod state;
mod tools;
mod turn;

pub use session::ClaudeCode;

rp_sdk::export_adapter!(ClaudeCode);
