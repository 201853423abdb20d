//! Everything one host has with another: the handshake that is going on, and the sessions.

use zeroize::Zeroizing;

use super::certificate::SealingKey;
use super::handshake::{FIRST, Handshake, SECOND, THIRD};
use super::session::{OpenError, Opened, SEALED, SealError, Session, SessionId, session_of};
use crate::key::PublicKey;
use crate::relay::FrameError;
use crate::relay::fields::Fields;

/// After how long a handshake without an answer may be begun again, in milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;

/// The sealed channel between this host and one other.
///
/// Messages are sealed in the current session. The one before it still opens what was sealed before
/// the other host changed over. Both are kept with [`Channel::save`]; a handshake is not.
#[derive(Debug)]
pub struct Channel {
    peer: PublicKey,
    current: Option<Session>,
    previous: Option<Session>,
    handshake: Option<Pending>,
}

struct Pending {
    handshake: Handshake,
    begun_ms: u64,
    /// As a responder: the first message, and what it was answered with.
    answered: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pending {
    fn is_initiator(&self) -> bool {
        self.answered.is_none()
    }
}

/// What came of something the other host sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Content(Opened),
    /// A step of a handshake: send this to the other host. `ready` says that the channel can seal
    /// from now on, after this was sent.
    Answer {
        /// What to send, as it is.
        message: Vec<u8>,
        /// Whether there is a new session now.
        ready: bool,
    },
    /// The last step of a handshake: the channel can seal from now on.
    Ready,
    /// Nothing is to be done: both hosts began a handshake at once, and this host's goes on.
    Ignored,
}

impl Channel {
    /// A channel without any session.
    #[must_use]
    pub fn new(peer: PublicKey) -> Self {
        Channel { peer, current: None, previous: None, handshake: None }
    }

    /// The other host.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The session that messages are sealed in.
    #[must_use]
    pub fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// Whether a handshake should be begun now: there is no session or it is due, and no handshake
    /// is going on that may still succeed.
    #[must_use]
    pub fn wants_handshake(&self, now_ms: u64) -> bool {
        let is_due = self.current.as_ref().is_none_or(|session| session.is_due(now_ms));
        is_due && !self.is_shaking_hands(now_ms)
    }

    fn is_shaking_hands(&self, now_ms: u64) -> bool {
        self.handshake.as_ref().is_some_and(|pending| {
            let end_ms = pending.begun_ms.saturating_add(HANDSHAKE_TIMEOUT_MS);
            // A clock that was set back ends it as well.
            (pending.begun_ms..end_ms).contains(&now_ms)
        })
    }

    /// When a handshake that is going on is given up, in milliseconds since 1970.
    #[must_use]
    pub fn handshake_ends_ms(&self) -> Option<u64> {
        self.handshake.as_ref().map(|pending| pending.begun_ms.saturating_add(HANDSHAKE_TIMEOUT_MS))
    }

    /// Begins a handshake; gives what to send to the other host.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn begin(&mut self, keys: &SealingKey, now_ms: u64) -> Result<Vec<u8>, OpenError> {
        let (handshake, message) = Handshake::begin(keys, self.peer)?;
        self.handshake = Some(Pending { handshake, begun_ms: now_ms, answered: None });
        Ok(message)
    }

    /// Seals a message in the current session.
    ///
    /// # Errors
    /// [`SealError::NoSession`] wants a handshake, [`SealError::SaveFirst`] a [`Channel::save`].
    pub fn seal(&mut self, content: &[u8], now_ms: u64) -> Result<Vec<u8>, SealError> {
        self.current.as_mut().ok_or(SealError::NoSession)?.seal(content, now_ms)
    }

    /// The other host refused a message for its session: nothing is sealed in that any more. It may
    /// be the relay that says so, so no more than a handshake follows from it.
    pub fn forget(&mut self, session: SessionId) {
        if self.current.as_ref().is_some_and(|current| current.id() == session) {
            self.previous = self.current.take();
        }
    }

    /// The handshake that this host has begun does not reach the other host. One that the other host
    /// has begun, or begins, may still succeed.
    pub fn give_up_handshake(&mut self) {
        self.handshake = self.handshake.take().filter(|pending| !pending.is_initiator());
    }

    /// Takes what the other host sent. Only authentic content comes out, and each only once.
    ///
    /// # Errors
    /// [`OpenError::NoSession`] is to be told to the sender
    /// ([`Refusal::NoSession`](crate::relay::Refusal::NoSession)); whatever the error, nothing has
    /// changed that an honest host would notice.
    pub fn receive(
        &mut self,
        sealed: &[u8],
        keys: &SealingKey,
        now_ms: u64,
    ) -> Result<Received, OpenError> {
        match sealed.first().copied() {
            Some(FIRST) => self.on_first(sealed, keys, now_ms),
            Some(SECOND) => {
                let pending = self.handshake.as_mut().filter(|pending| pending.is_initiator());
                let handshake = &mut pending.ok_or(OpenError::Handshake)?.handshake;
                let (message, session) = handshake.on_second(keys, sealed, now_ms)?;
                self.install(session);
                Ok(Received::Answer { message, ready: true })
            }
            Some(THIRD) => {
                let pending = self.handshake.as_mut().filter(|pending| !pending.is_initiator());
                let handshake = &mut pending.ok_or(OpenError::Handshake)?.handshake;
                let session = handshake.on_third(keys, sealed, now_ms)?;
                self.install(session);
                Ok(Received::Ready)
            }
            Some(SEALED) => self.open(sealed, now_ms).map(Received::Content),
            _ => Err(OpenError::Malformed),
        }
    }

    fn on_first(
        &mut self,
        first: &[u8],
        keys: &SealingKey,
        now_ms: u64,
    ) -> Result<Received, OpenError> {
        let began_too = self.handshake.as_ref().is_some_and(|pending| pending.is_initiator());
        // When both begin at once, the handshake of the smaller key goes on.
        if began_too && self.is_shaking_hands(now_ms) && keys.machine() < self.peer {
            return Ok(Received::Ignored);
        }
        let answered = self.handshake.as_ref().and_then(|pending| pending.answered.as_ref());
        if let Some((_, message)) = answered.filter(|(answered, _)| answered == first) {
            return Ok(Received::Answer { message: message.clone(), ready: false });
        }
        let (handshake, message) = Handshake::answer(keys, self.peer, first)?;
        let answered = Some((first.to_vec(), message.clone()));
        self.handshake = Some(Pending { handshake, begun_ms: now_ms, answered });
        Ok(Received::Answer { message, ready: false })
    }

    fn install(&mut self, session: Session) {
        self.handshake = None;
        if let Some(before) = self.current.replace(session) {
            self.previous = Some(before);
        }
    }

    fn open(&mut self, sealed: &[u8], now_ms: u64) -> Result<Opened, OpenError> {
        let id = session_of(sealed).ok_or(OpenError::Malformed)?;
        let mut sessions = self.current.iter_mut().chain(&mut self.previous);
        let session = sessions.find(|session| session.id() == id).ok_or(OpenError::NoSession)?;
        session.open(sealed, now_ms)
    }

    /// The sessions as bytes to be kept: see [`Session::save`].
    #[must_use]
    pub fn save(&mut self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        for session in [&mut self.current, &mut self.previous] {
            let saved = session.as_mut().map(Session::save).unwrap_or_default();
            let length = u16::try_from(saved.len()).unwrap_or_default();
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&saved);
        }
        out
    }

    /// The channel with the sessions that were saved.
    ///
    /// # Errors
    /// When the bytes are not what [`Channel::save`] gave.
    pub fn load(peer: PublicKey, saved: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields::new(saved);
        let mut session = || -> Result<Option<Session>, FrameError> {
            let length = usize::from(u16::from_be_bytes(fields.array("length")?));
            let bytes = fields.bytes("session", length)?;
            (length > 0).then(|| Session::load(bytes)).transpose()
        };
        let (current, previous) = (session()?, session()?);
        fields.end()?;
        Ok(Channel { peer, current, previous, handshake: None })
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Pending({})",
            if self.is_initiator() { "initiator" } else { "responder" }
        )
    }
}
