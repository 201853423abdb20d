//! Adapter for the Codex command line (`@openai/codex`), over its app server.
//!
//! The app server speaks JSON-RPC in lines and keeps conversations as threads; one thread is
//! current here. It steers a running turn with a second prompt and has no queue, so prompts
//! for later wait in this adapter.
//!
//! - `launch` and `options`: what the adapter is, how Codex is started, the user's settings
//! - `wire` and `item`: lines of Codex, read no further than needed
//! - `session`: the state machine and the calls of the host
//! - `process`: start, standard error, end
//! - `requests` and `answers`: what was asked of Codex, and what it answered
//! - `thread`: the handshake and the current thread
//! - `commands`: what clients want
//! - `prompts`: which prompt goes out when, and when the model sees it
//! - `turn`, `messages`, `tools`: what happens inside a turn
//! - `questions`, `approvals` and `inputs`: what Codex asks, and how it is answered
//! - `state`, `models` and `history`: what clients are told when they ask

mod answers;
mod approvals;
mod commands;
mod history;
mod inputs;
mod item;
mod launch;
mod messages;
mod models;
mod options;
mod process;
mod prompts;
mod questions;
mod requests;
mod session;
mod state;
mod thread;
mod tools;
mod turn;
mod wire;

pub use session::Codex;

rp_sdk::export_adapter!(Codex);
