//! Who leads: whoever binds the broker's socket. There is no lock file, because programs that
//! share the mesh would not look at it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Longest path of a Unix socket on Linux, in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 107;
const ATTEMPTS: u32 = 20;
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);

/// Why nobody leads and nobody can be followed.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// The operating system does not take such a path.
    #[error(
        "the path of the mesh socket has {length} bytes, {MAX_SOCKET_PATH_BYTES} are possible: {}; \
         set REMOTE_PI_HOME to a shorter folder", path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Something that is not a socket stands in its place. It is never removed.
    #[error("{} is not a socket; move it away", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The directory of the socket cannot be made or closed to others.
    #[error("cannot prepare the folder of the mesh socket, {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Nobody answers at the socket and it cannot be bound either.
    #[error("can neither join the mesh nor lead it at {}: {source}", path.display())]
    Undecided {
        /// The path.
        path: PathBuf,
        /// What the last attempt met.
        source: io::Error,
    },
}

/// The outcome of an election.
#[derive(Debug)]
pub(crate) enum Elected {
    /// This program leads.
    Leader(Claim),
    /// Another one does; this is a connection to it, and what was at the path before.
    Follower(UnixStream, FileIdentity),
}

/// What tells a file from another one that takes its place later. The time is part of it because
/// file systems give the number of a removed file to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    created: (i64, i64),
}

impl FileIdentity {
    /// `None` when there is nothing at the path.
    fn of(path: &Path) -> Option<(Self, fs::FileType)> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let identity = FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
            created: (metadata.mtime(), metadata.mtime_nsec()),
        };
        Some((identity, metadata.file_type()))
    }

    /// Whether something else is at the path by now. Nothing there says nothing.
    pub(crate) fn was_replaced(&self, path: &Path) -> bool {
        FileIdentity::of(path).is_some_and(|(now, _)| now != *self)
    }
}

/// The bound socket. Dropping it removes the file, if it is still the one that was bound.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    identity: FileIdentity,
}

impl Claim {
    /// Whether the path still leads to this socket. Another starter that took it for dead may
    /// have removed it: then nobody can reach this program any more.
    pub(crate) fn is_ours(&self) -> bool {
        FileIdentity::of(&self.path).is_some_and(|(identity, _)| identity == self.identity)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_ours() {
            // If it stays, the next starter finds that nobody answers there and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Finds out who leads: connects, or binds. Tries twenty times.
pub(crate) async fn elect(path: &Path) -> Result<Elected, ElectionError> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(ElectionError::PathTooLong { path: path.to_owned(), length });
    }
    prepare_directory(path)?;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..ATTEMPTS {
        match attempt(path).await {
            Ok(elected) => return Ok(elected),
            Err(AttemptError::NotASocket) => {
                return Err(ElectionError::NotASocket { path: path.to_owned() });
            }
            Err(AttemptError::Io(error)) => last = error,
        }
        tokio::time::sleep(pause()).await;
    }
    Err(ElectionError::Undecided { path: path.to_owned(), source: last })
}

enum AttemptError {
    NotASocket,
    Io(io::Error),
}

async fn attempt(path: &Path) -> Result<Elected, AttemptError> {
    if let Some((seen, kind)) = FileIdentity::of(path) {
        if !kind.is_socket() {
            return Err(AttemptError::NotASocket);
        }
        match tokio::time::timeout(CONNECT_PATIENCE, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => return Ok(Elected::Follower(stream, seen)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                remove_if_still(path, seen);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            // A leader with a full backlog, or one of another user: alive, so not to be removed.
            Ok(Err(error)) => return Err(AttemptError::Io(error)),
            Err(_) => return Err(AttemptError::Io(io::ErrorKind::TimedOut.into())),
        }
    }
    bind(path).map(Elected::Leader).map_err(AttemptError::Io)
}

fn remove_if_still(path: &Path, seen: FileIdentity) {
    if FileIdentity::of(path).is_some_and(|(identity, _)| identity == seen) {
        // Failing here, the bind that follows fails and says why.
        let _ = fs::remove_file(path);
    }
}

fn bind(path: &Path) -> io::Result<Claim> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let (identity, _) = FileIdentity::of(path).ok_or(io::ErrorKind::NotFound)?;
    Ok(Claim { listener, path: path.to_owned(), identity })
}

/// Creates the socket's directory, or closes it to others.
fn prepare_directory(socket: &Path) -> Result<(), ElectionError> {
    let Some(directory) = socket.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    let prepare = || {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mode = fs::metadata(directory)?.permissions().mode();
        let is_shared_on_purpose = mode & 0o1000 != 0;
        if mode & 0o077 != 0 && !is_shared_on_purpose {
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    prepare().map_err(|source| ElectionError::Directory { path: directory.to_owned(), source })
}

/// 30 ms and a random part of up to 70 ms, so that two starters do not keep step.
fn pause() -> Duration {
    let [random, ..] = uuid::Uuid::new_v4().into_bytes();
    Duration::from_millis(30 + u64::from(random) * 70 / 255)
}
