//! Reading a package: every file once, nothing outside its folder, nothing too large.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rp_protocol::component::{Manifest, ManifestError};
use rustix::fs::{Mode, OFlags, open, openat};
use sha2::{Digest as _, Sha256};

use crate::signature::{self, Publisher, SignatureError, SigningKey};

/// The manifest in a package.
pub const MANIFEST: &str = "component.toml";
/// The component in a package.
pub const WASM: &str = "component.wasm";
/// The signature in a package, if there is one.
pub const SIGNATURE: &str = "component.sig";

/// The largest manifest or signature, in bytes.
const MAX_TEXT_BYTES: u64 = 64 << 10;
/// The largest component, in bytes. One with an interpreter inside has tens of MB.
pub(crate) const MAX_WASM_BYTES: u64 = 64 << 20;

/// SHA-256 of a package's manifest and component: two packages with the same digest are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// A package that was read whole; its signature, if it has one, fits.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the component says of itself.
    pub manifest: Manifest,
    /// The component.
    pub wasm: Arc<[u8]>,
    /// Who signed it.
    pub publisher: Publisher,
    text: String,
    signature: Option<String>,
    digest: Digest,
}

/// Why a package was refused. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// There is no folder at the path.
    #[error("{} is not a folder\nhint: a package is a folder with {MANIFEST} and {WASM}", .0.display())]
    NotAFolder(PathBuf),
    /// The folder or a file in it stands for something elsewhere.
    #[error(
        "{} is a symbolic link, which can lead out of the package\nhint: copy what it points to in its place",
        .0.display()
    )]
    Link(PathBuf),
    /// A file that every package has.
    #[error("the package has no {0}\nhint: a package is a folder with {MANIFEST} and {WASM}")]
    Missing(&'static str),
    /// A file is larger than such files may be.
    #[error("{file} is too large: {bytes} bytes, and {limit} are allowed")]
    TooLarge {
        /// The file.
        file: &'static str,
        /// Its size.
        bytes: u64,
        /// The most it may have.
        limit: u64,
    },
    /// A file that should be text is something else.
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// The component does not begin as WebAssembly does, or is empty.
    #[error(
        "{WASM} is not WebAssembly, or its beginning is missing\nhint: if it is being copied, it is looked at again when that is done"
    )]
    NotWebAssembly,
    /// The manifest was refused.
    #[error("{MANIFEST}: {0}")]
    Manifest(#[from] ManifestError),
    /// The signature was refused.
    #[error("{SIGNATURE}: {0}")]
    Signature(#[from] SignatureError),
    /// The archive was refused.
    #[error("the archive is not a package: {0}")]
    Archive(String),
    /// The system did not let it be read.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Package {
    /// Reads a folder. No symbolic link is followed, so everything that is read is in it.
    ///
    /// # Errors
    /// See [`PackageError`].
    pub fn read(folder: &Path) -> Result<Self, PackageError> {
        let is_link = folder.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if is_link {
            return Err(PackageError::Link(folder.to_owned()));
        }
        if !folder.is_dir() {
            return Err(PackageError::NotAFolder(folder.to_owned()));
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open(folder, flags, Mode::empty())
            .map_err(|error| PackageError::Io { path: folder.to_owned(), error: error.into() })?;
        let file = |name: &'static str, limit| read_file(folder, &opened, name, limit);
        let manifest = file(MANIFEST, MAX_TEXT_BYTES)?.ok_or(PackageError::Missing(MANIFEST))?;
        let signature = file(SIGNATURE, MAX_TEXT_BYTES)?;
        let wasm = file(WASM, MAX_WASM_BYTES)?.ok_or(PackageError::Missing(WASM))?;
        Self::from_parts(manifest, wasm, signature)
    }

    /// Puts together what was read from wherever it was.
    ///
    /// # Errors
    /// The manifest or the signature was refused.
    pub fn from_parts(
        manifest: Vec<u8>,
        wasm: Vec<u8>,
        signature: Option<Vec<u8>>,
    ) -> Result<Self, PackageError> {
        let text = |name, bytes| String::from_utf8(bytes).map_err(|_| PackageError::NotText(name));
        let manifest_text = text(MANIFEST, manifest)?;
        let manifest = Manifest::parse(&manifest_text)?;
        if !wasm.starts_with(b"\0asm") {
            return Err(PackageError::NotWebAssembly);
        }
        let signature = signature.map(|bytes| text(SIGNATURE, bytes)).transpose()?;
        let digest = Digest::of(&manifest_text, &wasm);
        let publisher = match &signature {
            None => Publisher::Unsigned,
            Some(signature) => Publisher::Key(signature::verify(signature, &digest)?),
        };
        Ok(Package {
            manifest,
            wasm: wasm.into(),
            publisher,
            text: manifest_text,
            signature,
            digest,
        })
    }

    /// Identifies exactly this content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same package, signed.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> Self {
        self.signature = Some(key.sign(&self.digest));
        self.publisher = Publisher::Key(key.public());
        self
    }

    /// Its files: name and content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let signature = self.signature.as_deref().map(|text| (SIGNATURE, text.as_bytes()));
        [(MANIFEST, self.text.as_bytes()), (WASM, &*self.wasm)].into_iter().chain(signature)
    }
}

impl Digest {
    fn of(manifest: &str, wasm: &[u8]) -> Self {
        let mut both = Sha256::new();
        both.update(Sha256::digest(manifest));
        both.update(Sha256::digest(wasm));
        Digest(both.finalize().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The most a file of a package may have, by its name; `None` for a name that no package has.
pub(crate) fn limit_of(name: &str) -> Option<(&'static str, u64)> {
    [(MANIFEST, MAX_TEXT_BYTES), (WASM, MAX_WASM_BYTES), (SIGNATURE, MAX_TEXT_BYTES)]
        .into_iter()
        .find(|(known, _)| *known == name)
}

/// Reads at most `limit` bytes, and says how much there is if that is not all.
pub(crate) fn read_bounded(
    file: &'static str,
    limit: u64,
    size: u64,
    from: impl Read,
) -> io::Result<Result<Vec<u8>, PackageError>> {
    if size > limit {
        return Ok(Err(PackageError::TooLarge { file, bytes: size, limit }));
    }
    let mut content = Vec::new();
    // It may grow while it is read.
    from.take(limit + 1).read_to_end(&mut content)?;
    let bytes = content.len() as u64;
    Ok(if bytes > limit { Err(PackageError::TooLarge { file, bytes, limit }) } else { Ok(content) })
}

fn read_file(
    folder: &Path,
    opened: &impl std::os::fd::AsFd,
    name: &'static str,
    limit: u64,
) -> Result<Option<Vec<u8>>, PackageError> {
    let path = folder.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(opened, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(PackageError::Link(path)),
        Err(error) => return Err(PackageError::Io { path, error: error.into() }),
    };
    let io = |error| PackageError::Io { path: path.clone(), error };
    let found = file.metadata().map_err(io)?;
    if !found.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    read_bounded(name, limit, found.len(), file).map_err(io)?.map(Some)
}
