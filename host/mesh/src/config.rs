//! What a mesh is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rp_protocol::mesh::{MAX_LINE_BYTES, MAX_PEERS};

use crate::mesh::Agent;

/// Milliseconds since the Unix epoch, as often as asked.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What a mesh is started with.
#[derive(Clone)]
pub struct MeshConfig {
    /// The broker's socket. Its directory is created, or closed to others, when this program
    /// leads.
    pub socket: PathBuf,
    /// The routing log, written while this program leads.
    pub audit: PathBuf,
    /// Agents of this host that are on the mesh from its first moment: who connects as soon as
    /// it can finds them there.
    pub agents: Vec<Agent>,
    /// Bounds.
    pub limits: Limits,
    /// The time stamps of ids, the audit log and messages.
    pub clock: Clock,
}

impl MeshConfig {
    /// The usual files below a directory such as `sessions/local`, the usual limits and the
    /// clock of this machine.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        MeshConfig {
            socket: directory.join("broker.sock"),
            audit: directory.join("audit.jsonl"),
            agents: Vec::new(),
            limits: Limits::default(),
            clock: system_clock(),
        }
    }
}

/// The bounds of a broker. What happens at each is stated with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones are closed at once.
    pub connections: usize,
    /// Registered peers; further ones are refused by closing their connection.
    pub peers: usize,
    /// Bytes of a line of a connection that has not registered, and of what comes with it; more
    /// closes the connection. What anybody can make the router keep is small.
    pub opening_bytes: usize,
    /// Bytes of a line; a longer one closes the connection it came on.
    pub line_bytes: usize,
    /// Bytes waiting for a peer, its longest line not counted; more closes its connection.
    pub queue_bytes: usize,
    /// How long a connection may stay unregistered before it is closed.
    pub registration: Duration,
    /// Bytes of the audit log before it is set aside.
    pub audit_bytes: u64,
    /// How many audit logs that were set aside are kept.
    pub audit_files: usize,
    /// Bytes waiting to be written to the audit log; further lines are dropped and counted.
    pub audit_queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MEBIBYTE: usize = 1024 * 1024;
        Limits {
            connections: 2048,
            peers: MAX_PEERS,
            opening_bytes: 256 << 10,
            line_bytes: MAX_LINE_BYTES,
            queue_bytes: 8 * MEBIBYTE,
            registration: Duration::from_secs(30),
            audit_bytes: 16 * MEBIBYTE as u64,
            audit_files: 3,
            audit_queue_bytes: 4 * MEBIBYTE,
        }
    }
}
