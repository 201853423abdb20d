//! A package as one file: a gzipped tar with the files of the folder and nothing else.

use std::io::{self, Read};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::package::{
    MANIFEST, MAX_WASM_BYTES, Package, PackageError, SIGNATURE, WASM, limit_of, read_bounded,
};

/// Entries an archive may have, whatever they are.
const MAX_ENTRIES: usize = 16;

/// Bytes of an archive that are unpacked at most: the largest package, and the tar around it.
const MAX_UNPACKED_BYTES: u64 = MAX_WASM_BYTES + (1 << 20);

impl Package {
    /// Packs it into one file. The same package always gives the same bytes.
    ///
    /// # Errors
    /// There is not enough memory for it.
    pub fn pack(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for (name, content) in self.files() {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            archive.append_data(&mut header, name, content)?;
        }
        archive.into_inner()?.finish()
    }

    /// Reads what [`Package::pack`] made.
    ///
    /// # Errors
    /// See [`PackageError`].
    pub fn unpack(archive: impl Read) -> Result<Self, PackageError> {
        let wrong = |error: io::Error| PackageError::Archive(error.to_string());
        let (mut manifest, mut wasm, mut signature) = (None, None, None);
        let unpacked = GzDecoder::new(archive).take(MAX_UNPACKED_BYTES);
        let mut archive = tar::Archive::new(unpacked);
        // As they stand: long names and other extensions of the format are read whole otherwise.
        let entries = archive.entries().map_err(wrong)?.raw(true);
        for entry in entries.take(MAX_ENTRIES) {
            let entry = entry.map_err(wrong)?;
            let path = entry.path().map_err(wrong)?.into_owned();
            let known = path.to_str().and_then(limit_of);
            let Some((name, limit)) = known else {
                let message = format!("it holds {}", path.display());
                return Err(PackageError::Archive(message));
            };
            if !entry.header().entry_type().is_file() {
                return Err(PackageError::Archive(format!("{name} is not a file")));
            }
            let content = read_entry(name, limit, entry)?;
            let place = match name {
                MANIFEST => &mut manifest,
                SIGNATURE => &mut signature,
                _ => &mut wasm,
            };
            if place.replace(content).is_some() {
                return Err(PackageError::Archive(format!("it holds {name} twice")));
            }
        }
        Self::from_parts(
            manifest.ok_or(PackageError::Missing(MANIFEST))?,
            wasm.ok_or(PackageError::Missing(WASM))?,
            signature,
        )
    }
}

fn read_entry(
    name: &'static str,
    limit: u64,
    entry: tar::Entry<'_, impl Read>,
) -> Result<Vec<u8>, PackageError> {
    let size = entry.size();
    let read = read_bounded(name, limit, size, entry);
    read.map_err(|error| PackageError::Archive(error.to_string()))?
}
