use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the file open.
    #[error(
        "the database {} is in use by another process\nhint: only one rp-host can run per state folder; stop the other one first",
        path.display()
    )]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not a database, or damaged beyond what recovery can mend.
    #[error(
        "the database {} is damaged: {reason}\nhint: move the file away and start again; what it held (waiting messages, histories) is lost unless it can be restored from a copy",
        path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the storage layer found.
        reason: String,
    },
    /// The disk has no room for a new or recovering database.
    #[error(
        "no space left on the disk of {}\nhint: free some disk space, then try again",
        path.display()
    )]
    DiskFull {
        /// The database file.
        path: PathBuf,
    },
    /// The file or its folder cannot be created, read or written.
    #[error("cannot open the database {}: {source}", path.display())]
    Access {
        /// The database file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl OpenError {
    pub(crate) fn access(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            kind if means_disk_full(kind) => Self::DiskFull { path },
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, reason: source.to_string() }
            }
            _ => Self::Access { path, source },
        }
    }

    pub(crate) fn from_redb(path: &Path, error: redb::DatabaseError) -> Self {
        use redb::{DatabaseError, StorageError};
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked { path: path.to_owned() },
            DatabaseError::Storage(StorageError::Io(source)) => Self::access(path, source),
            other => Self::Damaged { path: path.to_owned(), reason: other.to_string() },
        }
    }
}

/// Why something was not written or read.
///
/// After a failed durable write the state on disk is that before or after the whole batch,
/// never a part of it. [`Busy`](Self::Busy) and [`DiskFull`](Self::DiskFull) mean that it was
/// not written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The queue of the writer has no place left; nothing was written.
    #[error("the database is busy: {waiting} writes are waiting already")]
    Busy {
        /// How many writes of this kind can wait.
        waiting: usize,
    },
    /// The disk is full, or too nearly full to start a write safely.
    #[error(
        "the disk of {} is full, or less than 64 MiB are free\nhint: free some disk space; the database goes on by itself once there is room",
        path.display()
    )]
    DiskFull {
        /// The database file.
        path: Arc<Path>,
    },
    /// The storage layer refused.
    #[error("the database failed: {0}")]
    Storage(Arc<redb::Error>),
    /// Another write of the same batch failed, and the batch with it.
    #[error("not written because a write committed together with it failed: {0}")]
    Batch(Arc<str>),
    /// The closure that was to write panicked; its batch was undone.
    #[error("a write to the database panicked: {0}")]
    Panicked(Arc<str>),
    /// After a failure the database could not be opened again yet; the next access tries again.
    #[error("the database is not usable after a failure: {0}")]
    Unusable(Arc<OpenError>),
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn from_redb(path: &Arc<Path>, error: redb::Error) -> Self {
        match &error {
            redb::Error::Io(source) if means_disk_full(source.kind()) => {
                Self::DiskFull { path: Arc::clone(path) }
            }
            _ => Self::Storage(Arc::new(error)),
        }
    }

    /// What the other works of a batch are told when this failed one of them.
    pub(crate) fn for_the_others(&self) -> Self {
        match self {
            Self::DiskFull { .. } | Self::Unusable(_) | Self::Batch(_) | Self::Closed => {
                self.clone()
            }
            culprit => Self::Batch(culprit.to_string().into()),
        }
    }
}

fn means_disk_full(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}
