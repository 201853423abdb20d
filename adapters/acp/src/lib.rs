//! Adapter for agents that speak the Agent Client Protocol: JSON-RPC lines in both directions.
//!
//! One state machine drives OpenCode, pi-acp, Gemini CLI and whatever program a person names.
//! The protocol leaves open when a second prompt may come, whether history arrives before or
//! behind the answer that ends it, what a tool is called; `harness` says what was measured of
//! each agent, and the rest follows what an agent says of itself.
//!
//! - `harness` and `launch`: which agents there are, where they part, how they are started
//! - `decode`: lines of an agent, read no further than needed
//! - `session`: the state machine and the calls of the host
//! - `process`: standard error and the end
//! - `opening` and `waiting`: from the handshake to a session that takes prompts, and from one
//!   to the next, while commands wait
//! - `commands`, `requests` and `responses`: what clients want, and what the agent answers
//! - `prompts` and `turn`: which prompt goes out when, when the model sees it, how a turn ends
//! - `updates`, `conversation`, `tools` and `history`: what the agent says and does
//! - `questions`: what it asks
//! - `options` and `state`: models, thinking, modes, tokens

mod commands;
mod conversation;
mod decode;
mod harness;
mod history;
mod launch;
mod opening;
mod options;
mod process;
mod prompts;
mod questions;
mod requests;
mod responses;
mod session;
mod state;
mod tools;
mod turn;
mod updates;
mod waiting;

pub use session::Acp;

rp_sdk::export_adapter!(Acp);
