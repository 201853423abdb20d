//! Other machines: the relay, the owner's mesh, and joining it.

use std::time::Duration;

use futures_util::{Stream, stream};
use rp_link::{Source, State, Transport};
use rp_protocol::{key::PublicKey, owner::Code, relay::Presence};
use rp_remote::{Change, Connection, Remote, Stage, Status, Wanted, Way};
use tokio::sync::watch;

use super::Host;
use crate::{
    api,
    problem::{Problem, While},
};

fn problem(error: impl std::fmt::Display) -> Problem {
    Problem::failed(error.to_string())
}

impl Host {
    /// How this machine is connected to its relay.
    pub fn relay(&self) -> api::Relay {
        relay(&self.remote.status().borrow())
    }

    /// How it is connected now, and every change of it.
    pub fn relay_events(&self) -> impl Stream<Item = api::Relay> + use<> {
        let status = self.remote.status();
        stream::unfold((status, None), |(mut status, shown): (_, Option<api::Relay>)| async move {
            loop {
                let now = relay(&status.borrow_and_update());
                if shown.as_ref() != Some(&now) {
                    return Some((now.clone(), (status, Some(now))));
                }
                status.changed().await.ok()?;
            }
        })
    }

    /// Connects, or ends the connection.
    pub async fn switch_relay(&self, action: api::Switch) -> Result<api::Relay, Problem> {
        let is_on = !matches!(
            self.remote.status().borrow().connection,
            Connection::Off { .. } | Connection::Link(State::Stopped)
        );
        let wanted = match action {
            api::Switch::Start => Wanted::On,
            api::Switch::Toggle if !is_on => Wanted::On,
            api::Switch::Stop | api::Switch::Toggle => Wanted::Off,
        };
        self.remote.begin(wanted).await.map_err(problem)?;
        self.relay_is(|state| match wanted {
            Wanted::Off => {
                matches!(state, Connection::Off { .. } | Connection::Link(State::Stopped))
            }
            _ => matches!(state, Connection::Link(State::Connected { .. } | State::Waiting { .. })),
        })
        .await
    }

    /// Sets the relay, and goes there when this machine is on one.
    pub async fn set_relay(&self, url: &str) -> Result<api::Relay, Problem> {
        match self.remote.set_relay(url).await {
            Ok(()) => {
                let is_fixed = |status: &Status| status.source == Source::Environment;
                self.status_is(|status| status.relay == url || is_fixed(status)).await
            }
            Err(error @ rp_remote::RemoteError::Url { .. }) => {
                Err(Problem::usage(error.to_string()))
            }
            Err(error) => Err(problem(error)),
        }
    }

    /// Waits a moment for the state that was asked for, and gives whatever is.
    async fn relay_is(&self, wanted: impl Fn(&Connection) -> bool) -> Result<api::Relay, Problem> {
        self.status_is(|status| wanted(&status.connection)).await
    }

    async fn status_is(&self, wanted: impl FnMut(&Status) -> bool) -> Result<api::Relay, Problem> {
        let mut status = self.remote.status();
        let reached = status.wait_for(wanted);
        let _ = tokio::time::timeout(Duration::from_secs(5), reached).await;
        Ok(self.relay())
    }

    /// The owners and their machines.
    pub async fn own_mesh(&self) -> Result<api::OwnMesh, Problem> {
        let here = self.remote.owner_here().await.map_err(problem)?;
        let status = self.remote.status();
        let status = status.borrow();
        let owner = |owner: &rp_remote::OwnerStatus| api::Owner {
            fingerprint: owner.owner.fingerprint(),
            here: here == Some(owner.owner),
            version: owner.version,
            members: owner.members.iter().map(|one| member(one, status.machine)).collect(),
        };
        let has_owner = !status.owners.is_empty();
        Ok(api::OwnMesh {
            alias: status.alias.clone().filter(|_| has_owner),
            owners: status.owners.iter().map(owner).collect(),
        })
    }

    /// Makes an owner whose first machine this is.
    pub async fn create_mesh(&self, name: &str) -> Result<api::CreatedMesh, Problem> {
        let created = self.remote.create_mesh(name).await.map_err(problem)?;
        Ok(api::CreatedMesh {
            owner: created.owner.fingerprint(),
            recovery_words: created.words.to_string(),
        })
    }

    /// Brings an owner's key to this machine.
    pub async fn recover_mesh(
        &self,
        words: &str,
        name: &str,
    ) -> Result<api::RecoveredMesh, Problem> {
        let owner = self.remote.recover_mesh(words, name).await.map_err(problem)?;
        Ok(api::RecoveredMesh { owner: owner.fingerprint() })
    }

    /// Changes what the owner says about a machine.
    pub async fn change_mesh(&self, change: Change) -> Result<api::ChangedMesh, Problem> {
        let version = self.remote.change_mesh(change).await.map_err(problem)?;
        Ok(api::ChangedMesh { version })
    }

    /// Invites a machine.
    pub async fn invite_machine(&self) -> Result<api::Conversation, Problem> {
        let conversation = self.remote.invite().await.map_err(problem)?;
        let shown = shown(&conversation.borrow());
        Ok(shown)
    }

    /// Joins with a code.
    pub async fn join_mesh(&self, code: &str, name: &str) -> Result<api::Conversation, Problem> {
        let code: Code = code.parse().map_err(|error| {
            Problem::usage(format!("{error}"))
                .hint("a code looks like garden-ocean-tiger-lamp; `rp-host mesh invite` shows one")
        })?;
        let conversation = self.remote.join(&code, name).await.map_err(problem)?;
        let shown = shown(&conversation.borrow());
        Ok(shown)
    }

    /// The invitation that is open, once it has come further than `known`.
    pub async fn conversation(
        &self,
        known: Option<&str>,
        limit: Duration,
    ) -> Result<api::Conversation, Problem> {
        let mut conversation = open_conversation(&self.remote)?;
        let further = conversation.wait_for(|now| known != Some(stage_name(&now.stage)));
        let _ = tokio::time::timeout(limit, further).await;
        let shown = shown(&conversation.borrow());
        Ok(shown)
    }

    /// Takes what the person says about the words.
    pub fn decide_conversation(&self, accept: bool) -> Result<api::Conversation, Problem> {
        let conversation = open_conversation(&self.remote)?;
        if !self.remote.decide(accept) {
            return Err(Problem::failed("there are no words to compare now"));
        }
        let shown = shown(&conversation.borrow());
        Ok(shown)
    }

    /// Ends the invitation that is open.
    pub fn end_conversation(&self) {
        self.remote.end_conversation();
    }

    /// The other machines.
    pub fn machines(&self) -> Vec<api::Machine> {
        self.remote.status().borrow().machines.iter().map(machine).collect()
    }
}

fn open_conversation(remote: &Remote) -> Result<watch::Receiver<rp_remote::Conversation>, Problem> {
    remote.conversation().ok_or_else(|| {
        Problem::failed("no invitation is open")
            .hint("`rp-host mesh invite` opens one, `rp-host mesh join` takes one")
    })
}

fn relay(status: &Status) -> api::Relay {
    let (state, detail, transport) = match &status.connection {
        Connection::Off { reason } => ("off", Some(reason.clone()), None),
        Connection::Link(State::Stopped) => ("stopped", None, None),
        Connection::Link(State::Connecting { .. }) => ("connecting", None, None),
        Connection::Link(State::Connected { transport, .. }) => {
            let transport = match transport {
                Transport::Quic => "quic",
                Transport::WebSocket => "websocket",
                Transport::Legacy => "legacy",
            };
            ("connected", None, Some(transport.to_owned()))
        }
        Connection::Link(State::Waiting { reason, .. }) => ("waiting", Some(reason.clone()), None),
    };
    let mut warnings = status.troubles.clone();
    if status.clone_seen {
        let text = "another live machine has this machine's key: one of them is a copy";
        warnings.push(text.to_owned());
    }
    if status.key_in_file {
        warnings.push("the machine key is in a file, because there is no keyring".to_owned());
    }
    let source = match status.source {
        Source::Environment => "environment",
        Source::File => "file",
        Source::Default => "default",
    };
    api::Relay {
        url: status.relay.clone(),
        source: source.to_owned(),
        state: state.to_owned(),
        detail,
        transport,
        machine: status.machine.map(|key| key.fingerprint()),
        warnings,
    }
}

fn machine(machine: &rp_remote::MachineStatus) -> api::Machine {
    let presence = match machine.presence {
        Presence::Online => "online",
        Presence::Legacy => "online-legacy",
        Presence::Offline => "offline",
    };
    let way = match machine.way {
        Way::Sealed => "sealed",
        Way::Clear => "clear",
        Way::Unknown => "unknown",
    };
    api::Machine {
        alias: machine.alias.clone(),
        fingerprint: machine.key.fingerprint(),
        presence: presence.to_owned(),
        way: way.to_owned(),
        waiting: machine.waiting,
    }
}

fn member(member: &rp_remote::MemberStatus, this: Option<PublicKey>) -> api::Member {
    api::Member {
        alias: member.alias.clone(),
        nickname: member.nickname.clone(),
        fingerprint: member.key.fingerprint(),
        this: this == Some(member.key),
        paired_at: member.paired_at.clone(),
    }
}

fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Waiting => "waiting",
        Stage::Compare { .. } => "compare",
        Stage::Agreed => "agreed",
        Stage::Joined { .. } => "joined",
        Stage::Failed { .. } => "failed",
    }
}

fn shown(conversation: &rp_remote::Conversation) -> api::Conversation {
    let mut shown = api::Conversation {
        stage: stage_name(&conversation.stage).to_owned(),
        code: conversation.code.clone(),
        words: None,
        name: None,
        fingerprint: None,
        reason: None,
    };
    match &conversation.stage {
        Stage::Waiting | Stage::Agreed => {}
        Stage::Compare { words, name, fingerprint } => {
            shown.words = Some(words.clone());
            shown.name = Some(name.clone()).filter(|name| !name.is_empty());
            shown.fingerprint = Some(fingerprint.clone());
        }
        Stage::Joined { owner } => shown.fingerprint = Some(owner.clone()),
        Stage::Failed { reason } => shown.reason = Some(reason.clone()),
    }
    shown
}

/// What the settings say about other machines.
pub fn remote_settings(settings: &crate::config::Settings) -> Result<RemoteSettings, Problem> {
    let wrong = |key: &str, values: &str| {
        Problem::failed(format!("the setting {key} is {:?}", settings.text(key)))
            .hint(format!("it is {values}; see `rp-host config` for where the value comes from"))
    };
    let wanted = match settings.text("relay") {
        "auto" => Wanted::WithOwner,
        "on" => Wanted::On,
        "off" => Wanted::Off,
        _ => return Err(wrong("relay", "auto, on or off")),
    };
    let allow_clear = match settings.text("clear_machines") {
        "allow" => true,
        "refuse" => false,
        _ => return Err(wrong("clear_machines", "allow or refuse")),
    };
    let certificate = match settings.text("relay_certificate") {
        "" => None,
        text => Some(
            rp_link::Fingerprint::parse(text)
                .ok_or_else(|| wrong("relay_certificate", "64 hexadecimal digits"))?,
        ),
    };
    let mut more_relays = Vec::new();
    for text in settings.text("more_relays").split_whitespace() {
        let url = rp_link::RelayUrl::from_settings(text)
            .map_err(|_| wrong("more_relays", "http:// or https:// URLs with spaces in between"))?;
        more_relays.push(url);
    }
    Ok(RemoteSettings { wanted, allow_clear, certificate, more_relays })
}

/// The settings about other machines, understood.
pub struct RemoteSettings {
    /// When this machine is on its relay.
    pub wanted: Wanted,
    /// Whether machines that cannot seal are talked to.
    pub allow_clear: bool,
    /// The one certificate that is accepted from the relay.
    pub certificate: Option<rp_link::Fingerprint>,
    /// Relays that are tried when the first cannot be reached.
    pub more_relays: Vec<rp_link::RelayUrl>,
}

/// A variable of the environment that is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// This machine's name, for its first membership.
pub fn host_name() -> Result<String, Problem> {
    let output = std::process::Command::new("uname").arg("-n").output();
    let name = output.doing("read this machine's name")?.stdout;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    Ok(name.split('.').next().unwrap_or_default().to_owned())
}
