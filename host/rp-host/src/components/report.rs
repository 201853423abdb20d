//! What a person is told about components.

use std::time::Duration;

use rp_engine::Limits;
use rp_packages::{Digest, Package, Publisher};
use rp_protocol::component::{ComponentId, Kind, Manifest};

use super::{About, Active, Components, Table, Waiting, Why, loading::Loaded, storage::QUOTA};
use crate::{api, config::did_you_mean, files, problem::Problem};

impl About {
    pub(super) fn new(
        manifest: Manifest,
        publisher: Publisher,
        digest: Option<Digest>,
        wasm: &[u8],
    ) -> Self {
        let sha256 = files::sha256(wasm);
        About { manifest, publisher, digest, bytes: wasm.len(), sha256 }
    }

    pub(super) fn of(package: &Package) -> Self {
        let Package { manifest, publisher, wasm, .. } = package;
        About::new(manifest.clone(), publisher.clone(), Some(package.digest()), wasm)
    }

    pub(super) fn ships(&self) -> bool {
        self.publisher == Publisher::BuiltIn
    }

    /// What a person sees of it before they grant it something.
    pub(super) fn shown(&self) -> api::Shown {
        let asked = self.manifest.permits().iter().map(ToString::to_string).collect();
        api::Shown { sha256: self.sha256.clone(), asked }
    }

    fn describe(&self, state: String) -> api::Component {
        let manifest = &self.manifest;
        let api::Shown { sha256, asked } = self.shown();
        api::Component {
            id: manifest.id.to_string(),
            version: manifest.version.to_string(),
            kind: manifest.kind.to_string(),
            about: manifest.about.clone(),
            publisher: manifest.publisher.clone(),
            signer: self.publisher.to_string(),
            world: manifest.world.to_string(),
            permissions: manifest.permissions.iter().map(ToString::to_string).collect(),
            asked,
            granted: Vec::new(),
            pending: Vec::new(),
            limits: limits(manifest),
            size: self.bytes as u64,
            sha256,
            state,
            in_force: None,
            imports: None,
            harnesses: Vec::new(),
        }
    }
}

/// What the engine allows a component of this kind.
fn limits(manifest: &Manifest) -> api::ComponentLimits {
    let limits = Limits::default();
    let (memory, computing, waiting, output) = match manifest.kind {
        Kind::Adapter => {
            (limits.adapter_memory, limits.adapter_call, limits.adapter_wait, limits.adapter_output)
        }
        Kind::Policy => {
            (limits.policy_memory, limits.policy_call, limits.policy_wait, limits.policy_body)
        }
        Kind::Actions => {
            (limits.actions_memory, limits.actions_call, limits.actions_wait, limits.actions_output)
        }
    };
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    api::ComponentLimits {
        memory_bytes: manifest.memory_mib.map_or(memory as u64, |mib| u64::from(mib) << 20),
        computing_ms: milliseconds(computing),
        waiting_ms: milliseconds(waiting),
        output_bytes: output as u64,
        storage_bytes: QUOTA as u64,
    }
}

impl Active {
    fn describe(&self) -> api::Component {
        let failed = match &self.loaded {
            Loaded::Policy(policy) => policy.failed(),
            _ => None,
        };
        let state = failed.map_or_else(|| "ready".to_owned(), |error| format!("failed: {error}"));
        api::Component {
            granted: self.permits.iter().map(ToString::to_string).collect(),
            in_force: Some(self.about.manifest.version.to_string()),
            imports: Some(self.loaded.imports().to_vec()),
            harnesses: self.adapters().map(|adapter| adapter.describe().name.clone()).collect(),
            ..self.about.describe(state)
        }
    }
}

impl Waiting {
    /// With what is in force of the same id meanwhile.
    fn describe(&self, active: Option<&Active>) -> api::Component {
        let (state, pending) = match &self.why {
            Why::Pending(permits) => ("pending", permits.iter().map(ToString::to_string).collect()),
            Why::Disabled => ("disabled", Vec::new()),
            Why::Forbidden(why) => (why.as_str(), Vec::new()),
        };
        let mut described = self.about.describe(state.to_owned());
        described.pending = pending;
        described.imports = self.imports.clone();
        if let Some(active) = active {
            described.in_force = Some(active.about.manifest.version.to_string());
            described.granted = active.permits.iter().map(ToString::to_string).collect();
        }
        described
    }
}

impl Table {
    fn describe(&self, id: &ComponentId) -> Option<api::Component> {
        let active = self.active.get(id).map(AsRef::as_ref);
        match self.waiting.get(id) {
            Some(waiting) => Some(waiting.describe(active)),
            None => active.map(Active::describe),
        }
    }
}

impl Components {
    /// Every component, in the order of their ids, and what lies in the folder and is none.
    pub fn list(&self) -> api::Components {
        let table = self.read();
        let mut ids: Vec<&ComponentId> = table.active.keys().chain(table.waiting.keys()).collect();
        ids.sort();
        ids.dedup();
        let refused = table.refused.iter().map(|(name, problem)| api::RefusedPackage {
            name: name.clone(),
            error: api::ErrorText {
                message: problem.message().to_owned(),
                hint: problem.hint_text().map(str::to_owned),
            },
        });
        api::Components {
            components: ids.into_iter().filter_map(|id| table.describe(id)).collect(),
            refused: refused.collect(),
            folder: self.shelf.inbox().display().to_string(),
        }
    }

    /// One component; the error names the closest one.
    pub fn inspect(&self, id: &str) -> Result<api::Component, Problem> {
        let table = self.read();
        let parsed = ComponentId::parse(id);
        let missing = |id: &ComponentId| {
            let why = table.missing.get(id)?;
            Some(self.about_missing(id)?.describe(format!("holds everything: {why}")))
        };
        let found = parsed.and_then(|id| table.describe(&id).or_else(|| missing(&id)));
        found.ok_or_else(|| {
            if let Some(problem) = table.refused.get(id) {
                return problem.clone();
            }
            let ids = table.active.keys().chain(table.waiting.keys()).map(ComponentId::as_str);
            Problem::failed(format!("no component has the id {id}")).hint(did_you_mean(
                id,
                ids,
                "`rp-host component list` lists them",
            ))
        })
    }

    /// The routing policies in force, in their order, and what is wrong with their settings.
    pub fn policies(&self) -> api::Policies {
        let links = self.chain();
        let policies = links.iter().map(|link| api::PolicyInForce {
            id: link.id.clone(),
            state: match &link.policy {
                Err(missing) => format!("holds everything: {missing}"),
                Ok(policy) => policy.failed().map_or_else(
                    || "ready".to_owned(),
                    |error| format!("holds everything: {error}"),
                ),
            },
            reads_bodies: link.policy.as_ref().is_ok_and(|policy| policy.wants_bodies()),
        });
        api::Policies {
            policies: policies.collect(),
            settings: self.root.policy_settings().display().to_string(),
            problem: self.read().chain_problem.as_ref().map(ToString::to_string),
        }
    }
}
