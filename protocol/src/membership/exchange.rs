//! How memberships travel: what is posted to a relay, what it checks, what it answers.
//!
//! `POST /mesh/<hash>` publishes, `GET /mesh/<hash>?since=<version>` reads; the hash is
//! [`PublicKey::hash`](crate::key::PublicKey::hash) of the owner's key. Reading needs no proof:
//! who knows the hash may read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{MembershipError, SignedMembership};
use crate::key::decode_base64;

/// Longest body of a `POST`, in bytes.
pub const MAX_PUBLICATION_BYTES: usize = 512_000;
/// Longest answer to a `GET` that a reader takes, in bytes: the longest publication and the two
/// numbers that come with it.
pub const MAX_ANSWER_BYTES: usize = MAX_PUBLICATION_BYTES + 1024;

#[derive(Deserialize)]
struct Publication {
    blob: String,
    sig: String,
}

/// What a relay answers to a publication that it does not take. The text is the body of the
/// answer, of type `text/plain; charset=utf-8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The body is longer than [`MAX_PUBLICATION_BYTES`].
    #[error("payload_too_large")]
    TooLarge,
    /// The body is not a JSON object with the texts `blob` and `sig`.
    #[error(
        "invalid json: expected an object with the strings blob and sig, at line {line}, column {column}"
    )]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// `blob` or `sig` is not standard base64 with padding.
    #[error("decode: invalid base64: {0}")]
    Encoding(&'static str),
    /// The blob breaks a rule.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// It was posted to the address of another owner.
    #[error("owner_pk_hash mismatch")]
    WrongAddress,
    /// Not newer than what is stored.
    #[error("stale_version (current={current})")]
    Stale {
        /// The version that is stored.
        current: u64,
    },
    /// It could not be stored.
    #[error("internal")]
    Storage,
}

impl PublishError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            PublishError::TooLarge => 413,
            PublishError::NotJson { .. }
            | PublishError::Encoding(_)
            | PublishError::Membership(
                MembershipError::Shape { .. }
                | MembershipError::OwnerEncoding
                | MembershipError::MemberKey,
            ) => 400,
            PublishError::Membership(
                MembershipError::OwnerKey
                | MembershipError::SignatureLength
                | MembershipError::Signature,
            )
            | PublishError::WrongAddress => 403,
            PublishError::Stale { .. } => 409,
            PublishError::Storage => 500,
        }
    }
}

/// The body with which a membership is published.
#[must_use]
pub fn write_publication(membership: &SignedMembership) -> String {
    let blob = STANDARD.encode(membership.blob());
    format!("{{\"blob\":\"{blob}\",\"sig\":\"{}\"}}", membership.signature())
}

/// Everything a relay checks of a publication before it looks at what it has stored. `hash` is
/// the last part of the path, in any case. What remains is [`Stored::accept`], in the same
/// transaction as the storing.
///
/// # Errors
/// With the first check that fails; it is the answer.
pub fn check_publication(body: &[u8], hash: &str) -> Result<SignedMembership, PublishError> {
    if body.len() > MAX_PUBLICATION_BYTES {
        return Err(PublishError::TooLarge);
    }
    let publication: Publication = serde_json::from_slice(body)
        .map_err(|error| PublishError::NotJson { line: error.line(), column: error.column() })?;
    let decode = |text: &str, name| STANDARD.decode(text).map_err(|_| PublishError::Encoding(name));
    let blob = decode(&publication.blob, "blob")?;
    let signature = decode(&publication.sig, "sig")?;
    let membership = SignedMembership::verify(blob, &signature)?;
    if membership.membership().owner.hash() != hash.to_ascii_lowercase() {
        return Err(PublishError::WrongAddress);
    }
    Ok(membership)
}

/// The answer to a publication that was taken, as JSON with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The version that is stored now.
    pub version: u64,
    /// When the relay took it, in Unix milliseconds of its clock.
    pub updated_at: u64,
}

/// What a relay stores of an owner: the newest publication, bytes as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The signed bytes.
    pub blob: Vec<u8>,
    /// The signature.
    pub signature: [u8; 64],
    /// The version in the blob.
    pub version: u64,
    /// When the relay took it, in Unix milliseconds of its clock.
    pub updated_at: u64,
}

/// What a relay answers to a `GET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAnswer {
    /// 200 with this JSON.
    Found(String),
    /// 304 without a body.
    NotModified,
    /// 404 with the text `not_found`.
    NotFound,
}

impl Stored {
    /// What is stored in place of `stored` when a publication is taken: its version must be
    /// greater, also when the bytes are the same.
    ///
    /// # Errors
    /// [`PublishError::Stale`]
    pub fn accept(
        stored_version: Option<u64>,
        publication: &SignedMembership,
        now_ms: u64,
    ) -> Result<Self, PublishError> {
        let version = publication.membership().version;
        match stored_version {
            Some(current) if version <= current => Err(PublishError::Stale { current }),
            _ => Ok(Stored {
                blob: publication.blob().to_vec(),
                signature: *publication.signature().as_bytes(),
                version,
                updated_at: now_ms,
            }),
        }
    }

    /// The answer to the one who published it.
    #[must_use]
    pub fn published(&self) -> Published {
        Published { version: self.version, updated_at: self.updated_at }
    }

    /// The answer to a reader who has the version `since`.
    #[must_use]
    pub fn read(stored: Option<&Stored>, since: Option<u64>) -> ReadAnswer {
        match stored {
            None => ReadAnswer::NotFound,
            Some(stored) if since.is_some_and(|since| stored.version <= since) => {
                ReadAnswer::NotModified
            }
            Some(stored) => ReadAnswer::Found(format!(
                "{{\"blob\":\"{}\",\"sig\":\"{}\",\"version\":{},\"updated_at\":{}}}",
                STANDARD.encode(&stored.blob),
                STANDARD.encode(stored.signature),
                stored.version,
                stored.updated_at
            )),
        }
    }
}

/// What came back for a `GET`, sorted by what it means to the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: a membership that its owner signed. Whose and how new is still to be checked.
    Membership(SignedMembership),
    /// 304 or 404: nothing newer, or nothing yet.
    NothingNew,
    /// The relay cannot say: 408, 425, 429 or 5xx.
    Unavailable,
    /// Anything else.
    Invalid(BadAnswer),
}

/// Why an answer counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not a status that a relay gives.
    #[error("the relay answered with status {0}")]
    Status(u16),
    /// The body is longer than [`MAX_ANSWER_BYTES`].
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// The body is not JSON with `blob` and `sig` in base64.
    #[error("the answer is no signed membership")]
    Payload,
    /// The blob breaks a rule.
    #[error("the membership is not valid: {0}")]
    Membership(#[from] MembershipError),
}

impl Answer {
    /// Reads status and body of an answer. `blob` and `sig` may be in any form that
    /// [`decode_base64`] reads.
    #[must_use]
    pub fn read(status: u16, body: &[u8]) -> Answer {
        match status {
            200 => match read_payload(body) {
                Ok(membership) => Answer::Membership(membership),
                Err(error) => Answer::Invalid(error),
            },
            304 | 404 => Answer::NothingNew,
            408 | 425 | 429 | 500..=599 => Answer::Unavailable,
            other => Answer::Invalid(BadAnswer::Status(other)),
        }
    }
}

fn read_payload(body: &[u8]) -> Result<SignedMembership, BadAnswer> {
    if body.len() > MAX_ANSWER_BYTES {
        return Err(BadAnswer::TooLong);
    }
    let payload: Publication = serde_json::from_slice(body).map_err(|_| BadAnswer::Payload)?;
    let blob = decode_base64(&payload.blob).ok_or(BadAnswer::Payload)?;
    let signature = decode_base64(&payload.sig).ok_or(BadAnswer::Payload)?;
    if blob.is_empty() {
        return Err(BadAnswer::Payload);
    }
    Ok(SignedMembership::verify(blob, &signature)?)
}
