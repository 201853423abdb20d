//! The three frames that open a connection.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::room::{DEFAULT_ROOM, RoomMeta};
use super::{opens_object, present, string};
use crate::key::{PublicKey, Signature};

/// How many random bytes a challenge has. The client signs exactly these bytes.
pub const NONCE_BYTES: usize = 32;

/// Why a login frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Not a JSON object of the type that belongs here.
    #[error("another frame was due")]
    Unexpected,
    /// `pubkey` is missing or no Ed25519 key.
    #[error("the key is missing or no Ed25519 key")]
    Key,
    /// `sig` is missing or not 64 bytes in padded standard base64.
    #[error("the signature is missing or malformed")]
    Signature,
}

/// The first frame of a client: who it is and which room it is in. Only the key is proven
/// afterwards; room and metadata are what the client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The key that the client will prove to have.
    pub key: PublicKey,
    /// The room of the connection.
    pub room: String,
    /// What the client says about the room.
    pub meta: RoomMeta,
}

#[derive(Deserialize)]
struct LoginMembers<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pubkey: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    room_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    room_meta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    sig: Option<&'a RawValue>,
}

impl<'a> LoginMembers<'a> {
    fn parse(text: &'a str, due: &str) -> Result<Self, LoginError> {
        if !opens_object(text) {
            return Err(LoginError::Unexpected);
        }
        let members: Self = serde_json::from_str(text).map_err(|_| LoginError::Unexpected)?;
        match members.kind.and_then(string) {
            Some(kind) if kind == due => Ok(members),
            _ => Err(LoginError::Unexpected),
        }
    }
}

impl Hello {
    /// Reads the first message of a connection.
    ///
    /// # Errors
    /// It is not a hello, or its key is none.
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let members = LoginMembers::parse(text, "hello")?;
        let key = members.pubkey.and_then(string).ok_or(LoginError::Key)?;
        let room = members.room_id.and_then(string);
        Ok(Self {
            key: PublicKey::parse_point(&key).map_err(|_| LoginError::Key)?,
            room: room.map_or_else(|| DEFAULT_ROOM.to_owned(), Cow::into_owned),
            meta: members.room_meta.map(RoomMeta::parse).unwrap_or_default(),
        })
    }
}

/// The relay's answer to a hello: bytes that nobody could foresee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge(pub [u8; NONCE_BYTES]);

impl Challenge {
    /// The frame.
    #[must_use]
    pub fn to_json(self) -> String {
        format!(r#"{{"type":"challenge","nonce":"{}"}}"#, STANDARD.encode(self.0))
    }
}

/// The second frame of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// The signature over the bytes of the challenge.
    pub signature: Signature,
}

impl Auth {
    /// Reads the second message of a connection.
    ///
    /// # Errors
    /// It is not an auth, or its signature is malformed. Whether the signature fits is for
    /// [`Auth::proves`].
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let members = LoginMembers::parse(text, "auth")?;
        let text = members.sig.and_then(string).ok_or(LoginError::Signature)?;
        let signature = Signature::parse(&text).ok_or(LoginError::Signature)?;
        Ok(Self { signature })
    }

    /// Whether the holder of `key` gave this answer to this challenge.
    #[must_use]
    pub fn proves(&self, key: &PublicKey, challenge: &Challenge) -> bool {
        key.verify(&challenge.0, &self.signature).is_ok()
    }
}
