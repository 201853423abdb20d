//! What is written down about a running process, so that the next host can end what a
//! crashed one left behind; and the ending itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::{
    private,
    tree::{Tree, look_at},
};

/// The record of one launch, `<run>.json` beside its private folder `<run>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Names the launch; the value of the marker in its environment.
    pub(crate) run: String,
    /// The agent it was launched for.
    pub(crate) agent: String,
    /// The first process, which leads the group of the same number. Absent until it runs.
    pub(crate) pid: Option<i32>,
    /// Its start time from `/proc`, where there is one.
    pub(crate) start_time: Option<u64>,
    /// The start of the machine the start time counts from.
    pub(crate) boot: Option<String>,
}

impl RunRecord {
    pub(crate) fn path(run_dir: &Path, run: &str) -> PathBuf {
        run_dir.join(format!("{run}.json"))
    }

    pub(crate) fn write(&self, run_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let path = Self::path(run_dir, &self.run);
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        private::write_file(&temporary, &text)?;
        fs::rename(temporary, path)
    }

    /// The record with what is known of the process that now runs.
    pub(crate) fn running(mut self, pid: Pid) -> Self {
        let raw = pid.as_raw_nonzero().get();
        self.pid = Some(raw);
        self.start_time = look_at(raw).map(|seen| seen.start_time);
        self.boot = boot_id();
        self
    }

    /// The group, when its leader is certainly still the process that was recorded.
    fn living_group(&self) -> Option<Pid> {
        let start_time = self.start_time?;
        let same_boot = self.boot.is_some() && self.boot == boot_id();
        let seen = look_at(self.pid?)?;
        (same_boot && seen.start_time == start_time).then(|| Pid::from_raw(seen.pid)).flatten()
    }
}

fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// A launch that a crashed host left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The agent it was launched for.
    pub agent: String,
    /// Its first process, if it came to run.
    pub pid: Option<i32>,
    /// Some of it ran still and was ended.
    pub was_running: bool,
    /// Nothing of it is left.
    pub gone: bool,
}

/// Ends what a crashed host left running, and removes its records and private folders.
///
/// A process is ended only if its pid and its start time are those recorded, or if its
/// environment carries the marker of a recorded launch.
///
/// # Errors
/// The folder exists but cannot be read.
pub async fn end_orphans(run_dir: &Path, grace: Duration) -> io::Result<Vec<Orphan>> {
    let entries = match fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ending = tokio::task::JoinSet::new();
    for entry in entries {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match read_record(&path) {
                Some(record) => {
                    ending.spawn(end_orphan(record, grace, run_dir.to_owned()));
                }
                None => {
                    tracing::warn!(path = %path.display(), "unreadable run record removed");
                    let _ = fs::remove_file(path);
                }
            },
            Some("new") => drop(fs::remove_file(path)),
            _ => {}
        }
    }
    Ok(ending.join_all().await)
}

fn read_record(path: &Path) -> Option<RunRecord> {
    let record: RunRecord = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    // The name of the folder that will be removed is taken from the record.
    (path.file_stem()?.to_str()? == record.run).then_some(record)
}

async fn end_orphan(record: RunRecord, grace: Duration, run_dir: PathBuf) -> Orphan {
    let tree = Tree { group: record.living_group(), marker: record.run.clone() };
    let was_running = !tree.gone().await;
    let gone = tree.end(grace).await;
    if gone {
        remove(&run_dir, &record.run);
    }
    Orphan { agent: record.agent, pid: record.pid, was_running, gone }
}

/// Removes the record and the private folder of a launch.
pub(crate) fn remove(run_dir: &Path, run: &str) {
    let _ = fs::remove_dir_all(run_dir.join(run));
    let _ = fs::remove_file(RunRecord::path(run_dir, run));
}
