//! Commands about components: what is installed, what it may do, and what it asks for.

use std::{
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

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
            Component::Grant { id, permits, none, yes } => {
                let choice = match (none, permits.is_empty()) {
                    (false, true) => api::GrantChoice::All(api::All::All),
                    _ => api::GrantChoice::Only(permits),
                };
                self.grant(&client, &id, choice, yes).await
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
        if !is_agreed(&added)? {
            return self.show(&added, in_one_line);
        }
        self.grant_what_was_shown(client, added, api::GrantChoice::All(api::All::All)).await
    }

    /// Grants what a person has seen. Who names what to grant is not asked again.
    async fn grant(
        &self,
        client: &Client,
        id: &str,
        choice: api::GrantChoice,
        yes: bool,
    ) -> Result<(), Problem> {
        let found: api::Component = client.get(&path_of(id, "")?).await?;
        let is_all = matches!(choice, api::GrantChoice::All(_));
        let asks = !found.permissions.is_empty() || found.state == "pending";
        let asked = is_all && asks && !yes && std::io::stdin().is_terminal() && !self.json;
        if asked && !is_agreed(&found)? {
            return Err(Problem::failed("nothing was granted"));
        }
        self.grant_what_was_shown(client, found, choice).await
    }

    async fn grant_what_was_shown(
        &self,
        client: &Client,
        shown: api::Component,
        grant: api::GrantChoice,
    ) -> Result<(), Problem> {
        let api::Component { id, sha256, asked, .. } = shown;
        let grant = api::Grant { grant, shown: Some(api::Shown { sha256, asked }) };
        self.show(&client.post(&path_of(&id, "/grant")?, &grant).await?, in_one_line)
    }

    pub(super) async fn install(
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
        let signer = match c.signer.as_str() {
            "built-in" | "unsigned" => c.signer.clone(),
            _ => "signed".to_owned(),
        };
        vec![c.id.clone(), c.version.clone(), c.kind.clone(), signer, state, safe(&c.about)]
    };
    let rows: Vec<_> = listing.components.iter().map(row).collect();
    let columns = ["component", "version", "kind", "signed", "state", "about"];
    let mut text = table(&columns, &rows);
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

/// Asks the person at the terminal.
fn is_agreed(component: &api::Component) -> Result<bool, Problem> {
    output::note(&question_text(component));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).doing("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn question_text(component: &api::Component) -> String {
    let mut text = format!("{} {} asks to\n", component.id, component.version);
    for sentence in &component.permissions {
        text.push_str(&format!("  - {}\n", safe(sentence)));
    }
    if component.pending.is_empty() && component.state == "pending" {
        text.push_str(&format!("  - stand in for the {} that ships\n", component.id));
    }
    if component.signer == "unsigned" {
        text.push_str("Nobody signed it: who made it cannot be checked.\n");
    }
    text.push_str("Grant this? [y/N]");
    text
}

/// What became of it.
pub(super) fn in_one_line(component: &api::Component) -> String {
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
    let imports = match &component.imports {
        Some(imports) => listed(imports),
        None => "not known: it is not loaded".to_owned(),
    };
    let api::ComponentLimits { computing_ms, waiting_ms, .. } = component.limits;
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let limits = [
        format!("memory: {}", mib(component.limits.memory_bytes)),
        format!("time of a call: {computing_ms} ms of computing, {waiting_ms} ms of waiting"),
        format!("output of a call: {}", mib(component.limits.output_bytes)),
        format!("storage, if granted: {}", mib(component.limits.storage_bytes)),
    ];
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
        ("limits", listed(&limits)),
        ("world", component.world.clone()),
        ("imports", imports),
        ("state", safe(&component.state)),
        ("in force", in_force.to_owned()),
        ("size", format!("{} bytes", component.size)),
        ("sha256", component.sha256.clone()),
    ];
    rows.iter().map(|(name, value)| format!("{name:9} {value}\n")).collect()
}
