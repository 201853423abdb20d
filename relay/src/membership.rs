//! What owners published, on disk, and who may therefore write to whom.
//!
//! Two tables of them, changed in one transaction: the newest membership of each owner, and, for every
//! machine, the owners who list it. A machine may write to another if one single owner lists
//! both; with the second table that takes two short walks instead of a look at every membership.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Membership, PublishError, Published, SignedMembership, Stored};
use rp_store::{Database, OpenError, StoreError};

/// By the SHA-256 of the owner's key: version, time of acceptance in milliseconds since 1970, the
/// owner's key and the signature, the blob.
const MEMBERSHIPS: TableDefinition<'_, [u8; 32], Row<'_>> = TableDefinition::new("memberships");

type Row<'a> = (u64, u64, [u8; 32], [u8; 64], &'a [u8]);

/// A machine's key followed by the hash of an owner who lists it.
const LISTED: TableDefinition<'_, [u8; 64], ()> = TableDefinition::new("listed");

/// The files of other programs that were taken over as a whole.
const TAKEN_OVER: TableDefinition<'_, &[u8], ()> = TableDefinition::new("taken_over");

/// The SHA-256 of an owner's key: what a membership is asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerHash(pub [u8; 32]);

impl OwnerHash {
    /// Of this owner.
    #[must_use]
    pub fn of(owner: &PublicKey) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(owner.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits of either case; nothing else is a hash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` would take a sign too.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(hash))
    }
}

/// A row of another program's store, as it is taken over without its checks being made anew.
#[derive(Debug, Clone)]
pub struct ForeignRow {
    /// The owner's key.
    pub owner: PublicKey,
    /// What was stored.
    pub stored: Stored,
}

/// What became of a [`ForeignRow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// It is stored.
    Stored,
    /// It is stored, but its blob is not valid, so it allows nobody anything.
    StoredVoid,
    /// The same version or a newer one is there already.
    NotNewer,
}

/// The memberships of all owners; clones share them.
#[derive(Debug, Clone)]
pub struct Memberships {
    database: Database,
    changes: Arc<AtomicU64>,
}

impl Memberships {
    /// Opens the file, creating it when it is absent.
    ///
    /// # Errors
    /// Another process has it open, it is damaged, or the file system refuses.
    pub async fn open(path: &Path) -> Result<Self, MembershipsError> {
        let database = Database::open(path).map_err(MembershipsError::open)?;
        let create = |transaction: &redb::WriteTransaction| {
            transaction.open_table(MEMBERSHIPS)?;
            transaction.open_table(LISTED)?;
            transaction.open_table(TAKEN_OVER)?;
            Ok(())
        };
        database.write(create).await.map_err(MembershipsError::Store)?;
        Ok(Self { database, changes: Arc::default() })
    }

    /// Counts the publications that were stored: what was concluded from memberships holds until it
    /// changes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Stores what an owner published, if it is newer than what is there. It is on disk when this
    /// returns. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`PublishError::Stale`] or [`PublishError::Storage`].
    pub async fn publish(
        &self,
        publication: SignedMembership,
        now: u64,
    ) -> Result<Published, PublishError> {
        let work = move |transaction: &redb::WriteTransaction| {
            let membership = publication.membership();
            let hash = OwnerHash::of(&membership.owner);
            let current = version_of(transaction, hash)?;
            match Stored::accept(current, &publication, now) {
                Err(refused) => Ok(Err(refused)),
                Ok(stored) => {
                    put(transaction, &membership.owner, &stored, Some(membership))?;
                    Ok(Ok(stored.published()))
                }
            }
        };
        match self.database.write(work).await {
            Ok(outcome) => {
                if outcome.is_ok() {
                    self.changes.fetch_add(1, Ordering::AcqRel);
                }
                outcome
            }
            Err(error) => {
                tracing::error!(%error, "a membership was not stored");
                Err(PublishError::Storage)
            }
        }
    }

    /// Takes rows over that another program has checked when it accepted them.
    ///
    /// # Errors
    /// Nothing of them was stored.
    pub async fn import(&self, rows: Vec<ForeignRow>) -> Result<Vec<Import>, StoreError> {
        let work = move |transaction: &redb::WriteTransaction| {
            let mut outcomes = Vec::with_capacity(rows.len());
            for row in &rows {
                let current = version_of(transaction, OwnerHash::of(&row.owner))?;
                if current.is_some_and(|current| row.stored.version <= current) {
                    outcomes.push(Import::NotNewer);
                    continue;
                }
                let membership = Membership::parse(&row.stored.blob).ok();
                put(transaction, &row.owner, &row.stored, membership.as_ref())?;
                let outcome = match membership {
                    Some(_) => Import::Stored,
                    None => Import::StoredVoid,
                };
                outcomes.push(outcome);
            }
            Ok(outcomes)
        };
        let outcomes = self.database.write(work).await?;
        self.changes.fetch_add(1, Ordering::AcqRel);
        Ok(outcomes)
    }

    /// Whether all of another program's file was taken over before.
    ///
    /// # Errors
    /// The storage failed.
    pub fn has_taken_over(&self, file: &Path) -> Result<bool, StoreError> {
        let name = file.as_os_str().as_bytes();
        self.database
            .read(|transaction| Ok(transaction.open_table(TAKEN_OVER)?.get(name)?.is_some()))
    }

    /// All of another program's file was taken over.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn note_taken_over(&self, file: &Path) -> Result<(), StoreError> {
        let name = file.as_os_str().as_bytes().to_vec();
        let note = move |transaction: &redb::WriteTransaction| {
            transaction.open_table(TAKEN_OVER)?.insert(name.as_slice(), ())?;
            Ok(())
        };
        self.database.write(note).await
    }

    /// What is stored of an owner.
    ///
    /// # Errors
    /// The storage failed.
    pub fn read(&self, owner: OwnerHash) -> Result<Option<Stored>, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(MEMBERSHIPS)?;
            let row = table.get(owner.0)?;
            Ok(row.map(|row| {
                let (version, updated_at, _, signature, blob) = row.value();
                Stored { blob: blob.to_vec(), signature, version, updated_at }
            }))
        })
    }

    /// Whether one owner lists both machines.
    ///
    /// The owners of the one and of the other are walked together, each walk jumping to where the
    /// other one is, so that it costs no more than the shorter of the two lists.
    ///
    /// # Errors
    /// The storage failed.
    pub fn list_together(&self, one: &PublicKey, other: &PublicKey) -> Result<bool, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(LISTED)?;
            let next = |machine: &PublicKey, from: [u8; 32]| {
                let bounds = listed(machine, from)..=listed(machine, [0xFF; 32]);
                let first = table.range(bounds)?.next().transpose()?;
                Ok::<_, redb::Error>(first.and_then(|(key, _)| key.value().last_chunk().copied()))
            };
            let (mut this, mut that) = (one, other);
            let mut from = [0; 32];
            // An owner of `this` is looked for among those of `that`, and the other way round.
            loop {
                let Some(owner) = next(this, from)? else { return Ok(false) };
                let Some(found) = next(that, owner)? else { return Ok(false) };
                if found == owner {
                    return Ok(true);
                }
                from = found;
                std::mem::swap(&mut this, &mut that);
            }
        })
    }

    /// How many owners have published.
    ///
    /// # Errors
    /// The storage failed.
    pub fn owners(&self) -> Result<u64, StoreError> {
        self.database.read(|transaction| Ok(transaction.open_table(MEMBERSHIPS)?.len()?))
    }
}

fn listed(machine: &PublicKey, owner: [u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    let (front, back) = key.split_at_mut(32);
    front.copy_from_slice(machine.as_bytes());
    back.copy_from_slice(&owner);
    key
}

fn version_of(
    transaction: &redb::WriteTransaction,
    owner: OwnerHash,
) -> Result<Option<u64>, redb::Error> {
    let table = transaction.open_table(MEMBERSHIPS)?;
    let row = table.get(owner.0)?;
    Ok(row.map(|row| row.value().0))
}

/// Replaces an owner's row, and who is listed by it. Without a membership nobody is.
fn put(
    transaction: &redb::WriteTransaction,
    owner: &PublicKey,
    stored: &Stored,
    membership: Option<&Membership>,
) -> Result<(), redb::Error> {
    let hash = OwnerHash::of(owner);
    let mut memberships = transaction.open_table(MEMBERSHIPS)?;
    let mut index = transaction.open_table(LISTED)?;
    if let Some(old) = memberships.get(hash.0)? {
        for member in Membership::parse(old.value().4).into_iter().flat_map(|old| old.members) {
            index.remove(listed(&member.key, hash.0))?;
        }
    }
    for member in membership.into_iter().flat_map(|new| &new.members) {
        index.insert(listed(&member.key, hash.0), ())?;
    }
    let row = (
        stored.version,
        stored.updated_at,
        *owner.as_bytes(),
        stored.signature,
        stored.blob.as_slice(),
    );
    memberships.insert(hash.0, row)?;
    Ok(())
}

/// Why the memberships cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MembershipsError {
    /// Another relay uses the file.
    #[error(
        "the membership file {} is in use by another process\nhint: only one relay can run on one file; stop the other one first", path.display()
    )]
    Locked {
        /// The file.
        path: std::path::PathBuf,
    },
    /// It cannot be opened for another reason.
    #[error(transparent)]
    Open(OpenError),
    /// It was opened, but cannot be written.
    #[error(transparent)]
    Store(StoreError),
}

impl MembershipsError {
    fn open(error: OpenError) -> Self {
        match error {
            OpenError::Locked { path } => Self::Locked { path },
            other => Self::Open(other),
        }
    }
}
