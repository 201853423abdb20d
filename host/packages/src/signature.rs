//! Who made a package: an Ed25519 signature over its digest, and the key it was made with.
//!
//! What is signed begins with the name of this use, so that a signature made for anything else with
//! the same key does not fit (RFC 8032 signs plain bytes).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::package::Digest;

const PURPOSE: &[u8] = b"rp-host component package 1\n";
/// Before a key in text.
const PREFIX: &str = "ed25519:";

/// Who answers for a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// The component ships with the program.
    BuiltIn,
    /// Nobody.
    Unsigned,
    /// Whoever has the secret to this public key: `ed25519:` and its base64.
    Key(String),
}

/// A secret key that packages are signed with.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Why a signature or a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is not what is written by signing.
    #[error("it is not a signature: {0}")]
    Syntax(String),
    /// The key cannot be one.
    #[error("{0:?} is no Ed25519 key\nhint: a key looks like {PREFIX} and 44 characters of base64")]
    Key(String),
    /// The package is not what was signed.
    #[error(
        "the signature does not fit: the package was changed after it was signed\nhint: get the package again from where it came"
    )]
    Changed,
}

/// `component.sig`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    key: String,
    signature: String,
}

/// Checks a signature and gives the key it was made with.
pub(crate) fn verify(file: &str, digest: &Digest) -> Result<String, SignatureError> {
    let file: SignatureFile =
        toml::from_str(file).map_err(|error| SignatureError::Syntax(error.message().to_owned()))?;
    let key = public_key(&file.key)?;
    let bytes = STANDARD.decode(&file.signature);
    let signature = bytes.ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature =
        signature.ok_or_else(|| SignatureError::Syntax("signature is not 64 bytes".to_owned()))?;
    key.verify_strict(&signed_bytes(digest), &signature).map_err(|_| SignatureError::Changed)?;
    Ok(file.key)
}

fn public_key(text: &str) -> Result<VerifyingKey, SignatureError> {
    let wrong = || SignatureError::Key(text.to_owned());
    let encoded = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| wrong())
}

fn signed_bytes(digest: &Digest) -> Vec<u8> {
    [PURPOSE, digest.as_bytes()].concat()
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&secret)))
    }

    /// Its public part, as packages name it.
    #[must_use]
    pub fn public(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0.verifying_key().as_bytes()))
    }

    /// The secret as it is kept in a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    pub(crate) fn sign(&self, digest: &Digest) -> String {
        let signature = STANDARD.encode(self.0.sign(&signed_bytes(digest)).to_bytes());
        format!("key = \"{}\"\nsignature = \"{signature}\"\n", self.public())
    }
}

impl FromStr for SigningKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        // Not the text: it may be a secret with a typing error in it.
        let wrong = || SignatureError::Syntax("a signing key is 32 bytes of base64".to_owned());
        let bytes = STANDARD.decode(text.trim()).map_err(|_| wrong())?;
        let secret: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
        Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&secret)))
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Publisher::BuiltIn => f.write_str("built-in"),
            Publisher::Unsigned => f.write_str("unsigned"),
            Publisher::Key(key) => f.write_str(key),
        }
    }
}

impl FromStr for Publisher {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        match text {
            "built-in" => Ok(Publisher::BuiltIn),
            "unsigned" => Ok(Publisher::Unsigned),
            key => public_key(key).map(|_| Publisher::Key(key.to_owned())),
        }
    }
}
