//! Packages from the network: HTTPS only, and only what the person said it is.

use std::io::Read;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The largest archive, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// All of it must have arrived by then.
const TIME: Duration = Duration::from_secs(300);
/// Servers that may point on to another one.
const MAX_REDIRECTS: u32 = 5;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The address is of another kind.
    #[error("{0} is not an https address\nhint: download the file and add it from the disk")]
    NotHttps(String),
    /// The expected digest cannot be one.
    #[error("{0:?} is no SHA-256\nhint: a SHA-256 is 64 hexadecimal digits")]
    NotADigest(String),
    /// The server or the network failed.
    #[error("cannot fetch {url}: {reason}")]
    Network {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// Something else came than was expected.
    #[error("{url} is not what was expected: its SHA-256 is {found}, not {expected}")]
    Digest {
        /// The address.
        url: String,
        /// What was expected.
        expected: String,
        /// What came.
        found: String,
    },
    /// The file with the root certificates was refused.
    #[error("SSL_CERT_FILE: {0}")]
    Certificates(String),
}

/// Fetches an archive and checks its SHA-256, which the person has from elsewhere. Root
/// certificates are the well-known ones, or those in the file that `certificates` names.
///
/// # Errors
/// See [`FetchError`]; nothing that does not fit its digest is given out.
pub fn fetch(
    url: &str,
    sha256: &str,
    certificates: Option<&std::path::Path>,
) -> Result<Vec<u8>, FetchError> {
    if !url.starts_with("https://") {
        return Err(FetchError::NotHttps(url.to_owned()));
    }
    let expected = sha256.to_ascii_lowercase();
    if expected.len() != 64 || !expected.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(FetchError::NotADigest(sha256.to_owned()));
    }
    let roots = match certificates {
        None => RootCerts::WebPki,
        Some(file) => roots_in(file).map_err(FetchError::Certificates)?,
    };
    let agent = ureq::Agent::config_builder()
        .https_only(true)
        .max_redirects(MAX_REDIRECTS)
        .timeout_global(Some(TIME))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .new_agent();
    let content = download(&agent, url)
        .map_err(|reason| FetchError::Network { url: url.to_owned(), reason })?;
    let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(content);
    }
    Err(FetchError::Digest { url: url.to_owned(), expected, found })
}

fn download(agent: &ureq::Agent, url: &str) -> Result<Vec<u8>, String> {
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    let body = answer.body_mut().as_reader();
    body.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(content)
}

fn roots_in(file: &std::path::Path) -> Result<RootCerts, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", file.display()));
    }
    Ok(RootCerts::from(certificates))
}
