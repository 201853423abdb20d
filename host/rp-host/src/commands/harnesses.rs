//! The harnesses: what is installed, whether that version was tested, and what each can do.

use rp_protocol::session::Ability;

use super::Asking;
use crate::{
    api,
    client::Client,
    conformance,
    problem::Problem,
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn harnesses(&self, abilities: bool) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let mut listing = self.ask_harnesses(&client).await?;
        if abilities {
            self.add_measured(&client, &mut listing).await?;
        }
        self.show(&listing, |listing| {
            if abilities {
                return matrix(&listing.harnesses);
            }
            let rows: Vec<_> = listing.harnesses.iter().map(row).collect();
            table(&["harness", "version", "tested with", "about"], &rows)
        })
    }

    /// What tests saw of the very components that are in force.
    async fn add_measured(
        &self,
        client: &Client,
        listing: &mut api::Harnesses,
    ) -> Result<(), Problem> {
        let kept = conformance::kept(self.root);
        let components: api::Components = client.get("/v1/components").await?;
        let tested = components.components.iter().filter_map(|c| kept.get(&c.sha256)).flatten();
        for measured in tested {
            let is_it = |harness: &&mut api::Harness| harness.description.name == measured.harness;
            if let Some(harness) = listing.harnesses.iter_mut().find(is_it) {
                let seen = measured.abilities.iter().filter(|shown| shown.is_seen());
                harness.measured = Some(seen.map(|shown| shown.ability).collect());
            }
        }
        Ok(())
    }

    pub(super) async fn ask_harnesses(&self, client: &Client) -> Result<api::Harnesses, Problem> {
        let asked = self.patiently("asking the harnesses for their versions", async {
            client.get::<api::Harnesses>("/v1/harnesses").await
        });
        asked.await
    }
}

fn row(harness: &api::Harness) -> Vec<String> {
    let version = harness.version.as_deref().map_or_else(|| "—".to_owned(), safe);
    vec![
        harness.description.name.clone(),
        version,
        harness.description.tested.join(", "),
        about(harness),
    ]
}

/// Whether a harness can be used, in a few words.
pub(super) fn about(harness: &api::Harness) -> String {
    let description = &harness.description;
    match (&harness.version, &harness.installed) {
        (Some(version), _) if description.tested.contains(version) => "tested version".to_owned(),
        (Some(_), _) if description.name == "demo" => "part of rp-host".to_owned(),
        (Some(_), _) if description.tested.is_empty() => "no version was tested".to_owned(),
        (Some(_), _) => "not a tested version; it may still work".to_owned(),
        (None, _) if description.program.is_empty() => description.install.clone(),
        (None, Some(_)) if description.version_args.is_empty() => {
            "installed; it tells its version only in a session".to_owned()
        }
        (None, Some(path)) => format!("{} does not say its version", safe(path)),
        (None, None) => format!("not installed: {}", description.install),
    }
}

/// A row for each ability, a column for each harness.
fn matrix(harnesses: &[api::Harness]) -> String {
    let names = harnesses.iter().map(|harness| harness.description.name.as_str());
    let header: Vec<&str> = std::iter::once("ability").chain(names).collect();
    let rows: Vec<Vec<String>> = Ability::ALL
        .into_iter()
        .map(|ability| {
            let cells = harnesses.iter().map(|harness| {
                let declared = harness.description.abilities.contains(&ability);
                let seen = harness.measured.as_ref().is_some_and(|seen| seen.contains(&ability));
                let cell = match (declared, seen) {
                    (true, true) => "seen",
                    (true, false) => "yes",
                    (false, true) => "seen, not declared",
                    (false, false) => "·",
                };
                cell.to_owned()
            });
            std::iter::once(ability.name()).chain(cells).collect()
        })
        .collect();
    let mut text = table(&header, &rows);
    if harnesses.iter().any(|harness| harness.measured.is_some()) {
        text.push_str("\nyes: its adapter says so; seen: so has `rp-host component test`\n");
    }
    text
}
