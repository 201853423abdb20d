//! Commands about what is on this machine: logs and settings.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use rp_watch::{DirectoryWatch, Notice};

use super::Asking;
use crate::{
    config::{Settings, Source},
    output,
    problem::{Problem, While},
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn logs(
        &self,
        path: &Path,
        lines: usize,
        follow: bool,
        hint: &str,
    ) -> Result<(), Problem> {
        let read = std::fs::read(path).map_err(|error| {
            Problem::failed(format!("could not read {}: {error}", path.display())).hint(hint)
        })?;
        let text = String::from_utf8_lossy(&read);
        let all: Vec<_> = text.lines().collect();
        let last: Vec<_> = all.iter().skip(all.len().saturating_sub(lines)).copied().collect();
        self.show(&serde_json::json!({ "lines": last }), |_| safe(&last.join("\n")))?;
        if follow { print_additions(path, read.len() as u64).await } else { Ok(()) }
    }

    pub(super) fn config(&self) -> Result<(), Problem> {
        let settings = Settings::load(&self.root.settings())?;
        self.show(&settings.all(), |settings| {
            let rows: Vec<_> = settings
                .iter()
                .map(|setting| {
                    let source = match setting.source {
                        Source::Environment => setting.variable.to_owned(),
                        Source::File => self.root.settings().display().to_string(),
                        Source::Default => "default".to_owned(),
                    };
                    vec![
                        setting.key.to_owned(),
                        setting.value.clone(),
                        source,
                        setting.about.to_owned(),
                    ]
                })
                .collect();
            table(&["setting", "value", "from", "meaning"], &rows)
        })
    }
}

/// Prints what comes into a file behind `end`, until the program is interrupted. A file that
/// became shorter was begun anew.
async fn print_additions(path: &Path, mut end: u64) -> Result<(), Problem> {
    let watch = DirectoryWatch::on(path.parent(), Notice::EveryWrite);
    loop {
        if let Ok(mut file) = std::fs::File::open(path) {
            let length = file.metadata().doing("read the log")?.len();
            if length < end {
                end = 0;
            }
            let mut added = Vec::new();
            file.seek(SeekFrom::Start(end)).doing("read the log")?;
            file.take(length - end).read_to_end(&mut added).doing("read the log")?;
            // A line that is being written is shown when it is whole.
            let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            added.truncate(whole);
            end += whole as u64;
            output::raw(safe(&String::from_utf8_lossy(&added)).as_bytes())?;
        }
        watch.changed().await;
    }
}
