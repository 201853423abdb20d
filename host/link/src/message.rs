//! What goes through a link, as values of their own.

use rp_protocol::key::PublicKey;
use rp_protocol::relay::{
    Answer, Close, CloseCode, Content, Frame, Instance, MessageId, Presence, RoomDescription,
    Verdict,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// What a message carries: [`Content`] with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Sealed from host to host.
    Sealed(Vec<u8>),
    /// An envelope between machines in the clear: a JSON object.
    Envelope(String),
    /// What passes between a room and an app in the clear.
    App {
        /// The room it comes from.
        from_room: String,
        /// The room it goes to.
        to_room: String,
        /// The text that the old wire calls `ct`.
        text: String,
    },
}

impl Message {
    /// As it is written into a frame.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        match self {
            Message::Sealed(bytes) => Content::Sealed(bytes),
            Message::Envelope(text) => Content::Envelope(text),
            Message::App { from_room, to_room, text } => Content::App { from_room, to_room, text },
        }
    }

    fn of(content: &Content<'_>) -> Self {
        match *content {
            Content::Sealed(bytes) => Message::Sealed(bytes.to_vec()),
            Content::Envelope(text) => Message::Envelope(text.to_owned()),
            Content::App { from_room, to_room, text } => Message::App {
                from_room: from_room.to_owned(),
                to_room: to_room.to_owned(),
                text: text.to_owned(),
            },
        }
    }
}

/// What apps show of a room: [`RoomDescription`] with its texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// The agent's name.
    pub name: Option<String>,
    /// The folder it works in.
    pub cwd: Option<String>,
    /// The model it uses.
    pub model: Option<String>,
    /// How much the model thinks.
    pub thinking: Option<String>,
    /// Whether a turn is running.
    pub working: bool,
}

impl Room {
    pub(crate) fn description(&self) -> RoomDescription<'_> {
        RoomDescription {
            name: self.name.as_deref(),
            cwd: self.cwd.as_deref(),
            model: self.model.as_deref(),
            thinking: self.thinking.as_deref(),
            working: self.working,
        }
    }
}

/// How a watched machine is connected, as the relay said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// How it is connected.
    pub presence: Presence,
    /// Since when, in milliseconds since 1970 by the relay's clock; 0 when it does not know.
    pub since_ms: u64,
}

/// Another live host has this machine's key: a person must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloneSeen {
    /// Its instance.
    pub instance: Instance,
    /// When it logged in, in milliseconds since 1970 by the relay's clock; or, when it is a copy of
    /// this very process, when it was noticed, by this machine's.
    pub since_ms: u64,
}

/// A message for this machine, to be answered with [`Link::answer`](crate::Link::answer). While it
/// exists, its bytes count against what may wait.
#[derive(Debug)]
pub struct Delivery {
    /// The sender's id for it. On the old wire: drawn here.
    pub id: MessageId,
    /// The sender, as it proved to the relay.
    pub from: PublicKey,
    /// What it is.
    pub message: Message,
    /// Gives its bytes back when it is dropped.
    pub(crate) _space: OwnedSemaphorePermit,
}

/// The answers to a message that was sent: any number of [`Answer::Accepted`], then one final answer.
#[derive(Debug)]
pub struct Answers(pub(crate) mpsc::Receiver<Answer>);

impl Answers {
    /// The next answer. [`Answer::Lost`] when the connection ended before the final one; `None` after
    /// the final one.
    pub async fn next(&mut self) -> Option<Answer> {
        self.0.recv().await
    }

    /// The final answer.
    pub async fn last(mut self) -> Answer {
        while let Some(answer) = self.next().await {
            if answer.is_final() {
                return answer;
            }
        }
        Answer::Lost
    }
}

/// A frame of the relay's, taken out of the buffer it was read in.
#[derive(Debug)]
pub(crate) enum Incoming {
    Delivered {
        id: MessageId,
        from: PublicKey,
        message: Message,
    },
    Answer {
        id: MessageId,
        answer: Answer,
    },
    Presence(PublicKey, Peer),
    Clone(CloneSeen),
    Membership,
    Ping([u8; 8]),
    Pong,
    Drain {
        reconnect_after_ms: u64,
    },
    Close {
        code: CloseCode,
        retry_after_ms: u64,
        note: String,
    },
    /// A frame that a relay does not send to a client that is logged in.
    Misplaced,
}

impl Incoming {
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        match frame {
            Frame::Deliver { id, from, content } => {
                Incoming::Delivered { id: *id, from: *from, message: Message::of(content) }
            }
            Frame::Answer { id, answer } => Incoming::Answer { id: *id, answer: *answer },
            Frame::Presence { peer, presence, since_ms } => {
                Incoming::Presence(*peer, Peer { presence: *presence, since_ms: *since_ms })
            }
            Frame::Clone { instance, since_ms } => {
                Incoming::Clone(CloneSeen { instance: *instance, since_ms: *since_ms })
            }
            Frame::Membership => Incoming::Membership,
            Frame::Ping(bytes) => Incoming::Ping(*bytes),
            Frame::Pong(_) => Incoming::Pong,
            Frame::Drain { reconnect_after_ms } => {
                Incoming::Drain { reconnect_after_ms: *reconnect_after_ms }
            }
            Frame::Close(Close { code, retry_after_ms, note }) => Incoming::Close {
                code: *code,
                retry_after_ms: *retry_after_ms,
                note: (*note).to_owned(),
            },
            _ => Incoming::Misplaced,
        }
    }
}

/// What the host asks of the link.
#[derive(Debug)]
pub(crate) enum Command {
    Send {
        id: MessageId,
        to: PublicKey,
        message: Message,
        answers: mpsc::Sender<Answer>,
    },
    Answer {
        id: MessageId,
        from: PublicKey,
        verdict: Verdict,
    },
    Room {
        id: String,
        room: Room,
    },
    RoomClose {
        id: String,
    },
    Watch(Vec<PublicKey>),
    NetworkChanged,
    /// An earlier relay of the list can be reached again.
    GoBack,
    Start,
    Stop,
}
