//! The machine's one database: opening, locking, group commit.
//!
//! # Why there is a writer thread
//!
//! A commit is only as fast as the disk's sync, and redb admits one write transaction at a time.
//! So nobody opens a write transaction here: callers hand in closures, and one thread runs all
//! that are waiting inside a single transaction, commits once, and then tells every caller. While
//! that commit waits for the disk, the next batch gathers. The cost of a sync is thereby shared
//! by everybody who waited for it, and a lone caller waits for no one. A batch takes in work for
//! 2 ms at the most, so a busy queue cannot hold up the first in it.
//!
//! # What a caller may rely on
//!
//! - **Order.** Work is applied in the order of the calls, durable and relaxed alike.
//! - **Durable** ([`write`](Database::write), [`write_then`](Database::write_then)): when the
//!   caller is told, the data is on disk. It survives `kill -9` and, as far as the disk keeps its
//!   own promises, a power cut.
//! - **Relaxed** ([`write_relaxed`](Database::write_relaxed)): readers see it at once; it reaches
//!   the disk with the next durable batch, or within a second, or when the database is closed,
//!   whichever comes first. A crash before that loses it, but never something older than what
//!   it keeps.
//! - **All or nothing.** A batch is one transaction. When a closure in it fails or panics, or the
//!   commit fails, the whole batch is undone and each of its callers is told so. A closure that
//!   merely refuses something should therefore return `Ok` with its refusal inside.
//! - **Reads** ([`read`](Database::read)) see the last commit, wait for no writer, and stay
//!   consistent while they run.
//! - **Bounds.** At most 8,192 durable and as many relaxed works wait. `write` awaits its place,
//!   the others are refused with [`StoreError::Busy`].
//!
//! # What happens when the disk misbehaves
//!
//! redb refuses all work, reads included, after the first failed access. Two things keep that from
//! being the end: no batch starts when less than 64 MiB are free, so a filling disk turns into
//! [`StoreError::DiskFull`] while reads go on; and after any failure the file is opened
//! anew, which brings back the last durable commit. Relaxed work that was not flushed by then is
//! lost. A process that was killed leaves a file that the next [`Database::open`] repairs.

mod error;
mod file;
mod writer;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::{Semaphore, oneshot};

pub use crate::error::{OpenError, StoreError};
use crate::file::DatabaseFile;
pub use crate::file::expects_panic;
use crate::writer::{Job, Tally, TypedWork, Writer};

/// How many durable works, and how many relaxed ones, can wait for the writer.
const PLACES: usize = 8192;

/// A handle on the open database; clones share it. Dropping the last one waits until everything
/// handed in is on disk and closes the file.
///
/// Closures handed to it must neither use the database themselves nor block: the whole machine's
/// writes wait for them.
#[derive(Clone)]
pub struct Database {
    handle: Arc<Handle>,
}

struct Handle {
    file: Arc<DatabaseFile>,
    tally: Arc<Tally>,
    /// Places for durable work and for relaxed work; apart, so that neither starves the other.
    durable_places: Arc<Semaphore>,
    relaxed_places: Arc<Semaphore>,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the database has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Works that were committed.
    pub works: u64,
    /// Commits that waited for the disk.
    pub durable_commits: u64,
    /// Commits that left their data to be flushed by a later one.
    pub relaxed_commits: u64,
    /// How often the file had to be opened again after a failure.
    pub times_reopened: u64,
}

impl Database {
    /// Opens the database at `path`, creating it when absent, and repairs it when the last
    /// process was killed. Missing folders are created for the owner alone (0700), the file is
    /// made readable for the owner alone (0600).
    ///
    /// # Errors
    /// Another process has it open, the file is damaged, or the file system refuses.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = DatabaseFile::open(path)?;
        Self::start(file).map_err(|source| OpenError::Access { path: path.to_owned(), source })
    }

    fn start(file: DatabaseFile) -> std::io::Result<Self> {
        let file = Arc::new(file);
        let tally = Arc::new(Tally::default());
        // Unbounded by itself: every job in it holds a place of one of the semaphores.
        let (queue, jobs) = mpsc::channel();
        let writer = Writer { file: Arc::clone(&file), tally: Arc::clone(&tally), queue: jobs };
        let thread =
            std::thread::Builder::new().name("database".to_owned()).spawn(move || writer.run())?;
        Ok(Self {
            handle: Arc::new(Handle {
                file,
                tally,
                durable_places: Arc::new(Semaphore::new(PLACES)),
                relaxed_places: Arc::new(Semaphore::new(PLACES)),
                queue: Some(queue),
                thread: Some(thread),
            }),
        })
    }

    /// Runs `work` in a transaction and returns its result once that is on disk. Waits for a
    /// place when the queue is full. When the returned future is dropped, work already in the
    /// queue is applied nevertheless.
    ///
    /// # Errors
    /// The batch with this work in it was not committed; see [`StoreError`].
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let places = Arc::clone(&self.handle.durable_places);
        let place = places.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (tell, told) = oneshot::channel();
        self.handle.send(Job {
            work: Box::new(TypedWork::new(work, |outcome| {
                // The caller may have stopped waiting.
                drop(tell.send(outcome));
            })),
            is_durable: true,
            _place: place,
        });
        told.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands in `work` and returns at once. `done` runs on the writer's thread after the commit is
    /// on disk, in the order of the calls; it must not block. When the queue is full, `done`
    /// runs right here with [`StoreError::Busy`].
    pub fn write_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.handle.submit(true, work, done);
    }

    /// Hands in `work` that need not be on disk before anybody goes on: readers see it as soon as
    /// it was applied, the disk has it within a second or with the next durable write. A failure
    /// is logged.
    pub fn write_relaxed(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static,
    ) {
        self.write_relaxed_then(work, |outcome| {
            if let Err(error) = outcome {
                tracing::error!(%error, "a relaxed write was lost");
            }
        });
    }

    /// Like [`write_relaxed`](Self::write_relaxed), but `done` is told when readers can see it,
    /// or why it failed.
    pub fn write_relaxed_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.handle.submit(false, work, done);
    }

    /// Runs `look` on a snapshot of the last commit. It blocks for as long as `look` does and the
    /// disk needs, which for a few records is microseconds.
    ///
    /// # Errors
    /// The storage failed or is damaged.
    pub fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let file = &self.handle.file;
        let usable = file.usable()?;
        let seen = usable
            .database()?
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| look(&transaction));
        drop(usable);
        seen.map_err(|error| {
            use redb::Error::{Corrupted, DatabaseClosed, Io, LockPoisoned, PreviousIo};
            if matches!(error, Io(_) | PreviousIo | Corrupted(_) | LockPoisoned(_) | DatabaseClosed)
            {
                file.heal();
            }
            StoreError::from_redb(&file.path, error)
        })
    }

    /// What the database has done so far.
    pub fn counters(&self) -> Counters {
        let tally = &self.handle.tally;
        Counters {
            works: tally.works.load(Ordering::Relaxed),
            durable_commits: tally.durable_commits.load(Ordering::Relaxed),
            relaxed_commits: tally.relaxed_commits.load(Ordering::Relaxed),
            times_reopened: self.handle.file.times_reopened(),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.handle.file.path
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.handle.file.path)
            .finish_non_exhaustive()
    }
}

impl Handle {
    fn submit<T: Send + 'static>(
        &self,
        is_durable: bool,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let places = match is_durable {
            true => &self.durable_places,
            false => &self.relaxed_places,
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => self.send(Job {
                work: Box::new(TypedWork::new(work, done)),
                is_durable,
                _place: place,
            }),
            Err(_) => done(Err(StoreError::Busy { waiting: PLACES })),
        }
    }

    fn send(&self, job: Job) {
        let refused = match &self.queue {
            Some(queue) => queue.send(job).err().map(|refused| refused.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            job.tell(Err(StoreError::Closed));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A closure can own the last handle; the writer then ends by itself after its batch.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the database's writer thread panicked");
        }
    }
}

/// What a caught panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".to_owned())
}
