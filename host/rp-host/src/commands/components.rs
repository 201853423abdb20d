//! Commands about components: what is installed, what it may do, and what it asks for.

use std::{
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use rp_watch::{DirectoryWatch, Notice};

use super::{Asking, url_part};
use crate::{
    api,
    cli::{AddComponent, Component},
    client::Client,
    output,
    problem::{Problem, While},
    render::{safe, table},
};

impl Asking<'_> {
    pub(super) async fn component(&self, component: Component) -> Result<(), Problem> {
        match component {
            Component::New { kind, folder, lang } => {
                return self.new_component(kind, &folder, lang);
            }
            Component::Test(test) => return self.test(test).await,
            Component::Pack { input, output, key } => {
                return self.pack(&input, output.as_deref(), key.as_deref());
            }
            Component::Logs { id, lines, follow } => {
                let path = self.root.logs().join(format!("{}.log", url_part(&id)?));
                let hint = "a component that has not said anything yet has no log";
                return self.logs(&path, lines, follow, hint).await;
            }
            _ => {}
        }
        let client = self.daemon_running().await?;
        match component {
            Component::List => {
                let listing: api::Components = client.get("/v1/components").await?;
                self.show(&listing, listing_text)
            }
            Component::Pending => {
                let listing: api::Components = client.get("/v1/components").await?;
                let pending = listing.components.into_iter().filter(|c| c.state == "pending");
                self.show(&pending.collect::<Vec<_>>(), |pending| pending_text(pending))
            }
            Component::Inspect { id } => {
                self.show(&client.get(&path_of(&id, "")?).await?, component_block)
            }
            Component::Add(add) => self.add(&client, add).await,
            Component::Remove { id } => {
                let removed: serde_json::Value = client.delete(&path_of(&id, "")?).await?;
                self.show(&removed, |_| format!("{id} is removed"))
            }
            Component::Grant { id, permits, none } => {
                let grant = match (none, permits.is_empty()) {
                    (false, true) => api::GrantChoice::All(api::All::All),
                    _ => api::GrantChoice::Only(permits),
                };
                let grant = api::Grant { grant, shown: None };
                self.show(&client.post(&path_of(&id, "/grant")?, &grant).await?, in_one_line)
            }
            Component::Revoke { id, permits } => {
                let revoke = api::Revoke { permits };
                self.show(&client.post(&path_of(&id, "/revoke")?, &revoke).await?, in_one_line)
            }
            Component::Restart { id } => self.tell(&client, &id, "/restart").await,
            Component::Enable { id } => self.tell(&client, &id, "/enable").await,
            Component::Disable { id } => self.tell(&client, &id, "/disable").await,
            Component::Dev { folder, yes } => self.develop(&client, &folder, yes).await,
            Component::New { .. }
            | Component::Pack { .. }
            | Component::Logs { .. }
            | Component::Test(_) => Ok(()),
        }
    }

    async fn tell(&self, client: &Client, id: &str, what: &str) -> Result<(), Problem> {
        self.show(&client.post(&path_of(id, what)?, &()).await?, in_one_line)
    }

    async fn add(&self, client: &Client, add: AddComponent) -> Result<(), Problem> {
        let (path, _downloaded) = self.find_package(&add).await?;
        let grant = match (add.yes, add.grant.is_empty()) {
            (true, _) => Some(api::GrantChoice::All(api::All::All)),
            (false, false) => Some(api::GrantChoice::Only(add.grant)),
            (false, true) => None,
        };
        let asked = grant.is_none() && std::io::stdin().is_terminal() && !self.json;
        let added = self.install(client, &path, grant).await?;
        if added.state != "pending" || !asked {
            return self.show(&added, in_one_line);
        }
        output::note(&question_text(&added));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).doing("read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return self.show(&added, in_one_line);
        }
        let shown = api::Shown { sha256: added.sha256, asked: added.asked };
        let grant = api::Grant { grant: api::GrantChoice::All(api::All::All), shown: Some(shown) };
        self.show(&client.post(&path_of(&added.id, "/grant")?, &grant).await?, in_one_line)
    }

    async fn install(
        &self,
        client: &Client,
        path: &Path,
        grant: Option<api::GrantChoice>,
    ) -> Result<api::Component, Problem> {
        let add = api::AddComponent { path: path.display().to_string(), grant };
        self.patiently("compiling the component", client.post("/v1/components", &add)).await
    }

    /// The package on this disk: downloaded, if an address was given.
    async fn find_package(
        &self,
        add: &AddComponent,
    ) -> Result<(PathBuf, Option<tempfile::NamedTempFile>), Problem> {
        if !add.source.contains("://") {
            let path = std::path::absolute(&add.source).doing("find the current folder")?;
            return Ok((path, None));
        }
        let sha256 = add.sha256.clone().ok_or_else(|| {
            Problem::usage("an address needs the SHA-256 of what is to be found there")
                .hint("get it from the author another way, and add it with --sha256")
        })?;
        let url = add.source.clone();
        let roots = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let fetching = tokio::task::spawn_blocking(move || {
            rp_packages::fetch(&url, &sha256, roots.as_deref())
        });
        let fetched = self.patiently("downloading the component", fetching).await;
        let archive = fetched
            .doing("download the component")?
            .map_err(|error| Problem::failed(error.to_string()))?;
        let file = tempfile::NamedTempFile::new().doing("make a temporary file")?;
        std::fs::write(file.path(), archive).doing("write a temporary file")?;
        Ok((file.path().to_owned(), Some(file)))
    }

    /// Installs the folder now and whenever it changes.
    async fn develop(&self, client: &Client, folder: &Path, yes: bool) -> Result<(), Problem> {
        let folder = std::path::absolute(folder).doing("find the current folder")?;
        loop {
            let watch = DirectoryWatch::on([folder.as_path()], Notice::NamesAndWrites);
            let grant = yes.then_some(api::GrantChoice::All(api::All::All));
            match self.install(client, &folder, grant).await {
                Ok(added) => self.show(&added, in_one_line)?,
                Err(problem) => output::problem(&problem, self.json),
            }
            output::note(
                "waiting for changes; Ctrl-C ends this, and the component stays installed",
            );
            watch.changed().await;
            // A package is several files: it is complete when nothing more comes for a moment.
            while tokio::time::timeout(super::SETTLING, watch.changed()).await.is_ok() {}
        }
    }
}

fn path_of(id: &str, what: &str) -> Result<String, Problem> {
    Ok(format!("/v1/components/{}{what}", url_part(id)?))
}

fn listing_text(listing: &api::Components) -> String {
    let row = |c: &api::Component| {
        let state = match &c.in_force {
            Some(version) if c.state == "pending" => format!("pending; {version} is in force"),
            _ => safe(&c.state),
        };
        vec![c.id.clone(), c.version.clone(), c.kind.clone(), state, safe(&c.about)]
    };
    let rows: Vec<_> = listing.components.iter().map(row).collect();
    let mut text = table(&["component", "version", "kind", "state", "about"], &rows);
    for refused in &listing.refused {
        text.push_str(&format!(
            "\nnot used: {}: {}\n",
            safe(&refused.name),
            safe(&refused.error.message)
        ));
        if let Some(hint) = &refused.error.hint {
            text.push_str(&format!("  hint: {}\n", safe(hint)));
        }
    }
    text.push_str(&format!("\ndrop components into {}\n", listing.folder));
    text
}

fn pending_text(pending: &[api::Component]) -> String {
    if pending.is_empty() {
        return "nothing waits for you".to_owned();
    }
    let row = |c: &api::Component| {
        vec![c.id.clone(), c.version.clone(), asks(c), format!("rp-host component grant {}", c.id)]
    };
    let rows: Vec<_> = pending.iter().map(row).collect();
    table(&["component", "version", "asks for", "to grant all of it"], &rows)
}

fn asks(component: &api::Component) -> String {
    if component.pending.is_empty() {
        return format!("the place of the {} that ships", component.id);
    }
    safe(&component.pending.join(", "))
}

fn question_text(component: &api::Component) -> String {
    let mut text = format!("{} {} asks to\n", component.id, component.version);
    for sentence in &component.permissions {
        text.push_str(&format!("  - {}\n", safe(sentence)));
    }
    if component.pending.is_empty() {
        text.push_str(&format!("  - stand in for the {} that ships\n", component.id));
    }
    if component.signer == "unsigned" {
        text.push_str("Nobody signed it: who made it cannot be checked.\n");
    }
    text.push_str("Grant this? [y/N]");
    text
}

/// What became of it.
fn in_one_line(component: &api::Component) -> String {
    let api::Component { id, version, state, .. } = component;
    let warning = match component.signer.as_str() {
        "unsigned" => "\nnobody signed it: who made it cannot be checked",
        _ => "",
    };
    match state.as_str() {
        "ready" if component.granted.is_empty() => format!("{id} {version} is in force{warning}"),
        "ready" => format!(
            "{id} {version} is in force; it may {}{warning}",
            safe(&component.granted.join(", "))
        ),
        "pending" => format!(
            "{id} {version} waits for you: it asks for {}\n`rp-host component grant {id}` grants that{warning}",
            asks(component)
        ),
        state => format!("{id} {version} is {}", safe(state)),
    }
}

fn component_block(component: &api::Component) -> String {
    let listed = |items: &[String]| match items {
        [] => "nothing".to_owned(),
        items => items.iter().map(|item| safe(item)).collect::<Vec<_>>().join("\n          "),
    };
    let memory = match component.memory_mib {
        Some(mib) => format!("{mib} MiB"),
        None => "as usual for its kind".to_owned(),
    };
    let in_force = component.in_force.as_deref().unwrap_or("no version");
    let rows = [
        ("id", component.id.clone()),
        ("version", component.version.clone()),
        ("kind", component.kind.clone()),
        ("about", safe(&component.about)),
        ("by", safe(component.publisher.as_deref().unwrap_or("nobody who says so"))),
        ("signer", component.signer.clone()),
        ("asks to", listed(&component.permissions)),
        ("granted", listed(&component.granted)),
        ("pending", listed(&component.pending)),
        ("memory", memory),
        ("world", component.world.clone()),
        ("imports", listed(&component.imports)),
        ("state", safe(&component.state)),
        ("in force", in_force.to_owned()),
        ("size", format!("{} bytes", component.size)),
        ("sha256", component.sha256.clone()),
    ];
    rows.iter().map(|(name, value)| format!("{name:9} {value}\n")).collect()
}
