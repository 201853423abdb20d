//! `component dev`: a folder is installed whenever it is built, and its author is reminded to build.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rp_packages::{MANIFEST, SIGNATURE, WASM};
use rp_watch::{DirectoryWatch, Notice};

use super::{Asking, components::in_one_line};
use crate::{
    api,
    client::Client,
    output,
    problem::{Problem, While},
};

/// Where the sources are, in every project that `component new` writes.
const SOURCES: &str = "src";

/// Folders below it that are watched; a project of one component has a few.
const FOLDERS: usize = 100;

impl Asking<'_> {
    /// Installs the folder now and whenever what is installed of it changes.
    pub(super) async fn develop(
        &self,
        client: &Client,
        folder: &Path,
        yes: bool,
    ) -> Result<(), Problem> {
        let folder = std::path::absolute(folder).doing("find the current folder")?;
        let (mut installed, mut reminded) = (None, false);
        loop {
            let mut folders = source_folders(&folder);
            folders.push(folder.clone());
            let watch =
                DirectoryWatch::on(folders.iter().map(PathBuf::as_path), Notice::NamesAndWrites);
            let now = [MANIFEST, WASM, SIGNATURE].map(|file| modified(&folder.join(file)));
            if installed != Some(now) {
                let grant = yes.then_some(api::GrantChoice::All(api::All::All));
                match self.install(client, &folder, grant).await {
                    Ok(added) => self.show(&added, in_one_line)?,
                    Err(problem) => output::problem(&problem, self.json),
                }
                output::note(
                    "waiting for changes; Ctrl-C ends this, and the component stays installed",
                );
                installed = Some(now);
            }
            let newer = newer_source(&folder, &folders);
            if let Some(source) = newer.as_ref().filter(|_| !reminded) {
                let source = source.strip_prefix(&folder).unwrap_or(source);
                output::note(&format!(
                    "{} is newer than {WASM}: {}",
                    source.display(),
                    how_to_build(&folder)
                ));
            }
            reminded = newer.is_some();
            watch.changed().await;
            // A package is several files: it is complete when nothing more comes for a moment.
            while tokio::time::timeout(super::SETTLING, watch.changed()).await.is_ok() {}
        }
    }
}

/// The folder of the sources and those below it.
fn source_folders(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.join(SOURCES)];
    let mut next = 0;
    while let Some(folder) = folders.get(next) {
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
        folders.extend(below);
        folders.truncate(FOLDERS);
        next += 1;
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// A source that was written after the component was built.
fn newer_source(folder: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let built = modified(&folder.join(WASM));
    let below = folders.iter().filter(|below| *below != folder);
    let entries = below.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    files.find(|path| modified(path) > built)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// How a project is built, by the files that `component new` writes for each language.
fn how_to_build(folder: &Path) -> String {
    let builds = [
        ("build.sh", "./build.sh"),
        ("package.json", "npm run build"),
        ("build.py", "python3 build.py"),
    ];
    match builds.iter().find(|(file, _)| folder.join(file).exists()) {
        Some((_, command)) => format!("`{command}` builds it again"),
        None => "build it again".to_owned(),
    }
}
