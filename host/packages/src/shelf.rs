//! Where packages are kept: the folder that a person fills, and copies of what is in force.
//!
//! What a person does to the folder is never what runs. A package that was accepted is copied, and
//! the copy stays until a better one is accepted or the person takes the package away.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rp_protocol::component::ComponentId;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::package::{Package, PackageError};

/// Packages looked at in one folder; more is a mistake.
const MAX_PACKAGES: usize = 1_000;

/// The two folders.
#[derive(Debug, Clone)]
pub struct Shelf {
    inbox: PathBuf,
    kept: PathBuf,
}

/// Why a folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct ShelfError {
    path: PathBuf,
    error: io::Error,
}

impl Shelf {
    /// Makes both folders, readable by the user alone.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(inbox: PathBuf, kept: PathBuf) -> Result<Self, ShelfError> {
        let shelf = Shelf { inbox, kept };
        for folder in [&shelf.inbox, &shelf.kept] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| failed(folder, error))?;
        }
        Ok(shelf)
    }

    /// The folder that a person fills.
    #[must_use]
    pub fn inbox(&self) -> &Path {
        &self.inbox
    }

    /// What is in it, whatever it is, by name. Hidden names are somebody's work in progress.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn dropped(&self) -> Result<Vec<PathBuf>, ShelfError> {
        visible(&self.inbox)
    }

    /// The folders of the packages in force, each named like its component.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn kept(&self) -> Result<Vec<PathBuf>, ShelfError> {
        visible(&self.kept)
    }

    /// The copy of one package.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn kept_package(&self, id: &ComponentId) -> Result<Package, PackageError> {
        Package::read(&self.kept.join(id.as_str()))
    }

    /// The package of an id in the folder a person fills.
    ///
    /// # Errors
    /// It is not there, or not one.
    pub fn dropped_package(&self, id: &ComponentId) -> Result<Package, PackageError> {
        Package::read(&self.inbox.join(id.as_str()))
    }

    /// Puts a package where a person would, in place of an older one of its id.
    ///
    /// # Errors
    /// The disk says no; the older one stays.
    pub fn put(&self, package: &Package) -> Result<PathBuf, ShelfError> {
        replace(&self.inbox, package)
    }

    /// Keeps a copy of a package that was accepted.
    ///
    /// # Errors
    /// The disk says no; the older copy stays.
    pub fn keep(&self, package: &Package) -> Result<(), ShelfError> {
        replace(&self.kept, package).map(drop)
    }

    /// Throws away the copy of a package that is no longer in force.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn discard(&self, id: &ComponentId) -> Result<(), ShelfError> {
        remove(&self.kept.join(id.as_str())).map(drop)
    }

    /// Takes a package out of the folder a person fills; tells whether there was one.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn take_out(&self, id: &ComponentId) -> Result<bool, ShelfError> {
        remove(&self.inbox.join(id.as_str()))
    }
}

fn failed(path: &Path, error: io::Error) -> ShelfError {
    ShelfError { path: path.to_owned(), error }
}

fn visible(folder: &Path) -> Result<Vec<PathBuf>, ShelfError> {
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.truncate(MAX_PACKAGES);
    Ok(paths)
}

fn remove(folder: &Path) -> Result<bool, ShelfError> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => match fs::remove_file(folder)
        {
            Ok(()) => Ok(true),
            Err(error) => Err(failed(folder, error)),
        },
        Err(error) => Err(failed(folder, error)),
    }
}

/// Writes the package beside where it goes, then swaps the folders, so that a reader finds a whole
/// package or none.
fn replace(parent: &Path, package: &Package) -> Result<PathBuf, ShelfError> {
    let id = package.manifest.id.as_str();
    let (goal, new) = (parent.join(id), parent.join(format!(".{id}.new")));
    fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
    remove(&new)?;
    DirBuilder::new().mode(0o700).create(&new).map_err(|error| failed(&new, error))?;
    for (name, content) in package.files() {
        let path = new.join(name);
        write_synced(&path, content).map_err(|error| failed(&path, error))?;
    }
    // The two change places in one step: whenever this ends, a whole package is there.
    match renameat_with(CWD, &new, CWD, &goal, RenameFlags::EXCHANGE) {
        Ok(()) => drop(remove(&new)?),
        Err(_) => fs::rename(&new, &goal).map_err(|error| failed(&goal, error))?,
    }
    Ok(goal)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
