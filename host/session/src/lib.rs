//! Sessions: harness processes that are driven through adapter components, what they said,
//! and the mesh messages on their way into them.
//!
//! [`Sessions`] holds all of the machine, [`Session`] is the handle on one. Behind it, one
//! task per agent (`actor`) owns the agent's [`process`], its adapter and its side of the
//! mailbox (`delivery`); everybody else asks it through a bounded queue. What it hears goes
//! into the [`History`], where any number of readers follow at their own pace. What it asks
//! a person is in [`Questions`].

mod actor;
mod answer;
pub mod answers;
mod commands;
mod delivery;
mod environment;
pub mod framing;
mod header;
mod history;
mod inbound;
mod live;
mod memory;
mod private;
pub mod process;
mod questions;
mod record;
pub mod restart;
mod run;
mod session;
mod sessions;
mod status;
mod timing;
mod tree;
pub mod version;

pub use environment::HOST_PROGRAM;
pub use header::message_ids;
pub use history::{History, HistoryItem, HistoryLimits, HistoryReader, Recorded};
pub use live::{Given, LiveMail};
pub use questions::{AskedQuestion, Questions, Settled};
pub use record::{Orphan, end_orphans};
pub use session::{AgentConfig, Session};
pub use sessions::{Sessions, SessionsConfig, SessionsError};
pub use status::{Phase, Status};
pub use timing::Timing;
pub use tree::parent_of;
