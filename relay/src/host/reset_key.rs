//! The key by which a relay that was started again is believed by the hosts it had before.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;

use super::quic::QuicError;
use crate::tls::write_private;

/// The shortest time between two hosts that are told. All hosts of a relay want to know it within
/// seconds of its restart; an answer is always shorter than what asked for it.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The key by which a relay that was started again tells hosts at once that it does not know their
/// connections any more, instead of leaving them to wait (RFC 9000, section 10.3).
pub struct ResetKey([u8; 32]);

impl ResetKey {
    /// The key in the file `quic.key` of this folder; it is made when there is none.
    ///
    /// # Errors
    /// [`QuicError::Key`]
    pub fn in_folder(folder: &Path) -> Result<Self, QuicError> {
        let path = folder.join("quic.key");
        Self::read_or_make(&path).map_err(|source| QuicError::Key { path, source })
    }

    fn read_or_make(path: &Path) -> std::io::Result<Self> {
        if !path.exists() {
            let mut key = [0; 32];
            getrandom::fill(&mut key)?;
            write_private(path, &key)?;
        }
        let wrong = |_| Error::new(ErrorKind::InvalidData, "it is not 32 bytes");
        Ok(ResetKey(std::fs::read(path)?.try_into().map_err(wrong)?))
    }

    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        use sha2::Digest as _;
        let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.0);
        let mut config = EndpointConfig::new(Arc::new(reset));
        // Only ids that this relay gave out, before the restart too, are answered.
        let digest =
            sha2::Sha256::new_with_prefix(self.0).chain_update(b"connection ids").finalize();
        let ids = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        config.min_reset_interval(SHORTEST_INTERVAL);
        config
    }
}
