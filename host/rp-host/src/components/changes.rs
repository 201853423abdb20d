//! What a person changes about components: only a person, at the command line, through these.

use rp_packages::{Grants, Package, Publisher};
use rp_protocol::component::{ComponentId, Manifest, Permit};

use super::{About, Components, Loaded, Rules, refusal, storage::Storage, what_ships};
use crate::{
    api, files,
    problem::{Problem, While},
};

/// What a person grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Everything that is asked for.
    All,
    /// This, and no more.
    Only(Vec<Permit>),
}

impl Components {
    /// Installs a package: all of it or, if anything is wrong with it, nothing. Without a choice
    /// one that asks for something waits.
    pub async fn add(
        &self,
        package: &Package,
        choice: Option<Choice>,
    ) -> Result<api::Component, Problem> {
        let mut rules = self.rules.lock().await;
        let id = &package.manifest.id;
        let decision = self.decide(&rules, package)?;
        self.try_out(package, &decision, &rules.chain.of(id.as_str())).await?;
        if let Some(choice) = choice {
            let (manifest, publisher) = (&package.manifest, &package.publisher);
            self.change_grants(&mut rules, |grants, rules| {
                choice.apply(grants, manifest, publisher, rules)
            })?;
        }
        let folder = self.shelf.put(package).doing(format!("install {id}"))?;
        rules.seen.forget(&folder);
        self.consider(&rules, package).await?;
        self.remember_publisher(&mut rules, package)?;
        drop(rules);
        self.inspect(id.as_str())
    }

    /// Takes a package out, with everything it stored and everything granted to it.
    pub async fn remove(&self, id: &str) -> Result<(), Problem> {
        if let Some(id) = ComponentId::parse(id).filter(|_| self.about(id).is_err()) {
            return self.forget(&id).await;
        }
        let (id, about) = self.about(id)?;
        if about.ships() {
            return Err(Problem::failed(format!("{id} ships with rp-host and cannot be removed"))
                .hint(format!("`rp-host component disable {id}` switches it off")));
        }
        let mut rules = self.rules.lock().await;
        self.shelf.take_out(&id).doing(format!("remove {id}"))?;
        self.change_grants(&mut rules, |grants, _| {
            grants.forget(&id);
            Ok(())
        })?;
        // It stores nothing any more once it is withdrawn.
        self.withdraw(&rules, &id).await;
        self.clear_storage(&id).await?;
        if let Some(embedded) = what_ships(&id) {
            // What took its place read the storage before it was cleared.
            self.load_what_ships(&rules, embedded).await?;
        }
        Ok(())
    }

    /// Frees the id of a component that is gone, for any publisher.
    async fn forget(&self, id: &ComponentId) -> Result<(), Problem> {
        let mut rules = self.rules.lock().await;
        if rules.grants.get(id).is_none() {
            self.inspect(id.as_str())?;
        }
        self.change_grants(&mut rules, |grants, _| {
            grants.forget(id);
            Ok(())
        })?;
        self.clear_storage(id).await
    }

    async fn clear_storage(&self, id: &ComponentId) -> Result<(), Problem> {
        Storage::clear(&self.database, id).await.doing(format!("clear the storage of {id}"))
    }

    /// The first publisher that brings a component owns its id, also one that asks for nothing.
    pub(super) fn remember_publisher(
        &self,
        rules: &mut Rules,
        package: &Package,
    ) -> Result<(), Problem> {
        let Package { manifest, publisher, .. } = package;
        if rules.grants.get(&manifest.id).is_some() || self.active(&manifest.id).is_none() {
            return Ok(());
        }
        self.change_grants(rules, |grants, rules| {
            grants.grant(manifest, publisher, &[], &rules.system).map_err(refusal)
        })
    }

    /// Grants what was chosen of what a component asks for, if it is still what was shown.
    pub async fn grant(
        &self,
        id: &str,
        choice: Choice,
        shown: Option<api::Shown>,
    ) -> Result<api::Component, Problem> {
        self.change(id, |grants, about, rules| {
            if shown.is_some_and(|shown| shown != about.shown()) {
                return Err(Problem::failed(format!("{id} is not what it was any more"))
                    .hint(format!("`rp-host component inspect {id}` shows what it is now")));
            }
            choice.apply(grants, &about.manifest, &about.publisher, rules)
        })
        .await
    }

    /// Takes back what was chosen; everything, if nothing is.
    pub async fn revoke(&self, id: &str, permits: &[Permit]) -> Result<api::Component, Problem> {
        self.change(id, |grants, about, _| {
            let taken = grants.revoke(&about.manifest, &about.publisher, permits);
            if taken.is_empty() {
                return Err(Problem::failed(format!(
                    "{} has none of this, so nothing was taken from it",
                    about.manifest.id
                ))
                .hint(format!(
                    "`rp-host component inspect {}` shows what it has",
                    about.manifest.id
                )));
            }
            Ok(())
        })
        .await
    }

    /// Switches a component off, or on again.
    pub async fn set_disabled(&self, id: &str, disabled: bool) -> Result<api::Component, Problem> {
        self.change(id, |grants, about, _| {
            grants.set_disabled(&about.manifest, &about.publisher, disabled);
            Ok(())
        })
        .await
    }

    /// Lets a component run again that was switched off after three crashes within a minute.
    /// That is a routing policy: an adapter has no life of its own, each session counts its own
    /// restarts.
    pub fn restart(&self, id: &str) -> Result<api::Component, Problem> {
        let (id, _) = self.about(id)?;
        match self.active(&id).map(|active| active.loaded.clone()) {
            Some(Loaded::Policy(policy)) => {
                policy.restart();
                self.inspect(id.as_str())
            }
            Some(Loaded::Adapters(_)) => Err(Problem::usage(format!(
                "{id} is an adapter, which runs only in its agents' sessions"
            ))
            .hint("restart an agent with `rp-host daemon restart <agent>`")),
            Some(Loaded::Actions(_)) => {
                Err(Problem::usage(format!("{id} runs only while one of its actions does")))
            }
            None => Err(Problem::failed(format!("{id} is not in force"))
                .hint(format!("`rp-host component inspect {id}` says why"))),
        }
    }

    /// Changes what was decided about a component, and puts it in force as far as that goes now.
    async fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Grants, &About, &Rules) -> Result<(), Problem>,
    ) -> Result<api::Component, Problem> {
        let (id, about) = self.about(id)?;
        let mut rules = self.rules.lock().await;
        self.change_grants(&mut rules, |grants, rules| change(grants, &about, rules))?;
        self.write().waiting.remove(&id);
        if about.publisher == Publisher::BuiltIn {
            if let Some(embedded) = what_ships(&id) {
                self.load_what_ships(&rules, embedded).await?;
            }
        } else {
            let dropped = self.shelf.dropped_package(&id);
            // What is in force first: it must not go on with what was taken from it because
            // something is wrong with what is to follow it. That is told in the listing.
            let is_wanted = self.active(&id).is_some() || dropped.is_err();
            let kept = self.shelf.kept_package(&id).ok().filter(|_| is_wanted);
            if let Some(kept) = &kept {
                self.consider(&rules, kept).await?;
            }
            match dropped {
                Ok(dropped) => self.consider(&rules, &dropped).await?,
                Err(error) if kept.is_none() => return Err(refusal(error)),
                Err(_) => {}
            }
        }
        drop(rules);
        self.inspect(id.as_str())
    }

    /// Changes the grants on disk first, then in memory.
    fn change_grants(
        &self,
        rules: &mut Rules,
        change: impl FnOnce(&mut Grants, &Rules) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let path = self.root.grants();
        // What a person is in the middle of writing is not written over.
        Grants::load(&path).map_err(refusal)?;
        let mut grants = rules.grants.clone();
        change(&mut grants, rules)?;
        files::write_atomically(&path, grants.to_text().as_bytes())
            .doing(format!("write {}", path.display()))?;
        rules.grants = grants;
        Ok(())
    }

    /// The component a person means: the one that waits, if one does.
    fn about(&self, id: &str) -> Result<(ComponentId, About), Problem> {
        let found = ComponentId::parse(id).and_then(|id| {
            let table = self.read();
            let waiting = table.waiting.get(&id).map(|waiting| &waiting.about);
            let known = waiting.or_else(|| table.active.get(&id).map(|active| &active.about));
            let about = match known {
                Some(about) => about.clone(),
                None if table.missing.contains_key(&id) => self.about_missing(&id)?,
                None => return None,
            };
            Some((id, about))
        });
        match found {
            Some(found) => Ok(found),
            None => Err(self.inspect(id).err().unwrap_or_else(|| {
                Problem::failed(format!("{id} is not a component that can be used"))
            })),
        }
    }

    /// What is known of a component that cannot be loaded.
    pub(super) fn about_missing(&self, id: &ComponentId) -> Option<About> {
        if let Some(embedded) = what_ships(id) {
            let manifest = Manifest::parse(embedded.manifest).ok()?;
            return Some(About::new(manifest, Publisher::BuiltIn, None, embedded.bytes));
        }
        let package = self.shelf.kept_package(id).or_else(|_| self.shelf.dropped_package(id));
        Some(About::of(&package.ok()?))
    }
}

impl Choice {
    fn apply(
        &self,
        grants: &mut Grants,
        manifest: &Manifest,
        publisher: &Publisher,
        rules: &Rules,
    ) -> Result<(), Problem> {
        let permits = match self {
            Choice::Only(permits) => permits.clone(),
            Choice::All => {
                let asked = manifest.permits().into_iter();
                asked.filter(|permit| rules.system.allows(permit)).collect()
            }
        };
        grants.grant(manifest, publisher, &permits, &rules.system).map_err(refusal)
    }
}
