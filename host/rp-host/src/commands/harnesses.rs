//! The harnesses: what is installed, whether that version was tested, and what each can do.

use rp_protocol::session::Ability;

use super::Asking;
use crate::{
    api,
    client::Client,
    problem::Problem,
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn harnesses(&self, abilities: bool) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let listing = self.ask_harnesses(&client).await?;
        self.show(&listing, |listing| {
            if abilities {
                return matrix(&listing.harnesses);
            }
            let rows: Vec<_> = listing.harnesses.iter().map(row).collect();
            table(&["harness", "version", "tested with", "about"], &rows)
        })
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
                let can = harness.description.abilities.contains(&ability);
                if can { "yes".to_owned() } else { "·".to_owned() }
            });
            std::iter::once(ability.name()).chain(cells).collect()
        })
        .collect();
    table(&header, &rows)
}
