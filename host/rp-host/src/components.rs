//! The components of this machine: those that ship with the program and those a person added.
//!
//! A package goes in force in steps, and a failure at any of them changes nothing: it is read
//! (`rp_packages`), held to the machine's rules, compiled, linked and tried (`loading`), held to what
//! the person granted, copied, and swapped in. Sessions keep the adapter they began with; new ones
//! get the new one. What is in force is only ever the copy, so that whatever happens to the folder
//! the person fills, the last good version stays.

mod chain;
mod changes;
mod loading;
mod report;
mod storage;
mod watching;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rp_engine::{Actions, Adapter, Policy};
use rp_mesh::RoutingPolicy;
use rp_packages::{Decision, Digest, Grants, Package, Publisher, Shelf, SystemPolicy};
use rp_protocol::component::{ComponentId, Kind, Manifest, Permit, SETTINGS_COMMAND};
use rp_store::Database;
use tokio::sync::{Mutex, watch};

pub use self::chain::{Chain, ChainSettings, Link, Rehearsal};
pub use self::changes::Choice;
pub use self::loading::{cache_key, check_programs, code, compile};
pub use self::storage::QUOTA as STORE_QUOTA;
use self::{
    loading::{Loaded, Loader},
    watching::Seen,
};
use crate::{
    config::did_you_mean,
    embedded::{COMPONENTS, Embedded},
    paths::StateRoot,
    problem::{Problem, While},
};

/// The settings of an agent for its adapter.
pub type AgentSettings = serde_json::Map<String, serde_json::Value>;

/// All components, in force or not.
pub struct Components {
    root: StateRoot,
    database: Database,
    loader: Loader,
    shelf: Shelf,
    chain: Arc<Chain>,
    table: RwLock<Table>,
    /// One change at a time.
    rules: Mutex<Rules>,
    changed: watch::Sender<u64>,
    /// Whether everything that ships was loaded.
    loaded: watch::Sender<bool>,
}

/// What everybody reads.
#[derive(Default)]
struct Table {
    /// In force.
    active: BTreeMap<ComponentId, Arc<Active>>,
    /// Read and tried, and not in force.
    waiting: BTreeMap<ComponentId, Waiting>,
    /// What lies in the person's folder and cannot be used, by its name there.
    refused: BTreeMap<String, Problem>,
    /// Policies that should be in force and cannot be loaded, and why: nothing passes meanwhile.
    missing: BTreeMap<ComponentId, String>,
    /// What is wrong with the person's settings of policies.
    chain_problem: Option<Problem>,
    /// Nobody knows the person's settings since the start: nothing passes meanwhile.
    chain_unknown: bool,
}

/// What decides whether a package goes in force.
struct Rules {
    grants: Grants,
    system: SystemPolicy,
    chain: ChainSettings,
    seen: Seen,
}

/// A component in force.
struct Active {
    about: About,
    permits: Vec<Permit>,
    /// Settings of a policy.
    settings: String,
    loaded: Loaded,
}

/// What is known of a component without its code.
#[derive(Clone)]
struct About {
    manifest: Manifest,
    publisher: Publisher,
    /// Of the package; a component that ships has none.
    digest: Option<Digest>,
    bytes: usize,
    sha256: String,
}

/// A component that could be in force.
struct Waiting {
    about: About,
    why: Why,
    /// What it imports, where it was loaded to be tried.
    imports: Option<Vec<String>>,
}

/// Why it is not.
enum Why {
    /// A person has not decided about these yet.
    Pending(Vec<Permit>),
    /// A person switched it off.
    Disabled,
    /// The machine's administrator forbids it, in these words.
    Forbidden(String),
}

impl Components {
    /// Loads what ships and what was in force before. Compiling is waited for only where nothing
    /// works without it: the routing policies. The rest follows once this is [watched](Self::watch).
    pub async fn open(root: &StateRoot, database: Database) -> Result<Arc<Self>, Problem> {
        let system = SystemPolicy::load(&root.system_policy()).map_err(refusal)?;
        let grants = Grants::load(&root.grants()).map_err(refusal)?;
        let chain = ChainSettings::load(&root.policy_settings());
        let shelf = Shelf::open(root.components(), root.components_in_force());
        let components = Arc::new(Components {
            loader: Loader::new(root, database.clone())?,
            shelf: shelf.doing("prepare the folders of components")?,
            root: root.clone(),
            database,
            chain: Arc::default(),
            table: RwLock::default(),
            rules: Mutex::new(Rules {
                grants,
                system,
                chain: chain.clone().unwrap_or_default(),
                seen: Seen::default(),
            }),
            changed: watch::Sender::new(0),
            loaded: watch::Sender::new(false),
        });
        if let Err(problem) = chain {
            components.update(&ChainSettings::default(), |table| {
                table.chain_problem = Some(problem);
                table.chain_unknown = true;
            });
        }
        components.load_what_is_needed().await?;
        Ok(components)
    }

    async fn load_what_is_needed(self: &Arc<Self>) -> Result<(), Problem> {
        let kept = self.shelf.kept().doing("read the components")?;
        let rules = self.rules.lock().await;
        let rules = Arc::new(&*rules);
        let ships = COMPONENTS.iter().map(|embedded| {
            let rules = Arc::clone(&rules);
            async move {
                let is_compiled = self.loader.is_compiled(embedded.bytes);
                let manifest = Manifest::parse(embedded.manifest).doing("read a manifest")?;
                if !is_compiled && manifest.kind != Kind::Policy {
                    return Ok(false);
                }
                self.loader.compile(&manifest.id, embedded.bytes).await?;
                self.load_what_ships(&rules, embedded).await.map(|()| true)
            }
        });
        let mut all = true;
        for loaded in futures_util::future::join_all(ships).await {
            all &= loaded?;
        }
        self.loaded.send_replace(all);
        let added = kept.iter().map(|folder| {
            let rules = Arc::clone(&rules);
            async move {
                if let Err(problem) = self.load_again(&rules, folder).await {
                    tracing::warn!(folder = %folder.display(), %problem, "not in force any more");
                    self.miss(&rules, folder, &problem);
                }
            }
        });
        futures_util::future::join_all(added).await;
        Ok(())
    }

    /// Compiles and loads what was not waited for.
    async fn load_the_rest(&self) {
        if !*self.loaded.borrow() {
            self.load_the_rest_that_ships().await;
        }
        self.load_the_rest_that_was_kept().await;
    }

    /// The last good versions come back also where a newer one in the person's folder does not run.
    async fn load_the_rest_that_was_kept(&self) {
        let kept = match self.shelf.kept() {
            Ok(kept) => kept,
            Err(error) => return tracing::warn!(%error, "cannot read the kept components"),
        };
        let rules = self.rules.lock().await;
        for folder in kept {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let Some(id) = ComponentId::parse(&name).filter(|id| self.is_not_tried(id)) else {
                continue;
            };
            let loaded = match watching::read(folder.clone()).await {
                Ok(package) => self.consider(&rules, &package).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = loaded {
                tracing::warn!(component = %id, %problem, "not in force any more");
            }
        }
    }

    async fn load_the_rest_that_ships(&self) {
        self.loader.compile_what_ships().await;
        let rules = self.rules.lock().await;
        for embedded in COMPONENTS {
            let manifest = Manifest::parse(embedded.manifest);
            if !manifest.is_ok_and(|manifest| self.is_known(&manifest.id))
                && let Err(problem) = self.load_what_ships(&rules, embedded).await
            {
                tracing::error!(%problem, "a component that ships is not in force");
            }
        }
        self.loaded.send_replace(true);
        self.tell();
    }

    /// Whether what was kept of a component was left for later.
    fn is_not_tried(&self, id: &ComponentId) -> bool {
        let table = self.read();
        let is_in_force = table.active.get(id).is_some_and(|active| !active.about.ships());
        !is_in_force && !table.missing.contains_key(id)
    }

    fn is_known(&self, id: &ComponentId) -> bool {
        let table = self.read();
        table.active.contains_key(id) || table.waiting.contains_key(id)
    }

    /// Waits until everything that ships is loaded, which takes some seconds at the first start of
    /// a new version.
    pub async fn loaded(&self) {
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Puts a copy of what was in force before in force again.
    async fn load_again(&self, rules: &Rules, folder: &Path) -> Result<(), Problem> {
        let package = watching::read(folder.to_owned()).await?;
        if package.manifest.kind != Kind::Policy && !self.loader.is_compiled(&package.wasm) {
            return Ok(()); // Compiled while the daemon serves.
        }
        self.consider(rules, &package).await
    }

    /// Remembers a policy that cannot be loaded any more. Without it messages would pass that a
    /// person wanted looked at. What tells nothing of itself could be one.
    fn miss(&self, rules: &Rules, folder: &Path, problem: &Problem) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let Some(id) = ComponentId::parse(&name) else { return };
        let manifest = std::fs::read_to_string(folder.join(rp_packages::MANIFEST));
        let manifest = manifest.ok().and_then(|text| Manifest::parse(&text).ok());
        let is_other = manifest.is_some_and(|manifest| manifest.kind != Kind::Policy);
        let is_off = rules.grants.get(&id).is_some_and(|grant| grant.disabled);
        if !is_other && !is_off {
            self.update(&rules.chain, |table| drop(table.missing.insert(id, problem.to_string())));
        }
    }

    /// Puts a component that ships in force, as far as the person lets it.
    async fn load_what_ships(&self, rules: &Rules, embedded: &Embedded) -> Result<(), Problem> {
        let manifest = Manifest::parse(embedded.manifest).doing("read a manifest")?;
        let id = manifest.id.clone();
        let is_policy = manifest.kind == Kind::Policy;
        let loaded = self.load_manifest_that_ships(rules, embedded, manifest).await;
        match loaded {
            Err(problem) if is_policy => {
                tracing::warn!(component = %id, %problem, "nothing passes without this policy");
                let why = problem.to_string();
                self.update(&rules.chain, |table| drop(table.missing.insert(id, why)));
                Ok(())
            }
            loaded => loaded,
        }
    }

    async fn load_manifest_that_ships(
        &self,
        rules: &Rules,
        embedded: &Embedded,
        manifest: Manifest,
    ) -> Result<(), Problem> {
        let about = About::new(manifest, Publisher::BuiltIn, None, embedded.bytes);
        if let Some(why) = rules.system.refuses(&about.manifest.id, &Publisher::BuiltIn) {
            self.set_aside(&rules.chain, Waiting::untried(about, Why::Forbidden(why)));
            return Ok(());
        }
        let decision =
            rules.grants.decide(&about.manifest, &Publisher::BuiltIn, false, &rules.system);
        let Decision::Granted(permits) = decision else {
            self.set_aside(&rules.chain, Waiting::untried(about, Why::of(decision)));
            return Ok(());
        };
        let settings = rules.chain.of(about.manifest.id.as_str());
        let loaded =
            self.loader.load(&about.manifest, embedded.bytes.into(), &permits, &settings).await?;
        self.check_harnesses(&about.manifest.id, &loaded)?;
        self.swap_in(&rules.chain, Active { about, permits, settings, loaded });
        Ok(())
    }

    /// Takes a package as far as it gets: in force, or waiting for a person. An error leaves all
    /// as it was.
    async fn consider(&self, rules: &Rules, package: &Package) -> Result<(), Problem> {
        let about = About::of(package);
        let Manifest { id, .. } = &about.manifest;
        let decision = self.decide(rules, package)?;
        if matches!(decision, Decision::Disabled) {
            self.set_aside(&rules.chain, Waiting::untried(about, Why::Disabled));
            return Ok(());
        }
        let settings = rules.chain.of(id.as_str());
        if let (Some(active), Decision::Granted(permits)) = (self.active(id), &decision)
            && active.about.digest == about.digest
            && active.permits == *permits
            && active.settings == settings
        {
            // Another version that waited is no longer what the person has there.
            self.write().waiting.remove(id);
            return Ok(());
        }
        let loaded = self.try_out(package, &decision, &settings).await?;
        match decision {
            Decision::Granted(permits) => {
                self.shelf.keep(package).doing(format!("keep a copy of {id}"))?;
                tracing::info!(component = %id, version = %about.manifest.version, "in force");
                self.swap_in(&rules.chain, Active { about, permits, settings, loaded });
            }
            undecided => {
                // The very same had a grant, which is gone.
                let is_same = |now: Arc<Active>| now.about.digest == about.digest;
                if self.active(id).is_some_and(is_same) {
                    self.update(&rules.chain, |table| drop(table.active.remove(id)));
                }
                tracing::info!(component = %id, "waits for a grant");
                let imports = Some(loaded.imports().to_vec());
                let waiting = Waiting { about, why: Why::of(undecided), imports };
                self.set_aside(&rules.chain, waiting);
            }
        }
        Ok(())
    }

    /// Whether the rules of the machine and of the person let a package run.
    fn decide(&self, rules: &Rules, package: &Package) -> Result<Decision, Problem> {
        let Package { manifest, publisher, .. } = package;
        if let Some(reason) = rules.system.refuses(&manifest.id, publisher) {
            return Err(Problem::failed(reason));
        }
        let takes_over = what_ships(&manifest.id).is_some();
        match rules.grants.decide(manifest, publisher, takes_over, &rules.system) {
            Decision::Impostor(reason) => Err(Problem::failed(reason)),
            decision => Ok(decision),
        }
    }

    /// Compiles, links and calls a component. One that is not granted anything yet is tried with
    /// what it asks for, but without its storage: a person should be asked about something that
    /// works.
    async fn try_out(
        &self,
        package: &Package,
        decision: &Decision,
        settings: &str,
    ) -> Result<Loaded, Problem> {
        let manifest = &package.manifest;
        self.loader.compile(&manifest.id, &package.wasm).await?;
        let permits = match decision {
            Decision::Granted(permits) => permits.clone(),
            _ => manifest.permits().into_iter().filter(|permit| permit.name() != "store").collect(),
        };
        let wasm = Arc::clone(&package.wasm);
        let loaded = self.loader.load(manifest, wasm, &permits, settings).await?;
        self.check_harnesses(&manifest.id, &loaded)?;
        Ok(loaded)
    }

    /// No two adapters may drive harnesses of the same name.
    fn check_harnesses(&self, id: &ComponentId, loaded: &Loaded) -> Result<(), Problem> {
        let Loaded::Adapters(adapters) = loaded else { return Ok(()) };
        let table = self.read();
        for adapter in adapters {
            let name = &adapter.describe().name;
            let owner = table.active.iter().find(|(other, active)| {
                *other != id && active.adapters().any(|taken| taken.describe().name == *name)
            });
            if let Some((owner, _)) = owner {
                return Err(Problem::failed(format!(
                    "the component {id} drives a harness {name}, and {owner} already does"
                ))
                .hint(format!("`rp-host component disable {owner}` makes room for it")));
            }
        }
        Ok(())
    }

    /// Changes what everybody reads, and with it in the same moment the policies that decide: a
    /// policy that is said to be in force has not missed an envelope.
    fn update(&self, settings: &ChainSettings, change: impl FnOnce(&mut Table)) {
        let mut table = self.write();
        change(&mut table);
        self.chain.replace(table.links(settings));
        drop(table);
        self.tell();
    }

    fn swap_in(&self, settings: &ChainSettings, active: Active) {
        self.update(settings, |table| table.put(active));
    }

    /// Has a component wait. What is in force of the same id stays, unless it is to stay off.
    fn set_aside(&self, settings: &ChainSettings, waiting: Waiting) {
        let id = waiting.about.manifest.id.clone();
        self.update(settings, |table| {
            if matches!(waiting.why, Why::Disabled | Why::Forbidden(_)) {
                table.active.remove(&id);
                table.missing.remove(&id);
            }
            table.waiting.insert(id, waiting);
        });
    }

    /// The chain that these settings of the person would put in force. It is not in force, has no
    /// storage, and everybody who was in force stays.
    pub async fn draft(&self, settings: &ChainSettings) -> Result<Vec<Link>, Problem> {
        let policies: Vec<_> = {
            let table = self.read();
            let active = table.active.iter();
            let policies = active.filter(|(_, active)| matches!(active.loaded, Loaded::Policy(_)));
            policies.map(|(id, active)| (id.clone(), Arc::clone(active))).collect()
        };
        let known = policies.iter().map(|(id, active)| (id.as_str(), !active.about.ships()));
        let mut links = Vec::new();
        for id in settings.order(known) {
            let found = policies.iter().find(|(known, _)| known.as_str() == id);
            let (_, active) = found.ok_or_else(|| {
                Problem::failed(format!("there is no policy {id} in force"))
                    .hint("`rp-host component list` shows what is installed")
            })?;
            let mut permits = active.permits.clone();
            permits.retain(|permit| permit.name() != "store");
            let manifest = &active.about.manifest;
            let wasm = self.wasm(&active.about)?;
            let loaded = self.loader.load(manifest, wasm, &permits, &settings.of(&id)).await?;
            if let Loaded::Policy(policy) = loaded {
                links.push(Link { id, policy: Ok(policy), permits });
            }
        }
        Ok(links)
    }

    /// The code of a component in force.
    fn wasm(&self, about: &About) -> Result<Arc<[u8]>, Problem> {
        match what_ships(&about.manifest.id).filter(|_| about.ships()) {
            Some(embedded) => Ok(embedded.bytes.into()),
            None => Ok(self.shelf.kept_package(&about.manifest.id).map_err(refusal)?.wasm),
        }
    }

    /// The adapter of a harness; the error names the closest ones.
    pub fn adapter(&self, harness: &str) -> Result<Adapter, Problem> {
        let adapters = self.adapters();
        let found = adapters.iter().find(|adapter| adapter.describe().name == harness);
        found.cloned().ok_or_else(|| {
            if !*self.loaded.borrow() {
                return Problem::failed("the components that ship are still being compiled")
                    .hint("this takes some seconds, once for each version of rp-host");
            }
            let names: Vec<_> = adapters.iter().map(|a| a.describe().name.as_str()).collect();
            let all = format!("the harnesses are {}", names.join(", "));
            Problem::usage(format!("there is no harness {harness}")).hint(did_you_mean(
                harness,
                names.iter().copied(),
                &all,
            ))
        })
    }

    /// The adapters of all harnesses, in the order of their names.
    pub fn adapters(&self) -> Vec<Adapter> {
        let table = self.read();
        let all = table.active.values().flat_map(|active| active.adapters());
        let mut adapters: Vec<Adapter> = all.cloned().collect();
        adapters.sort_by(|a, b| a.describe().name.cmp(&b.describe().name));
        adapters
    }

    /// The programs that an adapter may have started for an agent with these settings.
    pub fn programs(&self, adapter: &Adapter, settings: &AgentSettings) -> Vec<String> {
        let Some(active) = ComponentId::parse(adapter.id()).and_then(|id| self.active(&id)) else {
            return Vec::new();
        };
        active.permits.iter().filter_map(|permit| program(permit, settings)).collect()
    }

    /// The environment variables that an adapter may set for an agent although they decide what
    /// runs: those it was granted, and those the agent's own settings name under `env`.
    pub fn variables(&self, adapter: &Adapter, settings: &AgentSettings) -> Vec<String> {
        let own = settings.get("env").and_then(serde_json::Value::as_object);
        let own = own.into_iter().flat_map(|own| own.keys().cloned());
        let active = ComponentId::parse(adapter.id()).and_then(|id| self.active(&id));
        let granted = active.iter().flat_map(|active| &active.permits);
        let granted = granted.filter(|permit| permit.name() == "env");
        own.chain(granted.filter_map(|permit| permit.value().map(str::to_owned))).collect()
    }

    /// The handlers of actions, in the order of their ids.
    pub fn actions(&self) -> Vec<Actions> {
        let table = self.read();
        let handlers = table.active.values().filter_map(|active| match &active.loaded {
            Loaded::Actions(actions) => Some(actions.clone()),
            _ => None,
        });
        handlers.collect()
    }

    /// What a component may do right now: nothing, if it is not in force.
    pub fn permits(&self, id: &str) -> Vec<Permit> {
        let active = ComponentId::parse(id).and_then(|id| self.active(&id));
        active.map(|active| active.permits.clone()).unwrap_or_default()
    }

    /// The policies in force, as the mesh asks them.
    pub fn routing_policy(&self) -> Arc<dyn RoutingPolicy> {
        Arc::clone(&self.chain) as Arc<dyn RoutingPolicy>
    }

    /// The policies in force.
    pub fn chain(&self) -> Arc<Vec<Link>> {
        self.chain.links()
    }

    /// Tells whenever what is in force changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn active(&self, id: &ComponentId) -> Option<Arc<Active>> {
        self.read().active.get(id).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Puts a component in force.
    fn put(&mut self, active: Active) {
        let id = active.about.manifest.id.clone();
        self.waiting.remove(&id);
        self.missing.remove(&id);
        self.active.insert(id, Arc::new(active));
    }

    /// The policies that decide, in the order the person set.
    fn links(&self, settings: &ChainSettings) -> Vec<Link> {
        if self.chain_unknown {
            // Nobody knows which rules the person wants: nothing passes until that is mended.
            let why = self.chain_problem.as_ref().map(ToString::to_string).unwrap_or_default();
            return vec![Link { id: "policy.toml".to_owned(), policy: Err(why), permits: vec![] }];
        }
        let policies: BTreeMap<&str, (&Arc<Policy>, &Active)> = self
            .active
            .iter()
            .filter_map(|(id, active)| match &active.loaded {
                Loaded::Policy(policy) => Some((id.as_str(), (policy, &**active))),
                _ => None,
            })
            .collect();
        let missing: BTreeMap<&str, &String> =
            self.missing.iter().map(|(id, why)| (id.as_str(), why)).collect();
        let is_added = |id: &str| ComponentId::parse(id).is_none_or(|id| what_ships(&id).is_none());
        let known = policies.iter().map(|(id, (_, active))| (*id, !active.about.ships()));
        let known = known.chain(missing.keys().map(|id| (*id, is_added(id))));
        let link = |id: String| {
            let found = policies.get(id.as_str());
            let policy = found.map(|(policy, _)| Arc::clone(policy));
            let permits = found.map(|(_, active)| active.permits.clone()).unwrap_or_default();
            let why = || match missing.get(id.as_str()) {
                Some(why) => (*why).clone(),
                None => format!("there is no policy {id} in force"),
            };
            Link { policy: policy.ok_or_else(why), permits, id }
        };
        settings.order(known).into_iter().map(link).collect()
    }
}

impl Active {
    fn adapters(&self) -> impl Iterator<Item = &Adapter> {
        let adapters = match &self.loaded {
            Loaded::Adapters(adapters) => adapters.as_slice(),
            _ => &[],
        };
        adapters.iter()
    }
}

impl Waiting {
    fn untried(about: About, why: Why) -> Self {
        Waiting { about, why, imports: None }
    }
}

impl Why {
    fn of(decision: Decision) -> Self {
        match decision {
            Decision::Pending(permits) => Why::Pending(permits),
            _ => Why::Disabled,
        }
    }
}

/// The program that a permit lets an adapter start for an agent with these settings.
fn program(permit: &Permit, settings: &AgentSettings) -> Option<String> {
    let name = permit.value().filter(|_| permit.name() == "run")?;
    if name != SETTINGS_COMMAND {
        return Some(name.to_owned());
    }
    let command = settings.get("command")?;
    command.get(0).unwrap_or(command).as_str().map(str::to_owned)
}

/// The component that ships under an id.
pub fn what_ships(id: &ComponentId) -> Option<&'static Embedded> {
    let is_it = |embedded: &&Embedded| {
        Manifest::parse(embedded.manifest).is_ok_and(|manifest| manifest.id == *id)
    };
    COMPONENTS.iter().find(is_it)
}

fn refusal(error: impl std::fmt::Display) -> Problem {
    Problem::failed(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn every_component_that_ships_has_a_manifest_that_says_who_made_it() {
        for component in COMPONENTS {
            let manifest = Manifest::parse(component.manifest).unwrap();
            assert_eq!(manifest.publisher.as_deref(), Some("rp-host"), "{}", manifest.id);
            assert_eq!(manifest.version.to_string(), env!("CARGO_PKG_VERSION"), "{}", manifest.id);
        }
    }

    #[test]
    fn a_command_of_an_agents_own_settings_may_run_where_the_manifest_says_so() {
        let settings = |text: &str| serde_json::from_str::<AgentSettings>(text).unwrap();
        let permit: Permit = "run={settings.command}".parse().unwrap();
        let run = |text: &str| program(&permit, &settings(text));
        assert_eq!(run(r#"{"command":["my-agent","--acp"]}"#).as_deref(), Some("my-agent"));
        assert_eq!(run(r#"{"command":"my-agent"}"#).as_deref(), Some("my-agent"));
        assert_eq!(run("{}"), None);
        assert_eq!(run(r#"{"command":7}"#), None);
        let pi: Permit = "run=pi".parse().unwrap();
        assert_eq!(program(&pi, &settings("{}")).as_deref(), Some("pi"));
    }
}
