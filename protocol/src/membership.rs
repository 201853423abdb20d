//! Membership: which machines an owner says are theirs, signed by the owner.
//!
//! The owner's devices publish it on a relay, the relay forwards between machines that one
//! membership lists together, and each machine reads the memberships of the owners it is paired
//! with. The signature covers the bytes as they are ([`SignedMembership::blob`]): nobody writes
//! them anew, or the signature would no longer fit.

mod directory;
mod exchange;
mod follow;

use std::fmt;

use serde::Deserialize;

use crate::key::{KeyError, PublicKey, SecretKey, Signature};
use crate::mesh::write_json_string;

pub use directory::Directory;
pub use exchange::{
    Answer, BadAnswer, MAX_ANSWER_BYTES, MAX_PUBLICATION_BYTES, PublishError, Published,
    ReadAnswer, Stored, check_publication, write_publication,
};
pub use follow::{
    FETCH_DEADLINE_MS, Fetch, Followed, Follower, NEVER_LISTED_GRACE_MS, News, POLL_INTERVAL_MS,
    Pairing, Request, Tick, Trouble,
};

/// A machine in a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who the machine is.
    pub key: PublicKey,
    /// The relay the machine was on when it was paired, as `http(s)://…`.
    pub relay_url: String,
    /// When it was paired, as ISO 8601; shown, never interpreted.
    pub paired_at: String,
    /// What the owner calls it. It may be empty, which counts as none.
    pub nickname: Option<String>,
}

/// What an owner says about their machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Counts the owner's changes. Writers stay below 2^53, as JavaScript readers need.
    pub version: u64,
    /// When it was signed, in Unix milliseconds; informational, nothing expires.
    pub issued_at: u64,
    /// Who signs.
    pub owner: PublicKey,
    /// The machines in the owner's order.
    pub members: Vec<Member>,
}

/// Why bytes are no membership of an owner, in the order in which it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Not JSON, or a field is missing or of the wrong type. Where, but never what: it may be
    /// anything.
    #[error("blob is not valid JSON or missing required fields: at line {line}, column {column}")]
    Shape {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The owner's key is not base64.
    #[error("invalid base64: owner_pk")]
    OwnerEncoding,
    /// The owner's key is base64 of something else.
    #[error("owner_pk in blob is not a valid 32-byte Ed25519 key")]
    OwnerKey,
    /// The signature has another length.
    #[error("sig is not 64 bytes")]
    SignatureLength,
    /// The owner did not sign these bytes.
    #[error("sig_invalid")]
    Signature,
    /// The key of a member cannot be read. One such member makes the whole membership void.
    #[error("member remote_epk is not valid base64 or does not decode to 32 bytes")]
    MemberKey,
}

/// The JSON as it is on the wire. Unknown fields are tolerated, repeated ones are not.
#[derive(Deserialize)]
struct WireMembership {
    version: u64,
    issued_at: u64,
    owner_pk: String,
    members: Vec<WireMember>,
}

#[derive(Deserialize)]
struct WireMember {
    remote_epk: String,
    relay_url: String,
    paired_at: String,
    nickname: Option<String>,
}

impl Membership {
    /// Reads a blob whose signature was verified before, when it was accepted. Whatever comes
    /// from outside goes through [`SignedMembership::verify`].
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn parse(blob: &[u8]) -> Result<Self, MembershipError> {
        let wire = WireMembership::parse(blob)?;
        let owner = wire.owner()?;
        wire.with_owner(owner)
    }

    /// The canonical JSON, which is what an owner signs: keys in order, no white space, a member
    /// without a nickname has no such key.
    #[must_use]
    pub fn to_canonical_json(&self) -> Vec<u8> {
        let mut out = format!("{{\"issued_at\":{},\"members\":[", self.issued_at).into_bytes();
        for (index, member) in self.members.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{" } else { b"{" });
            if let Some(nickname) = &member.nickname {
                write_field(&mut out, "nickname", nickname);
                out.push(b',');
            }
            write_field(&mut out, "paired_at", &member.paired_at);
            out.push(b',');
            write_field(&mut out, "relay_url", &member.relay_url);
            out.push(b',');
            write_field(&mut out, "remote_epk", &member.key.to_string());
            out.push(b'}');
        }
        out.extend_from_slice(b"],");
        write_field(&mut out, "owner_pk", &self.owner.to_string());
        out.extend_from_slice(format!(",\"version\":{}}}", self.version).as_bytes());
        out
    }

    /// Signs it. The owner becomes whoever signs.
    #[must_use]
    pub fn sign(mut self, owner: &SecretKey) -> SignedMembership {
        self.owner = owner.public();
        let blob = self.to_canonical_json();
        let signature = owner.sign(&blob);
        SignedMembership { blob, signature, membership: self }
    }

    /// Whether a machine is in it.
    #[must_use]
    pub fn lists(&self, machine: &PublicKey) -> bool {
        self.members.iter().any(|member| member.key == *machine)
    }
}

fn write_field(out: &mut Vec<u8>, key: &str, value: &str) {
    write_json_string(out, key);
    out.push(b':');
    write_json_string(out, value);
}

impl WireMembership {
    fn parse(blob: &[u8]) -> Result<Self, MembershipError> {
        serde_json::from_slice(blob)
            .map_err(|error| MembershipError::Shape { line: error.line(), column: error.column() })
    }

    fn owner(&self) -> Result<PublicKey, MembershipError> {
        PublicKey::parse_point(&self.owner_pk).map_err(|error| match error {
            KeyError::Encoding => MembershipError::OwnerEncoding,
            KeyError::Length | KeyError::NotAPoint => MembershipError::OwnerKey,
        })
    }

    fn with_owner(self, owner: PublicKey) -> Result<Membership, MembershipError> {
        let member = |member: WireMember| {
            Ok(Member {
                key: PublicKey::parse(&member.remote_epk)
                    .map_err(|_| MembershipError::MemberKey)?,
                relay_url: member.relay_url,
                paired_at: member.paired_at,
                nickname: member.nickname,
            })
        };
        let members = self.members.into_iter().map(member).collect::<Result<_, _>>()?;
        Ok(Membership { version: self.version, issued_at: self.issued_at, owner, members })
    }
}

/// A membership with the bytes that the owner signed. There is none whose signature does not fit.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedMembership {
    blob: Vec<u8>,
    signature: Signature,
    membership: Membership,
}

impl SignedMembership {
    /// Verifies a blob against the owner's key in it. Whether that is the owner whom one asked
    /// about is the caller's to compare.
    ///
    /// # Errors
    /// With the first rule that is broken: shape before signature, signature before the keys of
    /// members.
    pub fn verify(blob: Vec<u8>, signature: &[u8]) -> Result<Self, MembershipError> {
        let wire = WireMembership::parse(&blob)?;
        let owner = wire.owner()?;
        let signature: [u8; 64] =
            signature.try_into().map_err(|_| MembershipError::SignatureLength)?;
        let signature = Signature::from_bytes(signature);
        owner.verify(&blob, &signature).map_err(|_| MembershipError::Signature)?;
        let membership = wire.with_owner(owner)?;
        Ok(SignedMembership { blob, signature, membership })
    }

    /// The bytes that were signed.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The owner's signature over [`SignedMembership::blob`].
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the owner says.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }
}

/// Whose it is and how new, but not what it says.
impl fmt::Debug for SignedMembership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Membership { owner, version, members, .. } = &self.membership;
        write!(
            formatter,
            "SignedMembership({}, version {version}, {} members)",
            owner.fingerprint(),
            members.len()
        )
    }
}
