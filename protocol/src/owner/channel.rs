//! What both sides of an invitation share: its messages, and the keys they agree on.
//!
//! A message is one byte for the version, 1, one for its kind, and the rest. Kinds 1 and 2 carry
//! the 33 bytes of a SPAKE2 message; kinds 3 to 8 are sealed with ChaCha20-Poly1305; kind 9 is one
//! byte that says why the inviter has ended.
//!
//! ```text
//! K    = SPAKE2 over Ed25519, password: the secret half of the code,
//!        identities "rp-host inviter" (A) and "rp-host joiner" (B)
//! salt = SHA-256("rp-host invitation 1\n" || message 1 || message 2)
//! HKDF-SHA-256(salt, K): "inviter", "joiner" (keys of the two directions), "check words"
//! nonce = kind, then zeros; associated data = version, kind, salt
//! ```
//!
//! Each kind is sealed once in a conversation, so that no nonce is used twice with a key.
//!
//! | kind | sealed JSON |
//! |---|---|
//! | 3 request | `machine` key, `name`, `proof`: machine's signature over "rp-host invitation, machine 1\n" and salt |
//! | 4 offer | `owner` key, `proof`: owner's signature over "rp-host invitation, owner 1\n" and salt |
//! | 5 consent | `given_at`, `sig` of [`Consent`](super::Consent::to_json) |
//! | 6 welcome | `version` of the membership |
//! | 7, 8 refused by the inviter, by the joiner | no members |

use std::fmt;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Nonce};
use hkdf::Hkdf;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::code::Code;
use super::words::word;

/// The longest message, in bytes. A longer one is ignored.
pub const MAX_INVITATION_BYTES: usize = 2048;
/// The longest name a machine may ask for, in bytes.
pub const MAX_MACHINE_NAME_BYTES: usize = 128;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"rp-host invitation 1\n";

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Answer = 2,
    Request = 3,
    Offer = 4,
    Consent = 5,
    Welcome = 6,
    InviterRefuses = 7,
    JoinerRefuses = 8,
    Ended = 9,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Hello,
        Kind::Answer,
        Kind::Request,
        Kind::Offer,
        Kind::Consent,
        Kind::Welcome,
        Kind::InviterRefuses,
        Kind::JoinerRefuses,
        Kind::Ended,
    ];

    fn is_the_inviters(self) -> bool {
        matches!(self, Kind::Offer | Kind::Welcome | Kind::InviterRefuses)
    }
}

/// Why an invitation came to nothing. It is final: a new code is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The two sides have different codes, or somebody in between tried to guess it.
    #[error("the code was wrong, or somebody between the two machines tried to guess it")]
    WrongCode,
    /// The code was used by another machine before.
    #[error("another machine has used this code")]
    Used,
    /// The code is too old.
    #[error("the code has expired")]
    Expired,
    /// A person on the other side said no.
    #[error("the other side refused")]
    Refused,
    /// The other side does not hold the key that it names.
    #[error("the other side does not hold the key it named")]
    Forged,
}

impl Failure {
    const ALL: [Failure; 5] =
        [Failure::WrongCode, Failure::Used, Failure::Expired, Failure::Refused, Failure::Forged];

    fn number(self) -> u8 {
        match self {
            Failure::WrongCode => 1,
            Failure::Used => 2,
            Failure::Expired => 3,
            Failure::Refused => 4,
            Failure::Forged => 5,
        }
    }
}

/// What follows from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<Event> {
    /// To be sent to the other side.
    pub send: Option<Vec<u8>>,
    /// What happened.
    pub event: Option<Event>,
}

impl<Event> Step<Event> {
    /// Nothing: what is no message of this conversation is ignored.
    pub(super) fn ignored() -> Self {
        Step { send: None, event: None }
    }
}

/// Three words that are the same on both sides exactly if nobody is in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckWords([u16; 3]);

impl fmt::Display for CheckWords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.0.map(word);
        write!(formatter, "{first} {second} {third}")
    }
}

/// Splits a message into its kind and the rest.
pub(super) fn split(message: &[u8]) -> Option<(Kind, &[u8])> {
    if message.len() > MAX_INVITATION_BYTES {
        return None;
    }
    match message {
        [VERSION, kind, rest @ ..] => {
            let kind = Kind::ALL.into_iter().find(|known| *known as u8 == *kind)?;
            Some((kind, rest))
        }
        _ => None,
    }
}

pub(super) fn join(kind: Kind, rest: &[u8]) -> Vec<u8> {
    [&[VERSION, kind as u8], rest].concat()
}

/// The inviter's last word. It is not sealed: there may be no keys to seal it with.
pub(super) fn ended(failure: Failure) -> Vec<u8> {
    join(Kind::Ended, &[failure.number()])
}

pub(super) fn read_ended(rest: &[u8]) -> Option<Failure> {
    Failure::ALL.into_iter().find(|failure| rest == [failure.number()])
}

/// One side's half of the key exchange.
pub(super) struct Half {
    state: Spake2<Ed25519Group>,
    /// To be sent.
    pub(super) message: Vec<u8>,
}

impl Half {
    /// `random` must never be used for anything else.
    pub(super) fn inviter(code: &Code, random: [u8; 32]) -> Self {
        let (state, half) = Spake2::start_a_with_rng(
            &Password::new(code.secret()),
            &Identity::new(INVITER),
            &Identity::new(JOINER),
            ChaCha20Rng::from_seed(random),
        );
        Half { state, message: join(Kind::Answer, &half) }
    }

    /// `random` must never be used for anything else.
    pub(super) fn joiner(code: &Code, random: [u8; 32]) -> Self {
        let (state, half) = Spake2::start_b_with_rng(
            &Password::new(code.secret()),
            &Identity::new(INVITER),
            &Identity::new(JOINER),
            ChaCha20Rng::from_seed(random),
        );
        Half { state, message: join(Kind::Hello, &half) }
    }

    /// The keys, from the half of the other side. `None` when that is no half.
    pub(super) fn finish(self, other: &[u8], hello: &[u8], answer: &[u8]) -> Option<Channel> {
        let shared = Zeroizing::new(self.state.finish(other).ok()?);
        let mut transcript = Sha256::new();
        transcript.update(DOMAIN);
        transcript.update(hello);
        transcript.update(answer);
        Channel::new(&shared, transcript.finalize().into())
    }
}

const INVITER: &[u8] = b"rp-host inviter";
const JOINER: &[u8] = b"rp-host joiner";

/// The keys of a conversation.
pub(super) struct Channel {
    inviter: Zeroizing<[u8; 32]>,
    joiner: Zeroizing<[u8; 32]>,
    transcript: [u8; 32],
    words: CheckWords,
}

impl Channel {
    fn new(shared: &[u8], transcript: [u8; 32]) -> Option<Self> {
        let derived = Hkdf::<Sha256>::new(Some(&transcript), shared);
        let key = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            derived.expand(label, key.as_mut()).ok()?;
            Some(key)
        };
        let mut words = [0; 6];
        derived.expand(b"check words", &mut words).ok()?;
        let [a, b, c, d, e, f] = words;
        Some(Channel {
            inviter: key(b"inviter")?,
            joiner: key(b"joiner")?,
            transcript,
            words: CheckWords([[a, b], [c, d], [e, f]].map(u16::from_be_bytes)),
        })
    }

    pub(super) fn check_words(&self) -> CheckWords {
        self.words
    }

    /// What a side signs to prove that it holds the key it names: the purpose and what only this
    /// conversation has.
    pub(super) fn proof_of(&self, purpose: &[u8]) -> Vec<u8> {
        [purpose, &self.transcript].concat()
    }

    pub(super) fn seal(&self, kind: Kind, content: &impl Serialize) -> Option<Vec<u8>> {
        let plain = serde_json::to_vec(content).ok()?;
        let associated = self.associated(kind);
        let payload = Payload { msg: &plain, aad: &associated };
        let sealed = self.cipher(kind).encrypt(&nonce(kind), payload).ok()?;
        Some(join(kind, &sealed))
    }

    /// `None` when it was not sealed by the other side with the same keys, as this kind.
    pub(super) fn open<Content: DeserializeOwned>(
        &self,
        kind: Kind,
        sealed: &[u8],
    ) -> Option<Content> {
        let associated = self.associated(kind);
        let payload = Payload { msg: sealed, aad: &associated };
        let plain = Zeroizing::new(self.cipher(kind).decrypt(&nonce(kind), payload).ok()?);
        serde_json::from_slice(&plain).ok()
    }

    fn cipher(&self, kind: Kind) -> ChaCha20Poly1305 {
        let key = if kind.is_the_inviters() { &self.inviter } else { &self.joiner };
        ChaCha20Poly1305::new(Key::from_slice(key.as_ref()))
    }

    fn associated(&self, kind: Kind) -> Vec<u8> {
        join(kind, &self.transcript)
    }
}

fn nonce(kind: Kind) -> Nonce {
    let mut nonce = Nonce::default();
    if let Some(first) = nonce.first_mut() {
        *first = kind as u8;
    }
    nonce
}
