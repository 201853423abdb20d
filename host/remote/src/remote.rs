//! The door: what the rest of the program can ask.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rp_link::{DEFAULT_RELAY, Fingerprint, NotARelayUrl, Relay, RelayUrl, Source, Trust};
use rp_mesh::{Mailboxes, Mesh};
use rp_protocol::key::PublicKey;
use rp_protocol::membership::Followed;
use rp_protocol::remote::{Identity, assign_aliases, choose_nickname};
use rp_store::{Database, StoreError};
use rp_vault::{Keyring, Place, Vault, VaultError};
use tokio::sync::{mpsc, watch};

use crate::door::Door;
use crate::files::{FileError, Memberships, Pairings, relay_text, set_relay};
use crate::invitation::Held;
use crate::machine::OwnKey;
use crate::outbox::Outbox;
use crate::status::{Connection, Status};
use crate::task::{Command, Task};

/// How long the end of the task is waited for.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// How many commands may wait. Whoever gives one more waits.
const MAX_COMMANDS: usize = 64;

/// When this machine is on its relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// As soon as it has an owner.
    WithOwner,
    /// Always.
    On,
    /// Never. Messages for other machines wait.
    Off,
}

/// What it needs.
pub struct Config {
    /// The state root.
    pub root: PathBuf,
    /// For what waits for other machines.
    pub database: Database,
    /// The local mesh.
    pub mesh: Mesh,
    /// For the traces of messages.
    pub mailboxes: Mailboxes,
    /// Name and version of the program, for relays' operators.
    pub software: String,
    /// When it is on its relay, until somebody says otherwise.
    pub wanted: Wanted,
    /// The relay's URL in the environment.
    pub relay: Option<String>,
    /// Relays that are tried in this order when that one cannot be reached.
    pub more_relays: Vec<RelayUrl>,
    /// The one certificate that is accepted from the relay, not from the further ones.
    pub certificate: Option<Fingerprint>,
    /// Whether machines that speak only the old wire are talked to in the clear.
    pub allow_clear: bool,
    /// Whether a key may be in a file although a keyring is expected.
    pub allow_file_keys: bool,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay's URL is none.
    #[error("{text:?}: {error}\nhint: {}", error.hint())]
    Url {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        error: NotARelayUrl,
    },
    /// The runtime ends, or the thread that asked the keyring is gone.
    #[error("the program is ending")]
    Ended,
}

/// What the task and its handles share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) door: Arc<Door>,
    pub(crate) outbox: Outbox,
    pub(crate) pairings: Pairings,
    pub(crate) memberships: Memberships,
    /// Held while keys are read or made, which may take seconds.
    vault: Arc<tokio::sync::Mutex<()>>,
    pub(crate) invitation: Mutex<Option<Held>>,
}

impl Shared {
    /// Asks the vault away from the asynchronous threads: a keyring may wait for a dialog.
    pub(crate) async fn vault<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let only = Arc::clone(&self.vault).lock_owned().await;
        let (root, allow_file) = (self.config.root.clone(), self.config.allow_file_keys);
        let asked = tokio::task::spawn_blocking(move || {
            let _only = only;
            ask(&Vault::new(&root, Keyring::of_system(), allow_file))
        });
        Ok(asked.await.map_err(|_| RemoteError::Ended)??)
    }

    pub(crate) async fn machine_key(&self) -> Result<OwnKey, RemoteError> {
        let is_paired = !self.pairings.read()?.is_empty();
        let own = self.vault(move |vault| vault.machine_key(is_paired)).await?;
        let in_file = own.place == Place::File;
        if own.new && in_file {
            tracing::warn!(
                "there is no keyring: the machine key is in a file, readable by this user"
            );
        }
        Ok(OwnKey { key: own.key, in_file })
    }

    /// What the machines of this one's owners were called last, this one among them: which one it is
    /// turns out with its key. Nothing where that cannot be read, which is said later.
    pub(crate) fn names_kept(&self) -> HashSet<String> {
        let pairings = self.pairings.read().unwrap_or_default();
        let kept = self.memberships.read().unwrap_or_default();
        let is_paired = |one: &&Followed| pairings.iter().any(|pairing| pairing.owner == one.owner);
        let memberships = kept.iter().filter(is_paired).filter_map(|one| one.membership.as_ref());
        let mut nicknames: BTreeMap<PublicKey, Vec<&str>> = BTreeMap::new();
        for member in memberships.flat_map(|signed| &signed.membership().members) {
            nicknames.entry(member.key).or_default().extend(member.nickname.as_deref());
        }
        let identity =
            |(key, names)| Identity { key, nickname: choose_nickname(names).map(str::to_owned) };
        assign_aliases(nicknames.into_iter().map(identity)).into_values().collect()
    }

    /// The relay's URL as it stands, the default where the file cannot be read.
    pub(crate) fn relay_text(&self) -> (String, Source) {
        let Config { root, relay, .. } = &self.config;
        relay_text(root, relay.as_deref())
            .unwrap_or_else(|_| (DEFAULT_RELAY.to_owned(), Source::Default))
    }

    pub(crate) fn relays(&self) -> Result<Relays, RemoteError> {
        let Config { root, relay, more_relays, certificate, .. } = &self.config;
        let (text, source) = relay_text(root, relay.as_deref())?;
        let url = RelayUrl::from_settings(&text)
            .map_err(|error| RemoteError::Url { text: text.clone(), error })?;
        let trust = certificate.map_or(Trust::Platform, Trust::Pinned);
        let further = |url: &RelayUrl| Relay { url: url.clone(), trust: Trust::Platform };
        let more = more_relays.iter().map(further).collect();
        Ok(Relays { first: Relay { url, trust }, more, source })
    }
}

/// The relays of this machine.
pub(crate) struct Relays {
    pub(crate) first: Relay,
    pub(crate) more: Vec<Relay>,
    /// Where the first one was read.
    pub(crate) source: Source,
}

impl Relays {
    /// In the order in which they are tried.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Relay> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The one with this URL; if there is none, the first.
    pub(crate) fn called(&self, url: &str) -> &Relay {
        self.more.iter().find(|relay| relay.url.as_str() == url).unwrap_or(&self.first)
    }
}

/// This machine among others. Clones are the same; it ends with the last one.
#[derive(Clone)]
pub struct Remote {
    pub(crate) shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

impl Remote {
    /// Starts, without waiting for anything: the local mesh goes on whatever happens here.
    ///
    /// Must be called on a tokio runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (door, outbound) = Door::new();
        let door = Arc::new(door);
        let events = config.mesh.events();
        config.mesh.attach_bridge(Some(Arc::clone(&door) as Arc<dyn rp_mesh::Bridge>));
        let wanted = config.wanted;
        let shared = Arc::new(Shared {
            door,
            outbox: Outbox(config.database.clone()),
            pairings: Pairings::of(&config.root),
            memberships: Memberships::of(&config.root),
            vault: Arc::default(),
            invitation: Mutex::new(None),
            config,
        });
        // What is for other machines waits until this one has its key, and is not for nobody.
        shared.door.show(shared.names_kept(), Vec::new());
        let (relay, source) = shared.relay_text();
        let (commands, commands_receiver) = mpsc::channel(MAX_COMMANDS);
        let (status_sender, status) = watch::channel(Status {
            relay,
            source,
            connection: Connection::Off { reason: "it is starting".to_owned() },
            machine: None,
            alias: None,
            key_in_file: false,
            owners: Vec::new(),
            machines: Vec::new(),
            troubles: Vec::new(),
            clone_seen: false,
        });
        let task = Task {
            shared: Arc::clone(&shared),
            wanted,
            commands: commands_receiver,
            outbound,
            events,
            status: status_sender,
        };
        tokio::spawn(task.run());
        Remote { shared, commands, status }
    }

    /// How it stands, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Says when this machine is on its relay, until the program ends.
    ///
    /// # Errors
    /// [`RemoteError::Ended`]
    pub async fn begin(&self, wanted: Wanted) -> Result<(), RemoteError> {
        self.command(Command::Begin(wanted)).await
    }

    /// Sets the relay as a person typed it, and goes there. The environment goes before the file:
    /// then nothing changes but the file.
    ///
    /// # Errors
    /// [`RemoteError::Url`], [`RemoteError::File`]; nothing is changed then.
    pub async fn set_relay(&self, typed: &str) -> Result<(), RemoteError> {
        let url = RelayUrl::from_person(typed)
            .map_err(|error| RemoteError::Url { text: typed.to_owned(), error })?;
        set_relay(&self.shared.config.root, &url)?;
        self.command(Command::RelayChanged).await
    }

    /// Leaves the mesh's router without a way to other machines and the relay without this machine,
    /// and forgets an invitation that is open. To be called before the mesh is left: what came in
    /// between would be refused for good.
    pub async fn shut_down(&self) {
        self.shared.config.mesh.attach_bridge(None);
        drop(self.invitation().take());
        let ended = async {
            if self.commands.send(Command::End).await.is_ok() {
                self.commands.closed().await;
            }
        };
        if tokio::time::timeout(END_PATIENCE, ended).await.is_err() {
            tracing::warn!("the relay does not read: it is left without a word");
        }
    }

    /// The relay this machine is connected to; without a connection, the one that is tried first.
    pub(crate) fn relay(&self) -> Result<Relay, RemoteError> {
        Ok(self.shared.relays()?.called(&self.status.borrow().relay).clone())
    }

    pub(crate) fn invitation(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.shared.invitation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn command(&self, command: Command) -> Result<(), RemoteError> {
        self.commands.send(command).await.map_err(|_| RemoteError::Ended)
    }
}
