//! Messages on their way: sent, and without a final answer yet. Client and relay count alike.

use std::collections::BTreeMap;

use super::frame::{MessageId, Welcome};
use crate::key::PublicKey;

/// The messages of one sender that wait for their final answer, bounded for each recipient.
///
/// A client asks [`Flight::has_room`] before it sends; a relay answers
/// [`Answer::Busy`](super::Answer::Busy) to what [`Flight::start`] refuses. `T` is what the side
/// wants to know when the answer comes.
#[derive(Debug)]
pub struct Flight<T> {
    window_bytes: u64,
    window_messages: u64,
    messages: BTreeMap<MessageId, Sent<T>>,
    loads: BTreeMap<PublicKey, Load>,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent<T> {
    /// The recipient.
    pub to: PublicKey,
    /// The length of its content.
    pub bytes: u64,
    /// The side's own.
    pub tag: T,
}

#[derive(Debug, Default)]
struct Load {
    bytes: u64,
    messages: u64,
}

/// Why a message cannot be on its way now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// The window for this recipient is full. Room comes with the next final answer.
    #[error("too much waits for an answer from this recipient")]
    WindowFull,
    /// Another message on its way has this id.
    #[error("a message with this id is already on its way")]
    SameId,
}

impl<T> Flight<T> {
    /// Nothing is on its way; at most this many bytes and messages will be for each recipient.
    #[must_use]
    pub fn new(window_bytes: u64, window_messages: u64) -> Self {
        Flight { window_bytes, window_messages, messages: BTreeMap::new(), loads: BTreeMap::new() }
    }

    /// As the relay's welcome says.
    #[must_use]
    pub fn of(welcome: &Welcome) -> Self {
        Flight::new(welcome.window_bytes, welcome.window_messages)
    }

    /// Whether a message of this length may be sent now. A message that is longer than the window
    /// may be sent when nothing else is on its way to that recipient.
    #[must_use]
    pub fn has_room(&self, to: &PublicKey, bytes: u64) -> bool {
        self.loads.get(to).is_none_or(|load| {
            load.messages < self.window_messages
                && load.bytes.saturating_add(bytes) <= self.window_bytes
        })
    }

    /// Counts a message that is being sent.
    ///
    /// # Errors
    /// When it may not be sent now. Nothing is counted.
    pub fn start(
        &mut self,
        id: MessageId,
        to: PublicKey,
        bytes: u64,
        tag: T,
    ) -> Result<(), NotStarted> {
        if self.messages.contains_key(&id) {
            return Err(NotStarted::SameId);
        }
        if !self.has_room(&to, bytes) {
            return Err(NotStarted::WindowFull);
        }
        let load = self.loads.entry(to).or_default();
        load.bytes += bytes;
        load.messages += 1;
        self.messages.insert(id, Sent { to, bytes, tag });
        Ok(())
    }

    /// The message with this id, when it is on its way.
    #[must_use]
    pub fn get(&self, id: &MessageId) -> Option<&Sent<T>> {
        self.messages.get(id)
    }

    /// Takes out a message that has its final answer. `None` when it is not on its way.
    pub fn settle(&mut self, id: &MessageId) -> Option<Sent<T>> {
        let sent = self.messages.remove(id)?;
        if let Some(load) = self.loads.get_mut(&sent.to) {
            load.bytes -= sent.bytes;
            load.messages -= 1;
            if load.messages == 0 {
                self.loads.remove(&sent.to);
            }
        }
        Some(sent)
    }

    /// Takes out everything, in the order of the ids: the connection has ended.
    pub fn take_all(&mut self) -> impl Iterator<Item = (MessageId, Sent<T>)> + use<T> {
        self.loads.clear();
        std::mem::take(&mut self.messages).into_iter()
    }

    /// How many messages are on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
