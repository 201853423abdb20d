//! Serving the connections of the socket while this program leads.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::mesh::{LineDecoder, Opening};
use rp_watch::{DirectoryWatch, Notice};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::{Batch, Broker};
use crate::connection::Connection;
use crate::election::Claim;
use crate::roster::Peer;

/// How much is read at once.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// How long accepting rests when the system has no file descriptor left.
const REST: Duration = Duration::from_millis(100);

/// Why serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This program stops.
    Stopped,
    /// The socket's path leads elsewhere by now, so nobody finds this broker any more.
    Displaced,
}

/// Accepts and serves connections until the program stops or loses its socket.
pub(crate) async fn serve(
    broker: &Arc<Broker>,
    claim: Claim,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut connections = JoinSet::new();
    let watch = DirectoryWatch::on(broker.around.config.socket.parent(), Notice::Names);
    let ended = loop {
        if *stop.borrow_and_update() {
            break Ended::Stopped;
        }
        if !claim.is_ours() {
            break Ended::Displaced;
        }
        tokio::select! {
            accepted = claim.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < broker.around.config.limits.connections => {
                    connections.spawn(serve_connection(Arc::clone(broker), stream));
                }
                Ok(_) => tracing::warn!("a connection was closed: there are too many"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = watch.changed() => {}
            _ = stop.changed() => {}
        }
    };
    // The path goes first, so that nobody finds a broker that does not answer.
    drop(claim);
    broker.close();
    connections.shutdown().await;
    broker.audit.close().await;
    ended
}

async fn serve_connection(broker: Arc<Broker>, stream: UnixStream) {
    let (reader, writer) = stream.into_split();
    let connection = Arc::new(Connection::new(writer, broker.around.config.limits.queue_bytes));
    let mut visit = Visit { broker, connection, peer: None };
    visit.run(reader).await;
    visit.connection.close();
    if let Some(peer) = &visit.peer {
        visit.broker.remove(peer);
    }
}

/// One connection from its first line to its last.
struct Visit {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    /// `None` until it has registered.
    peer: Option<Arc<Peer>>,
}

impl Visit {
    async fn run(&mut self, mut reader: OwnedReadHalf) {
        let limits = self.broker.around.config.limits.clone();
        let mut decoder = LineDecoder::new(limits.opening_bytes);
        let deadline = tokio::time::sleep(limits.registration);
        let connection = Arc::clone(&self.connection);
        let drain = connection.drain();
        tokio::pin!(deadline, drain);
        loop {
            tokio::select! {
                read = reader.read_buf(decoder.buffer(READ_BYTES)) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                () = &mut drain => return,
                () = &mut deadline, if self.peer.is_none() => return,
            }
            if self.take_lines(&mut decoder).is_break() {
                return;
            }
            if self.peer.is_some() {
                decoder.set_limit(limits.line_bytes);
            }
        }
    }

    /// Handles all complete lines. What they cause goes out together at the end.
    fn take_lines(&mut self, decoder: &mut LineDecoder) -> ControlFlow<()> {
        let broker = Arc::clone(&self.broker);
        let mut batch = Batch::new(&broker);
        loop {
            // Lines of a peer that was evicted meanwhile do not count any more.
            if self.connection.is_closed() {
                return ControlFlow::Break(());
            }
            let line = match decoder.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => {
                    tracing::debug!(%error, "a connection was closed");
                    return ControlFlow::Break(());
                }
            };
            let replaced;
            let line = match std::str::from_utf8(line) {
                Ok(line) => line,
                Err(_) => {
                    replaced = String::from_utf8_lossy(line);
                    replaced.as_ref()
                }
            };
            match &self.peer {
                Some(peer) => broker.route_line(peer, line, &mut batch),
                None => self.open(line, &mut batch)?,
            }
        }
    }

    /// Handles a line of a connection that has not registered.
    fn open(&mut self, line: &str, batch: &mut Batch<'_>) -> ControlFlow<()> {
        match Opening::parse(line) {
            Some(Opening::ListPeers) => {
                self.broker.answer_roster(&self.connection, None, batch);
                ControlFlow::Continue(())
            }
            Some(Opening::Register(request)) => {
                match self.broker.register(&request, &self.connection, batch) {
                    Ok(peer) => {
                        self.peer = Some(peer);
                        ControlFlow::Continue(())
                    }
                    Err(refusal) => {
                        tracing::debug!(%refusal, "a registration was refused");
                        ControlFlow::Break(())
                    }
                }
            }
            None => ControlFlow::Break(()),
        }
    }
}
