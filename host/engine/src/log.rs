//! What components write: to `tracing`, and to a file of each component's own.
//!
//! A component can write as much as it likes; what reaches the disk is bounded in the size
//! of a line, in lines per second and in the size of the file.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::error::CallError;

/// Bytes of a message with its fields; the rest is cut off.
pub(crate) const LINE_BYTES: usize = 4096;

/// Size at which a file is put aside, as `<component>.log.1`, and a new one is begun.
const FILE_BYTES: u64 = 4 << 20;

/// Lines a component may write in one second.
const LINES_PER_SECOND: u32 = 200;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        }
    }
}

/// The log files of one folder. A component that is loaded twice writes to one file.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    open: Mutex<HashMap<String, Weak<ComponentLog>>>,
}

impl Logs {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Logs { folder, open: Mutex::default() }
    }

    pub(crate) fn component(&self, id: &str) -> Arc<ComponentLog> {
        let mut open = lock(&self.open);
        if let Some(log) = open.get(id).and_then(Weak::upgrade) {
            return log;
        }
        open.retain(|_, log| log.strong_count() > 0);
        let log = Arc::new(ComponentLog::new(id, &self.folder));
        open.insert(id.to_owned(), Arc::downgrade(&log));
        log
    }
}

/// The log of one component, shared by its instances.
#[derive(Debug)]
pub(crate) struct ComponentLog {
    component: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: LogFile,
    rate: Rate,
}

impl ComponentLog {
    fn new(id: &str, folder: &Path) -> Self {
        let file = LogFile { path: folder.join(format!("{id}.log")), open: None, broken: false };
        ComponentLog {
            component: id.to_owned(),
            inner: Mutex::new(Inner { file, rate: Rate::new(Instant::now()) }),
        }
    }

    pub(crate) fn component(&self) -> &str {
        &self.component
    }

    /// Writes one line, unless the component wrote too many in this second. What a component says
    /// may be anything, so the host's own log has it at debug level only.
    pub(crate) fn write(&self, level: Level, session: &str, text: &str) {
        self.write_at(level, Level::Debug, session, text, Instant::now());
    }

    /// Writes down how an instance ended, with where it happened.
    pub(crate) fn ended(&self, session: &str, error: &CallError) {
        self.write_at(Level::Error, Level::Error, session, &error.to_string(), Instant::now());
        if let CallError::Trap { backtrace, .. } = error {
            for line in backtrace.lines() {
                self.write(Level::Error, session, line);
            }
        }
    }

    fn write_at(&self, level: Level, traced: Level, session: &str, text: &str, now: Instant) {
        let mut inner = lock(&self.inner);
        self.report_dropped(&mut inner, now);
        if inner.rate.admit(now) {
            self.emit(&mut inner.file, level, traced, session, &one_line(text));
        }
    }

    /// Says how many lines were dropped, once the second is over in which that happened.
    pub(crate) fn settle(&self) {
        let mut inner = lock(&self.inner);
        self.report_dropped(&mut inner, Instant::now());
    }

    fn report_dropped(&self, inner: &mut Inner, now: Instant) {
        if let Some(count) = inner.rate.dropped(now) {
            let text = format!("dropped {count} lines");
            self.emit(&mut inner.file, Level::Warn, Level::Warn, "", &text);
        }
    }

    fn emit(&self, file: &mut LogFile, level: Level, traced: Level, session: &str, text: &str) {
        let component = self.component.as_str();
        macro_rules! event {
            ($name:ident) => {
                tracing::$name!(target: "rp_component", component, session, "{text}")
            };
        }
        match traced {
            Level::Trace => event!(trace),
            Level::Debug => event!(debug),
            Level::Info => event!(info),
            Level::Warn => event!(warn),
            Level::Error => event!(error),
        }
        let session = if session.is_empty() { "-" } else { session };
        file.line(&format!("{} {} {session} {text}\n", timestamp(SystemTime::now()), level.name()));
    }
}

impl Drop for ComponentLog {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        let over = Instant::now() + Duration::from_secs(1);
        self.report_dropped(&mut inner, over);
    }
}

/// Lines in the second that runs now.
#[derive(Debug)]
struct Rate {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Rate { since: now, lines: 0, dropped: 0 }
    }

    fn second_is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= Duration::from_secs(1)
    }

    fn admit(&mut self, now: Instant) -> bool {
        if self.second_is_over(now) {
            *self = Rate { dropped: self.dropped, ..Rate::new(now) };
        }
        if self.lines < LINES_PER_SECOND {
            self.lines += 1;
            true
        } else {
            self.dropped += 1;
            false
        }
    }

    fn dropped(&mut self, now: Instant) -> Option<u64> {
        (self.dropped > 0 && self.second_is_over(now)).then(|| std::mem::take(&mut self.dropped))
    }
}

/// A file that is put aside when it is full.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// The last attempt to write failed, and that was reported.
    broken: bool,
}

impl LogFile {
    fn line(&mut self, line: &str) {
        match self.try_line(line) {
            Ok(()) => self.broken = false,
            Err(error) if !self.broken => {
                self.broken = true;
                tracing::warn!(path = %self.path.display(), %error, "cannot write a component's log");
            }
            Err(_) => {}
        }
    }

    fn try_line(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        if self.open.as_ref().is_some_and(|(_, size)| size + length > FILE_BYTES) {
            self.open = None;
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(append(&self.path)?),
        };
        file.write_all(line.as_bytes())?;
        *size += length;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Joins a message and its fields.
pub(crate) fn message(text: &str, fields: &[(String, String)]) -> String {
    let mut line = String::from(cut(text));
    for (name, value) in fields {
        if line.len() >= LINE_BYTES {
            break;
        }
        // Writing to a string cannot fail.
        let _ = write!(line, " {}={}", cut(name), cut(value));
    }
    line
}

/// Cuts the text to size and writes control characters as escapes, so that a component can
/// neither forge a line nor reach a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE_BYTES));
    for character in cut(text).chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    cut(&line).to_owned()
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LINE_BYTES)).unwrap_or_default()
}

/// Date and time of day in UTC, to the millisecond.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The date that many days after 1 January 1970. Years are counted from March, so that the
/// leap day is the last of its year, in cycles of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (cycle * 400 + year, month, day)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join("demo.log")).unwrap()
    }

    #[test]
    fn lines_beyond_the_rate_are_counted_instead_of_written() {
        let folder = tempfile::tempdir().unwrap();
        let log = Logs::new(folder.path().to_owned()).component("demo");
        let start = Instant::now();
        for number in 0..1000 {
            log.write_at(Level::Info, Level::Debug, "scout", &format!("line {number}"), start);
        }
        log.write_at(Level::Info, Level::Debug, "scout", "later", start + Duration::from_secs(2));
        let text = text(folder.path());
        assert_eq!(text.lines().count(), 202);
        assert!(text.lines().nth(199).unwrap().ends_with("Z INFO scout line 199"));
        assert!(text.lines().nth(200).unwrap().ends_with("Z WARN - dropped 800 lines"));
        assert!(text.lines().nth(201).unwrap().ends_with("Z INFO scout later"));
    }

    #[test]
    fn dropped_lines_are_told_of_when_the_log_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let log = Logs::new(folder.path().to_owned()).component("demo");
        let start = Instant::now();
        for _ in 0..201 {
            log.write_at(Level::Info, Level::Debug, "", "line", start);
        }
        drop(log);
        assert!(text(folder.path()).ends_with("Z WARN - dropped 1 lines\n"));
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_one_before_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = Logs::new(folder.path().to_owned()).component("demo");
        let long = "x".repeat(LINE_BYTES);
        let mut now = Instant::now();
        for _ in 0..20 {
            now += Duration::from_secs(1);
            for _ in 0..LINES_PER_SECOND {
                log.write_at(Level::Debug, Level::Debug, "", &long, now);
            }
        }
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("demo.log") <= FILE_BYTES);
        assert!(size("demo.log.1") <= FILE_BYTES);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_message_stays_one_line_of_bounded_size() {
        assert_eq!(one_line("a\nb\u{1b}[31m\tc"), "a\\nb\\u{1b}[31m\\tc");
        assert_eq!(one_line(&"ü".repeat(LINE_BYTES)).len(), LINE_BYTES);
        assert_eq!(message("m", &[("k".into(), "v".into())]), "m k=v");
    }

    #[test]
    fn a_component_that_is_loaded_twice_has_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().to_owned());
        let log = logs.component("demo");
        assert!(Arc::ptr_eq(&log, &logs.component("demo")));
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |seconds: u64| timestamp(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.007Z");
        assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00.007Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.007Z");
    }
}
