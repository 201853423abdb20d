//! Taking memberships over from the relay of Remote Pi, which keeps them in SQLite.

use std::path::{Path, PathBuf};

use rp_protocol::key::PublicKey;
use rp_protocol::membership::Stored;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::membership::{ForeignRow, Import, Memberships, OwnerHash};

/// How many rows are written in one transaction.
const ROWS_AT_ONCE: usize = 1000;

/// What an import came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Owners that were taken over.
    pub stored: u64,
    /// Of these, owners whose blob is not valid, so that it allows nobody anything.
    pub void: u64,
    /// Owners of whom the same version or a newer one was there already.
    pub not_newer: u64,
    /// Rows that are no row of such a table: left out.
    pub unreadable: u64,
}

/// Why nothing more was taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no such file.
    #[error("cannot read {} as a membership database of Remote Pi: {source}\nhint: name the file that REMOTEPI_MESH_DB_PATH named", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] rp_store::StoreError),
}

/// Takes over what is newer than what is there. The file is only read.
///
/// # Errors
/// The file cannot be read, or the memberships cannot be written; what was written before stays.
pub async fn import(path: &Path, memberships: &Memberships) -> Result<Imported, ImportError> {
    let (rows, unreadable) =
        read(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })?;
    let mut imported = Imported { unreadable, ..Imported::default() };
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let batch = rows.by_ref().take(ROWS_AT_ONCE).collect();
        for outcome in memberships.import(batch).await? {
            match outcome {
                Import::Stored => imported.stored += 1,
                Import::StoredVoid => {
                    imported.stored += 1;
                    imported.void += 1;
                }
                Import::NotNewer => imported.not_newer += 1,
            }
        }
    }
    Ok(imported)
}

/// The same, unless all of the file was taken over before: then nothing is read.
///
/// # Errors
/// As [`import`]. What is missing is taken over the next time.
pub async fn import_once(
    path: &Path,
    memberships: &Memberships,
) -> Result<Option<Imported>, ImportError> {
    if memberships.has_taken_over(path)? {
        return Ok(None);
    }
    let imported = import(path, memberships).await?;
    memberships.note_taken_over(path).await?;
    Ok(Some(imported))
}

fn read(path: &Path) -> Result<(Vec<ForeignRow>, u64), rusqlite::Error> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut query = database.prepare("SELECT * FROM mesh_versions")?;
    let columns: Vec<String> = query.column_names().map(str::to_owned).collect();
    let (mut found, mut unreadable) = (Vec::new(), 0);
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        match foreign_row(row, &columns) {
            Some(row) => found.push(row),
            None => unreadable += 1,
        }
    }
    Ok((found, unreadable))
}

/// A row by what its values are, which is more certain than their order: the owner's key is the one
/// that has the hash which is the row's name, a signature has 64 bytes, and the version is the
/// number that is called so.
fn foreign_row(row: &Row<'_>, columns: &[String]) -> Option<ForeignRow> {
    let (mut hash, mut bytes, mut version, mut updated_at) = (None, Vec::new(), None, None);
    for (place, name) in columns.iter().enumerate() {
        match row.get_ref(place).ok()? {
            ValueRef::Text(text) => hash = OwnerHash::parse(std::str::from_utf8(text).ok()?),
            ValueRef::Blob(value) => bytes.push(value.to_vec()),
            ValueRef::Integer(number) if name.contains("version") => {
                version = u64::try_from(number).ok();
            }
            ValueRef::Integer(number) => updated_at = u64::try_from(number).ok(),
            _ => {}
        }
    }
    let owners = bytes.iter().filter_map(|value| value.as_slice().try_into().ok());
    let owner =
        owners.map(PublicKey::from_bytes).find(|owner| Some(OwnerHash::of(owner)) == hash)?;
    let signature = bytes.iter().find_map(|value| value.as_slice().try_into().ok())?;
    let blob = bytes.into_iter().find(|value| value.len() != 64 && value != owner.as_bytes())?;
    let stored = Stored { blob, signature, version: version?, updated_at: updated_at? };
    Some(ForeignRow { owner, stored })
}
