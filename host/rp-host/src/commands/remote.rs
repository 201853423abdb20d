//! Commands about other machines.

use std::io::{BufRead, IsTerminal};

use futures_util::FutureExt;

use super::Asking;
use crate::{
    api,
    cli::{Mesh, Relay},
    client::Client,
    host::host_name,
    output,
    problem::{Problem, While},
    render::{safe, table},
};

/// How long one question for the state of an invitation waits.
const WAIT_MS: u64 = 60_000;

impl Asking<'_> {
    pub(super) async fn relay(&self, command: Option<Relay>) -> Result<(), Problem> {
        let action = match command {
            Some(Relay::Start) => api::Switch::Start,
            Some(Relay::Stop) => api::Switch::Stop,
            Some(Relay::Toggle) | None => api::Switch::Toggle,
            Some(Relay::Url { url: Some(url) }) => return self.set_relay(&url).await,
            Some(Relay::Status) => {
                let relay = self.daemon_running().await?.get("/v1/relay").await?;
                return self.show(&relay, relay_lines);
            }
            Some(Relay::Url { url: None }) => {
                let relay: api::Relay = self.daemon_running().await?.get("/v1/relay").await?;
                return self.show(&relay, |relay| safe(&relay.url));
            }
            Some(Relay::Watch) => return self.watch_relay().await,
        };
        let client = self.daemon_running().await?;
        let request = api::SwitchRelay { action };
        let switched = client.post("/v1/relay", &request);
        let relay: api::Relay = self.patiently("waiting for the relay", switched).await?;
        let wants_on = matches!(action, api::Switch::Start);
        if wants_on && relay.state != "connected" {
            let why = relay.detail.clone().unwrap_or_else(|| relay.state.clone());
            return Err(Problem::failed(format!("there is no connection yet: {}", safe(&why)))
                .hint("attempts go on; `rp-host relay status` shows how it stands"));
        }
        self.show(&relay, relay_lines)
    }

    pub(super) async fn set_relay(&self, url: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let set = api::SetRelay { url: url.to_owned() };
        let relay: api::Relay = client.post("/v1/relay/url", &set).await?;
        if relay.source == "environment" {
            output::note("the daemon goes on with the relay that REMOTE_PI_RELAY names");
        }
        self.show(&relay, relay_lines)
    }

    async fn watch_relay(&self) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let mut events = client.stream("/v1/relay/events").await?;
        while let Some(relay) = events.next_as::<api::Relay>().await {
            self.show(&relay?, relay_line)?;
        }
        Err(Problem::unreachable("the daemon ended"))
    }

    pub(super) async fn mesh(&self, command: Mesh) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        match command {
            Mesh::Create { name } => {
                let name = name.map_or_else(host_name, Ok)?;
                let request = api::CreateMesh { name: name.clone() };
                let created = client.post("/v1/mesh", &request);
                let created: api::CreatedMesh =
                    self.patiently("publishing on the relay", created).await?;
                self.show(&created, |created| created_text(created, &name))
            }
            Mesh::List => {
                let mesh: api::OwnMesh = client.get("/v1/mesh").await?;
                let peers: api::Peers = client.get("/v1/peers").await?;
                self.show(&mesh, |mesh| mesh_text(mesh, &peers.machines))
            }
            Mesh::Invite { yes } => {
                let open: api::Conversation = client.post("/v1/mesh/invite", &()).await?;
                if !self.json {
                    output::note(&format!(
                        "on the other machine run:\n\n  rp-host mesh join {}\n\nThe code is good for \
                         ten minutes; Ctrl-C takes it back.",
                        open.code
                    ));
                } else {
                    output::note(&serde_json::json!({ "code": open.code }).to_string());
                }
                self.converse(&client, open, yes).await
            }
            Mesh::Join { code, name, yes } => {
                let name = name.map_or_else(host_name, Ok)?;
                let open = client.post("/v1/mesh/join", &api::JoinMesh { code, name }).await?;
                self.converse(&client, open, yes).await
            }
            Mesh::Rename { machine, name } => {
                let rename = api::RenameMachine { machine, name };
                let changed: api::ChangedMesh = client.post("/v1/mesh/rename", &rename).await?;
                self.show(&changed, |_| {
                    format!("{} is called {} now", safe(&rename.machine), safe(&rename.name))
                })
            }
            Mesh::Remove { machine } => {
                let remove = api::RemoveMachine { machine };
                let changed: api::ChangedMesh = client.post("/v1/mesh/remove", &remove).await?;
                self.show(&changed, |_| format!("{} was removed", safe(&remove.machine)))
            }
            Mesh::Recover { name } => {
                let name = name.map_or_else(host_name, Ok)?;
                if std::io::stdin().is_terminal() {
                    output::note("type the 24 recovery words, then Enter:");
                }
                let mut words = String::new();
                std::io::stdin().lock().read_line(&mut words).doing("read the words")?;
                let recover = api::RecoverMesh { words, name };
                let recovered: api::RecoveredMesh =
                    client.post("/v1/mesh/recover", &recover).await?;
                self.show(&recovered, |recovered| {
                    format!("the key of owner {} is on this machine", recovered.owner)
                })
            }
        }
    }

    /// Follows an invitation to its end, and ends it with this command.
    async fn converse(
        &self,
        client: &Client,
        open: api::Conversation,
        yes: bool,
    ) -> Result<(), Problem> {
        let done = self.follow_conversation(client, open, yes);
        let done = tokio::select! {
            done = done => done,
            _ = tokio::signal::ctrl_c() => Err(Problem::failed("taken back")),
        };
        if done.is_err() {
            let _: Result<serde_json::Value, _> = client.delete("/v1/mesh/conversation").await;
        }
        self.show(&done?, |joined| {
            let owner = joined.fingerprint.clone().unwrap_or_default();
            format!("done: the machine is one of owner {owner}")
        })
    }

    async fn follow_conversation(
        &self,
        client: &Client,
        mut now: api::Conversation,
        yes: bool,
    ) -> Result<api::Conversation, Problem> {
        loop {
            match now.stage.as_str() {
                "joined" => return Ok(now),
                "failed" => {
                    let reason = now.reason.unwrap_or_default();
                    return Err(Problem::failed(format!("nobody joined: {}", safe(&reason)))
                        .hint("make a new code with `rp-host mesh invite`"));
                }
                "compare" => {
                    let accept = yes || self.words_are_the_same(&now).await?;
                    let decided = api::Decide { accept };
                    let _: api::Conversation =
                        client.post("/v1/mesh/conversation", &decided).await?;
                    if !accept {
                        return Err(Problem::failed("refused: nothing was changed"));
                    }
                }
                _ => {}
            }
            let known = now.stage;
            let path = format!("/v1/mesh/conversation?known={known}&wait_ms={WAIT_MS}");
            now = client.get(&path).await?;
        }
    }

    async fn words_are_the_same(&self, now: &api::Conversation) -> Result<bool, Problem> {
        if !std::io::stdin().is_terminal() {
            return Err(Problem::usage("somebody must compare the words of both machines")
                .hint("run this in a terminal, or give --yes if you trust the relay"));
        }
        let words = now.words.as_deref().unwrap_or_default();
        let fingerprint = now.fingerprint.as_deref().unwrap_or_default();
        let who = match &now.name {
            Some(name) => format!("the machine {} ({fingerprint}) wants to join", safe(name)),
            None => format!("the owner is {fingerprint}"),
        };
        output::note(&format!(
            "{who}\n\n  {words}\n\nDoes the other machine show the same words? [y/N]"
        ));
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = line.map(|line| line.map_err(|error| error.to_string())).await;
        let line = line.doing("read the answer")?.doing("read the answer")?;
        Ok(matches!(line.trim(), "y" | "Y" | "yes"))
    }
}

/// How it stands, in one line.
pub(super) fn relay_line(relay: &api::Relay) -> String {
    let how = match (relay.transport.as_deref(), &relay.detail) {
        (Some("legacy"), _) => " (old wire: nothing can be sealed)".to_owned(),
        (Some(transport), _) => format!(" ({transport})"),
        (None, Some(detail)) => format!(": {}", safe(detail)),
        (None, None) => String::new(),
    };
    format!("{} {}{how}", relay.state, safe(&relay.url))
}

fn relay_lines(relay: &api::Relay) -> String {
    let mut text = format!("relay    {}\n", relay_line(relay));
    let from = match relay.source.as_str() {
        "environment" => "REMOTE_PI_RELAY",
        "file" => "config.json",
        _ => "the default",
    };
    text.push_str(&format!("set by   {from}\n"));
    if let Some(machine) = &relay.machine {
        text.push_str(&format!("machine  {machine}\n"));
    }
    for warning in &relay.warnings {
        text.push_str(&format!("warning  {}\n", safe(warning)));
    }
    text
}

fn created_text(created: &api::CreatedMesh, name: &str) -> String {
    let words: Vec<_> = created.recovery_words.split(' ').collect();
    let lines: Vec<_> = words.chunks(6).map(|line| format!("  {}", line.join(" "))).collect();
    format!(
        "owner {} is made, and this machine is its first: {}\n\nWrite down these words. Whoever has \
         them is the owner; they are shown only now:\n\n{}\n\n`rp-host mesh invite` lets another \
         machine join.",
        created.owner,
        safe(name),
        lines.join("\n")
    )
}

fn mesh_text(mesh: &api::OwnMesh, machines: &[api::Machine]) -> String {
    if mesh.owners.is_empty() {
        return "this machine has no owner: `rp-host mesh create` makes one, `rp-host mesh join` \
                takes part in one"
            .to_owned();
    }
    let mut text = String::new();
    for owner in &mesh.owners {
        let here = if owner.here { ", its key is on this machine" } else { "" };
        text.push_str(&format!("owner {} (version {}{here})\n", owner.fingerprint, owner.version));
        let rows: Vec<_> = owner
            .members
            .iter()
            .map(|member| {
                let known = machines.iter().find(|one| one.fingerprint == member.fingerprint);
                let state = match (member.this, known) {
                    (true, _) => "this machine".to_owned(),
                    (false, Some(one)) => format!("{}, {}", one.presence, one.way),
                    (false, None) => "—".to_owned(),
                };
                vec![safe(&member.alias), member.fingerprint.clone(), state]
            })
            .collect();
        text.push_str(&table(&["machine", "fingerprint", "state"], &rows));
    }
    text
}
