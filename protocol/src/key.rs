//! Ed25519 keys (RFC 8032): who a machine or an owner is.
//!
//! Both are identities of the same form, 32 bytes that everybody may know. In text the bytes are
//! base64; the canonical text, which this program writes, has the standard alphabet with padding.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD as STANDARD_ALPHABET, URL_SAFE as URL_SAFE_ALPHABET};
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signer as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The public key of a machine or of an owner.
///
/// Keys are compared by their bytes. Not every value is a point of the curve: the wire allows any
/// 32 bytes where a key is only named and never verified with ([`PublicKey::parse_point`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// Why a text names no key. The text is not repeated: it may have been meant to be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not base64 in one of the four accepted forms.
    #[error("the key is not base64")]
    Encoding,
    /// It is base64 of another number of bytes.
    #[error("the key is not 32 bytes long")]
    Length,
    /// No Ed25519 key has these bytes.
    #[error("the key is no Ed25519 public key")]
    NotAPoint,
}

impl PublicKey {
    /// The key with these bytes, which need not be a point of the curve.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        PublicKey(bytes)
    }

    /// Reads a key in any of the forms that [`decode_base64`] reads.
    ///
    /// # Errors
    /// [`KeyError::Encoding`] or [`KeyError::Length`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = decode_base64(text).ok_or(KeyError::Encoding)?;
        bytes.try_into().map(PublicKey).map_err(|_| KeyError::Length)
    }

    /// Reads a key that signatures will be verified with.
    ///
    /// # Errors
    /// As [`PublicKey::parse`], and [`KeyError::NotAPoint`].
    pub fn parse_point(text: &str) -> Result<Self, KeyError> {
        let key = PublicKey::parse(text)?;
        VerifyingKey::from_bytes(&key.0).map_err(|_| KeyError::NotAPoint)?;
        Ok(key)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As URL-safe base64 without padding: 43 characters.
    #[must_use]
    pub fn to_url_safe(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// SHA-256 of the 32 bytes as 64 lower-case hexadecimal digits: the address of an owner's
    /// membership on a relay (`/mesh/<hash>`).
    #[must_use]
    pub fn hash(&self) -> String {
        use fmt::Write as _;
        Sha256::digest(self.0).iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The first 8 digits of [`PublicKey::hash`]: how logs name a key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = self.hash();
        hash.truncate(8);
        hash
    }

    /// Checks a signature over exactly these bytes, by the strict rules: keys and nonces of small
    /// order are refused, and so is a key that is no point of the curve.
    ///
    /// # Errors
    /// When this key did not make the signature.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

/// The canonical text: 44 characters. Not for logs.
impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.0))
    }
}

/// The fingerprint, so that no log can hold a whole key by accident.
impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.fingerprint())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        PublicKey::parse(text)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A signature that was not made by the key, or not over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct BadSignature;

/// An Ed25519 signature: 64 bytes, not yet verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Signature(bytes)
    }

    /// Reads standard base64 with padding and no other form, as logins carry signatures. `None`
    /// when it is not that, or not of 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Signature)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// Standard base64 with padding: 88 characters.
impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signature(..)")
    }
}

/// The secret half of a key. Its bytes are wiped from memory when it is dropped.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key that grows out of this seed (the private key of RFC 8032).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for whoever keeps the key.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs exactly these bytes: no prefix, no context, no hashing beforehand. Whoever chooses the
    /// format puts the name of its use in front.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.public().fingerprint())
    }
}

const fn with_padding(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new();
    GeneralPurpose::new(
        alphabet,
        config.with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    )
}

const fn without_padding(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new();
    GeneralPurpose::new(alphabet, config.with_decode_padding_mode(DecodePaddingMode::RequireNone))
}

/// Reads base64 in the standard or the URL-safe alphabet, with exact padding or with none.
///
/// Refused are both alphabets in one text, padding that is incomplete, in excess or in the middle,
/// white space, anything after the end, and unused bits that are not zero.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const FORMS: [GeneralPurpose; 4] = [
        with_padding(&STANDARD_ALPHABET),
        without_padding(&STANDARD_ALPHABET),
        with_padding(&URL_SAFE_ALPHABET),
        without_padding(&URL_SAFE_ALPHABET),
    ];
    FORMS.iter().find_map(|form| form.decode(text).ok())
}
