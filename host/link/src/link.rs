//! The link: what the host holds, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::relay::{CloseCode, Instance, MessageId, Verdict};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::address::RelayUrl;
use crate::connect::Winners;
use crate::message::{Answers, CloneSeen, Command, Delivery, Message, Peer, Room};
use crate::network;
use crate::runner::Runner;
use crate::trust::Trust;
use crate::wire::{Wire, WireError};

/// How many commands may wait. Whoever gives one more waits.
const MAX_COMMANDS: usize = 256;
/// How many messages for this machine may wait for the host. What comes then is answered as busy.
const MAX_DELIVERIES: usize = 256;
/// How many bytes of them, in KiB.
const MAX_DELIVERED_KIB: usize = 32 * 1024;

/// What a link needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The relays, tried in this order each time.
    pub relays: Vec<Relay>,
    /// The machine key.
    pub key: SecretKey,
    /// Name and version of the program, for the relays' operators.
    pub software: String,
    /// What it speaks.
    pub wires: Wires,
}

/// What a link speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wires {
    /// This protocol, and the old wire with a relay that knows nothing else.
    All,
    /// The old wire, on which strangers can say something to each other's rooms.
    Old,
}

/// A relay and how it is known.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where it is.
    pub url: RelayUrl,
    /// Which certificates are accepted from it.
    pub trust: Trust,
}

/// What a connection runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// This protocol over QUIC.
    Quic,
    /// This protocol over a WebSocket.
    WebSocket,
    /// The old wire: nothing sealed reaches anybody.
    Legacy,
}

impl Transport {
    pub(crate) fn of(wire: &Wire) -> Self {
        match wire {
            Wire::Quic(_) => Transport::Quic,
            Wire::WebSocket(_) => Transport::WebSocket,
        }
    }
}

/// How the link is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not at all, as the host wants it.
    Stopped,
    /// It is being connected.
    Connecting {
        /// The relay's URL as it was given.
        relay: String,
    },
    /// It is connected and logged in.
    Connected {
        /// The relay's URL as it was given.
        relay: String,
        /// What on.
        transport: Transport,
    },
    /// No relay could be reached, or the connection ended; the next attempt comes by itself.
    Waiting {
        /// Why, for a person.
        reason: String,
        /// How long until the next attempt, from when this was said.
        retry_in: Duration,
    },
}

/// The link's task has ended, because the runtime ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link to the relay has ended")]
pub struct Ended;

/// A connection to a relay that comes back by itself. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    peers: watch::Receiver<BTreeMap<PublicKey, Peer>>,
    clone_seen: watch::Receiver<Option<CloneSeen>>,
    publications: watch::Receiver<u64>,
}

impl Link {
    /// Starts connecting. Messages for this machine come out of the receiver.
    ///
    /// Must be called on a tokio runtime.
    #[must_use]
    pub fn start(config: Config) -> (Link, mpsc::Receiver<Delivery>) {
        Link::new(config, true)
    }

    /// As [`Link::start`], but connects only at [`Link::connect`].
    #[must_use]
    pub fn start_stopped(config: Config) -> (Link, mpsc::Receiver<Delivery>) {
        Link::new(config, false)
    }

    fn new(config: Config, running: bool) -> (Link, mpsc::Receiver<Delivery>) {
        let (commands, commands_receiver) = mpsc::channel(MAX_COMMANDS);
        let (deliveries, deliveries_receiver) = mpsc::channel(MAX_DELIVERIES);
        let (state_sender, state) = watch::channel(State::Stopped);
        let (peers_sender, peers) = watch::channel(BTreeMap::new());
        let (clone_sender, clone_seen) = watch::channel(None);
        let (publications_sender, publications) = watch::channel(0);
        let mut instance = [0; 16];
        // Without randomness the instance is the same as other hosts', so no clone would be told.
        let _ = getrandom::fill(&mut instance);
        let host = Host {
            instance: Instance(instance),
            deliveries,
            space: Arc::new(Semaphore::new(MAX_DELIVERED_KIB)),
            peers: peers_sender,
            clone_seen: clone_sender,
            publications: publications_sender,
        };
        let runner = Runner {
            config,
            commands: commands_receiver,
            wanted: Wanted { running, ..Wanted::default() },
            host: Arc::new(host),
            state: state_sender,
            winners: Winners::default(),
            link: commands.downgrade(),
            back_in_vain: 0,
        };
        let network = tokio::spawn(network::watch(commands.downgrade()));
        tokio::spawn(async move {
            runner.run().await;
            network.abort();
        });
        (Link { commands, state, peers, clone_seen, publications }, deliveries_receiver)
    }

    /// How the link is connected, and every change of it.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The watched machines the relay has told about, and every change. Nobody while there is no
    /// connection.
    #[must_use]
    pub fn peers(&self) -> watch::Receiver<BTreeMap<PublicKey, Peer>> {
        self.peers.clone()
    }

    /// The other live host with this machine's key that was seen last.
    #[must_use]
    pub fn clone_seen(&self) -> watch::Receiver<Option<CloneSeen>> {
        self.clone_seen.clone()
    }

    /// How often a relay said that a membership which lists this machine, or did, has changed.
    #[must_use]
    pub fn publications(&self) -> watch::Receiver<u64> {
        self.publications.clone()
    }

    /// Sends a message. Without a connection, and when it ends before the final answer, that is
    /// [`Answer::Lost`](rp_protocol::relay::Answer::Lost); when too much waits for this recipient's
    /// answers it is [`Answer::Busy`](rp_protocol::relay::Answer::Busy).
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn send(
        &self,
        id: MessageId,
        to: PublicKey,
        message: Message,
    ) -> Result<Answers, Ended> {
        let (answers, receiver) = mpsc::channel(2);
        self.command(Command::Send { id, to, message, answers }).await?;
        Ok(Answers(receiver))
    }

    /// Answers a message that was delivered. One that came on an earlier connection is not answered.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn answer(
        &self,
        id: MessageId,
        from: PublicKey,
        verdict: Verdict,
    ) -> Result<(), Ended> {
        self.command(Command::Answer { id, from, verdict }).await
    }

    /// Opens a room, or describes it anew, until it is closed.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn open_room(&self, id: &str, room: Room) -> Result<(), Ended> {
        self.command(Command::Room { id: id.to_owned(), room }).await
    }

    /// Closes a room.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn close_room(&self, id: &str) -> Result<(), Ended> {
        self.command(Command::RoomClose { id: id.to_owned() }).await
    }

    /// From now on watches these machines, and no others.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn watch(&self, peers: Vec<PublicKey>) -> Result<(), Ended> {
        self.command(Command::Watch(peers)).await
    }

    /// The machine's network has changed or it has woken up: a connection is checked at once, and a
    /// wait for the next attempt is over. On Linux the link notices by itself.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn network_changed(&self) -> Result<(), Ended> {
        self.command(Command::NetworkChanged).await
    }

    /// Connects again after [`Link::disconnect`].
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn connect(&self) -> Result<(), Ended> {
        self.command(Command::Start).await
    }

    /// Ends the connection, and makes no other until [`Link::connect`].
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn disconnect(&self) -> Result<(), Ended> {
        self.command(Command::Stop).await
    }

    async fn command(&self, command: Command) -> Result<(), Ended> {
        self.commands.send(command).await.map_err(|_| Ended)
    }
}

/// What the host wants a relay to know, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) running: bool,
    pub(crate) rooms: BTreeMap<String, Room>,
    pub(crate) watches: Vec<PublicKey>,
}

impl Wanted {
    /// Notes what a command changes for later connections.
    pub(crate) fn note(&mut self, command: &Command) {
        match command {
            Command::Room { id, room } => {
                self.rooms.insert(id.clone(), room.clone());
            }
            Command::RoomClose { id } => {
                self.rooms.remove(id);
            }
            Command::Watch(peers) => self.watches.clone_from(peers),
            Command::Start => self.running = true,
            Command::Stop => self.running = false,
            Command::Send { .. }
            | Command::Answer { .. }
            | Command::NetworkChanged
            | Command::GoBack => {}
        }
    }
}

/// Where what the relay says goes to.
pub(crate) struct Host {
    /// Of this machine's key: this process.
    pub(crate) instance: Instance,
    deliveries: mpsc::Sender<Delivery>,
    space: Arc<Semaphore>,
    pub(crate) peers: watch::Sender<BTreeMap<PublicKey, Peer>>,
    pub(crate) clone_seen: watch::Sender<Option<CloneSeen>>,
    pub(crate) publications: watch::Sender<u64>,
}

impl Host {
    /// Hands a message to the host. Whether there was room for it.
    pub(crate) fn deliver(&self, id: MessageId, from: PublicKey, message: Message) -> bool {
        let kib = u32::try_from(message.content().len() / 1024 + 1).unwrap_or(u32::MAX);
        let Ok(space) = Arc::clone(&self.space).try_acquire_many_owned(kib) else { return false };
        let delivery = Delivery { id, from, message, _space: space };
        self.deliveries.try_send(delivery).is_ok()
    }
}

/// How a session ended.
pub(crate) enum End {
    /// The host wants it so, or is gone.
    Wanted,
    /// The relay will end soon and has asked this host to connect again now.
    Drained,
    /// An earlier relay of the list is to be tried.
    Back,
    /// For another reason.
    Failed {
        error: WireError,
        /// How long the relay asks to wait at least.
        retry_after: Duration,
    },
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        let retry_after = match &error {
            WireError::Login(rp_protocol::relay::login::LoginError::Closed {
                retry_after_ms,
                ..
            }) => Duration::from_millis(*retry_after_ms),
            // Another process of this machine has taken over: taking it back at once would go on so.
            WireError::Closed(CloseCode::Replaced) => Duration::from_secs(30),
            _ => Duration::ZERO,
        };
        End::Failed { error, retry_after }
    }
}
