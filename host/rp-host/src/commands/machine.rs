//! Commands about what is on this machine: logs, settings, harnesses and components.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use super::{Asking, url_part};
use crate::{
    api,
    cli::Component,
    config::{Settings, Source},
    output,
    problem::{Problem, While},
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn logs(
        &self,
        component: Option<&str>,
        lines: usize,
        follow: bool,
    ) -> Result<(), Problem> {
        let path = match component {
            Some(id) => self.root.logs().join(format!("{}.log", url_part(id)?)),
            None => self.root.daemon_log(),
        };
        let read = std::fs::read(&path).map_err(|error| {
            Problem::failed(format!("could not read {}: {error}", path.display())).hint(
                match component {
                    Some(_) => "a component that has not said anything yet has no log",
                    None => "a daemon in the foreground logs to its terminal, not to a file",
                },
            )
        })?;
        let text = String::from_utf8_lossy(&read);
        let all: Vec<_> = text.lines().collect();
        let last: Vec<_> = all.iter().skip(all.len().saturating_sub(lines)).copied().collect();
        self.show(&serde_json::json!({ "lines": last }), |_| safe(&last.join("\n")))?;
        if follow { print_additions(&path, read.len() as u64).await } else { Ok(()) }
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

    pub(super) async fn harnesses(&self) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let asked = self.patiently("asking the harnesses for their versions", async {
            client.get::<api::Harnesses>("/v1/harnesses").await
        });
        let listing = asked.await?;
        self.show(&listing, |listing| {
            let rows: Vec<_> = listing.harnesses.iter().map(harness_row).collect();
            table(&["harness", "version", "tested with", "about"], &rows)
        })
    }

    pub(super) async fn component(&self, component: Component) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        match component {
            Component::List => {
                let listing: api::Components = client.get("/v1/components").await?;
                self.show(&listing, |listing| {
                    let row = |c: &api::Component| {
                        vec![
                            c.id.clone(),
                            c.version.clone(),
                            c.kind.clone(),
                            safe(&c.state),
                            safe(&c.about),
                        ]
                    };
                    let rows: Vec<_> = listing.components.iter().map(row).collect();
                    table(&["component", "version", "kind", "state", "about"], &rows)
                })
            }
            Component::Inspect { id } => {
                let path = format!("/v1/components/{}", url_part(&id)?);
                self.show(&client.get(&path).await?, component_block)
            }
            Component::Restart { id } => {
                let path = format!("/v1/components/{}/restart", url_part(&id)?);
                self.show(&client.post(&path, &()).await?, |restarted: &api::Component| {
                    format!("{} is {}", restarted.id, safe(&restarted.state))
                })
            }
        }
    }
}

fn component_block(component: &api::Component) -> String {
    let listed = |items: &[String]| match items {
        [] => "nothing".to_owned(),
        items => items.iter().map(|item| safe(item)).collect::<Vec<_>>().join("\n         "),
    };
    let rows = [
        ("id", component.id.clone()),
        ("version", component.version.clone()),
        ("kind", component.kind.clone()),
        ("about", safe(&component.about)),
        ("by", safe(component.publisher.as_deref().unwrap_or("nobody who says so"))),
        ("may", listed(&component.permissions)),
        ("world", component.world.clone()),
        ("imports", listed(&component.imports)),
        ("state", safe(&component.state)),
        ("source", component.source.clone()),
        ("size", format!("{} bytes", component.size)),
        ("sha256", component.sha256.clone()),
    ];
    rows.iter().map(|(name, value)| format!("{name:8} {value}\n")).collect()
}

/// Prints what comes into a file behind `end`, until the program is interrupted. A file that
/// became shorter was begun anew.
async fn print_additions(path: &Path, mut end: u64) -> Result<(), Problem> {
    const PAUSE: Duration = Duration::from_millis(200);
    loop {
        tokio::time::sleep(PAUSE).await;
        let Ok(mut file) = std::fs::File::open(path) else { continue };
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
}

fn harness_row(harness: &api::Harness) -> Vec<String> {
    let version = harness.version.clone();
    let about = match &version {
        Some(version) if harness.description.tested.contains(version) => {
            "tested version".to_owned()
        }
        Some(_) if harness.description.tested.is_empty() => "part of rp-host".to_owned(),
        Some(_) => "not a tested version; it may still work".to_owned(),
        None => match &harness.installed {
            Some(path) => format!("{} does not say its version", safe(path)),
            None => format!("not installed: {}", harness.description.install),
        },
    };
    vec![
        harness.description.name.clone(),
        version.map_or_else(|| "—".to_owned(), |version| safe(&version)),
        harness.description.tested.join(", "),
        about,
    ]
}
