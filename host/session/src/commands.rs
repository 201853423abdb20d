//! The commands an adapter has not settled yet: each is settled exactly once, whatever
//! happens.

use std::{collections::BTreeMap, time::Duration};

use rp_protocol::session::{Command, Failure, FailureKind, Reply};
use tokio::{sync::oneshot, time::Instant};

/// The most commands that can be open in one session.
const LIMIT: usize = 256;

/// How a command came out.
pub(crate) type Outcome = Result<Reply, Failure>;

/// Who waits for the outcome of a command.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A client.
    Client(oneshot::Sender<Outcome>),
    /// A client that answers this question.
    Answer(String, oneshot::Sender<Outcome>),
    /// The delivery of messages: the command is a prompt with a batch of them.
    Delivery,
    /// The delivery of messages: the command reads the conversation, to see which of them
    /// are in it.
    Doubt,
}

/// An open command.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) asker: Asker,
    /// It may start a turn.
    pub(crate) starts_turn: bool,
    /// It is a prompt.
    pub(crate) is_prompt: bool,
    /// How many turns had started when it was given.
    pub(crate) turns_before: u64,
    deadline: Instant,
}

/// The open commands of a session.
#[derive(Debug)]
pub(crate) struct Commands {
    time_limit: Duration,
    last: u64,
    open: BTreeMap<u64, Open>,
}

impl Commands {
    pub(crate) fn new(time_limit: Duration) -> Self {
        Self { time_limit, last: 0, open: BTreeMap::new() }
    }

    /// Opens a command and gives its number; gives the asker back when too many are open.
    pub(crate) fn open(
        &mut self,
        command: &Command,
        asker: Asker,
        turns_before: u64,
    ) -> Result<u64, Asker> {
        if self.open.len() >= LIMIT {
            return Err(asker);
        }
        self.last += 1;
        let is_prompt = matches!(command, Command::Prompt(_));
        let starts_turn = is_prompt
            || matches!(
                command,
                Command::NewSession
                    | Command::Resume { .. }
                    | Command::Compact { .. }
                    | Command::Other { .. }
            );
        let deadline = Instant::now() + self.time_limit;
        self.open.insert(self.last, Open { asker, starts_turn, is_prompt, turns_before, deadline });
        Ok(self.last)
    }

    /// Closes a command; `None` when it is not open.
    pub(crate) fn close(&mut self, number: u64) -> Option<Open> {
        self.open.remove(&number)
    }

    /// Closes all.
    pub(crate) fn close_all(&mut self) -> Vec<Open> {
        std::mem::take(&mut self.open).into_values().collect()
    }

    /// Closes those whose time is over.
    pub(crate) fn close_overdue(&mut self, now: Instant) -> Vec<Open> {
        let mut overdue = Vec::new();
        // Numbers and deadlines rise together.
        while let Some(first) = self.open.first_entry()
            && first.get().deadline <= now
        {
            overdue.push(first.remove());
        }
        overdue
    }

    /// When the first one's time is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, open)| open.deadline)
    }

    /// A command is open that may start a turn.
    pub(crate) fn may_start_turn(&self) -> bool {
        self.open.values().any(|open| open.starts_turn)
    }
}

/// The harness broke, or is not running.
pub(crate) fn harness_failure(message: impl Into<String>, hint: Option<&str>) -> Failure {
    Failure { kind: FailureKind::Harness, message: message.into(), hint: hint.map(str::to_owned) }
}
