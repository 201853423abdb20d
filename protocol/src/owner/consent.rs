//! A machine's consent to be in an owner's membership.
//!
//! Any owner can list any machine. So a machine says itself, signed with its own key, whose
//! memberships it takes part in, and shows it to the machines it talks to.

use serde::{Deserialize, Serialize};

use crate::key::{BadSignature, PublicKey, SecretKey, Signature};
use crate::membership::Membership;

/// The name of this use, in front of what is signed.
const PURPOSE: &[u8] = b"rp-host consent to membership 1\n";

/// A machine's statement that it wants to be in the membership of an owner. One whose signature
/// does not fit does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    owner: PublicKey,
    machine: PublicKey,
    given_at_ms: u64,
    signature: Signature,
}

/// The JSON of a consent.
#[derive(Serialize, Deserialize)]
struct Wire {
    owner: PublicKey,
    machine: PublicKey,
    given_at: u64,
    sig: String,
}

impl Consent {
    /// Gives consent, at a time in Unix milliseconds.
    #[must_use]
    pub fn give(machine: &SecretKey, owner: PublicKey, given_at_ms: u64) -> Self {
        let signature = machine.sign(&signed_bytes(&owner, &machine.public(), given_at_ms));
        Consent { owner, machine: machine.public(), given_at_ms, signature }
    }

    /// Puts one together and checks it.
    ///
    /// # Errors
    /// When the machine did not sign it.
    pub fn verify(
        owner: PublicKey,
        machine: PublicKey,
        given_at_ms: u64,
        signature: Signature,
    ) -> Result<Self, BadSignature> {
        machine.verify(&signed_bytes(&owner, &machine, given_at_ms), &signature)?;
        Ok(Consent { owner, machine, given_at_ms, signature })
    }

    /// Reads [`Consent::to_json`].
    ///
    /// # Errors
    /// When it is something else, or the machine did not sign it.
    pub fn parse(json: &str) -> Result<Self, BadSignature> {
        let wire: Wire = serde_json::from_str(json).map_err(|_| BadSignature)?;
        let signature = Signature::parse(&wire.sig).ok_or(BadSignature)?;
        Consent::verify(wire.owner, wire.machine, wire.given_at, signature)
    }

    /// As JSON: `owner` and `machine` as canonical keys, `given_at` in Unix milliseconds, `sig` in
    /// standard base64 over the name of this use, the two keys as bytes, and the time as 8 bytes,
    /// the highest first.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"owner\":\"{}\",\"machine\":\"{}\",\"given_at\":{},\"sig\":\"{}\"}}",
            self.owner, self.machine, self.given_at_ms, self.signature
        )
    }

    /// Whether it lets `machine` be talked to under one of these memberships: it is that machine's,
    /// and its owner is one of those who list it. The memberships are those that count here.
    #[must_use]
    pub fn holds_for<'a>(
        &self,
        machine: &PublicKey,
        memberships: impl IntoIterator<Item = &'a Membership>,
    ) -> bool {
        self.machine == *machine
            && memberships
                .into_iter()
                .any(|membership| membership.owner == self.owner && membership.lists(machine))
    }

    /// Whose membership it is about.
    #[must_use]
    pub fn owner(&self) -> &PublicKey {
        &self.owner
    }

    /// Who consents.
    #[must_use]
    pub fn machine(&self) -> &PublicKey {
        &self.machine
    }

    /// When it was given, in Unix milliseconds of the machine's clock.
    #[must_use]
    pub fn given_at_ms(&self) -> u64 {
        self.given_at_ms
    }

    /// The machine's signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn signed_bytes(owner: &PublicKey, machine: &PublicKey, given_at_ms: u64) -> Vec<u8> {
    [PURPOSE, owner.as_bytes(), machine.as_bytes(), &given_at_ms.to_be_bytes()].concat()
}
