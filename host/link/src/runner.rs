//! Keeping a connection: which relay, when again, and until when.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::relay::CloseCode;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::backoff::{Backoff, random};
use crate::connect::{Winners, connect};
use crate::earlier::Lookout;
use crate::link::{Config, End, Host, Relay, State, Transport, Wanted};
use crate::message::Command;
use crate::wire::{Connected, WireError};
use crate::{legacy, session};

/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// The longest time for which a relay can keep this host away.
const LONGEST_ASKED: Duration = Duration::from_secs(60);
/// How long a login may take.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);

/// The task of a link.
pub(crate) struct Runner {
    pub(crate) config: Config,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) wanted: Wanted,
    pub(crate) host: Arc<Host>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) winners: Winners,
    /// The link itself, for what watches over it.
    pub(crate) link: mpsc::WeakSender<Command>,
    /// How often it went back to an earlier relay and was not let in there.
    pub(crate) back_in_vain: u32,
}

/// Why something that the runner waited for was broken off.
enum Interrupted {
    /// The last handle was dropped.
    Dropped,
    /// The host wants to begin anew: stopped, or on another network.
    Again,
}

impl Runner {
    /// Keeps a connection until the last handle is dropped.
    pub(crate) async fn run(mut self) {
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
                End::Back => {
                    self.back_in_vain += 1;
                    continue;
                }
                End::Drained | End::Wanted => continue,
            };
            let retry_in = backoff.next(random(), Instant::now());
            let retry_in = retry_in.max(retry_after.min(LONGEST_ASKED));
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
        let relays = self.config.relays.clone();
        for (place, relay) in relays.iter().enumerate() {
            let url = relay.url.as_str().to_owned();
            self.state.send_replace(State::Connecting { relay: url.clone() });
            let mut winners = std::mem::take(&mut self.winners);
            let connecting = connect(&relay.url, relay.trust, self.config.wires, &mut winners);
            let connected = self.meanwhile(connecting).await;
            self.winners = winners;
            end = match connected? {
                Ok(connected) => match self.session(relay, place, connected).await? {
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

    async fn session(
        &mut self,
        to: &Relay,
        place: usize,
        connected: Connected,
    ) -> Result<End, Interrupted> {
        let relay = to.url.as_str().to_owned();
        match connected {
            Connected::Modern(mut wire, mut sender) => {
                let transport = Transport::of(&wire);
                let Config { key, software, .. } = self.config.clone();
                let login = wire.log_in(&mut sender, &key, self.host.instance, &to.url, &software);
                let login = tokio::time::timeout(LOGIN_DEADLINE, login);
                let welcome = match self.meanwhile(login).await? {
                    Ok(Ok(welcome)) => welcome,
                    Ok(Err(error)) => return Ok(error.into()),
                    Err(_) => {
                        return Ok(WireError::Failed("the login takes too long".into()).into());
                    }
                };
                self.state.send_replace(State::Connected { relay, transport });
                let _lookout = self.look_out(place);
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
                let _lookout = self.look_out(place);
                let (commands, wanted) = (&mut self.commands, &mut self.wanted);
                let (url, host) = (to.url.clone(), self.host.clone());
                let origin = legacy::Origin { relay: url, trust: to.trust, key, host };
                Ok(legacy::run(socket, room, commands, wanted, origin).await)
            }
        }
    }

    /// While it is connected to a later relay of the list, it looks for the earlier ones.
    fn look_out(&mut self, place: usize) -> Option<Lookout> {
        let Config { relays, wires, .. } = &self.config;
        let earlier = relays.get(..place).filter(|earlier| !earlier.is_empty());
        let Some(earlier) = earlier.map(<[Relay]>::to_vec) else {
            self.back_in_vain = 0;
            return None;
        };
        Some(Lookout::start(earlier, *wires, self.back_in_vain, self.link.clone()))
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
