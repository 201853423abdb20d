//! What is kept of a session from one process to the next, and from one host to the next.

use redb::{ReadableTable, TableDefinition};
use rp_store::{Database, StoreError};
use serde::{Deserialize, Serialize};

/// Agent; JSON of [`Memory`].
const MEMORY: TableDefinition<&str, &[u8]> = TableDefinition::new("session_memory");

/// What is kept of one agent's session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The harness's own session, to be resumed.
    pub(crate) native_session: Option<String>,
    /// Messages that were offered and whose turn has not ended: when the process dies, nobody
    /// knows whether the model will remember them.
    #[serde(default)]
    pub(crate) in_flight: Vec<InFlight>,
    /// Messages that the harness had taken and the model does not know any more: they are
    /// offered again, before what the mailbox holds.
    #[serde(default)]
    pub(crate) again: Vec<InFlight>,
}

/// A message that was offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InFlight {
    /// Its number in the mailbox.
    pub(crate) sequence: u64,
    /// Its id.
    pub(crate) id: String,
    /// What the model was shown.
    pub(crate) text: String,
    /// How far it is known to have come.
    pub(crate) reached: Reached,
    /// The mailbox has let go of it: it can only be offered again from here.
    #[serde(default)]
    pub(crate) kept_here: bool,
}

/// How far an offered message is known to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reached {
    Offered,
    Injected,
    TurnSeen,
}

impl Memory {
    pub(crate) async fn load(database: &Database, agent: &str) -> Result<Self, StoreError> {
        let agent = agent.to_owned();
        let stored = database
            .write(move |transaction| {
                let table = transaction.open_table(MEMORY)?;
                let stored = table.get(agent.as_str())?.map(|found| found.value().to_vec());
                Ok(stored)
            })
            .await?;
        Ok(stored.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default())
    }

    /// Keeps it: on disk within a second, or soon when `durable`.
    pub(crate) fn save(&self, database: &Database, agent: &str, durable: bool) {
        let agent = agent.to_owned();
        let json = match serde_json::to_vec(self) {
            Ok(json) => json,
            Err(error) => return tracing::error!(%error, "a session's memory is not JSON"),
        };
        let write = move |transaction: &redb::WriteTransaction| {
            transaction.open_table(MEMORY)?.insert(agent.as_str(), json.as_slice())?;
            Ok(())
        };
        if durable {
            database.write_then(write, |outcome| {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "a session's memory was not written");
                }
            });
        } else {
            database.write_relaxed(write);
        }
    }

    pub(crate) async fn forget(database: &Database, agent: &str) -> Result<(), StoreError> {
        let agent = agent.to_owned();
        database
            .write(move |transaction| {
                transaction.open_table(MEMORY)?.remove(agent.as_str())?;
                Ok(())
            })
            .await
    }
}
