//! What version of a harness is installed, asked of its program and remembered until the
//! program changes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use crate::{environment::inherited, framing::DIAGNOSTIC_LIMIT};

const LIMIT: Duration = Duration::from_secs(10);
/// What is read of an answer, in bytes.
const ANSWER: u64 = 64 << 10;

/// How long a program that gave no version is not asked again.
const FORGET: Duration = Duration::from_secs(60);

/// Versions by program, its time of change, and the arguments it was asked with.
#[derive(Debug, Default)]
pub struct Versions {
    known: Mutex<HashMap<Key, Known>>,
}

/// What a program said when it was asked.
#[derive(Debug, Clone)]
enum Known {
    Version(String),
    NothingAt(Instant),
}

/// Version managers put one program on PATH that becomes another by folder, and by what else
/// is in the environment: both belong to the question.
type Key = (PathBuf, SystemTime, Vec<String>, PathBuf, Vec<(String, String)>);

impl Versions {
    /// The first line the program prints for these arguments, on standard output or else on
    /// standard error; `None` when it fails, prints nothing, or needs more than 10 s.
    pub async fn probe(
        &self,
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        cwd: &Path,
    ) -> Option<String> {
        let changed = program.metadata().and_then(|found| found.modified()).ok()?;
        let key =
            (program.to_owned(), changed, arguments.to_vec(), cwd.to_owned(), environment.to_vec());
        match self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            Some(Known::Version(version)) => return Some(version.clone()),
            Some(Known::NothingAt(when)) if when.elapsed() < FORGET => return None,
            _ => {}
        }
        let version = ask(program, arguments, environment, cwd).await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(path, time, ..), _| path != program || *time == changed);
        let answer =
            version.clone().map_or_else(|| Known::NothingAt(Instant::now()), Known::Version);
        known.insert(key, answer);
        version
    }
}

async fn ask(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    cwd: &Path,
) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(cwd)
        .env_clear()
        .envs(inherited(environment))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let answer = async {
        let (out, error) = (child.stdout.take()?, child.stderr.take()?);
        let (out, error) = tokio::join!(first_line(out), first_line(error));
        out.or(error)
    };
    let answer = timeout(LIMIT, answer).await.ok().flatten();
    // Before the process is waited for: until then its number cannot become another's.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
    answer
}

async fn first_line(from: impl AsyncRead + Unpin) -> Option<String> {
    let mut bytes = Vec::new();
    from.take(ANSWER).read_to_end(&mut bytes).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.get(..line.floor_char_boundary(DIAGNOSTIC_LIMIT))?.to_owned())
}
