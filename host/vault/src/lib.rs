//! The keys of this machine and of its owner: in the system's keyring, or in a private file.
//!
//! A key is made once. From then on the vault remembers its public half, and a keyring that no
//! longer has the key, or another one, is an error: whoever got a new identity instead would be
//! removed by its owner's devices as a stranger.
//!
//! Everything here may wait for the keyring's dialog, some ten seconds at most: call it from a
//! thread that may.

mod file;
mod keyring;
mod stored;

use std::path::{Path, PathBuf};

use rp_protocol::key::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};

use crate::file::{read_private, remove, replace_private, write_new_private};
use crate::stored::{parse_key, write_key};

pub use crate::keyring::{Keyring, Unusable};

/// The keyring's service of Remote Pi, whose machine key this program shares.
pub const SERVICE: &str = "dev.remotepi.pi";
/// Under which Remote Pi kept its key until May 2026. A key there moves to [`SERVICE`].
pub const OLD_SERVICE: &str = "dev.remotepi.mac";
/// The keyring's account of the machine key.
pub const MACHINE_ACCOUNT: &str = "longterm-ed25519";
/// The keyring's account of the owner key.
pub const OWNER_ACCOUNT: &str = "owner-ed25519";

/// Where a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The system's keyring.
    Keyring,
    /// A file that the user alone can read, because there is no keyring. Worth a warning: whoever
    /// can read the user's files can take it.
    File,
}

/// The key of this machine.
#[derive(Debug, Clone)]
pub struct MachineKey {
    /// The key.
    pub key: SecretKey,
    /// Where it is kept.
    pub place: Place,
    /// Whether it was made just now.
    pub new: bool,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A key was kept in the keyring, which says that it has none.
    #[error(
        "the keyring has no {what} key, but this machine has used one\nhint: unlock or restore the keyring it is in; {}, and remove {} to start over", start_over(what), memory.display()
    )]
    Missing {
        /// `machine` or `owner`.
        what: &'static str,
        /// The file that remembers which key there was.
        memory: PathBuf,
    },
    /// The keyring has another key than the one that was used.
    #[error(
        "the keyring has another {what} key than the one this machine has used\nhint: restore the key {expected:?} in the keyring, or remove {} to use the other", memory.display()
    )]
    Other {
        /// `machine` or `owner`.
        what: &'static str,
        /// The key that was used.
        expected: PublicKey,
        /// The file that remembers it.
        memory: PathBuf,
    },
    /// The keyring cannot be used, and a key in a file would not do.
    #[error(
        "the keyring with the {what} key cannot be used: {source}\nhint: unlock the keyring and try again; where there is none, REMOTE_PI_ALLOW_FILE_IDENTITY=1 allows a new key in a file"
    )]
    Unusable {
        /// `machine` or `owner`.
        what: &'static str,
        /// What the keyring said.
        source: Unusable,
    },
    /// There is something in the place of a key that is none.
    #[error(
        "{place} holds no key that can be read\nhint: restore it from a backup, or remove it to lose the key"
    )]
    Damaged {
        /// Where.
        place: String,
    },
    /// Another owner's key is kept here already.
    #[error(
        "another owner's key is kept on this machine already\nhint: forget it first, after you have written down its recovery words"
    )]
    OwnerExists,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// The public halves of the keys that were used, as `host/vault.json` keeps them.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Memory {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<PublicKey>,
}

/// One key and where it may be.
struct Slot {
    what: &'static str,
    account: &'static str,
    file: PathBuf,
    expected: Option<PublicKey>,
}

enum Found {
    Key(Box<SecretKey>, Place),
    Nothing,
    Unusable(Unusable),
}

/// Where the keys are kept.
#[derive(Debug)]
pub struct Vault {
    root: PathBuf,
    keyring: Keyring,
    allow_file: bool,
}

impl Vault {
    /// The vault of a state root. `allow_file` lets a machine have a new key in a file even where
    /// a keyring is expected.
    #[must_use]
    pub fn new(root: &Path, keyring: Keyring, allow_file: bool) -> Self {
        Vault { root: root.to_owned(), keyring, allow_file }
    }

    /// The key of this machine. Made when there is none and there cannot have been one: `paired`
    /// says that devices are paired with the key that this machine had.
    ///
    /// # Errors
    /// [`VaultError`]; nothing was made then.
    pub fn machine_key(&self, paired: bool) -> Result<MachineKey, VaultError> {
        let slot = self.machine()?;
        match self.find(&slot)? {
            Found::Key(key, place) => {
                self.remember(|memory| memory.machine = Some(key.public()))?;
                Ok(MachineKey { key: *key, place, new: false })
            }
            Found::Nothing if slot.expected.is_some() || paired => Err(self.missing(&slot)),
            Found::Nothing => {
                let key = new_key()?;
                let place = self.keep(&slot, &key)?;
                self.remember(|memory| memory.machine = Some(key.public()))?;
                Ok(MachineKey { key, place, new: true })
            }
            Found::Unusable(source) => {
                let must_exist = slot.expected.is_some() || paired || self.keyring.is_expected();
                if must_exist && !self.allow_file {
                    return Err(VaultError::Unusable { what: slot.what, source });
                }
                let key = self.keep_in_file(&slot, &new_key()?)?;
                self.remember(|memory| memory.machine = Some(key.public()))?;
                Ok(MachineKey { key, place: Place::File, new: true })
            }
        }
    }

    /// The owner key that is kept on this machine, if one is.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn owner_key(&self) -> Result<Option<SecretKey>, VaultError> {
        let slot = self.owner()?;
        match self.find(&slot)? {
            Found::Key(key, _) => Ok(Some(*key)),
            Found::Nothing if slot.expected.is_some() => Err(self.missing(&slot)),
            Found::Unusable(source) if slot.expected.is_some() => {
                Err(VaultError::Unusable { what: slot.what, source })
            }
            Found::Nothing | Found::Unusable(_) => Ok(None),
        }
    }

    /// Keeps an owner key on this machine, new or recovered.
    ///
    /// # Errors
    /// [`VaultError::OwnerExists`] when another one is kept; otherwise as the others.
    pub fn keep_owner_key(&self, key: &SecretKey) -> Result<Place, VaultError> {
        let slot = self.owner()?;
        if slot.expected.is_some_and(|expected| expected != key.public()) {
            return Err(VaultError::OwnerExists);
        }
        let place = match self.find(&Slot { expected: None, ..self.owner()? })? {
            Found::Key(kept, _) if kept.public() != key.public() => {
                return Err(VaultError::OwnerExists);
            }
            Found::Key(_, place) => place,
            Found::Nothing => self.keep(&slot, key)?,
            Found::Unusable(_) => {
                self.keep_in_file(&slot, key)?;
                Place::File
            }
        };
        self.remember(|memory| memory.owner = Some(key.public()))?;
        Ok(place)
    }

    /// Forgets the owner key that is kept on this machine. Without its recovery words it is gone.
    ///
    /// # Errors
    /// [`VaultError`]; it may be kept still then.
    pub fn forget_owner_key(&self) -> Result<(), VaultError> {
        let slot = self.owner()?;
        remove(&slot.file)?;
        match self.keyring.delete(SERVICE, slot.account) {
            Err(source) if slot.expected.is_some() && self.keyring.exists() => {
                return Err(VaultError::Unusable { what: slot.what, source });
            }
            _ => {}
        }
        self.remember(|memory| memory.owner = None)
    }

    fn machine(&self) -> Result<Slot, VaultError> {
        Ok(Slot {
            what: "machine",
            account: MACHINE_ACCOUNT,
            file: self.root.join("identity.json"),
            expected: self.memory()?.machine,
        })
    }

    fn owner(&self) -> Result<Slot, VaultError> {
        Ok(Slot {
            what: "owner",
            account: OWNER_ACCOUNT,
            file: self.root.join("host/owner.json"),
            expected: self.memory()?.owner,
        })
    }

    /// The file comes first: a key that devices are paired with must not be hidden by a keyring
    /// that can be used only today.
    fn find(&self, slot: &Slot) -> Result<Found, VaultError> {
        if let Some(text) = read_private(&slot.file)? {
            let place = slot.file.display().to_string();
            let key = parse_key(&text).ok_or(VaultError::Damaged { place })?;
            return Ok(Found::Key(Box::new(key), Place::File));
        }
        let text = match self.keyring.read(SERVICE, slot.account) {
            Ok(Some(text)) => text,
            Ok(None) => match self.move_from_old_service(slot) {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(Found::Nothing),
                Err(unusable) => return Ok(Found::Unusable(unusable)),
            },
            Err(unusable) => return Ok(Found::Unusable(unusable)),
        };
        let place = format!("the keyring's entry {} of {SERVICE}", slot.account);
        let key = parse_key(&text).ok_or(VaultError::Damaged { place })?;
        match slot.expected {
            Some(expected) if expected != key.public() => {
                Err(VaultError::Other { what: slot.what, expected, memory: self.memory_path() })
            }
            _ => Ok(Found::Key(Box::new(key), Place::Keyring)),
        }
    }

    fn move_from_old_service(
        &self,
        slot: &Slot,
    ) -> Result<Option<zeroize::Zeroizing<String>>, Unusable> {
        if slot.account != MACHINE_ACCOUNT {
            return Ok(None);
        }
        let Some(text) = self.keyring.read(OLD_SERVICE, slot.account)? else {
            return Ok(None);
        };
        self.keyring.write(SERVICE, slot.account, &text)?;
        self.keyring.delete(OLD_SERVICE, slot.account)?;
        Ok(Some(text))
    }

    /// Into the keyring, which was just read, and only after reading it back.
    fn keep(&self, slot: &Slot, key: &SecretKey) -> Result<Place, VaultError> {
        let unusable = |source| VaultError::Unusable { what: slot.what, source };
        self.keyring.write(SERVICE, slot.account, &write_key(key)).map_err(unusable)?;
        let kept = self.keyring.read(SERVICE, slot.account).map_err(unusable)?;
        match kept.and_then(|text| parse_key(&text)) {
            Some(kept) if kept.public() == key.public() => Ok(Place::Keyring),
            _ => Err(unusable(Unusable::Forgetful)),
        }
    }

    /// The key that the file has in the end: another process may have been faster.
    fn keep_in_file(&self, slot: &Slot, key: &SecretKey) -> Result<SecretKey, VaultError> {
        if write_new_private(&slot.file, &write_key(key))? {
            return Ok(key.clone());
        }
        let place = slot.file.display().to_string();
        let text = read_private(&slot.file)?;
        text.and_then(|text| parse_key(&text)).ok_or(VaultError::Damaged { place })
    }

    fn missing(&self, slot: &Slot) -> VaultError {
        VaultError::Missing { what: slot.what, memory: self.memory_path() }
    }

    fn memory_path(&self) -> PathBuf {
        self.root.join("host/vault.json")
    }

    fn memory(&self) -> Result<Memory, VaultError> {
        let path = self.memory_path();
        let Some(text) = read_private(&path)? else {
            return Ok(Memory::default());
        };
        let place = path.display().to_string();
        serde_json::from_str(&text).map_err(|_| VaultError::Damaged { place })
    }

    fn remember(&self, change: impl FnOnce(&mut Memory)) -> Result<(), VaultError> {
        let before = self.memory()?;
        let mut memory = before.clone();
        change(&mut memory);
        if (memory.machine, memory.owner) == (before.machine, before.owner) {
            return Ok(());
        }
        let text = serde_json::to_string(&memory).unwrap_or_default();
        replace_private(&self.memory_path(), &text)
    }
}

fn start_over(what: &str) -> &'static str {
    match what {
        "owner" => "or recover the owner from its words",
        _ => "or unpair every device, for they know only the lost key",
    }
}

fn new_key() -> Result<SecretKey, VaultError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| VaultError::Random(error.to_string()))?;
    Ok(SecretKey::from_seed(&seed))
}
