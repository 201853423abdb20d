//! The routing log: one line for each envelope that was routed, never its body.
//!
//! Lines are gathered in memory and written by one task, so that the disk never delays a
//! message. A disk that cannot keep up costs lines, not time: they are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rp_protocol::mesh::{Envelope, write_json_string};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::Limits;
use crate::connection::lock;

/// How long lines are gathered before they are written.
const GATHERING: Duration = Duration::from_millis(20);

/// How an envelope came to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// From a peer of this machine.
    Local,
    /// From another machine.
    Relay,
}

/// How a message was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    Received,
    Denied,
    None,
}

/// Appends one line about an envelope.
pub(crate) fn write_entry<'a>(
    out: &mut Vec<u8>,
    now_ms: u64,
    envelope: &Envelope<'_>,
    delivered: impl Iterator<Item = &'a str>,
    acknowledged: Acknowledged,
    via: Via,
) {
    out.extend_from_slice(b"{\"ts\":");
    // A vector takes everything.
    let _ = write!(out, "{now_ms}");
    out.extend_from_slice(b",\"from\":");
    write_json_string(out, &envelope.from);
    out.extend_from_slice(b",\"to\":");
    envelope.to.write(out);
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(envelope.id.as_str().as_bytes());
    out.extend_from_slice(b"\",\"re\":");
    match &envelope.re {
        Some(re) => write_json_string(out, re.as_str()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"delivered\":[");
    for (index, address) in delivered.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_string(out, address);
    }
    out.extend_from_slice(b"],\"ack_status\":");
    out.extend_from_slice(match acknowledged {
        Acknowledged::Received => b"\"received\"",
        Acknowledged::Denied => b"\"denied\"",
        Acknowledged::None => b"\"none\"",
    });
    out.extend_from_slice(match via {
        Via::Local => b",\"via\":\"uds\"}\n",
        Via::Relay => b",\"via\":\"relay\"}\n",
    });
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    finished: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    bell: Notify,
    limit: usize,
    dropped: AtomicU64,
}

/// The log. Dropping it writes what waits.
#[derive(Debug)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts the task that writes. Files are opened when there is something to write.
    pub(crate) fn start(path: PathBuf, limits: &Limits) -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting::default()),
            bell: Notify::new(),
            limit: limits.audit_queue_bytes,
            dropped: AtomicU64::new(0),
        });
        let file =
            LogFile { path, open: None, most_bytes: limits.audit_bytes, kept: limits.audit_files };
        let writer = tokio::spawn(write_all(Arc::clone(&shared), file));
        Audit { shared, writer: Mutex::new(Some(writer)) }
    }

    /// Takes complete lines. Never waits; lines that find no room are dropped and counted.
    pub(crate) fn append(&self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let mut waiting = lock(&self.shared.waiting);
        if waiting.lines.len() + lines.len() > self.shared.limit {
            let count = memchr::memchr_iter(b'\n', lines).count() as u64;
            self.shared.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(lines);
        drop(waiting);
        if was_empty {
            self.shared.bell.notify_one();
        }
    }

    /// Lines that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn finish(&self) {
        lock(&self.shared.waiting).finished = true;
        self.shared.bell.notify_one();
    }

    /// Writes what waits and waits for it.
    pub(crate) async fn close(&self) {
        self.finish();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // The writer does not panic; if it did, nothing is left to wait for.
            let _ = writer.await;
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn write_all(shared: Arc<Shared>, mut file: LogFile) {
    let mut reported = 0;
    loop {
        shared.bell.notified().await;
        if !lock(&shared.waiting).finished {
            // Woken by the first line: the next ones are on their way.
            tokio::select! {
                () = tokio::time::sleep(GATHERING) => {}
                () = shared.bell.notified() => {}
            }
        }
        let (lines, finished) = {
            let mut waiting = lock(&shared.waiting);
            (std::mem::take(&mut waiting.lines), waiting.finished)
        };
        let written = tokio::task::spawn_blocking(move || {
            let result = file.append(&lines);
            (file, result)
        });
        let Ok((returned, result)) = written.await else {
            return;
        };
        file = returned;
        if let Err(error) = result {
            tracing::warn!(%error, "cannot write the audit log");
        }
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            tracing::warn!(lines = dropped - reported, "audit lines were dropped");
            reported = dropped;
        }
        if finished {
            return;
        }
    }
}

/// A log file that is set aside when it is full.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Option<(File, u64)>,
    most_bytes: u64,
    kept: usize,
}

impl LogFile {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (mut file, mut size) = match self.open.take() {
                Some(open) => open,
                None => self.reopen()?,
            };
            let room = usize::try_from(self.most_bytes.saturating_sub(size)).unwrap_or(usize::MAX);
            let fits = complete_lines_within(rest, room);
            if fits == 0 && size > 0 {
                drop(file);
                self.set_aside()?;
                continue;
            }
            // A line longer than a whole file gets a file of its own.
            let fits = if fits > 0 { fits } else { first_line(rest) };
            let (now, later) = rest.split_at(fits);
            file.write_all(now)?;
            size += now.len() as u64;
            self.open = Some((file, size));
            rest = later;
        }
        Ok(())
    }

    fn reopen(&self) -> io::Result<(File, u64)> {
        use std::os::unix::fs::OpenOptionsExt;
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// `audit.jsonl` becomes `audit.jsonl.1`, that `.2`, and so on; the oldest goes.
    fn set_aside(&self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        if self.kept == 0 {
            return std::fs::remove_file(&self.path);
        }
        rename_if_there(&self.path, &self.numbered(1))
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How many bytes of complete lines at the start of `lines` fit into `room`.
fn complete_lines_within(lines: &[u8], room: usize) -> usize {
    let within = lines.get(..room.min(lines.len())).unwrap_or_default();
    memchr::memrchr(b'\n', within).map_or(0, |at| at + 1)
}

fn first_line(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_set_aside_and_three_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/audit.jsonl");
        let mut log = LogFile { path: path.clone(), open: None, most_bytes: 10, kept: 3 };
        for number in 0..12 {
            log.append(format!("{number:04}\n").as_bytes()).unwrap();
        }
        let read = |suffix: &str| {
            std::fs::read_to_string(format!("{}{suffix}", path.display())).unwrap_or_default()
        };
        assert_eq!(read(""), "0010\n0011\n");
        assert_eq!(read(".1"), "0008\n0009\n");
        assert_eq!(read(".3"), "0004\n0005\n");
        assert_eq!(read(".4"), "");
        log.append(b"a line longer than a file\n0012\n").unwrap();
        assert_eq!(read(".1"), "a line longer than a file\n");
        assert_eq!(read(""), "0012\n");
    }
}
