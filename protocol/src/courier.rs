//! Brings messages from one host to another: each that was taken arrives once, whatever crashes or is
//! lost between.
//!
//! A [`Courier`] is one host's side towards one other host. Messages it takes are numbered and kept on
//! disk ([`Change::Taken`]) until the other host confirms under seal that they are on its disk. The
//! other host takes a number once, however often it comes. What the relay says about delivery only
//! decides when to send again; it removes nothing.
//!
//! # Contents
//! What a courier seals begins with one byte:
//!
//! | byte | what | then |
//! |---|---|---|
//! | 1 | a message | outbox (16), number (8), oldest number that is not confirmed (8), body (the rest) |
//! | 2 | a confirmation | flag: messages seem lost, outbox (16), newest number received (8), numbers (8 each, at most [`MAX_CONFIRMED`]) |
//!
//! Numbers are big-endian and begin at 1. The outbox is a random id, drawn when a host begins a new
//! one for this other host: with it numbers begin again, and the recipient forgets those of the old one.
//! Of the numbers it has received a recipient remembers only those from the oldest on.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::PublicKey;
use crate::relay::fields::Fields;
use crate::relay::{Answer, FrameError, Refusal};
use crate::seal::{
    Channel, MAX_CONTENT_BYTES, OpenError, Received as Unsealed, SealError, SealingKey, SessionId,
};

/// Most messages that wait for their confirmation.
pub const MAX_MESSAGES: usize = 4096;
/// Most bytes of their bodies.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The longest body, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_CONTENT_BYTES - 33;
/// Most numbers in one confirmation.
pub const MAX_CONFIRMED: usize = 1024;
/// Most messages that are sent without waiting for a confirmation.
pub const WINDOW: usize = 64;
/// Most bytes of their bodies, unless the first alone has more. It is well below what relays let be on
/// its way to one host, so that what exceeds that is not refused and sent again only later.
pub const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// After how long without a confirmation a message is sent again, in milliseconds.
pub const SEND_AGAIN_MS: u64 = 5_000;

/// Of how many outboxes of another host a host knows what it has received.
pub const MAX_OUTBOXES: usize = 4;

const MESSAGE: u8 = 1;
const CONFIRMATION: u8 = 2;

/// The id of an outbox.
pub type OutboxId = [u8; 16];

/// What has to be on disk. All changes that come before an [`Effect::Send`] are on disk before that
/// is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A message was taken. Once this is on disk, whoever gave it may be told so.
    Taken {
        /// Its number.
        number: u64,
        /// What it is.
        body: Vec<u8>,
    },
    /// Messages are confirmed and need not be kept.
    Confirmed(Vec<u64>),
    /// A message of the other host. What is done with it and this are one transaction.
    Received {
        /// The other host's outbox.
        outbox: OutboxId,
        /// Its number.
        number: u64,
        /// Numbers below this one need not be remembered any more.
        oldest: u64,
        /// What it is.
        body: Vec<u8>,
    },
    /// The sealed channel, for [`Courier::load`]. To be kept like a key.
    Channel(Vec<u8>),
}

/// What a courier wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put this on disk.
    Keep(Change),
    /// Send this to the other host as [`Content::Sealed`](crate::relay::Content::Sealed), and give the
    /// relay's final answer to [`Courier::on_answer`].
    Send(Vec<u8>),
}

/// What is on disk of a courier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The id of this host's outbox.
    pub outbox: OutboxId,
    /// The largest number given so far, 0 for none.
    pub last_number: u64,
    /// The messages that are taken and not confirmed.
    pub taken: BTreeMap<u64, Vec<u8>>,
    /// The other host's outboxes that were received from last, the newest first.
    pub received: Received,
    /// The sealed channel, when one was kept.
    pub channel: Option<Vec<u8>>,
}

/// The numbers of an outbox that were received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The outbox.
    pub outbox: OutboxId,
    /// Everything below was received.
    pub oldest: u64,
    /// What was received from there on.
    pub numbers: BTreeSet<u64>,
}

/// What was received from another host: at most [`MAX_OUTBOXES`] of its outboxes, so that what comes
/// late from an outbox that was given up does not make it forget the one in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received(pub Vec<Seen>);

/// There is no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Too many messages, or bytes of them, wait for the other host.
    #[error("too many messages wait for that machine")]
    Full,
    /// The message is longer than [`MAX_BODY_BYTES`].
    #[error("a message to another machine has at most {MAX_BODY_BYTES} bytes")]
    TooLong,
}

/// One host's side towards one other host. See the [module](self).
#[derive(Debug)]
pub struct Courier {
    channel: Channel,
    outbox: OutboxId,
    last_number: u64,
    taken: BTreeMap<u64, Taken>,
    bytes: usize,
    received: Received,
    /// The messages to be confirmed, and whether others seem lost.
    to_confirm: BTreeSet<(OutboxId, u64)>,
    lost: bool,
    is_online: bool,
    effects: Vec<Effect>,
}

#[derive(Debug)]
struct Taken {
    body: Vec<u8>,
    sent_ms: Option<u64>,
}

impl Kept {
    /// Applies a change, as whoever keeps it on disk does.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Taken { number, body } => {
                self.last_number = self.last_number.max(*number);
                self.taken.insert(*number, body.clone());
            }
            Change::Confirmed(numbers) => {
                numbers.iter().for_each(|number| drop(self.taken.remove(number)));
            }
            Change::Received { outbox, number, oldest, .. } => {
                self.received.note(*outbox, *number, *oldest);
            }
            Change::Channel(channel) => self.channel = Some(channel.clone()),
        }
    }
}

impl Received {
    fn of(&self, outbox: OutboxId) -> Option<&Seen> {
        self.0.iter().find(|seen| seen.outbox == outbox)
    }

    /// Whether a message with this number was received.
    fn has(&self, outbox: OutboxId, number: u64) -> bool {
        self.of(outbox).is_some_and(|seen| number < seen.oldest || seen.numbers.contains(&number))
    }

    fn note(&mut self, outbox: OutboxId, number: u64, oldest: u64) {
        let place = self.0.iter().position(|seen| seen.outbox == outbox);
        let mut seen = match place {
            Some(place) => self.0.remove(place),
            None => Seen { outbox, ..Seen::default() },
        };
        seen.oldest = seen.oldest.max(oldest);
        seen.numbers.insert(number);
        seen.numbers = seen.numbers.split_off(&seen.oldest);
        self.0.insert(0, seen);
        self.0.truncate(MAX_OUTBOXES);
    }
}

impl Courier {
    /// A courier as it was kept; with a [`Kept`] of which only `outbox` is set, a new one.
    ///
    /// # Errors
    /// When the kept channel cannot be read. Without it (`None`) the hosts shake hands anew.
    pub fn load(peer: PublicKey, kept: Kept) -> Result<Self, FrameError> {
        let channel = match &kept.channel {
            Some(saved) => Channel::load(peer, saved)?,
            None => Channel::new(peer),
        };
        let bytes = kept.taken.values().map(Vec::len).sum();
        let taken = kept.taken.into_iter();
        Ok(Courier {
            channel,
            outbox: kept.outbox,
            last_number: kept.last_number,
            taken: taken.map(|(number, body)| (number, Taken { body, sent_ms: None })).collect(),
            bytes,
            received: kept.received,
            to_confirm: BTreeSet::new(),
            lost: false,
            is_online: false,
            effects: Vec::new(),
        })
    }

    /// Takes a message, and gives its number.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn take(&mut self, body: Vec<u8>) -> Result<u64, NotTaken> {
        if body.len() > MAX_BODY_BYTES {
            return Err(NotTaken::TooLong);
        }
        if self.taken.len() >= MAX_MESSAGES || self.bytes + body.len() > MAX_BYTES {
            return Err(NotTaken::Full);
        }
        self.last_number += 1;
        let number = self.last_number;
        self.bytes += body.len();
        self.effects.push(Effect::Keep(Change::Taken { number, body: body.clone() }));
        self.taken.insert(number, Taken { body, sent_ms: None });
        Ok(number)
    }

    /// Takes a message back, because its time is over or its sender wants it so. The other host may
    /// have it already. Whether it still waited.
    pub fn withdraw(&mut self, number: u64) -> bool {
        let waited = self.forget(number);
        if waited {
            self.effects.push(Effect::Keep(Change::Confirmed(vec![number])));
        }
        waited
    }

    /// How many messages are not confirmed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.taken.len()
    }

    /// The relay says that the other host is connected, or this host is connected anew.
    pub fn on_online(&mut self) {
        self.is_online = true;
        self.taken.values_mut().for_each(|taken| taken.sent_ms = None);
    }

    /// The other host is not connected, or this host is not.
    pub fn on_offline(&mut self) {
        self.is_online = false;
        self.channel.give_up_handshake();
    }

    /// The relay's final answer to something that was sent, sealed in this session
    /// ([`session_of`](crate::seal::session_of)). After one that sending again does not change, nothing
    /// is sent before [`Courier::on_online`].
    pub fn on_answer(&mut self, session: Option<SessionId>, answer: Answer) {
        match (answer, session) {
            (Answer::Refused(Refusal::NoSession), Some(session)) => {
                self.channel.forget(session);
            }
            // Nothing of that changes by sending again.
            (
                Answer::Offline { .. }
                | Answer::Refused(
                    Refusal::NotAuthorised
                    | Refusal::LegacyOnly
                    | Refusal::Unwanted
                    | Refusal::ClearRefused
                    | Refusal::TooLarge,
                ),
                session,
            ) => {
                self.is_online = false;
                // What has no session is a step of a handshake.
                if session.is_none() {
                    self.channel.give_up_handshake();
                }
            }
            // What became of the message, its confirmation or the time decides.
            _ => {}
        }
    }

    /// Takes something sealed that the relay delivered from the other host.
    ///
    /// # Errors
    /// [`OpenError`], to be told to the relay; nothing has changed then.
    pub fn on_sealed(
        &mut self,
        sealed: &[u8],
        keys: &SealingKey,
        now_ms: u64,
    ) -> Result<(), OpenError> {
        match self.channel.receive(sealed, keys, now_ms)? {
            Unsealed::Ignored => {}
            Unsealed::Ready => self.on_session(),
            Unsealed::Answer { message, ready } => {
                if ready {
                    self.on_session();
                }
                self.effects.push(Effect::Send(message));
            }
            Unsealed::Content(opened) => {
                self.lost |= opened.skipped > 0;
                self.on_content(&opened.content).map_err(|_| OpenError::Malformed)?;
            }
        }
        // Whoever reaches this host is reached by it.
        self.is_online = true;
        Ok(())
    }

    /// There is a new session: what was sealed in an older one may not be opened any more.
    fn on_session(&mut self) {
        self.keep_channel();
        self.taken.values_mut().for_each(|taken| taken.sent_ms = None);
    }

    fn on_content(&mut self, content: &[u8]) -> Result<(), FrameError> {
        let mut fields = Fields::new(content);
        match fields.array("kind")? {
            [MESSAGE] => {
                let outbox = fields.array("outbox")?;
                let number = u64::from_be_bytes(fields.array("number")?);
                let oldest = u64::from_be_bytes(fields.array("number")?);
                self.on_message(outbox, number, oldest, fields.rest());
                Ok(())
            }
            [CONFIRMATION] => {
                let lost = fields.flag("flag")?;
                let outbox: OutboxId = fields.array("outbox")?;
                let newest = u64::from_be_bytes(fields.array("number")?);
                let mut numbers = Vec::new();
                while !fields.is_empty() && numbers.len() < MAX_CONFIRMED {
                    numbers.push(u64::from_be_bytes(fields.array("number")?));
                }
                fields.end()?;
                if outbox == self.outbox {
                    self.on_confirmation(lost, newest, numbers);
                }
                Ok(())
            }
            _ => Err(FrameError::Malformed("kind")),
        }
    }

    fn on_message(&mut self, outbox: OutboxId, number: u64, oldest: u64, body: &[u8]) {
        let known = self.received.of(outbox).map_or(0, |seen| seen.oldest);
        let span = number.saturating_sub(oldest.max(known));
        if number < oldest || span > 2 * MAX_MESSAGES as u64 {
            return;
        }
        if !self.received.has(outbox, number) {
            self.received.note(outbox, number, oldest);
            let body = body.to_vec();
            self.keep_channel();
            let received = Change::Received { outbox, number, oldest, body };
            self.effects.push(Effect::Keep(received));
        }
        self.to_confirm.insert((outbox, number));
    }

    fn on_confirmation(&mut self, lost: bool, newest: u64, numbers: Vec<u64>) {
        let numbers: Vec<u64> = numbers.into_iter().filter(|number| self.forget(*number)).collect();
        if !numbers.is_empty() {
            self.effects.push(Effect::Keep(Change::Confirmed(numbers)));
        }
        if lost {
            self.taken.range_mut(..newest).for_each(|(_, taken)| taken.sent_ms = None);
        }
    }

    fn forget(&mut self, number: u64) -> bool {
        let taken = self.taken.remove(&number);
        self.bytes -= taken.as_ref().map_or(0, |taken| taken.body.len());
        taken.is_some()
    }

    fn keep_channel(&mut self) {
        let saved = self.channel.save().to_vec();
        self.effects.push(Effect::Keep(Change::Channel(saved)));
    }

    /// What is to be done now. Call it after anything above, and at [`Courier::wakes_ms`].
    pub fn effects(&mut self, keys: &SealingKey, now_ms: u64) -> Vec<Effect> {
        if self.is_online {
            self.send_what_is_due(keys, now_ms);
        }
        std::mem::take(&mut self.effects)
    }

    /// When to call [`Courier::effects`] at the latest, although nothing happens: in milliseconds
    /// since 1970. `None` while there is nothing to wait for.
    #[must_use]
    pub fn wakes_ms(&self) -> Option<u64> {
        let wakes_ms = if self.channel.current().is_some() {
            let sent = self.window().filter_map(|(_, taken)| taken.sent_ms).min();
            sent.map(|sent| sent.saturating_add(SEND_AGAIN_MS))
        } else {
            // Without a session nothing can be sent again, only a handshake begun.
            self.channel.handshake_ends_ms().filter(|_| self.has_work())
        };
        wakes_ms.filter(|_| self.is_online)
    }

    fn has_work(&self) -> bool {
        !(self.taken.is_empty() && self.to_confirm.is_empty())
    }

    fn send_what_is_due(&mut self, keys: &SealingKey, now_ms: u64) {
        if self.has_work() && self.channel.wants_handshake(now_ms) {
            // Without randomness there is no handshake; the next call tries again.
            let message = self.channel.begin(keys, now_ms);
            self.effects.extend(message.map(Effect::Send));
        }
        if !self.send_confirmations(now_ms) {
            return;
        }
        let oldest = self.taken.keys().next().copied().unwrap_or(self.last_number + 1);
        let is_due = |taken: &Taken| {
            taken
                .sent_ms
                .is_none_or(|sent| now_ms >= sent.saturating_add(SEND_AGAIN_MS) || now_ms < sent)
        };
        let due = self.window().filter(|(_, taken)| is_due(taken));
        let due: Vec<u64> = due.map(|(number, _)| number).collect();
        for number in due {
            let Some(taken) = self.taken.get(&number) else { continue };
            let mut content = vec![MESSAGE];
            content.extend_from_slice(&self.outbox);
            content.extend_from_slice(&number.to_be_bytes());
            content.extend_from_slice(&oldest.to_be_bytes());
            content.extend_from_slice(&taken.body);
            if !self.seal(&content, now_ms) {
                return;
            }
            if let Some(taken) = self.taken.get_mut(&number) {
                taken.sent_ms = Some(now_ms);
            }
        }
    }

    /// The first messages, as many as may be sent without waiting for a confirmation.
    fn window(&self) -> impl Iterator<Item = (u64, &Taken)> {
        let mut room = WINDOW_BYTES;
        let first = self.taken.iter().take(WINDOW).enumerate();
        first.map_while(move |(place, (number, taken))| {
            let left = room.checked_sub(taken.body.len());
            room = left.unwrap_or(0);
            (place == 0 || left.is_some()).then_some((*number, taken))
        })
    }

    /// Whether there was a session for all of them.
    fn send_confirmations(&mut self, now_ms: u64) -> bool {
        while let Some(&(outbox, _)) = self.to_confirm.first() {
            let of_outbox = self.to_confirm.range((outbox, 0)..=(outbox, u64::MAX));
            let numbers: Vec<u64> =
                of_outbox.take(MAX_CONFIRMED).map(|(_, number)| *number).collect();
            let newest = self.received.of(outbox).and_then(|seen| seen.numbers.last().copied());
            let mut content = vec![CONFIRMATION, u8::from(self.lost)];
            content.extend_from_slice(&outbox);
            content.extend_from_slice(&newest.unwrap_or(0).to_be_bytes());
            numbers.iter().for_each(|number| content.extend_from_slice(&number.to_be_bytes()));
            if !self.seal(&content, now_ms) {
                return false;
            }
            for number in numbers {
                self.to_confirm.remove(&(outbox, number));
            }
            self.lost = false;
        }
        true
    }

    /// Seals and sends a content. Whether there was a session for it.
    fn seal(&mut self, content: &[u8], now_ms: u64) -> bool {
        let mut sealed = self.channel.seal(content, now_ms);
        if sealed == Err(SealError::SaveFirst) {
            self.keep_channel();
            sealed = self.channel.seal(content, now_ms);
        }
        sealed.map(|sealed| self.effects.push(Effect::Send(sealed))).is_ok()
    }
}
