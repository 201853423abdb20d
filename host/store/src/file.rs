//! The database file: creating it privately, opening it, and opening it again after a failure.

use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::error::{OpenError, StoreError};
use crate::panic_text;

/// What redb may keep in memory. The operating system caches the file as well, so a small
/// cache costs little speed and keeps an idle daemon small.
const CACHE_BYTES: usize = 16 << 20;

/// No write starts with less than this free on the disk. redb stops all work, reads included,
/// after the first failed write; a disk that fills up should not get that far.
const FREE_BYTES_NEEDED: u64 = 64 << 20;

/// What a clean close may need.
const FREE_BYTES_TO_CLOSE: u64 = 1 << 20;

thread_local! {
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is an answer that is waited for: reading a damaged file. A
/// program's panic hook has nothing to say then.
#[must_use]
pub fn expects_panic() -> bool {
    EXPECTS_PANIC.get()
}

pub(crate) type Opener = Box<dyn Fn() -> Result<redb::Database, OpenError> + Send + Sync>;
pub(crate) type FreeSpace = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// The open file, shared by the writer and all readers. `None` only between a failure and the
/// next successful opening.
pub(crate) struct DatabaseFile {
    pub(crate) path: Arc<Path>,
    opener: Opener,
    free_space: FreeSpace,
    current: RwLock<Option<redb::Database>>,
    reopened: AtomicU64,
    /// Set by a failed write until the file was closed cleanly.
    holds_failed_write: AtomicBool,
}

/// A database that cannot be replaced while this is held.
pub(crate) struct Usable<'a>(RwLockReadGuard<'a, Option<redb::Database>>);

impl Usable<'_> {
    pub(crate) fn database(&self) -> Result<&redb::Database, StoreError> {
        self.0.as_ref().ok_or(StoreError::Closed)
    }
}

impl DatabaseFile {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| OpenError::access(path, source))?;
        }
        let file_path: PathBuf = path.to_owned();
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Self::open_with(
            path,
            Box::new(move || open_private(&file_path)),
            Box::new(move || {
                let disk = rustix::fs::statvfs(&folder).ok()?;
                Some(disk.f_bavail.saturating_mul(disk.f_frsize))
            }),
        )
    }

    pub(crate) fn open_with(
        path: &Path,
        opener: Opener,
        free_space: FreeSpace,
    ) -> Result<Self, OpenError> {
        let database = opener()?;
        Ok(Self {
            path: path.into(),
            opener,
            free_space,
            current: RwLock::new(Some(database)),
            reopened: AtomicU64::new(0),
            holds_failed_write: AtomicBool::new(false),
        })
    }

    /// The database, opened again first if a failure closed it.
    pub(crate) fn usable(&self) -> Result<Usable<'_>, StoreError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            return Ok(Usable(current));
        }
        drop(current);
        self.reopen_if(|current| current.is_none())?;
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Usable(current))
    }

    /// Called after a failure: opens the file again when redb refuses to go on with it. True
    /// when commits that were not durable are gone because of that.
    pub(crate) fn heal(&self) -> bool {
        // A healthy database may make this wait for the running write; failures are rare.
        let refuses = |current: &Option<redb::Database>| match current {
            None => true,
            Some(database) => database
                .begin_write()
                .map_err(redb::Error::from)
                .and_then(|transaction| Ok(transaction.abort()?))
                .is_err(),
        };
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let is_healthy = !refuses(&current);
        drop(current);
        if is_healthy {
            return false;
        }
        self.holds_failed_write.store(true, Ordering::Relaxed);
        match self.reopen_if(refuses) {
            Ok(()) => {
                tracing::warn!(path = %self.path.display(), "database reopened after a failure");
            }
            Err(error) => tracing::error!(%error, "database cannot be reopened yet"),
        }
        true
    }

    fn reopen_if(
        &self,
        wanted: impl Fn(&Option<redb::Database>) -> bool,
    ) -> Result<(), StoreError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !wanted(&current) {
            return Ok(());
        }
        // The old one must be gone before the new one can lock the file.
        drop(current.take());
        let database = (self.opener)().map_err(|error| match error {
            OpenError::DiskFull { .. } => StoreError::DiskFull { path: Arc::clone(&self.path) },
            other => StoreError::Unusable(Arc::new(other)),
        })?;
        *current = Some(database);
        self.reopened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses when the disk is too nearly full to start a write.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        let is_scarce = |free: u64| free < FREE_BYTES_NEEDED;
        let Some(free) = (self.free_space)().filter(|free| is_scarce(*free)) else {
            return Ok(());
        };
        // The file may still have the space of a write that failed. A clean close gives it back,
        // as soon as there is room for what the close itself writes.
        if free >= FREE_BYTES_TO_CLOSE && self.holds_failed_write.load(Ordering::Relaxed) {
            drop(self.usable()?);
            self.reopen_if(Option::is_some)?;
            self.holds_failed_write.store(false, Ordering::Relaxed);
            if !(self.free_space)().is_some_and(is_scarce) {
                return Ok(());
            }
        }
        Err(StoreError::DiskFull { path: Arc::clone(&self.path) })
    }

    pub(crate) fn times_reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// Flushes and closes; everything after it is refused.
    pub(crate) fn close(&self) {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("closing the database panicked; it is repaired at the next start");
        }
    }
}

fn open_private(path: &Path) -> Result<redb::Database, OpenError> {
    let access = |source| OpenError::access(path, source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(access)?;
    keep_private(&file).map_err(access)?;
    let opening = AssertUnwindSafe(|| {
        redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(|repair| {
                tracing::debug!(progress = repair.progress(), "database recovers");
            })
            .create_file(file)
    });
    EXPECTS_PANIC.set(true);
    let opened = catch_unwind(opening);
    EXPECTS_PANIC.set(false);
    match opened {
        Ok(opened) => opened.map_err(|error| OpenError::from_redb(path, error)),
        Err(panic) => {
            Err(OpenError::Damaged { path: path.to_owned(), reason: panic_text(panic.as_ref()) })
        }
    }
}

fn keep_private(file: &File) -> std::io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}
