//! On the old wire each room is a connection of its own. These are all but a host's first.

use std::collections::BTreeMap;
use std::sync::Arc;

use rp_protocol::key::SecretKey;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{SILENCE, app_message};
use crate::address::RelayUrl;
use crate::backoff::{Backoff, random};
use crate::link::Host;
use crate::message::Room;
use crate::trust::Trust;
use crate::websocket::{LegacySocket, connect_legacy};
use crate::wire::WireError;

/// How many frames may wait for the connection of a room.
const MAX_FRAMES: usize = 64;

/// What the connections of rooms need.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) relay: RelayUrl,
    pub(crate) trust: Trust,
    pub(crate) key: SecretKey,
    pub(crate) host: Arc<Host>,
}

/// The connections of a host's other rooms. They end with this.
pub(super) struct Rooms {
    origin: Origin,
    open: BTreeMap<String, Connection>,
}

struct Connection {
    frames: mpsc::Sender<String>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rooms {
    pub(super) fn new(origin: Origin) -> Self {
        Rooms { origin, open: BTreeMap::new() }
    }

    /// Opens a room that is not open.
    pub(super) fn open(&mut self, id: &str, room: &Room) {
        if self.open.contains_key(id) {
            return;
        }
        let (frames, queue) = mpsc::channel(MAX_FRAMES);
        let room = (id.to_owned(), room.clone());
        let task = tokio::spawn(keep_open(self.origin.clone(), room, queue)).abort_handle();
        self.open.insert(id.to_owned(), Connection { frames, task });
    }

    pub(super) fn close(&mut self, id: &str) {
        self.open.remove(id);
    }

    /// Sends a frame on the connection of a room. Whether there is one with room for it.
    pub(super) fn send(&self, id: &str, frame: String) -> bool {
        self.open.get(id).is_some_and(|connection| connection.frames.try_send(frame).is_ok())
    }
}

/// Connects for a room again and again.
async fn keep_open(origin: Origin, room: (String, Room), mut frames: mpsc::Receiver<String>) {
    let mut backoff = Backoff::new(Instant::now());
    loop {
        let ended = match connect_legacy(&origin.relay, origin.trust).await {
            Ok(mut socket) => match socket.log_in(&origin.key, &room).await {
                Ok(()) => {
                    let ended = run(&mut socket, &room.0, &mut frames, &origin.host).await;
                    backoff = Backoff::new(Instant::now());
                    ended
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::debug!(error = %ended, "the connection of a room has ended");
        tokio::time::sleep(backoff.next(random(), Instant::now())).await;
    }
}

async fn run(
    socket: &mut LegacySocket,
    room: &str,
    frames: &mut mpsc::Receiver<String>,
    host: &Host,
) -> WireError {
    loop {
        let step = tokio::select! {
            text = tokio::time::timeout(SILENCE, socket.next()) => match text {
                Ok(Ok(text)) => {
                    // Envelopes between machines come on every connection; the first takes them.
                    if let Some((from, message)) = app_message(&text, room) {
                        super::deliver(host, from, message);
                    }
                    Ok(())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(WireError::Failed("the relay is silent".to_owned())),
            },
            Some(frame) = frames.recv() => socket.send(frame).await,
        };
        if let Err(error) = step {
            return error;
        }
    }
}
