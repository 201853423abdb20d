//! A session: the keys and counters that two hosts share after a handshake.
//!
//! # A sealed message
//! | bytes | field |
//! |---|---|
//! | 1 | 4 |
//! | 16 | id of the session |
//! | 4 | epoch of the key, big-endian |
//! | 8 | counter, big-endian |
//! | the rest | the padded content ([`padding`](super::padding)), encrypted, and 16 bytes that authenticate it |
//!
//! The cipher is ChaCha20-Poly1305 (RFC 8439). Its nonce is four zero bytes and the counter in
//! little-endian, as in Noise. Its associated data are `rp/1 sealed`, a zero byte, the sender's machine
//! key, the recipient's, and the 29 bytes before the ciphertext.
//!
//! # Counters and keys
//! Each direction has a key and a counter. The counter goes up by one with each message, over all
//! epochs, and is never used again. After [`EPOCH_MESSAGES`] messages or [`EPOCH_BYTES`] bytes the
//! sender goes on to the next epoch, whose key is the REKEY of Noise (revision 34, section 4.2) of the
//! one before; the recipient follows, keeps the key before that one for what comes late, and forgets
//! older ones.

use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use zeroize::Zeroizing;

use super::padding::{bucket, pad, unpad};
use super::window::{Seen, Window};
use crate::key::PublicKey;
use crate::relay::fields::{Fields, FrameError};

/// How many messages one key seals.
pub const EPOCH_MESSAGES: u64 = 1 << 16;
/// How many bytes of padded content one key seals: 1 GiB.
pub const EPOCH_BYTES: u64 = 1 << 30;
/// The longest content that can be sealed, in bytes: that of the last bucket but one.
pub const MAX_CONTENT_BYTES: usize = crate::relay::MAX_BODY_BYTES - 128 * 1024 - 1;
/// After how long a session should be followed by a new one, in milliseconds: a day.
pub const RENEW_AFTER_MS: u64 = 24 * 60 * 60 * 1000;
/// After how long a session is no longer used, in milliseconds: a week.
pub const SESSION_LIFETIME_MS: u64 = 7 * RENEW_AFTER_MS;

/// How many counters a saved session sets aside for messages sealed before it is saved again.
const RESERVED: u64 = 1024;
/// How many epochs a recipient follows at once, at most.
const MAX_EPOCHS_AHEAD: u32 = 64;
const DOMAIN: &[u8] = b"rp/1 sealed\0";
pub(super) const SEALED: u8 = 4;
const HEADER_BYTES: usize = 29;
const SAVED_FORMAT: u8 = 1;

/// The id of a session, the same on both sides and different for each.
pub type SessionId = [u8; 16];

/// Why something cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no session, or its time is over: a handshake is needed.
    #[error("there is no session with that host")]
    NoSession,
    /// All counters of the last [`Session::save`] are used up: save the session first.
    #[error("the session must be saved before it seals more")]
    SaveFirst,
    /// The content is longer than [`MAX_CONTENT_BYTES`].
    #[error("a message has at most {MAX_CONTENT_BYTES} bytes")]
    TooLong,
}

/// Why something sealed is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It has not the form of anything sealed.
    #[error("this is nothing sealed")]
    Malformed,
    /// It is of a session that this host does not have, or no longer: the sender needs a new one.
    #[error("the session is not known here")]
    NoSession,
    /// It was received before.
    #[error("this message was received before")]
    Replayed,
    /// It comes too late to tell whether it was received before.
    #[error("this message comes too late")]
    TooOld,
    /// It was not sealed by the sender for this host, or was changed on the way.
    #[error("this message is not what its sender sealed")]
    Forged,
    /// The handshake does not fit one of this host's, or the other host's certificate is not good.
    #[error("the handshake is refused")]
    Handshake,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The content.
    pub content: Vec<u8>,
    /// How many messages of the sender were skipped between the newest one before and this one. They
    /// are lost or come later. After a crash of the sender it can also be counters it never used.
    pub skipped: u64,
}

/// Keys and counters of one session, on one side.
///
/// Whoever keeps a session on disk keeps it like the machine key, loads what was saved last and no
/// copy of it, and saves it after opening a message before acting on that message: a session loaded
/// from before takes a message it has opened since for a new one.
pub struct Session {
    id: SessionId,
    own: PublicKey,
    peer: PublicKey,
    created_ms: u64,
    expires_ms: u64,
    sending: Sending,
    receiving: Receiving,
}

type Key = Zeroizing<[u8; 32]>;

struct Sending {
    key: Key,
    epoch: u32,
    counter: u64,
    /// Counters from here on may only be used after saving.
    reserved: u64,
    /// What the key of this epoch has sealed.
    messages: u64,
    bytes: u64,
}

struct Receiving {
    key: Key,
    epoch: u32,
    /// The key of the epoch before.
    previous: Option<Key>,
    window: Window,
}

/// What a handshake agreed on.
pub(super) struct Agreed {
    pub(super) id: SessionId,
    pub(super) own: PublicKey,
    pub(super) peer: PublicKey,
    pub(super) send: [u8; 32],
    pub(super) receive: [u8; 32],
    pub(super) now_ms: u64,
    /// When the first of the two certificates ends.
    pub(super) certificates_end_ms: u64,
}

impl Session {
    pub(super) fn new(agreed: Agreed) -> Self {
        let Agreed { id, own, peer, send, receive, now_ms, certificates_end_ms } = agreed;
        let sending = Sending {
            key: Zeroizing::new(send),
            epoch: 0,
            counter: 0,
            reserved: RESERVED,
            messages: 0,
            bytes: 0,
        };
        let receiving = Receiving {
            key: Zeroizing::new(receive),
            epoch: 0,
            previous: None,
            window: Window::new(),
        };
        let lifetime = now_ms.saturating_add(SESSION_LIFETIME_MS);
        let certified = certificates_end_ms.saturating_add(super::CLOCK_TOLERANCE_MS);
        let expires_ms = lifetime.min(certified);
        Session { id, own, peer, created_ms: now_ms, expires_ms, sending, receiving }
    }

    /// The id of the session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// How many messages of the other host were skipped and have not arrived so far.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.receiving.window.missing()
    }

    /// Whether a new session should follow this one.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.created_ms.saturating_add(RENEW_AFTER_MS) || self.is_over(now_ms)
    }

    /// Whether the time of this session is over.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_ms
    }

    /// Seals a content.
    ///
    /// # Errors
    /// [`SealError`]; no counter was used then.
    pub fn seal(&mut self, content: &[u8], now_ms: u64) -> Result<Vec<u8>, SealError> {
        if self.is_over(now_ms) || self.sending.epoch == u32::MAX {
            return Err(SealError::NoSession);
        }
        if content.len() > MAX_CONTENT_BYTES {
            return Err(SealError::TooLong);
        }
        let padded = bucket(content.len()) as u64;
        let sending = &mut self.sending;
        if sending.messages >= EPOCH_MESSAGES || sending.bytes.saturating_add(padded) > EPOCH_BYTES
        {
            sending.key = rekey(&sending.key);
            sending.epoch += 1;
            (sending.messages, sending.bytes) = (0, 0);
            // Saved from here on is this epoch, so that a host that loads it is never one behind.
            sending.reserved = sending.counter;
        }
        if sending.counter >= sending.reserved {
            return Err(SealError::SaveFirst);
        }
        let header = header(&self.id, sending.epoch, sending.counter);
        let bound = associated_data(&self.own, &self.peer, &header);
        let mut body = pad(content);
        let cipher = ChaCha20Poly1305::new((&*sending.key).into());
        // The cipher refuses only lengths far beyond the longest content.
        let sealed = cipher.encrypt_in_place(&nonce(sending.counter), &bound, &mut body);
        sealed.map_err(|_| SealError::TooLong)?;
        sending.counter += 1;
        sending.messages += 1;
        sending.bytes += padded;
        Ok([header.as_slice(), &body].concat())
    }

    /// Opens what the other host sealed.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub fn open(&mut self, sealed: &[u8], now_ms: u64) -> Result<Opened, OpenError> {
        let (id, epoch, counter) = read_header(sealed).ok_or(OpenError::Malformed)?;
        let over = self.expires_ms.saturating_add(super::CLOCK_TOLERANCE_MS) < now_ms;
        if id != self.id || over {
            return Err(OpenError::NoSession);
        }
        self.receiving.window.check(counter).map_err(|seen| match seen {
            Seen::Already => OpenError::Replayed,
            Seen::TooOld => OpenError::TooOld,
        })?;
        let (header, body) = sealed.split_at_checked(HEADER_BYTES).ok_or(OpenError::Malformed)?;
        let bound = associated_data(&self.peer, &self.own, header);
        let (key, advance) = self.receiving.key_of(epoch).ok_or(OpenError::Forged)?;
        let mut body = body.to_vec();
        let cipher = ChaCha20Poly1305::new((&*key).into());
        let opened = cipher.decrypt_in_place(&nonce(counter), &bound, &mut body);
        opened.map_err(|_| OpenError::Forged)?;
        let content = unpad(body).ok_or(OpenError::Forged)?;
        if let Some(previous) = advance {
            self.receiving.previous = Some(previous);
            self.receiving.key = key;
            self.receiving.epoch = epoch;
        }
        Ok(Opened { content, skipped: self.receiving.window.receive(counter) })
    }

    /// The session as bytes to be kept, and with it the right to seal 1024 more messages: a
    /// host that loads them never uses a counter again that this one uses from now on.
    #[must_use]
    pub fn save(&mut self) -> Zeroizing<Vec<u8>> {
        let sending = &mut self.sending;
        sending.reserved = sending.counter.saturating_add(RESERVED);
        let mut out = Zeroizing::new(Vec::with_capacity(384));
        out.push(SAVED_FORMAT);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(self.own.as_bytes());
        out.extend_from_slice(self.peer.as_bytes());
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out.extend_from_slice(&self.expires_ms.to_be_bytes());
        out.extend_from_slice(&*sending.key);
        out.extend_from_slice(&sending.epoch.to_be_bytes());
        out.extend_from_slice(&sending.reserved.to_be_bytes());
        out.extend_from_slice(&*self.receiving.key);
        out.extend_from_slice(&self.receiving.epoch.to_be_bytes());
        out.push(u8::from(self.receiving.previous.is_some()));
        out.extend(self.receiving.previous.iter().flat_map(|key| key.iter()));
        self.receiving.window.write(&mut out);
        out
    }

    /// The session that was saved. It has to be saved again before it seals.
    ///
    /// # Errors
    /// When the bytes are not what [`Session::save`] gave.
    pub fn load(saved: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields::new(saved);
        let number = |fields: &mut Fields<'_>| fields.array("time").map(u64::from_be_bytes);
        if fields.array("format")? != [SAVED_FORMAT] {
            return Err(FrameError::Malformed("format"));
        }
        let id = fields.array("id")?;
        let (own, peer) = (fields.key("key")?, fields.key("key")?);
        let (created_ms, expires_ms) = (number(&mut fields)?, number(&mut fields)?);
        let key = Zeroizing::new(fields.array("key")?);
        let epoch = u32::from_be_bytes(fields.array("epoch")?);
        let counter = number(&mut fields)?;
        // How much the last run sealed with this key is not known: the next epoch begins.
        let messages = EPOCH_MESSAGES;
        let sending = Sending { key, epoch, counter, reserved: counter, messages, bytes: 0 };
        let key = Zeroizing::new(fields.array("key")?);
        let epoch = u32::from_be_bytes(fields.array("epoch")?);
        let has_previous = fields.flag("key")?;
        let previous = has_previous.then(|| fields.array("key").map(Zeroizing::new)).transpose()?;
        let window = Window::read(&mut fields)?;
        fields.end()?;
        let receiving = Receiving { key, epoch, previous, window };
        Ok(Session { id, own, peer, created_ms, expires_ms, sending, receiving })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Session(with {})", self.peer.fingerprint())
    }
}

impl Receiving {
    /// The key of an epoch, and the one before it when this side has to follow to that epoch. `None`
    /// when it is forgotten or too far ahead.
    fn key_of(&self, epoch: u32) -> Option<(Key, Option<Key>)> {
        if epoch.checked_add(1) == Some(self.epoch) {
            return self.previous.clone().map(|key| (key, None));
        }
        let ahead = epoch.checked_sub(self.epoch).filter(|ahead| *ahead <= MAX_EPOCHS_AHEAD)?;
        let mut key = self.key.clone();
        let mut previous = None;
        for _ in 0..ahead {
            let next = rekey(&key);
            previous = Some(std::mem::replace(&mut key, next));
        }
        Some((key, previous))
    }
}

/// The id of the session that something sealed is of. `None` when it is no sealed message.
#[must_use]
pub fn session_of(sealed: &[u8]) -> Option<SessionId> {
    read_header(sealed).map(|(id, _, _)| id)
}

fn header(id: &SessionId, epoch: u32, counter: u64) -> [u8; HEADER_BYTES] {
    let mut header = [SEALED; HEADER_BYTES];
    let fields = id.iter().copied().chain(epoch.to_be_bytes()).chain(counter.to_be_bytes());
    header.iter_mut().skip(1).zip(fields).for_each(|(place, byte)| *place = byte);
    header
}

fn read_header(sealed: &[u8]) -> Option<(SessionId, u32, u64)> {
    let mut fields = Fields::new(sealed);
    let [kind] = fields.array("type").ok()?;
    let id = fields.array("session").ok()?;
    let epoch = u32::from_be_bytes(fields.array("epoch").ok()?);
    let counter = u64::from_be_bytes(fields.array("counter").ok()?);
    // The largest value is the nonce of rekeying, and half of all are never reached.
    (kind == SEALED && counter < 1 << 62).then_some((id, epoch, counter))
}

fn associated_data(sender: &PublicKey, recipient: &PublicKey, header: &[u8]) -> Vec<u8> {
    [DOMAIN, sender.as_bytes(), recipient.as_bytes(), header].concat()
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce.iter_mut().skip(4).zip(counter.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    nonce.into()
}

/// REKEY of Noise: the first 32 bytes of 32 zeros encrypted under the largest nonce.
fn rekey(key: &Key) -> Key {
    let mut next = Zeroizing::new([0; 32]);
    let cipher = ChaCha20Poly1305::new((&**key).into());
    // 32 bytes are never too long for the cipher.
    let _ = cipher.encrypt_in_place_detached(&nonce(u64::MAX), &[], next.as_mut_slice());
    next
}
