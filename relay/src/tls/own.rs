//! A certificate that the relay made for itself.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustls::sign::CertifiedKey;

use super::{CertificateError, files};

/// The certificate in this file; it is made when there is none. It stays the same for as long as
/// the file is kept, because clients know it by its fingerprint.
pub(super) fn load_or_make(
    file: &Path,
    names: &[String],
) -> Result<CertifiedKey, CertificateError> {
    if !file.exists() {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names.to_vec())?;
        let pem = cert.pem() + &signing_key.serialize_pem();
        write_private(file, pem.as_bytes())
            .map_err(|source| CertificateError::File { path: file.to_owned(), source })?;
    }
    files::load(file, file)
}

/// Replaces a file that only the relay's user can read, as a whole.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = file.with_extension("new");
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    std::fs::rename(&temporary, file)
}
