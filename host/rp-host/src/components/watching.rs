//! Noticing what a person does in the folder of components, and in the files of rules.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rp_packages::{Grants, MANIFEST, Package, SIGNATURE, WASM};
use rp_protocol::component::ComponentId;
use rp_watch::{DirectoryWatch, Notice};

use super::{Active, ChainSettings, Components, Loaded, Rules, what_ships};
use crate::problem::{Problem, While};

/// Files are being copied as long as they change more often than this.
const QUIET: Duration = Duration::from_millis(20);
/// However long they do, they are looked at after so many changes.
const CHANGES: usize = 50;

/// What the files looked like when they were last read, by path.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<PathBuf, Stamp>);

/// Changes when a file is written or replaced; `None` for a file that is not there.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl Seen {
    /// Whether any of these files changed since it was asked last.
    fn changed(&mut self, key: &Path, files: &[PathBuf]) -> bool {
        let stamp: Stamp = files.iter().map(|file| stamp(file)).collect();
        self.0.insert(key.to_owned(), stamp.clone()) != Some(stamp)
    }

    /// Forgets a key, so that its files count as changed.
    pub(super) fn forget(&mut self, key: &Path) {
        self.0.remove(key);
    }
}

fn stamp(file: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = fs::symlink_metadata(file).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

impl Components {
    /// Looks at the folders now, and again whenever something in them changed; for ever.
    pub async fn watch(self: Arc<Self>) {
        self.load_the_rest().await;
        loop {
            let directories = self.directories();
            let watch = DirectoryWatch::on(
                directories.iter().map(PathBuf::as_path),
                Notice::NamesAndWrites,
            );
            if self.directories() != directories {
                continue; // What came in between is not watched yet.
            }
            self.look().await;
            watch.changed().await;
            for _ in 0..CHANGES {
                if tokio::time::timeout(QUIET, watch.changed()).await.is_err() {
                    break;
                }
            }
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        let packages = self.shelf.dropped().unwrap_or_default();
        let folders = packages.into_iter().filter(|path| path.is_dir());
        [self.root.host(), self.shelf.inbox().to_owned()].into_iter().chain(folders).collect()
    }

    /// Takes up what changed in the folders and files since the last look.
    pub async fn look(&self) {
        let mut rules = self.rules.lock().await;
        self.look_at_grants(&mut rules);
        self.look_at_packages(&mut rules).await;
        self.look_at_settings(&mut rules).await;
    }

    /// The file is written by this program too: then it says what is known.
    fn look_at_grants(&self, rules: &mut Rules) {
        let path = self.root.grants();
        if !rules.seen.changed(&path, std::slice::from_ref(&path)) {
            return;
        }
        match Grants::load(&path) {
            Ok(grants) => {
                rules.grants = grants;
                rules.seen = Seen::default();
                rules.seen.changed(&path, std::slice::from_ref(&path));
            }
            Err(error) => tracing::warn!(%error, "the earlier grants stay"),
        }
    }

    async fn look_at_packages(&self, rules: &mut Rules) {
        let dropped = match self.shelf.dropped() {
            Ok(dropped) => dropped,
            Err(error) => return tracing::warn!(%error, "cannot look for components"),
        };
        let names: Vec<String> = dropped.iter().map(|path| name_of(path)).collect();
        // What comes back is looked at again, also when it is as it was.
        let inbox = self.shelf.inbox().to_owned();
        rules.seen.0.retain(|path, _| !path.starts_with(&inbox) || dropped.contains(path));
        self.write().refused.retain(|name, _| names.contains(name));
        for folder in &dropped {
            let files = ["", MANIFEST, WASM, SIGNATURE].map(|file| folder.join(file));
            if !rules.seen.changed(folder, &files) {
                continue;
            }
            let name = name_of(folder);
            match self.take_up(rules, folder).await {
                Ok(()) => drop(self.write().refused.remove(&name)),
                Err(problem) => {
                    tracing::warn!(folder = %folder.display(), %problem, "not used");
                    self.write().refused.insert(name, problem);
                }
            }
        }
        self.withdraw_what_left(rules).await;
    }

    async fn take_up(&self, rules: &mut Rules, folder: &Path) -> Result<(), Problem> {
        let package = read(folder.to_owned()).await?;
        let id = &package.manifest.id;
        if folder.file_name() != Some(OsStr::new(id.as_str())) {
            return Err(Problem::failed(format!(
                "the folder is named {} and the component in it {id}",
                name_of(folder)
            ))
            .hint("name the folder like the component"));
        }
        self.consider(rules, &package).await?;
        self.remember_publisher(rules, &package)
    }

    /// What was taken out of the folder is in force no longer; what ships comes back in its place.
    async fn withdraw_what_left(&self, rules: &Rules) {
        let left: Vec<ComponentId> = {
            let mut table = self.write();
            let inbox = self.shelf.inbox();
            let is_gone = |id: &ComponentId| fs::symlink_metadata(inbox.join(id.as_str())).is_err();
            table.waiting.retain(|id, waiting| waiting.about.ships() || !is_gone(id));
            let added = table.active.iter().filter(|(_, active)| !active.about.ships());
            let missing = table.missing.keys().filter(|id| what_ships(id).is_none());
            let ids = added.map(|(id, _)| id).chain(missing);
            ids.filter(|id| is_gone(id)).cloned().collect()
        };
        for id in left {
            self.withdraw(rules, &id).await;
        }
    }

    pub(super) async fn withdraw(&self, rules: &Rules, id: &ComponentId) {
        tracing::info!(component = %id, "no longer in force");
        if let Err(error) = self.shelf.discard(id) {
            tracing::warn!(%error, "cannot remove the copy of a component");
        }
        // What ships first, so that no envelope passes between the two.
        let ships = what_ships(id);
        if let Some(embedded) = ships
            && let Err(problem) = self.load_what_ships(rules, embedded).await
        {
            tracing::warn!(component = %id, %problem, "what ships cannot take its place");
        }
        self.update(&rules.chain, |table| {
            table.active.retain(|other, active| other != id || active.about.ships());
            table.waiting.retain(|other, waiting| other != id || waiting.about.ships());
            table.missing.retain(|other, _| other != id || ships.is_some());
        });
    }

    async fn look_at_settings(&self, rules: &mut Rules) {
        let path = self.root.policy_settings();
        let changed = rules.seen.changed(&path, std::slice::from_ref(&path));
        // What was wrong may have been a policy that was not there yet.
        if !changed && self.read().chain_problem.is_none() {
            return;
        }
        let changed = match ChainSettings::load(&path) {
            Ok(settings) if settings == rules.chain && self.read().chain_problem.is_none() => {
                return;
            }
            Ok(settings) => self.apply_settings(rules, settings).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &changed {
            tracing::warn!(%problem, "the earlier settings of the policies stay");
        }
        self.write().chain_problem = changed.err();
        self.tell();
    }

    /// What cannot be loaded may be so because of its settings.
    async fn load_missing(&self, rules: &Rules, settings: &ChainSettings) -> Result<(), Problem> {
        let missing: Vec<_> = self.read().missing.keys().cloned().collect();
        let rules = Rules {
            grants: rules.grants.clone(),
            system: rules.system.clone(),
            chain: settings.clone(),
            seen: Seen::default(),
        };
        for id in missing {
            match what_ships(&id) {
                Some(embedded) => self.load_what_ships(&rules, embedded).await?,
                None => {
                    let package = self.shelf.kept_package(&id).map_err(super::refusal)?;
                    self.consider(&rules, &package).await?;
                }
            }
        }
        Ok(())
    }

    /// Settings may name the policies in force, and these.
    fn check_named(
        &self,
        settings: &ChainSettings,
        mut known: Vec<ComponentId>,
    ) -> Result<(), Problem> {
        let table = self.read();
        let policies = table.active.iter().filter(|(_, it)| matches!(it.loaded, Loaded::Policy(_)));
        known.extend(policies.map(|(id, _)| id.clone()));
        let mut named = settings.settings.keys().chain(settings.chain.iter().flatten());
        match named.find(|named| known.iter().all(|id| id.as_str() != named.as_str())) {
            None => Ok(()),
            Some(id) => Err(Problem::failed(format!(
                "could not use {}: there is no policy {id} in force",
                self.root.policy_settings().display()
            ))
            .hint("`rp-host component list` lists the policies")),
        }
    }

    /// All of the new settings or none: half of them is what nobody wanted.
    async fn apply_settings(
        &self,
        rules: &mut Rules,
        settings: ChainSettings,
    ) -> Result<(), Problem> {
        // Before anything changes; one that is missing may be loaded with these settings.
        let missing = self.read().missing.keys().cloned().collect();
        self.check_named(&settings, missing)?;
        self.load_missing(rules, &settings).await?;
        self.check_named(&settings, Vec::new())?;
        let mut renewed = Vec::new();
        let active: Vec<_> = self.read().active.values().cloned().collect();
        for active in active {
            let id = &active.about.manifest.id;
            let wanted = settings.of(id.as_str());
            if !matches!(active.loaded, Loaded::Policy(_)) || active.settings == wanted {
                continue;
            }
            let wasm = self.wasm(&active.about)?;
            let manifest = &active.about.manifest;
            let loaded = self.loader.load(manifest, wasm, &active.permits, &wanted).await?;
            renewed.push(Active {
                about: active.about.clone(),
                permits: active.permits.clone(),
                settings: wanted,
                loaded,
            });
        }
        self.update(&settings, |table| {
            renewed.into_iter().for_each(|active| table.put(active));
            table.chain_unknown = false;
        });
        rules.chain = settings;
        Ok(())
    }
}

/// Reads a package away from the asynchronous threads.
pub(super) async fn read(folder: PathBuf) -> Result<Package, Problem> {
    let read = tokio::task::spawn_blocking(move || Package::read(&folder)).await;
    read.doing("read a package")?.map_err(super::refusal)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
