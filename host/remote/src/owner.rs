//! What needs the owner's key: a mesh of machines without a phone.

use std::time::SystemTime;

use rp_link::HttpError;
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::membership::{Answer, BadAnswer, Member, Membership, SignedMembership};
use rp_protocol::owner::{WordsError, owner_from_words, words_of_owner};
use zeroize::Zeroizing;

use crate::files::wall_ms;
use crate::publications;
use crate::remote::{Remote, RemoteError};
use crate::task::Command;

/// How often a change is tried again when another device of the owner was faster.
const ATTEMPTS: u32 = 3;
/// What Remote Pi's list of devices shows for an owner of this program.
const OWNER_NAME: &str = "owner";
/// The longest name of a machine, in bytes.
const MAX_NAME_BYTES: usize = rp_protocol::owner::MAX_MACHINE_NAME_BYTES;

/// Why a mesh is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Keys, files or the program.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// There is an owner's key here already.
    #[error(
        "this machine keeps an owner's key already\nhint: `rp-host mesh list` shows that owner's machines, `rp-host mesh invite` lets another one join"
    )]
    Exists,
    /// There is none.
    #[error(
        "no owner's key is kept on this machine\nhint: use the machine on which the mesh was created, or bring the key here with `rp-host mesh recover`"
    )]
    NoKey,
    /// The relay did not answer.
    #[error(
        "the relay cannot be reached: {0}\nhint: `rp-host relay status` shows which relay it is"
    )]
    Unreachable(String),
    /// The relay answered with something else than the owner's membership.
    #[error("the relay's answer is not the owner's membership: {0}")]
    Answer(String),
    /// The relay did not take the membership.
    #[error("the relay did not take the membership: status {status}, {text}")]
    NotPublished {
        /// Of HTTP.
        status: u16,
        /// What it said.
        text: String,
    },
    /// Nothing was published yet, so there are no machines.
    #[error(
        "the owner has published no machines on this relay\nhint: `rp-host relay url` shows the relay"
    )]
    NoMembership,
    /// No machine is called so.
    #[error("no machine of the owner is called {0:?}\nhint: `rp-host mesh list` lists them")]
    NoSuchMachine(String),
    /// Several machines are called so.
    #[error(
        "several machines of the owner are called {0:?}\nhint: name one by its fingerprint, as `rp-host mesh list` shows it"
    )]
    Ambiguous(String),
    /// A machine cannot be called so.
    #[error(
        "{0:?} is no name for a machine\nhint: a name has 1 to {MAX_NAME_BYTES} bytes and no control characters"
    )]
    Name(String),
    /// The words are no owner's.
    #[error("{0}\nhint: type the 24 words in their order, each whole or by its first four letters")]
    Words(#[from] WordsError),
}

impl From<rp_vault::VaultError> for OwnerError {
    fn from(error: rp_vault::VaultError) -> Self {
        OwnerError::Remote(error.into())
    }
}

impl From<HttpError> for OwnerError {
    fn from(error: HttpError) -> Self {
        OwnerError::Unreachable(error.to_string())
    }
}

/// A mesh that was created.
pub struct Created {
    /// Its owner.
    pub owner: PublicKey,
    /// The words that bring the owner's key back. They are kept nowhere.
    pub words: Zeroizing<String>,
}

/// What is changed of a membership.
#[derive(Debug, Clone)]
pub enum Change {
    /// A machine gets another name. Machines are named by nickname, alias or fingerprint.
    Rename {
        /// Which.
        machine: String,
        /// The name.
        name: String,
    },
    /// A machine is an owner's no longer.
    Remove {
        /// Which.
        machine: String,
    },
}

impl Remote {
    /// Makes an owner and publishes this machine as their first.
    ///
    /// # Errors
    /// [`OwnerError`]; there is no owner then.
    pub async fn create_mesh(&self, name: &str) -> Result<Created, OwnerError> {
        let name = checked_name(name)?;
        if self.shared.vault(|vault| vault.owner_key()).await?.is_some() {
            return Err(OwnerError::Exists);
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|error| rp_vault::VaultError::Random(error.to_string()))?;
        let owner = SecretKey::from_seed(&seed);
        let member = self.own_member(name).await?;
        self.publish(&owner, 1, vec![member]).await?;
        self.keep_owner(&owner).await?;
        Ok(Created { owner: owner.public(), words: words_of_owner(&owner) })
    }

    /// Brings an owner's key to this machine, and lists the machine if it is not yet.
    ///
    /// # Errors
    /// [`OwnerError`]; nothing is changed here then.
    pub async fn recover_mesh(&self, words: &str, name: &str) -> Result<PublicKey, OwnerError> {
        let name = checked_name(name)?;
        let owner = owner_from_words(words)?;
        let here = self.shared.vault(|vault| vault.owner_key()).await?;
        if here.is_some_and(|here| here.public() != owner.public()) {
            return Err(OwnerError::Exists);
        }
        let own = self.own_member(name).await?;
        self.edit(&owner, |members| {
            if !members.iter().any(|member| member.key == own.key) {
                members.push(own.clone());
            }
            Ok(())
        })
        .await?;
        self.keep_owner(&owner).await?;
        Ok(owner.public())
    }

    /// Changes what the owner whose key is here says about a machine, and publishes it. The version
    /// that was published.
    ///
    /// # Errors
    /// [`OwnerError`]; nothing is published then, unless the relay's answer was lost.
    pub async fn change_mesh(&self, change: Change) -> Result<u64, OwnerError> {
        let owner = self.owner_key().await?;
        let version = match &change {
            Change::Rename { machine, name } => {
                let name = checked_name(name)?;
                let rename = |members: &mut Vec<Member>| {
                    let at = self.find(members, machine)?;
                    if let Some(member) = members.get_mut(at) {
                        member.nickname = Some(name.to_owned());
                    }
                    Ok(())
                };
                self.edit(&owner, rename).await?
            }
            Change::Remove { machine } => {
                let remove = |members: &mut Vec<Member>| {
                    members.remove(self.find(members, machine)?);
                    Ok(())
                };
                self.edit(&owner, remove).await?
            }
        };
        self.command(Command::PairingsChanged).await?;
        Ok(version)
    }

    /// Whether an owner's key is kept here, and whose.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub async fn owner_here(&self) -> Result<Option<PublicKey>, RemoteError> {
        Ok(self.shared.vault(|vault| vault.owner_key()).await?.map(|key| key.public()))
    }

    pub(crate) async fn owner_key(&self) -> Result<SecretKey, OwnerError> {
        self.shared.vault(|vault| vault.owner_key()).await?.ok_or(OwnerError::NoKey)
    }

    /// Adds a machine that has consented.
    pub(crate) async fn add_member(
        &self,
        owner: &SecretKey,
        machine: PublicKey,
        name: &str,
    ) -> Result<u64, OwnerError> {
        // It joined by a code, so it seals, whatever a relay says of it.
        self.shared.outbox.mark_sealed(machine).await.map_err(RemoteError::from)?;
        let relay = self.relay()?;
        let added = Member {
            key: machine,
            relay_url: relay.url.to_string(),
            paired_at: now_text(),
            nickname: Some(name.to_owned()).filter(|name| checked_name(name).is_ok()),
        };
        let version = self
            .edit(owner, |members| {
                members.retain(|member| member.key != machine);
                members.push(added.clone());
                Ok(())
            })
            .await?;
        self.command(Command::PairingsChanged).await?;
        Ok(version)
    }

    async fn own_member(&self, name: &str) -> Result<Member, OwnerError> {
        let own = self.shared.machine_key().await?;
        let relay = self.relay()?;
        Ok(Member {
            key: own.key.public(),
            relay_url: relay.url.to_string(),
            paired_at: now_text(),
            nickname: Some(name.to_owned()),
        })
    }

    async fn keep_owner(&self, owner: &SecretKey) -> Result<(), OwnerError> {
        let key = owner.clone();
        self.shared.vault(move |vault| vault.keep_owner_key(&key)).await?;
        self.shared.pairings.add(owner.public(), OWNER_NAME).map_err(RemoteError::from)?;
        self.command(Command::PairingsChanged).await?;
        Ok(())
    }

    /// Reads the membership, changes its machines and publishes it, again when another device of
    /// the owner was faster.
    async fn edit(
        &self,
        owner: &SecretKey,
        mut change: impl FnMut(&mut Vec<Member>) -> Result<(), OwnerError>,
    ) -> Result<u64, OwnerError> {
        let mut attempt = 1;
        loop {
            let current = self.current(&owner.public()).await?;
            let mut members = current.members.clone();
            change(&mut members)?;
            if members == current.members {
                return Ok(current.version);
            }
            let version = current.version + 1;
            match self.publish(owner, version, members).await {
                Err(OwnerError::NotPublished { status: 409, .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                }
                done => return done.map(|()| version),
            }
        }
    }

    /// The newest membership that is known, here or to the relay: what a relay that has gone back
    /// shows must not be signed again.
    async fn current(&self, owner: &PublicKey) -> Result<Membership, OwnerError> {
        let published = self.published(owner).await?.map(|signed| signed.membership().clone());
        let accepted = self.shared.memberships.read().map_err(RemoteError::from)?;
        let accepted = accepted.into_iter().find(|followed| followed.owner == *owner);
        let floor = accepted.as_ref().map_or(0, |followed| followed.floor);
        match published {
            Some(published) if published.version >= floor => Ok(published),
            published => accepted
                .and_then(|followed| followed.membership)
                .map(|signed| signed.membership().clone())
                .ok_or_else(|| match published {
                    Some(_) => {
                        OwnerError::Answer("it is older than the one this machine knows".to_owned())
                    }
                    None => OwnerError::NoMembership,
                }),
        }
    }

    async fn published(&self, owner: &PublicKey) -> Result<Option<SignedMembership>, OwnerError> {
        let (status, answer) = publications::read(&self.relay()?, owner, None).await?;
        match answer {
            Answer::Membership(signed) if signed.membership().owner == *owner => Ok(Some(signed)),
            Answer::Membership(_) => Err(OwnerError::Answer("it is another owner's".to_owned())),
            Answer::NothingNew => Ok(None),
            Answer::Unavailable => Err(OwnerError::Unreachable(format!("status {status}"))),
            Answer::Invalid(BadAnswer::Status(status)) => {
                Err(OwnerError::Answer(format!("status {status}")))
            }
            Answer::Invalid(error) => Err(OwnerError::Answer(error.to_string())),
        }
    }

    async fn publish(
        &self,
        owner: &SecretKey,
        version: u64,
        members: Vec<Member>,
    ) -> Result<(), OwnerError> {
        let issued_at = wall_ms();
        let membership = Membership { version, issued_at, owner: owner.public(), members };
        match publications::publish(&self.relay()?, &membership.sign(owner)).await? {
            (200, _) => Ok(()),
            (status, text) => {
                let text = text.chars().take(200).collect();
                Err(OwnerError::NotPublished { status, text })
            }
        }
    }

    /// The place of the machine with this nickname, alias or fingerprint.
    fn find(&self, members: &[Member], wanted: &str) -> Result<usize, OwnerError> {
        let status = self.status();
        let status = status.borrow();
        let alias = |key: &PublicKey| {
            let known = status.machines.iter().find(|machine| machine.key == *key);
            let own = status.alias.as_deref().filter(|_| status.machine == Some(*key));
            known.map(|machine| machine.alias.as_str()).or(own)
        };
        let is_it = |member: &Member| {
            member.nickname.as_deref() == Some(wanted)
                || alias(&member.key) == Some(wanted)
                || member.key.fingerprint() == wanted
        };
        let mut found = members.iter().enumerate().filter(|(_, member)| is_it(member));
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (Some(_), Some(_)) => Err(OwnerError::Ambiguous(wanted.to_owned())),
            (None, _) => Err(OwnerError::NoSuchMachine(wanted.to_owned())),
        }
    }
}

fn checked_name(name: &str) -> Result<&str, OwnerError> {
    let trimmed = name.trim();
    let fits = !trimmed.is_empty() && trimmed.len() <= MAX_NAME_BYTES;
    match fits && !trimmed.chars().any(char::is_control) {
        true => Ok(trimmed),
        false => Err(OwnerError::Name(name.to_owned())),
    }
}

fn now_text() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
