//! The link: what the host holds, and the task that keeps a connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::relay::{CloseCode, Instance, MessageId, Verdict};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::address::RelayUrl;
use crate::backoff::{Backoff, random};
use crate::connect::{Winners, connect};
use crate::message::{Answers, CloneSeen, Command, Delivery, Message, Peer, Room};
use crate::trust::Trust;
use crate::wire::{Connected, Wire, WireError};
use crate::{legacy, network, session};

/// How many commands may wait. Whoever gives one more waits.
const MAX_COMMANDS: usize = 256;
/// How many messages for this machine may wait for the host. What comes then is answered as busy.
const MAX_DELIVERIES: usize = 256;
/// How many bytes of them, in KiB.
const MAX_DELIVERED_KIB: usize = 32 * 1024;
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// How long a login may take.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);

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
        let host = Host {
            deliveries,
            space: Arc::new(Semaphore::new(MAX_DELIVERED_KIB)),
            peers: peers_sender,
            clone_seen: clone_sender,
            publications: publications_sender,
        };
        let mut instance = [0; 16];
        // Without randomness the instance is the same as other hosts', so no clone would be told.
        let _ = getrandom::fill(&mut instance);
        let runner = Runner {
            config,
            instance: Instance(instance),
            commands: commands_receiver,
            wanted: Wanted { running, ..Wanted::default() },
            host: Arc::new(host),
            state: state_sender,
            winners: Winners::default(),
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
            Command::Send { .. } | Command::Answer { .. } | Command::NetworkChanged => {}
        }
    }
}

/// Where what the relay says goes to.
pub(crate) struct Host {
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

struct Runner {
    config: Config,
    instance: Instance,
    commands: mpsc::Receiver<Command>,
    wanted: Wanted,
    host: Arc<Host>,
    state: watch::Sender<State>,
    winners: Winners,
}

/// Why something that the runner waited for was broken off.
enum Interrupted {
    /// The last handle was dropped.
    Dropped,
    /// The host wants to begin anew: stopped, or on another network.
    Again,
}

impl Runner {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Instant::now());
        loop {
            if !self.wanted.running {
                self.state.send_replace(State::Stopped);
                let Some(command) = self.commands.recv().await else { return };
                self.wanted.note(&command);
                backoff = Backoff::new(Instant::now());
                continue;
            }
            let begun = Instant::now();
            let end = match self.try_relays().await {
                Ok(end) => end,
                Err(Interrupted::Dropped) => return,
                Err(Interrupted::Again) => continue,
            };
            self.host.peers.send_modify(BTreeMap::clear);
            let was_in = matches!(&*self.state.borrow(), State::Connected { .. });
            if was_in && begun.elapsed() >= GOOD {
                backoff = Backoff::new(Instant::now());
            }
            let (error, retry_after) = match end {
                End::Failed { error, retry_after } => (error, retry_after),
                // A relay that says so at once would have this host connect in a circle.
                End::Drained if begun.elapsed() < GOOD => {
                    (WireError::Closed(CloseCode::GoingAway), Duration::ZERO)
                }
                End::Drained | End::Wanted => continue,
            };
            let retry_in = backoff.next(random(), Instant::now()).max(retry_after);
            tracing::info!(%error, ?retry_in, "no connection to a relay");
            self.state.send_replace(State::Waiting { reason: error.to_string(), retry_in });
            if let Err(Interrupted::Dropped) = self.meanwhile(tokio::time::sleep(retry_in)).await {
                return;
            }
        }
    }

    /// Connects to the first relay that lets this host in, and stays with it until the end.
    async fn try_relays(&mut self) -> Result<End, Interrupted> {
        let mut end = End::from(WireError::Failed("no relay is set".to_owned()));
        for relay in self.config.relays.clone() {
            let url = relay.url.as_str().to_owned();
            self.state.send_replace(State::Connecting { relay: url.clone() });
            let mut winners = std::mem::take(&mut self.winners);
            let connecting = connect(&relay.url, relay.trust, self.config.wires, &mut winners);
            let connected = self.meanwhile(connecting).await;
            self.winners = winners;
            end = match connected? {
                Ok(connected) => match self.session(&relay, connected).await? {
                    End::Failed { error, retry_after } => End::Failed { error, retry_after },
                    other => return Ok(other),
                },
                Err(error) => error.into(),
            };
            // A relay that let this host in is the first one to be tried again.
            let was_in = matches!(&*self.state.borrow(), State::Connected { .. });
            if was_in {
                break;
            }
        }
        Ok(end)
    }

    async fn session(&mut self, to: &Relay, connected: Connected) -> Result<End, Interrupted> {
        let relay = to.url.as_str().to_owned();
        match connected {
            Connected::Modern(mut wire, mut sender) => {
                let transport = Transport::of(&wire);
                let Config { key, software, .. } = self.config.clone();
                let login = wire.log_in(&mut sender, &key, self.instance, &to.url, &software);
                let login = tokio::time::timeout(LOGIN_DEADLINE, login);
                let welcome = match self.meanwhile(login).await? {
                    Ok(Ok(welcome)) => welcome,
                    Ok(Err(error)) => return Ok(error.into()),
                    Err(_) => {
                        return Ok(WireError::Failed("the login takes too long".into()).into());
                    }
                };
                self.state.send_replace(State::Connected { relay, transport });
                let (commands, wanted) = (&mut self.commands, &mut self.wanted);
                Ok(session::run(wire, sender, welcome, commands, wanted, &self.host).await)
            }
            Connected::Legacy(mut socket) => {
                let room = legacy::room_of(&self.wanted);
                let key = self.config.key.clone();
                let login = tokio::time::timeout(LOGIN_DEADLINE, socket.log_in(&key, &room));
                match self.meanwhile(login).await? {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Ok(error.into()),
                    Err(_) => {
                        return Ok(WireError::Failed("the login takes too long".into()).into());
                    }
                }
                self.state.send_replace(State::Connected { relay, transport: Transport::Legacy });
                let (commands, wanted) = (&mut self.commands, &mut self.wanted);
                let (url, host) = (to.url.clone(), self.host.clone());
                let origin = legacy::Origin { relay: url, trust: to.trust, key, host };
                Ok(legacy::run(socket, room, commands, wanted, origin).await)
            }
        }
    }

    /// Waits for something without a connection, and takes commands meanwhile.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Ok(done),
                command = self.commands.recv() => {
                    let command = command.ok_or(Interrupted::Dropped)?;
                    self.wanted.note(&command);
                    if matches!(command, Command::Stop | Command::NetworkChanged) {
                        return Err(Interrupted::Again);
                    }
                }
            }
        }
    }
}
