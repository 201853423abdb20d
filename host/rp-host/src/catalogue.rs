//! The components this host has loaded, by what they are for.

use std::{collections::BTreeMap, sync::Arc};

use rp_engine::{Adapter, Engine, EngineConfig, Limits, NoStore, Policy};
use rp_mesh::RoutingPolicy;
use rp_protocol::{
    component::{Kind, Manifest},
    routing::{Decision, Facts},
};
use sha2::{Digest, Sha256};

use crate::{
    api,
    config::did_you_mean,
    embedded::COMPONENTS,
    files,
    paths::StateRoot,
    problem::{Problem, While},
};

/// The routing policy that is in force.
const POLICY: &str = "default";

/// The components this host has loaded.
pub struct Catalogue {
    adapters: BTreeMap<String, (Manifest, Adapter)>,
    policy: Arc<Policy>,
    components: Vec<api::Component>,
}

impl Catalogue {
    /// Loads every component that ships with the program.
    pub async fn load(root: &StateRoot) -> Result<Self, Problem> {
        let engine = engine(root)?;
        if !COMPONENTS.iter().all(|component| engine.has_compiled(component.bytes)) {
            compile_apart().await;
        }
        let mut loading = Vec::new();
        for component in COMPONENTS {
            let manifest = Manifest::parse(component.manifest).doing("read a manifest")?;
            let loaded = tokio::spawn(load(engine.clone(), manifest.clone(), component.bytes));
            loading.push((manifest, component, loaded));
        }
        let (mut adapters, mut policy) = (BTreeMap::new(), None);
        let mut components = Vec::new();
        for (manifest, component, loaded) in loading {
            let loaded = loaded.await.doing("load the components")??;
            components.push(describe(&manifest, component.bytes, loaded.imports()));
            match loaded {
                Loaded::Adapters(loaded) => {
                    for adapter in loaded {
                        let harness = adapter.describe().name.clone();
                        adapters.insert(harness, (manifest.clone(), adapter));
                    }
                }
                Loaded::Policy(loaded) if manifest.id.as_str() == POLICY => {
                    policy = Some(Arc::new(*loaded));
                }
                Loaded::Policy(_) => {}
            }
        }
        components.sort_by(|a, b| a.id.cmp(&b.id));
        let policy = policy.ok_or_else(|| Problem::failed("this program has no routing policy"))?;
        Ok(Self { adapters, policy, components })
    }

    /// The programs that the adapter of a harness may have started: those it asks for, because a
    /// component that ships with the program is granted what its manifest asks.
    pub fn programs(&self, harness: &str) -> Vec<String> {
        let manifest = self.adapters.get(harness).map(|(manifest, _)| manifest);
        manifest.into_iter().flat_map(Manifest::programs).map(str::to_owned).collect()
    }

    /// The adapter of a harness; the error names the closest ones.
    pub fn adapter(&self, harness: &str) -> Result<&Adapter, Problem> {
        self.adapters.get(harness).map(|(_, adapter)| adapter).ok_or_else(|| {
            let names: Vec<_> = self.adapters.keys().map(String::as_str).collect();
            let all = format!("the harnesses are {}", names.join(", "));
            Problem::usage(format!("there is no harness {harness}")).hint(did_you_mean(
                harness,
                names.iter().copied(),
                &all,
            ))
        })
    }

    /// Every adapter, in the order of their names.
    pub fn adapters(&self) -> impl Iterator<Item = &Adapter> {
        self.adapters.values().map(|(_, adapter)| adapter)
    }

    /// The routing policy, as the mesh asks it.
    pub fn routing_policy(&self) -> Arc<dyn RoutingPolicy> {
        Arc::new(PolicyInForce(Arc::clone(&self.policy)))
    }

    /// The id of the routing policy.
    pub fn policy_id(&self) -> &'static str {
        POLICY
    }

    /// Every component, in the order of their ids.
    pub fn components(&self) -> Vec<api::Component> {
        self.components.iter().map(|component| self.with_state(component)).collect()
    }

    /// One component; the error names the closest one.
    pub fn component(&self, id: &str) -> Result<api::Component, Problem> {
        let found = self.components.iter().find(|component| component.id == id);
        found.map(|component| self.with_state(component)).ok_or_else(|| {
            let names = self.components.iter().map(|component| component.id.as_str());
            Problem::failed(format!("no component has the id {id}")).hint(did_you_mean(
                id,
                names,
                "`rp-host component list` lists them",
            ))
        })
    }

    /// Lets a component run again that was switched off after three crashes within a minute.
    /// That is the routing policy: an adapter has no life of its own, each session counts its
    /// own restarts.
    pub fn restart(&self, id: &str) -> Result<api::Component, Problem> {
        if self.component(id)?.id == POLICY {
            self.policy.restart();
            return self.component(id);
        }
        Err(Problem::usage(format!("{id} is an adapter, which runs only in its agents' sessions"))
            .hint("restart an agent with `rp-host daemon restart <agent>`"))
    }

    fn with_state(&self, component: &api::Component) -> api::Component {
        let failed = self.policy.failed().filter(|_| component.id == POLICY);
        let state = failed.map_or_else(|| "ready".to_owned(), |error| format!("failed: {error}"));
        api::Component { state, ..component.clone() }
    }
}

/// Compiles every component that ships with the program and keeps that for the daemon.
pub async fn compile(root: &StateRoot) -> Result<(), Problem> {
    let engine = engine(root)?;
    for component in COMPONENTS {
        let manifest = Manifest::parse(component.manifest).doing("read a manifest")?;
        load(engine.clone(), manifest, component.bytes).await?;
    }
    Ok(())
}

/// Has a process of its own do that: compiling needs more memory than all the rest, and a daemon
/// that runs for months would keep it. If it fails, the daemon compiles itself.
async fn compile_apart() {
    tracing::info!("compiling the components");
    let done = async {
        let program = std::env::current_exe()?;
        let mut command = tokio::process::Command::new(program);
        command.arg("compile-components").stdin(std::process::Stdio::null()).kill_on_drop(true);
        command.status().await
    };
    match done.await {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::warn!(%status, "the components were not compiled apart"),
        Err(error) => tracing::warn!(%error, "the components were not compiled apart"),
    }
}

fn engine(root: &StateRoot) -> Result<Engine, Problem> {
    Engine::new(EngineConfig {
        cache_dir: root.cache(),
        cache_key: cache_key(root)?,
        log_dir: root.logs(),
        limits: Limits::default(),
    })
    .doing("start the component engine")
}

enum Loaded {
    Adapters(Vec<Adapter>),
    Policy(Box<Policy>),
}

impl Loaded {
    fn imports(&self) -> &[String] {
        match self {
            Self::Adapters(adapters) => adapters.first().map_or(&[], Adapter::imports),
            Self::Policy(policy) => policy.imports(),
        }
    }
}

async fn load(engine: Engine, manifest: Manifest, bytes: &'static [u8]) -> Result<Loaded, Problem> {
    let id = manifest.id.as_str();
    let loaded = match manifest.kind {
        Kind::Adapter => engine.load_adapter(id, bytes).await.map(Loaded::Adapters),
        Kind::Policy => {
            let policy = engine.load_policy(id, bytes, "{}", Arc::new(NoStore)).await;
            policy.map(|policy| Loaded::Policy(Box::new(policy)))
        }
        Kind::Actions => {
            return Err(Problem::failed(format!("{id}: this version runs no action handlers")));
        }
    };
    loaded.doing(format!("load the component {id}"))
}

fn describe(manifest: &Manifest, bytes: &[u8], imports: &[String]) -> api::Component {
    api::Component {
        id: manifest.id.to_string(),
        version: manifest.version.to_string(),
        kind: manifest.kind.to_string(),
        about: manifest.about.clone(),
        publisher: manifest.publisher.clone(),
        world: manifest.world.to_string(),
        permissions: manifest.permissions.iter().map(ToString::to_string).collect(),
        size: bytes.len() as u64,
        sha256: Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
        source: "built in".to_owned(),
        state: "ready".to_owned(),
        imports: imports.to_vec(),
    }
}

/// The secret that compiled components are checked with; made when there is none.
fn cache_key(root: &StateRoot) -> Result<[u8; 32], Problem> {
    let path = root.cache_key();
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(key);
    }
    // Two times 122 random bits of the operating system.
    let mut key = [0; 32];
    let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    for (target, byte) in key.iter_mut().zip(halves.iter().flat_map(|half| half.as_bytes())) {
        *target = *byte;
    }
    files::write_atomically(&path, &key).doing(format!("write {}", path.display()))?;
    Ok(key)
}

/// A policy component in the path of every envelope.
struct PolicyInForce(Arc<Policy>);

impl RoutingPolicy for PolicyInForce {
    fn decide(&self, facts: &Facts<'_>) -> Result<Decision, String> {
        self.0.decide(facts).map_err(|error| format!("the routing policy failed: {error}"))
    }

    fn wants_bodies(&self) -> bool {
        self.0.wants_bodies()
    }
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
}
