//! The conformance kit: loads a component as the host would, and checks what the host and a person
//! will rely on. Nothing of it needs a daemon, except `live`, which starts one of its own.

mod abilities;
mod actions;
mod adapters;
mod kept;
mod live;
mod memory;
mod policies;
mod promises;
mod replay;
mod report;
mod subject;
mod transcripts;

use std::path::Path;

use rp_engine::{Code, Engine, EngineConfig, Limits, LoadError};
use rp_protocol::component::Kind;

use self::report::Checks;
pub use self::{
    abilities::{Measured, Shown},
    kept::{keep, kept},
    live::Wanted,
    report::Report,
    subject::Subject,
};
use crate::{
    components::cache_key,
    paths::StateRoot,
    problem::{Problem, While},
};

/// Tests the component that `what` names: a folder, an archive or an id. Recordings are those of its
/// folder, or of `transcripts`; with `live` its harnesses are run, too.
pub async fn test(
    root: &StateRoot,
    what: &str,
    transcripts: Option<&Path>,
    live: Option<Wanted<'_>>,
) -> Result<Report, Problem> {
    let subject = match subject::find(root, what)? {
        Ok(subject) => subject,
        Err(refusal) => {
            let mut checks = Checks::default();
            checks.failed("the package can be read", "a valid manifest and a component", refusal);
            return Ok(Report::new(what, checks));
        }
    };
    let mut checks = Checks::default();
    subject.check_manifest(&mut checks);
    // What it writes to its log is not what it does at work.
    let logs = tempfile::tempdir().doing("make a temporary folder")?;
    let engine = Engine::new(EngineConfig {
        cache_dir: root.cache(),
        cache_key: cache_key(root)?,
        log_dir: logs.path().to_owned(),
        limits: Limits::default(),
    })
    .doing("start the component engine")?;
    let mut measured = Vec::new();
    match subject.manifest.kind {
        Kind::Policy => policies::check(&engine, &subject, &mut checks).await?,
        Kind::Actions => actions::check(&engine, &subject, &mut checks).await,
        Kind::Adapter => {
            let folder = match transcripts {
                Some(folder) => Some(folder.to_owned()),
                None => subject.transcripts(),
            };
            measured = adapters::check(&engine, &subject, folder.as_deref(), &mut checks).await?;
        }
    }
    if let Some(wanted) = live {
        if subject.manifest.kind != Kind::Adapter {
            return Err(Problem::usage(format!("{} has no harness to run", subject.manifest.id)));
        }
        live::run(root, &subject, &wanted, &mut measured, &mut checks).await?;
    }
    measured.retain(Measured::says_something);
    Ok(Report { abilities: measured, ..Report::of(&subject, checks) })
}

/// The code of a component with the memory that its manifest asks for.
fn code(subject: &Subject) -> Code {
    crate::components::code(&subject.manifest, subject.wasm.clone())
}

/// Takes down that a component was loaded, or why not.
fn loaded<T>(
    loaded: Result<T, LoadError>,
    imports: impl Fn(&T) -> Vec<String>,
    subject: &Subject,
    checks: &mut Checks,
) -> Option<T> {
    let world = &subject.manifest.world;
    match loaded {
        Ok(loaded) => {
            let imports = imports(&loaded);
            checks.ok(format!("it is a component for {world}"), subject.size());
            checks.ok("it imports only what its world has", subject.imports(&imports));
            Some(loaded)
        }
        Err(error) => {
            let what = match &error {
                LoadError::WrongWorld { .. }
                | LoadError::NewerInterface { .. }
                | LoadError::OlderInterface { .. } => format!("it is a component for {world}"),
                LoadError::Call(_)
                | LoadError::Description(_)
                | LoadError::Actions(_)
                | LoadError::Settings(_) => "its first calls are answered".to_owned(),
                _ => "it can be compiled".to_owned(),
            };
            checks.failed(what, "a component that the host can load", error);
            None
        }
    }
}
