//! The relay's certificate: from files, from an authority by ACME, or one it made for itself.

mod files;
mod own;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use rustls_acme::AcmeConfig;
use rustls_acme::caches::DirCache;
use sha2::{Digest as _, Sha256};

pub use files::load;

pub(crate) use own::write_private;

/// What a TLS client offers when it is an authority that checks who holds a name (RFC 8737).
pub const ACME_ALPN: &[u8] = b"acme-tls/1";

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PEM files, read again when they change.
    Files {
        /// The chain, the relay's own first.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// One that the relay makes once and keeps. Clients know it by its fingerprint.
    Own {
        /// The file it is kept in, with its key.
        file: PathBuf,
        /// What it is valid for.
        names: Vec<String>,
    },
    /// From an authority that asks back by TLS-ALPN, which needs port 443.
    Acme {
        /// What it is valid for.
        domains: Vec<String>,
        /// The mail address the authority may write to.
        contact: Option<String>,
        /// Where account and certificate are kept.
        cache: PathBuf,
        /// The authority's directory.
        directory: String,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file holds no certificate or no key.
    #[error("{} holds no {what}\nhint: it has to be PEM, the chain with the relay's own certificate first", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("the certificate cannot be used: {0}")]
    Rejected(#[from] rustls::Error),
    /// One could not be made.
    #[error("no certificate could be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// A certificate that may change while the relay runs.
#[derive(Debug, Clone)]
pub struct Certificates {
    resolver: Arc<dyn ResolvesServerCert>,
    /// The SHA-256 of the certificate, when clients are to know it by that.
    pub fingerprint: Option<String>,
}

impl Certificates {
    /// Gets the certificate and keeps it up to date. Must be called from within a tokio runtime.
    ///
    /// # Errors
    /// There is none. By ACME there may be none yet.
    pub fn open(source: &Source) -> Result<Self, CertificateError> {
        match source {
            Source::Files { certificate, key } => {
                let resolver = files::watched(certificate.clone(), key.clone())?;
                Ok(Self { resolver, fingerprint: None })
            }
            Source::Own { file, names } => {
                let own = own::load_or_make(file, names)?;
                let leaf = own.cert.first().map(|leaf| fingerprint(leaf));
                Ok(Self { resolver: files::fixed(own), fingerprint: leaf })
            }
            Source::Acme { domains, contact, cache, directory } => {
                let config = AcmeConfig::new(domains)
                    .contact(contact.iter().map(|address| format!("mailto:{address}")))
                    .directory(directory)
                    .cache(DirCache::new(cache.clone()));
                let mut state = config.state();
                let resolver = state.resolver();
                tokio::spawn(async move {
                    while let Some(event) = state.next().await {
                        match event {
                            Ok(event) => tracing::info!(?event, "certificate"),
                            Err(error) => tracing::error!(%error, "no certificate by ACME"),
                        }
                    }
                });
                Ok(Self { resolver, fingerprint: None })
            }
        }
    }

    /// How TLS is spoken for these protocols.
    ///
    /// # Errors
    /// Never in practice: the cryptography that is built in supports what is asked for.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.resolver));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // A session that is resumed saves nothing worth the memory: connections last.
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// SHA-256 of a certificate as lower-case hexadecimal digits.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names a certificate of one's own is valid for when nobody says otherwise.
#[must_use]
pub fn local_names(listen: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let address = listen.ip();
    if !address.is_unspecified() && !address.is_loopback() {
        names.push(address.to_string());
    }
    names
}
