//! Files of a recording.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::interface::Exit;

/// One line that was seen.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// Which way it went.
    pub dir: Direction,
    /// Milliseconds since the process was started.
    pub at_ms: u64,
    /// The line without its newline.
    pub line: String,
}

/// Which way a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the standard input of the harness.
    In,
    /// From its standard output.
    Out,
    /// From its standard error.
    Err,
}

/// What `cases.json` says of one recording.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// How the harness was started; the default of the file where it is empty.
    #[serde(default)]
    pub argv: Vec<String>,
    /// How it ended.
    pub exit: CaseExit,
}

impl Case {
    /// What stood behind this option when the harness was started.
    #[must_use]
    pub fn value_of(&self, option: &str) -> Option<String> {
        let at = self.argv.iter().position(|argument| argument == option)?;
        self.argv.get(at + 1).cloned()
    }

    /// How the process ended, as an adapter is told.
    #[must_use]
    pub fn how_it_ended(&self) -> Exit {
        match (self.exit.code, self.exit.signal.as_deref()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some("SIGHUP")) => Exit::Signal(1),
            (None, Some("SIGINT")) => Exit::Signal(2),
            (None, Some("SIGTERM")) => Exit::Signal(15),
            (None, _) => Exit::Signal(9),
        }
    }
}

/// How a recorded process ended.
#[derive(Debug, Clone, Deserialize)]
pub struct CaseExit {
    /// Milliseconds since the process was started.
    #[serde(default)]
    pub at_ms: u64,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The name of the signal that ended it.
    pub signal: Option<String>,
}

#[derive(Deserialize)]
struct CasesFile {
    cases: BTreeMap<String, Case>,
}

/// The recordings in a folder, by name.
///
/// # Errors
/// `cases.json` is missing or has another shape; the text says which.
pub fn cases(folder: &Path) -> Result<BTreeMap<String, Case>, String> {
    let path = folder.join("cases.json");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file: CasesFile =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(file.cases)
}

/// The lines of a recording.
///
/// # Errors
/// The file is missing or a line has another shape; the text says which.
pub fn read(path: &Path) -> Result<Vec<Line>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.split('\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| {
            serde_json::from_str(line)
                .map_err(|error| format!("{}:{}: {error}", path.display(), at + 1))
        })
        .collect()
}
