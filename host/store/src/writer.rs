//! The thread that owns all writes: many works, one transaction, one commit, then everybody
//! is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Durability, WriteTransaction};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::StoreError;
use crate::file::DatabaseFile;
use crate::panic_text;

/// How long relaxed work may stay in memory only.
const RELAXED_DEADLINE: Duration = Duration::from_secs(1);

/// A batch takes in waiting works for at most this long before it commits, so that the first
/// one does not wait for a queue that never runs empty.
const BATCH_TIME: Duration = Duration::from_millis(2);

/// One piece of work: run inside the transaction, told after its commit.
pub(crate) trait Work: Send {
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error>;
    fn done(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Work of any type with its result kept until the commit.
pub(crate) struct TypedWork<T, W, D> {
    work: Option<W>,
    value: Option<T>,
    done: D,
}

impl<T, W, D> TypedWork<T, W, D>
where
    W: FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    D: FnOnce(Result<T, StoreError>),
{
    pub(crate) fn new(work: W, done: D) -> Self {
        Self { work: Some(work), value: None, done }
    }
}

impl<T, W, D> Work for TypedWork<T, W, D>
where
    T: Send,
    W: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(transaction)?);
        }
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, done, .. } = *self;
        done(outcome.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}

/// Work in the queue, with the place it takes there until it is done.
pub(crate) struct Job {
    pub(crate) work: Box<dyn Work>,
    pub(crate) is_durable: bool,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Job {
    pub(crate) fn tell(self, outcome: Result<(), StoreError>) {
        let work = self.work;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.done(outcome))) {
            let reason = panic_text(panic.as_ref());
            tracing::error!(%reason, "what was to run after a commit panicked");
        }
    }
}

/// What the writer has done so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) works: AtomicU64,
    pub(crate) durable_commits: AtomicU64,
    pub(crate) relaxed_commits: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) file: Arc<DatabaseFile>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) queue: Receiver<Job>,
}

impl Writer {
    /// Works until the last sender is gone, then flushes and closes.
    pub(crate) fn run(self) {
        // Set while committed relaxed work is not on disk yet.
        let mut flush_at: Option<Instant> = None;
        loop {
            let received = match flush_at {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.queue.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let first = match received {
                Ok(job) => self.unless_disk_is_full(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let is_flush_due = flush_at.is_some_and(|at| at <= Instant::now());
            if first.is_none() && !is_flush_due {
                continue;
            }
            flush_at = match self.commit_batch(first, is_flush_due) {
                Ok(Durability::Immediate) => None,
                Ok(_) => flush_at.or_else(|| Some(Instant::now() + RELAXED_DEADLINE)),
                Err(BatchFailed { is_reopened: true }) => None,
                Err(_) => flush_at.map(|_| Instant::now() + RELAXED_DEADLINE),
            };
        }
        self.file.close();
    }

    /// The job, or nothing when it had to be refused. A flush of relaxed work goes ahead even
    /// then: it is what the free space is kept for.
    fn unless_disk_is_full(&self, job: Job) -> Option<Job> {
        match self.file.check_room() {
            Ok(()) => Some(job),
            Err(error) => {
                job.tell(Err(error));
                None
            }
        }
    }

    /// One transaction with `first` and what else is waiting; tells everybody in it.
    fn commit_batch(
        &self,
        first: Option<Job>,
        is_flush_due: bool,
    ) -> Result<Durability, BatchFailed> {
        let mut batch = Vec::new();
        match self.try_batch(first, is_flush_due, &mut batch) {
            Ok(durability) => {
                let commits = match durability {
                    Durability::Immediate => &self.tally.durable_commits,
                    _ => &self.tally.relaxed_commits,
                };
                commits.fetch_add(1, Ordering::Relaxed);
                self.tally.works.fetch_add(batch.len() as u64, Ordering::Relaxed);
                for job in batch {
                    job.tell(Ok(()));
                }
                Ok(durability)
            }
            Err(failure) => {
                let is_reopened = self.file.heal();
                let (error, culprit) = match failure {
                    Failure::OfLastJob(error) => (error, batch.pop()),
                    Failure::OfAll(error) => (error, None),
                };
                tracing::error!(%error, works = batch.len(), "a batch of writes failed");
                let others = match culprit {
                    Some(_) => error.for_the_others(),
                    None => error.clone(),
                };
                for job in batch {
                    job.tell(Err(others.clone()));
                }
                if let Some(job) = culprit {
                    job.tell(Err(error));
                }
                Err(BatchFailed { is_reopened })
            }
        }
    }

    fn try_batch(
        &self,
        first: Option<Job>,
        is_flush_due: bool,
        batch: &mut Vec<Job>,
    ) -> Result<Durability, Failure> {
        let storage =
            |error: redb::Error| Failure::OfAll(StoreError::from_redb(&self.file.path, error));
        batch.extend(first);
        let usable = self.file.usable().map_err(Failure::OfAll)?;
        let database = usable.database().map_err(Failure::OfAll)?;
        let mut transaction = database.begin_write().map_err(|error| storage(error.into()))?;
        if let Err(error) = self.run_jobs(&transaction, batch) {
            if let Err(error) = transaction.abort() {
                tracing::warn!(%error, "undoing a failed batch failed as well");
            }
            return Err(Failure::OfLastJob(error));
        }
        let durability = if is_flush_due || batch.iter().any(|job| job.is_durable) {
            Durability::Immediate
        } else {
            Durability::None
        };
        transaction.set_durability(durability).map_err(|error| storage(error.into()))?;
        match catch_unwind(AssertUnwindSafe(|| transaction.commit())) {
            Ok(committed) => committed.map_err(|error| storage(error.into()))?,
            Err(panic) => {
                let reason = panic_text(panic.as_ref()).into();
                return Err(Failure::OfAll(StoreError::Panicked(reason)));
            }
        }
        Ok(durability)
    }

    /// Runs the job in `batch` and those waiting behind it, which it adds. A failed one is the
    /// last.
    fn run_jobs(
        &self,
        transaction: &WriteTransaction,
        batch: &mut Vec<Job>,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        while let Some(job) = batch.last_mut() {
            match catch_unwind(AssertUnwindSafe(|| job.work.run(transaction))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(StoreError::from_redb(&self.file.path, error)),
                Err(panic) => return Err(StoreError::Panicked(panic_text(panic.as_ref()).into())),
            }
            if started.elapsed() >= BATCH_TIME {
                break;
            }
            match self.queue.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

enum Failure {
    /// The last job of the batch failed; the others are undone because of it.
    OfLastJob(StoreError),
    OfAll(StoreError),
}

/// Everybody in the batch has been told why. After a reopening, relaxed work that was not
/// flushed yet is gone, and nothing is left to flush.
struct BatchFailed {
    is_reopened: bool,
}
