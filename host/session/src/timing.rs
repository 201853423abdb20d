//! Every time limit of a session, in one table.

use std::time::Duration;

use crate::restart::RestartPolicy;

/// How long a session waits for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// From the end of input to SIGTERM.
    pub close_grace: Duration,
    /// From SIGTERM to SIGKILL.
    pub term_grace: Duration,
    /// From the exit of the process to the end of its output, when something that got away
    /// holds the pipe open.
    pub drain: Duration,
    /// From a command to its outcome.
    pub command: Duration,
    /// From the start of a process to the first thing its adapter says of it. After that
    /// the session is taken to be ready all the same.
    pub ready: Duration,
    /// From an accepted prompt to the start of its turn. After that there was none.
    pub turn_start: Duration,
    /// The wait before messages that were refused in an idle session are offered again;
    /// it doubles with each refusal, up to 64 times as long.
    pub offer_again: Duration,
    /// When processes are started again.
    pub restarts: RestartPolicy,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            close_grace: Duration::from_secs(2),
            term_grace: Duration::from_secs(5),
            drain: Duration::from_secs(2),
            command: Duration::from_secs(600),
            ready: Duration::from_secs(30),
            turn_start: Duration::from_secs(10),
            offer_again: Duration::from_secs(5),
            restarts: RestartPolicy::default(),
        }
    }
}
