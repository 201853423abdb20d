//! Which X25519 key a host seals with, as its machine key certifies.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | format, 1 |
//! | 32 | the machine key (Ed25519) |
//! | 32 | the sealing key (X25519, RFC 7748) |
//! | 8 | when it was made, in milliseconds since 1970, big-endian |
//! | 8 | when it ends, likewise |
//! | 64 | signature of the machine key over `rp/1 sealing certificate`, a zero byte, and the bytes before |
//!
//! A host makes a new certificate when half the time of the last one is over, for the same sealing
//! key or a new one.

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver as _, DefaultResolver};
use zeroize::Zeroizing;

use crate::key::{PublicKey, SecretKey, Signature};
use crate::relay::fields::Fields;

/// The length of a certificate in bytes.
pub const CERTIFICATE_BYTES: usize = 145;
/// How long a new certificate is good for, in milliseconds: 30 days.
pub const CERTIFICATE_LIFETIME_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How far two hosts' clocks may be apart, in milliseconds: 36 hours.
pub const CLOCK_TOLERANCE_MS: u64 = 36 * 60 * 60 * 1000;

const DOMAIN: &[u8] = b"rp/1 sealing certificate\0";
const FORMAT: u8 = 1;
/// The longest time a certificate may claim: 90 days.
const LONGEST_LIFETIME_MS: u64 = 3 * CERTIFICATE_LIFETIME_MS;

/// Why a certificate does not speak for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It has another length or format.
    #[error("the sealing certificate cannot be read")]
    Malformed,
    /// It is another machine's.
    #[error("the sealing certificate is another machine's")]
    OtherMachine,
    /// It certifies another key than the one in use.
    #[error("the sealing certificate is for another key")]
    OtherKey,
    /// The machine key did not sign it.
    #[error("the signature of the sealing certificate does not fit")]
    Signature,
    /// It is from the future, beyond what clocks may differ.
    #[error("the sealing certificate is from the future: is a clock wrong?")]
    FromTheFuture,
    /// Its time is over, beyond what clocks may differ.
    #[error("the time of the sealing certificate is over")]
    Expired,
    /// It claims more time than a certificate may.
    #[error("the sealing certificate claims too long a time")]
    TooLong,
}

/// A certificate that was read, and not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    machine: PublicKey,
    sealing: [u8; 32],
    created_ms: u64,
    expires_ms: u64,
    signature: Signature,
}

impl Certificate {
    /// Certifies a sealing key from now on.
    #[must_use]
    pub fn create(machine: &SecretKey, sealing: [u8; 32], now_ms: u64) -> Self {
        let mut certificate = Certificate {
            machine: machine.public(),
            sealing,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(CERTIFICATE_LIFETIME_MS),
            signature: Signature::from_bytes([0; 64]),
        };
        certificate.signature = machine.sign(&certificate.signed_bytes());
        certificate
    }

    /// Reads the bytes of a certificate.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, CertificateError> {
        let mut fields = Fields::new(bytes);
        let mut read = || {
            let [format] = fields.array("format")?;
            let certificate = Certificate {
                machine: fields.key("machine")?,
                sealing: fields.array("key")?,
                created_ms: u64::from_be_bytes(fields.array("time")?),
                expires_ms: u64::from_be_bytes(fields.array("time")?),
                signature: Signature::from_bytes(fields.array("signature")?),
            };
            Ok::<_, crate::relay::FrameError>((format, certificate))
        };
        match read() {
            Ok((FORMAT, certificate)) if fields.is_empty() => Ok(certificate),
            _ => Err(CertificateError::Malformed),
        }
    }

    /// The bytes of the certificate.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.unsigned_bytes();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Whether this machine certifies this key now.
    ///
    /// # Errors
    /// When it does not.
    pub fn verify(
        &self,
        machine: &PublicKey,
        sealing: &[u8],
        now_ms: u64,
    ) -> Result<(), CertificateError> {
        if self.machine != *machine {
            return Err(CertificateError::OtherMachine);
        }
        if self.sealing != sealing {
            return Err(CertificateError::OtherKey);
        }
        if self.machine.verify(&self.signed_bytes(), &self.signature).is_err() {
            return Err(CertificateError::Signature);
        }
        if self.expires_ms.saturating_sub(self.created_ms) > LONGEST_LIFETIME_MS {
            return Err(CertificateError::TooLong);
        }
        if self.created_ms > now_ms.saturating_add(CLOCK_TOLERANCE_MS) {
            return Err(CertificateError::FromTheFuture);
        }
        if self.expires_ms.saturating_add(CLOCK_TOLERANCE_MS) < now_ms {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }

    /// When it ends, in milliseconds since 1970, by the clock of the host that made it.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Whether half its time is over, so that the host should make a new one.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let half = self.expires_ms.saturating_sub(self.created_ms) / 2;
        now_ms > self.created_ms.saturating_add(half)
    }

    fn unsigned_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CERTIFICATE_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(self.machine.as_bytes());
        bytes.extend_from_slice(&self.sealing);
        bytes.extend_from_slice(&self.created_ms.to_be_bytes());
        bytes.extend_from_slice(&self.expires_ms.to_be_bytes());
        bytes
    }

    fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.unsigned_bytes()].concat()
    }
}

/// What a host seals with: its X25519 key and the certificate for it.
pub struct SealingKey {
    private: Zeroizing<[u8; 32]>,
    certificate: Certificate,
}

impl SealingKey {
    /// The sealing key of a machine, certified from now on. `private` is 32 random bytes, kept like
    /// the machine key.
    #[must_use]
    pub fn certify(machine: &SecretKey, private: [u8; 32], now_ms: u64) -> Self {
        let certificate = Certificate::create(machine, x25519_public(&private), now_ms);
        SealingKey { private: Zeroizing::new(private), certificate }
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The machine it is for.
    #[must_use]
    pub fn machine(&self) -> PublicKey {
        self.certificate.machine
    }

    pub(super) fn private(&self) -> &[u8; 32] {
        &self.private
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SealingKey({})", self.machine().fingerprint())
    }
}

/// The public half of an X25519 key. All zeros should the library lack the curve, which no peer
/// accepts.
fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let Some(mut curve) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) else {
        return [0; 32];
    };
    curve.set(private);
    curve.pubkey().try_into().unwrap_or_default()
}
