//! The handshake: how two hosts come to share a session.
//!
//! It is `Noise_XX_25519_ChaChaPoly_BLAKE2s` (Noise, revision 34). A host is known by its machine key
//! (Ed25519), and which X25519 key it seals with is learnt in the handshake: that is the XX pattern.
//! IK would save half a round trip, but wants the other key beforehand, so a directory of keys that
//! somebody must be trusted with, and its first message can be replayed.
//!
//! | sealed content begins with | then | sent by |
//! |---|---|---|
//! | 1 | message 1 of Noise, empty payload: 32 bytes | initiator |
//! | 2 | message 2, the payload is the [`Certificate`]: 32 + 48 + 161 bytes | responder |
//! | 3 | message 3, the payload is the [`Certificate`]: 48 + 161 bytes | initiator |
//!
//! The prologue is `rp/1 seal`, a zero byte, the initiator's machine key, the responder's. The keys of
//! the session are those of Noise's Split: the first is the initiator's for sending. The session's id
//! is the first 16 bytes of the handshake hash.

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::certificate::{CERTIFICATE_BYTES, Certificate, SealingKey};
use super::session::{Agreed, OpenError, Session};
use crate::key::PublicKey;

pub(super) const FIRST: u8 = 1;
pub(super) const SECOND: u8 = 2;
pub(super) const THIRD: u8 = 3;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const DOMAIN: &[u8] = b"rp/1 seal\0";
/// More than the longest message of the handshake.
const ROOM: usize = 512;

/// A handshake that waits for the other host's next message.
pub(super) struct Handshake {
    noise: HandshakeState,
    peer: PublicKey,
    own_end_ms: u64,
}

impl Handshake {
    /// Begins a handshake with a host, and gives the first message.
    pub(super) fn begin(keys: &SealingKey, peer: PublicKey) -> Result<(Self, Vec<u8>), OpenError> {
        let prologue = prologue(&keys.machine(), &peer);
        let mut noise = builder(keys, &prologue)?.build_initiator().map_err(refused)?;
        let message = write(&mut noise, FIRST, &[])?;
        Ok((Handshake { noise, peer, own_end_ms: keys.certificate().expires_ms() }, message))
    }

    /// Answers a first message with the second.
    pub(super) fn answer(
        keys: &SealingKey,
        peer: PublicKey,
        first: &[u8],
    ) -> Result<(Self, Vec<u8>), OpenError> {
        let prologue = prologue(&peer, &keys.machine());
        let mut noise = builder(keys, &prologue)?.build_responder().map_err(refused)?;
        if !read(&mut noise, first)?.is_empty() {
            return Err(OpenError::Handshake);
        }
        let message = write(&mut noise, SECOND, &keys.certificate().to_bytes())?;
        Ok((Handshake { noise, peer, own_end_ms: keys.certificate().expires_ms() }, message))
    }

    /// Takes the second message: the third, and the session.
    pub(super) fn on_second(
        &mut self,
        keys: &SealingKey,
        second: &[u8],
        now_ms: u64,
    ) -> Result<(Vec<u8>, Session), OpenError> {
        let end_ms = self.peer_certificate(second, now_ms)?;
        let third = write(&mut self.noise, THIRD, &keys.certificate().to_bytes())?;
        Ok((third, self.session(keys, end_ms, now_ms)?))
    }

    /// Takes the third message: the session.
    pub(super) fn on_third(
        &mut self,
        keys: &SealingKey,
        third: &[u8],
        now_ms: u64,
    ) -> Result<Session, OpenError> {
        let end_ms = self.peer_certificate(third, now_ms)?;
        self.session(keys, end_ms, now_ms)
    }

    /// Reads a message that carries the other host's certificate, and verifies it: when it ends.
    fn peer_certificate(&mut self, message: &[u8], now_ms: u64) -> Result<u64, OpenError> {
        let payload = read(&mut self.noise, message)?;
        let certificate = Certificate::read(&payload).map_err(|_| OpenError::Handshake)?;
        let sealing = self.noise.get_remote_static().ok_or(OpenError::Handshake)?;
        let verified = certificate.verify(&self.peer, sealing, now_ms);
        verified.map_err(|_| OpenError::Handshake)?;
        Ok(certificate.expires_ms())
    }

    fn session(
        &mut self,
        keys: &SealingKey,
        peer_end_ms: u64,
        now_ms: u64,
    ) -> Result<Session, OpenError> {
        let hash = self.noise.get_handshake_hash();
        let id = *hash.first_chunk().ok_or(OpenError::Handshake)?;
        let (initiator, responder) = self.noise.dangerously_get_raw_split();
        let (send, receive) = match self.noise.is_initiator() {
            true => (initiator, responder),
            false => (responder, initiator),
        };
        Ok(Session::new(Agreed {
            id,
            own: keys.machine(),
            peer: self.peer,
            send,
            receive,
            now_ms,
            certificates_end_ms: self.own_end_ms.min(peer_end_ms),
        }))
    }
}

fn prologue(initiator: &PublicKey, responder: &PublicKey) -> Vec<u8> {
    [DOMAIN, initiator.as_bytes(), responder.as_bytes()].concat()
}

fn builder<'a>(keys: &'a SealingKey, prologue: &'a [u8]) -> Result<Builder<'a>, OpenError> {
    let parameters: NoiseParams = PATTERN.parse().map_err(refused)?;
    // Ephemeral keys are drawn by the library from the operating system: the only randomness here.
    Builder::new(parameters)
        .local_private_key(keys.private())
        .and_then(|builder| builder.prologue(prologue))
        .map_err(refused)
}

fn write(noise: &mut HandshakeState, kind: u8, payload: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut room = [0; ROOM];
    let length = noise.write_message(payload, &mut room).map_err(refused)?;
    let message = room.get(..length).unwrap_or_default();
    Ok([&[kind], message].concat())
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, OpenError> {
    let message = message.get(1..).unwrap_or_default();
    if message.len() > ROOM {
        return Err(OpenError::Handshake);
    }
    let mut payload = Zeroizing::new([0; ROOM]);
    let length = noise.read_message(message, payload.as_mut_slice()).map_err(refused)?;
    let payload = payload.get(..length.min(CERTIFICATE_BYTES + 1)).unwrap_or_default();
    Ok(payload.to_vec())
}

fn refused(_: snow::Error) -> OpenError {
    OpenError::Handshake
}
