//! Questions of all sessions as records on disk: which wait for a person, and what became of
//! those that do not any more.
//!
//! A question is on disk before anybody sees it, and an answer before the harness gets it. A
//! question belongs to the process that asked it: what was open when that process or its host
//! ended is lost, and nothing opens it again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use rp_mesh::AgentId;
use rp_protocol::session::{Failure, FailureKind, Question, QuestionEnd};
use rp_store::{Database, StoreError};
use serde::{Deserialize, Serialize};

use crate::{commands::harness_failure, process::now_ms};

/// Number; JSON of [`AskedQuestion`]. These wait for an answer, or for the harness to take it.
const OPEN: TableDefinition<u64, &[u8]> = TableDefinition::new("questions_open");
/// The same; these are over.
const SETTLED: TableDefinition<u64, &[u8]> = TableDefinition::new("questions_settled");
/// Under [`NEXT`], the next number; under [`BYTES`], how large the settled ones are.
const FIGURES: TableDefinition<&str, u64> = TableDefinition::new("question_figures");
const NEXT: &str = "next";
const BYTES: &str = "settled_bytes";

/// Settled questions that are kept. The oldest go first; the newest always stays.
const KEPT: u64 = 1_000;
/// The same, in bytes of JSON.
const KEPT_BYTES: u64 = 16 << 20;

/// Changes of one session that wait until the disk takes them again. The oldest go first.
const UNWRITTEN: usize = 1_000;

/// A question and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedQuestion {
    /// The agent that asks.
    pub agent: AgentId,
    /// What is asked. Its id is unique on this machine: `q` and a number.
    pub question: Question,
    /// When, in milliseconds since the Unix epoch.
    pub asked_at_ms: u64,
    /// When the harness stops waiting, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// What became of it; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    pub(crate) number: u64,
    /// What the harness calls it.
    pub(crate) native: String,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How.
    #[serde(flatten)]
    pub how: QuestionEnd,
}

/// A change of one record.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// It is open and is like this.
    Open(AskedQuestion),
    /// It is over.
    Settle(AskedQuestion),
}

/// The questions of all sessions. Clones share them.
#[derive(Clone)]
pub struct Questions {
    database: Database,
    next: Arc<AtomicU64>,
    /// Those that the host before this one left open, until their session has told them.
    left_open: Arc<Mutex<HashMap<AgentId, Vec<String>>>>,
}

impl Questions {
    /// Opens the records. What is open in them belongs to processes that are gone: it is lost.
    pub(crate) async fn open(database: Database) -> Result<Self, StoreError> {
        let at_ms = now_ms();
        let (next, left_open) =
            database.write(move |transaction| lose_all(transaction, at_ms)).await?;
        Ok(Self {
            database,
            next: Arc::new(AtomicU64::new(next)),
            left_open: Arc::new(Mutex::new(left_open)),
        })
    }

    /// The question with this id, unless it is no longer kept.
    ///
    /// # Errors
    /// The database failed.
    pub fn get(&self, id: &str) -> Result<Option<AskedQuestion>, StoreError> {
        let Some(number) = number_of(id) else { return Ok(None) };
        self.database.read(|transaction| {
            let open =
                transaction.open_table(OPEN)?.get(number)?.map(|found| decode(found.value()));
            let settled = transaction.open_table(SETTLED)?;
            let found = match open {
                Some(open) => Some(open),
                None => settled.get(number)?.map(|found| decode(found.value())),
            };
            Ok(found.flatten())
        })
    }

    /// Those that are open, or all that are kept; the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub fn list(&self, all: bool) -> Result<Vec<AskedQuestion>, StoreError> {
        let mut found = self.database.read(|transaction| {
            let mut found = Vec::new();
            if all {
                records(&transaction.open_table(SETTLED)?, &mut found)?;
            }
            records(&transaction.open_table(OPEN)?, &mut found)?;
            Ok(found)
        })?;
        found.retain(|asked| all || asked.settled.is_none());
        found.sort_by_key(|asked| asked.number);
        Ok(found)
    }

    /// Gives a question its id. It is on disk once its first [`Change`] is written.
    pub(crate) fn number(&self, agent: &AgentId, mut question: Question) -> AskedQuestion {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let asked_at_ms = now_ms();
        let native = std::mem::replace(&mut question.id, format!("q{number}"));
        AskedQuestion {
            agent: agent.clone(),
            asked_at_ms,
            expires_at_ms: question.expires_ms.map(|ms| asked_at_ms.saturating_add(ms)),
            question,
            settled: None,
            number,
            native,
        }
    }

    /// Puts changes on disk.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.database
            .write(move |transaction| {
                let mut tables = Tables::open(transaction)?;
                for change in &changes {
                    tables.apply(change)?;
                }
                Ok(())
            })
            .await
    }

    /// Puts changes on disk and takes them out of this list. Those that could not be written stay
    /// in it, the newest of them, for the next attempt.
    pub(crate) async fn write_out(&self, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let written = self.write(changes.clone()).await;
        let done = match written {
            Ok(()) => changes.len(),
            Err(_) => changes.len().saturating_sub(UNWRITTEN),
        };
        changes.drain(..done);
        written
    }

    /// Forgets the questions of an agent.
    pub(crate) async fn forget(&self, agent: &AgentId) -> Result<(), StoreError> {
        let agent = agent.clone();
        self.database
            .write(move |transaction| {
                let mut tables = Tables::open(transaction)?;
                let mut found = Vec::new();
                records(&tables.open, &mut found)?;
                records(&tables.settled, &mut found)?;
                for asked in found.iter().filter(|asked| asked.agent == agent) {
                    tables.open.remove(asked.number)?;
                    tables.remove_settled(asked.number)?;
                }
                Ok(())
            })
            .await
    }

    /// The ids of an agent's questions that the host before this one left open; told once.
    pub(crate) fn left_open(&self, agent: &AgentId) -> Vec<String> {
        let mut left_open = self.left_open.lock().unwrap_or_else(PoisonError::into_inner);
        left_open.remove(agent).unwrap_or_default()
    }

    /// Why a question that no session waits with takes no answer.
    pub(crate) fn refusal(&self, id: &str) -> Failure {
        match self.get(id) {
            Ok(Some(asked)) => match &asked.settled {
                Some(settled) => is_over(id, settled),
                None => Failure {
                    kind: FailureKind::NotFound,
                    message: format!("this session does not wait for an answer to question {id}"),
                    hint: None,
                },
            },
            Ok(None) => Failure {
                kind: FailureKind::NotFound,
                message: format!("no question has the id {id}"),
                hint: Some("`rp-host questions` lists those that wait".to_owned()),
            },
            Err(error) => harness_failure(error.to_string(), None),
        }
    }
}

/// The first answer counts: tells whoever gives another, or one too late, what was before.
pub(crate) fn is_over(id: &str, settled: &Settled) -> Failure {
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(settled.at_ms));
    let message = match &settled.how {
        QuestionEnd::Answered { by, words, .. } => {
            format!("question {id} was already answered by {by} at {at}: {words}")
        }
        QuestionEnd::Withdrawn => format!("question {id} was withdrawn by its harness at {at}"),
        QuestionEnd::Expired => format!("question {id} expired at {at}"),
        QuestionEnd::Lost => format!("question {id} was lost at {at}: what asked it ended"),
    };
    Failure { kind: FailureKind::Refused, message, hint: None }
}

fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix('q')?;
    let number = digits.parse().ok()?;
    // No second spelling, such as `q+7` or `q007`.
    (format!("{number}") == digits).then_some(number)
}

fn decode(json: &[u8]) -> Option<AskedQuestion> {
    let decoded = serde_json::from_slice(json);
    decoded.inspect_err(|error| tracing::error!(%error, "a stored question is unreadable")).ok()
}

fn records(
    table: &impl ReadableTable<u64, &'static [u8]>,
    found: &mut Vec<AskedQuestion>,
) -> Result<(), redb::Error> {
    for entry in table.iter()? {
        found.extend(decode(entry?.1.value()));
    }
    Ok(())
}

/// Settles what the host before this one left open. Gives the next number and what was lost.
fn lose_all(
    transaction: &WriteTransaction,
    at_ms: u64,
) -> Result<(u64, HashMap<AgentId, Vec<String>>), redb::Error> {
    let mut tables = Tables::open(transaction)?;
    let mut open = Vec::new();
    records(&tables.open, &mut open)?;
    tables.open.retain(|_, _| false)?;
    let mut left_open: HashMap<AgentId, Vec<String>> = HashMap::new();
    for mut asked in open {
        if asked.settled.is_none() {
            let ids = left_open.entry(asked.agent.clone()).or_default();
            ids.push(asked.question.id.clone());
        }
        // One that was answered stays so, though nobody knows whether the harness took it.
        asked.settled.get_or_insert(Settled { at_ms, how: QuestionEnd::Lost });
        tables.apply(&Change::Settle(asked))?;
    }
    let next = tables.figures.get(NEXT)?.map_or(1, |found| found.value());
    Ok((next, left_open))
}

/// The open tables of a transaction.
struct Tables<'a> {
    open: Table<'a, u64, &'static [u8]>,
    settled: Table<'a, u64, &'static [u8]>,
    figures: Table<'a, &'static str, u64>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            open: transaction.open_table(OPEN)?,
            settled: transaction.open_table(SETTLED)?,
            figures: transaction.open_table(FIGURES)?,
        })
    }

    fn figure(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.figures.get(name)?.map_or(0, |found| found.value()))
    }

    fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        let (Change::Open(asked) | Change::Settle(asked)) = change;
        let json = match serde_json::to_vec(asked) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "a question could not be written as JSON");
                return Ok(());
            }
        };
        let next = self.figure(NEXT)?.max(asked.number + 1);
        self.figures.insert(NEXT, next)?;
        if let Change::Open(_) = change {
            self.open.insert(asked.number, json.as_slice())?;
            return Ok(());
        }
        self.open.remove(asked.number)?;
        self.remove_settled(asked.number)?;
        self.settled.insert(asked.number, json.as_slice())?;
        let bytes = self.figure(BYTES)? + json.len() as u64;
        self.figures.insert(BYTES, bytes)?;
        self.forget_old()
    }

    fn remove_settled(&mut self, number: u64) -> Result<(), redb::Error> {
        let removed = self.settled.remove(number)?.map(|found| found.value().len() as u64);
        if let Some(removed) = removed {
            let bytes = self.figure(BYTES)?.saturating_sub(removed);
            self.figures.insert(BYTES, bytes)?;
        }
        Ok(())
    }

    fn forget_old(&mut self) -> Result<(), redb::Error> {
        use redb::ReadableTableMetadata;

        loop {
            let count = self.settled.len()?;
            if count <= 1 || (count <= KEPT && self.figure(BYTES)? <= KEPT_BYTES) {
                return Ok(());
            }
            let Some(oldest) = self.settled.first()?.map(|(number, _)| number.value()) else {
                return Ok(());
            };
            self.remove_settled(oldest)?;
        }
    }
}

#[cfg(test)]
mod tests;
