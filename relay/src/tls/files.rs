//! A certificate in files that somebody else renews.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rp_watch::{DirectoryWatch, Notice};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::CertificateError;

/// Shows the certificate that was put in last.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A certificate that does not change.
pub(super) fn fixed(key: CertifiedKey) -> Arc<dyn ResolvesServerCert> {
    Arc::new(Current(RwLock::new(Arc::new(key))))
}

/// The certificate in these files, read again whenever something happens around them. One that
/// cannot be used does not take the place of the one before.
pub(super) fn watched(
    certificate: PathBuf,
    key: PathBuf,
) -> Result<Arc<dyn ResolvesServerCert>, CertificateError> {
    let first = load(&certificate, &key)?;
    let current = Arc::new(Current(RwLock::new(Arc::new(first))));
    let updated = Arc::clone(&current);
    tokio::spawn(async move {
        let folders: Vec<&Path> = [&certificate, &key]
            .into_iter()
            .map(|file| file.parent().filter(|folder| *folder != Path::new("")))
            .map(|folder| folder.unwrap_or(Path::new(".")))
            .collect();
        let watch = DirectoryWatch::on(folders, Notice::NamesAndWrites);
        loop {
            watch.changed().await;
            match load(&certificate, &key) {
                Ok(new) => {
                    let mut shown = updated.0.write().unwrap_or_else(PoisonError::into_inner);
                    if shown.cert != new.cert {
                        *shown = Arc::new(new);
                        tracing::info!("the certificate has changed");
                    }
                }
                // Half of a renewal, mostly: the other file follows.
                Err(error) => tracing::warn!(%error, "the certificate stays the one before"),
            }
        }
    });
    Ok(current)
}

/// Reads a certificate and its key from PEM files, and checks that they fit.
///
/// # Errors
/// A file cannot be read, holds nothing of the kind, or does not fit the other.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|source| CertificateError::File { path: path.to_owned(), source })
    };
    let missing = |path: &Path, what| CertificateError::Missing { path: path.to_owned(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| missing(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(missing(certificate, "certificate"));
    }
    let key_pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| missing(key, "private key"))?;
    Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
}
