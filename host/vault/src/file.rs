//! Files that the user alone can read.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::VaultError;

/// What others may do with a file, which should be nothing.
const OTHERS: u32 = 0o077;

/// Reads a file and takes from others what they may do with it. `None` when there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, VaultError> {
    let read = || {
        let text = Zeroizing::new(fs::read_to_string(path)?);
        if fs::metadata(path)?.permissions().mode() & OTHERS != 0 {
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
        }
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if absent(&error) => Ok(None),
        Err(source) => Err(VaultError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that is not there yet. `false`: it is there, and was left alone.
pub(crate) fn write_new_private(path: &Path, text: &str) -> Result<bool, VaultError> {
    let written =
        temporary(path, text).and_then(|(file, folder)| match file.persist_noclobber(path) {
            Ok(_) => sync(&folder).map(|()| true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        });
    written.map_err(|source| VaultError::File { path: path.to_owned(), source })
}

/// Writes a file in place of the one that may be there.
pub(crate) fn replace_private(path: &Path, text: &str) -> Result<(), VaultError> {
    let written = temporary(path, text).and_then(|(file, folder)| {
        file.persist(path).map_err(|error| error.error)?;
        sync(&folder)
    });
    written.map_err(|source| VaultError::File { path: path.to_owned(), source })
}

/// Removes a file. One that is not there is removed.
pub(crate) fn remove(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(source) if !absent(&source) => Err(VaultError::File { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// The text in a file beside `path`, on the disk, and the folder of both.
fn temporary(path: &Path, text: &str) -> io::Result<(NamedTempFile, fs::File)> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    // Its mode is 0600 from the start.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok((file, fs::File::open(folder)?))
}

/// Puts the new name on the disk.
fn sync(folder: &fs::File) -> io::Result<()> {
    folder.sync_all()
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
