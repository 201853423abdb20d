//! One connection after its login, until it ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rp_protocol::relay::{
    Answer, CloseCode, Flight, Frame, MAX_DESCRIPTION_BYTES, MAX_ROOM_BYTES, Verdict, Welcome,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::link::{End, Host, Wanted};
use crate::message::{CloneSeen, Command, Incoming, Room};
use crate::pulse::{Due, Pulse};
use crate::wire::{Wire, WireError, WireSender};

/// How many frames may wait to be written. More commands are not taken before there is room.
const MAX_FRAMES: usize = 64;
/// How long what is queued may take to be written when a session has ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// When a sender is asked to try again because this host has no room.
const RETRY_AFTER_MS: u64 = 1000;

type Answers = mpsc::Sender<Answer>;

struct Session<'a> {
    welcome: Welcome,
    frames: mpsc::Sender<Vec<u8>>,
    flight: Flight<Answers>,
    wanted: &'a mut Wanted,
    host: &'a Host,
    pulse: Pulse,
    leave_at: Option<Instant>,
}

/// Runs a connection until it ends.
pub(crate) async fn run(
    mut wire: Wire,
    sender: WireSender,
    welcome: Welcome,
    commands: &mut mpsc::Receiver<Command>,
    wanted: &mut Wanted,
    host: &Host,
) -> End {
    let (frames, queue) = mpsc::channel(MAX_FRAMES);
    let writer = tokio::spawn(sender.run(queue));
    let mut session = Session {
        welcome,
        frames,
        flight: Flight::of(&welcome),
        wanted,
        host,
        pulse: Pulse::new(Duration::from_millis(welcome.keepalive_ms), Instant::now()),
        leave_at: None,
    };
    let end = session.run(&mut wire, commands).await;
    drop(session);
    // What was queued is still written, unless the relay does not read it any more.
    let _ = tokio::time::timeout(LAST_WORDS, writer).await;
    end
}

impl Session<'_> {
    async fn run(&mut self, wire: &mut Wire, commands: &mut mpsc::Receiver<Command>) -> End {
        if let Err(error) = self.introduce().await {
            return error.into();
        }
        loop {
            let frames = self.frames.clone();
            let next_command = async {
                let room = frames.reserve().await.map(drop);
                (room, commands.recv().await)
            };
            let step = tokio::select! {
                frame = wire.next(Incoming::of) => match frame {
                    Ok(frame) => self.on_frame(frame).await,
                    Err(error) => Err(error.into()),
                },
                (room, command) = next_command => match (room, command) {
                    (Err(_), _) => Err(gone("nothing can be sent")),
                    (_, None) => Err(End::Wanted),
                    (_, Some(command)) => self.on_command(command).await,
                },
                () = tokio::time::sleep_until(self.next_look()) => self.look().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn next_look(&self) -> Instant {
        let pulse = self.pulse.next();
        self.leave_at.map_or(pulse, |at| at.min(pulse))
    }

    /// Says again what the host wants to be known.
    async fn introduce(&mut self) -> Result<(), WireError> {
        let most = usize::try_from(self.welcome.max_rooms).unwrap_or(usize::MAX);
        if self.wanted.rooms.len() > most {
            tracing::warn!(most, "the relay shows only some of this machine's rooms");
        }
        let rooms: Vec<Vec<u8>> = self
            .wanted
            .rooms
            .iter()
            .take(most)
            .filter_map(|(id, room)| room_frame(id, room))
            .collect();
        for room in rooms {
            self.send(room).await?;
        }
        self.send_watches().await
    }

    async fn send_watches(&mut self) -> Result<(), WireError> {
        let most = usize::try_from(self.welcome.max_watches).unwrap_or(usize::MAX);
        let watches = self.wanted.watches.iter().take(most).copied().collect();
        self.send(Frame::Watch(watches).to_bytes()).await
    }

    async fn send(&self, frame: Vec<u8>) -> Result<(), WireError> {
        let sent = tokio::time::timeout(self.pulse.patience(), self.frames.send(frame)).await;
        let sent = sent.map_err(|_| WireError::Failed("the relay does not read".to_owned()))?;
        sent.map_err(|_| WireError::Failed("nothing can be sent to the relay".to_owned()))
    }

    async fn on_frame(&mut self, frame: Incoming) -> Result<(), End> {
        self.pulse.hear(Instant::now());
        match frame {
            Incoming::Delivered { id, from, message } => {
                if !self.host.deliver(id, from, message) {
                    let verdict = Verdict::Busy { retry_after_ms: RETRY_AFTER_MS };
                    self.send(Frame::Received { id, from, verdict }.to_bytes()).await?;
                }
            }
            Incoming::Answer { id, answer } if answer.is_final() => {
                let sent = self.flight.settle(&id).ok_or(WireError::Protocol)?;
                // Whoever sent it need not want to know.
                let _ = sent.tag.try_send(answer);
            }
            Incoming::Answer { id, answer } => {
                let sent = self.flight.get(&id).ok_or(WireError::Protocol)?;
                let _ = sent.tag.try_send(answer);
            }
            Incoming::Presence(peer, presence) => {
                if self.wanted.watches.contains(&peer) {
                    self.host.peers.send_modify(|peers| {
                        peers.insert(peer, presence);
                    });
                }
            }
            Incoming::Clone(clone) => {
                tracing::warn!("another live host has this machine's key");
                self.host.clone_seen.send_replace(Some(clone));
            }
            Incoming::Membership => {
                self.host.publications.send_modify(|count| *count = count.wrapping_add(1));
            }
            Incoming::Ping(bytes) => self.send(Frame::Pong(bytes).to_bytes()).await?,
            Incoming::Pong => {}
            Incoming::Drain { reconnect_after_ms } => {
                self.leave_at = Some(Instant::now() + Duration::from_millis(reconnect_after_ms));
            }
            Incoming::Close { code, retry_after_ms, note } => {
                tracing::info!(?code, note, "the relay ends the connection");
                if code == CloseCode::Replaced {
                    self.copied_while_running();
                }
                let retry_after = Duration::from_millis(retry_after_ms);
                let End::Failed { error, retry_after: least } = WireError::Closed(code).into()
                else {
                    return Err(WireError::Closed(code).into());
                };
                return Err(End::Failed { error, retry_after: retry_after.max(least) });
            }
            Incoming::Misplaced => return Err(WireError::Protocol.into()),
        }
        Ok(())
    }

    /// This process has one connection at a time and does not read those it has left. So who has
    /// taken its place is a copy of it: of a virtual machine, made while it ran.
    fn copied_while_running(&self) {
        tracing::warn!("a copy of this process has this machine's key");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let clone = CloneSeen { instance: self.host.instance, since_ms };
        self.host.clone_seen.send_replace(Some(clone));
    }

    async fn on_command(&mut self, command: Command) -> Result<(), End> {
        let was_open = matches!(&command, Command::Room { id, .. } | Command::RoomClose { id }
            if self.wanted.rooms.contains_key(id));
        self.wanted.note(&command);
        match command {
            Command::Send { id, to, message, answers } => {
                let content = message.content();
                let bytes = content.len() as u64;
                if bytes > self.welcome.max_body {
                    let refusal = rp_protocol::relay::Refusal::TooLarge;
                    let _ = answers.try_send(Answer::Refused(refusal));
                } else if self.flight.start(id, to, bytes, answers.clone()).is_err() {
                    let _ = answers.try_send(Answer::Busy { retry_after_ms: 0 });
                } else {
                    self.send(Frame::Send { id, to, content }.to_bytes()).await?;
                }
            }
            Command::Answer { id, from, verdict } => {
                self.send(Frame::Received { id, from, verdict }.to_bytes()).await?;
            }
            Command::Room { id, room } => {
                let is_one_more =
                    !was_open && self.wanted.rooms.len() as u64 > self.welcome.max_rooms;
                if let Some(frame) = room_frame(&id, &room).filter(|_| !is_one_more) {
                    self.send(frame).await?;
                }
            }
            Command::RoomClose { id } => {
                if was_open {
                    self.send(Frame::RoomClose { room: &id }.to_bytes()).await?;
                }
            }
            Command::Watch(_) => {
                let Wanted { watches, .. } = &*self.wanted;
                self.host.peers.send_modify(|peers| peers.retain(|peer, _| watches.contains(peer)));
                self.send_watches().await?;
            }
            Command::NetworkChanged => self.check().await?,
            Command::GoBack => return Err(End::Back),
            Command::Start => {}
            Command::Stop => return Err(End::Wanted),
        }
        Ok(())
    }

    /// Asks the relay for a sign of life soon.
    async fn check(&mut self) -> Result<(), WireError> {
        self.pulse.doubt(Instant::now());
        self.send(Frame::Ping([0; 8]).to_bytes()).await
    }

    /// Does what the time has come for.
    async fn look(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|at| at <= now) {
            return Err(End::Drained);
        }
        let has_slept = self.pulse.has_slept();
        match self.pulse.look(now) {
            Due::End => return Err(gone("the relay is silent")),
            _ if has_slept => self.check().await?,
            Due::Question => self.send(Frame::Ping([0; 8]).to_bytes()).await?,
            Due::Nothing => {}
        }
        Ok(())
    }
}

fn gone(why: &str) -> End {
    WireError::Failed(why.to_owned()).into()
}

/// The frame that opens a room; none when its texts are too long to be shown.
fn room_frame(id: &str, room: &Room) -> Option<Vec<u8>> {
    let texts = [&room.name, &room.cwd, &room.model, &room.thinking];
    let fits = id.len() <= MAX_ROOM_BYTES
        && texts.into_iter().flatten().all(|text| text.len() <= MAX_DESCRIPTION_BYTES);
    if !fits {
        tracing::warn!("a room is not shown: its description is too long");
        return None;
    }
    Some(Frame::Room { room: id, description: room.description() }.to_bytes())
}
