//! `rp/1` on a WebSocket: each frame in a binary message, large ones in parts.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rp_protocol::relay::login::{LOGIN_DEADLINE_MS, RelayLogin, RelayStep, Transport};
use rp_protocol::relay::{CloseCode, Frame, FrameError, Parts, read_large, read_message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::session::{Broken, HostSession};
use super::{Carrier, login, transport_close};
use crate::conversation::{Conversation, converse};
use crate::hub::Hub;
use crate::limits::Place;
use crate::websocket::{Close, Decoder, Ended, Held, Message, Opcode, Outbox, Socket};

/// The longest message: a frame of the longest payload with its type and length.
const MAX_MESSAGE: usize = rp_protocol::relay::MAX_FRAME_BYTES + 16;

/// Serves a connection that has become a WebSocket for `rp.1`, until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    hub: Arc<Hub>,
    stream: S,
    received: &[u8],
    places: Vec<Arc<Place>>,
) {
    let outbox = Outbox::new(hub.limits.queue_bytes(), Arc::clone(&hub.budget));
    let mut socket = Socket::new(stream, received, Decoder::new(MAX_MESSAGE), outbox);
    let admitted = tokio::select! {
        admitted = Box::pin(log_in(&hub, &mut socket)) => admitted,
        () = hub.ending.cancelled() => Err(transport_close(CloseCode::GoingAway)),
    };
    let how = match admitted {
        Err(how) => {
            hub.metrics.logins_failed.add(1);
            how
        }
        Ok(session) => {
            let held = Held::new(&hub.budget);
            let mut talk = Talk { session, parts: Parts::default(), held };
            match converse(&mut socket, &mut talk).await {
                Ended::Gone => Close::Abort,
                Ended::Violation(violation) => {
                    hub.metrics.protocol_violations.add(1);
                    violation.close()
                }
                Ended::Asked(how) => {
                    hub.metrics.slow_readers.add(u64::from(socket.outbox().has_overflowed()));
                    how
                }
            }
        }
    };
    Box::pin(socket.finish(how)).await;
    drop(places);
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    hub: &Arc<Hub>,
    socket: &mut Socket<S>,
) -> Result<HostSession, Close> {
    let deadline = Instant::now() + Duration::from_millis(LOGIN_DEADLINE_MS);
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| Close::Abort)?;
    let mut state = RelayLogin::new(Transport::WebSocket, nonce);
    loop {
        let step = socket.receive(|message| match message {
            Message::Binary(bytes) => match read_message(bytes) {
                Ok(None) => Some(Ok(RelayStep::Wait)),
                Ok(Some(frame)) => Some(state.on_frame(&frame, &hub.names)),
                Err(_) => None,
            },
            Message::Ping(_) | Message::Pong | Message::Piece => Some(Ok(RelayStep::Wait)),
            Message::Text(_) | Message::Close => None,
        });
        let step = timeout_at(deadline, step).await.map_err(|_| Close::Abort)?;
        match step.map_err(|_| Close::Abort)? {
            None => return Err(transport_close(CloseCode::ProtocolError)),
            Some(Err(refused)) => {
                let frame = refused.close();
                socket.outbox().send(Opcode::Binary, &frame.to_bytes());
                let Frame::Close(close) = frame else { return Err(Close::Abort) };
                return Err(transport_close(close.code));
            }
            Some(Ok(RelayStep::Wait)) => {}
            Some(Ok(RelayStep::Send(bytes))) => {
                socket.outbox().send(Opcode::Binary, &bytes);
            }
            Some(Ok(RelayStep::LoggedIn(client))) => {
                return Ok(login::admit(hub, &client, socket.outbox(), Carrier::WebSocket));
            }
        }
    }
}

/// A session and the parts of a large frame that have come so far.
struct Talk {
    session: HostSession,
    parts: Parts,
    /// What the parts take of the memory for all connections.
    held: Held,
}

impl Talk {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let malformed = |_: FrameError| Broken(CloseCode::ProtocolError, "a frame cannot be read");
        match read_message(bytes).map_err(malformed)? {
            None => Ok(()),
            Some(Frame::Part { last, bytes }) => {
                let whole = self.parts.push(last, bytes).map_err(malformed)?;
                if !self.held.set(self.parts.held()) {
                    self.session.host.outbox.close(Close::Abort);
                    return Ok(());
                }
                match whole {
                    None => Ok(()),
                    Some(frame) => self.session.on_frame(read_large(&frame).map_err(malformed)?),
                }
            }
            Some(frame) => self.session.on_frame(frame),
        }
    }
}

impl Conversation for Talk {
    fn handle(&mut self, message: Message<'_>) -> ControlFlow<()> {
        let outcome = match message {
            Message::Binary(bytes) => {
                self.session.count(bytes.len());
                self.take(bytes)
            }
            Message::Ping(payload) => {
                self.session.count(payload.len());
                self.session.host.outbox.send(Opcode::Pong, payload);
                Ok(())
            }
            Message::Pong | Message::Piece => Ok(()),
            Message::Text(_) => Err(Broken(CloseCode::ProtocolError, "a text message")),
            Message::Close => return ControlFlow::Break(()),
        };
        if let Err(Broken(code, note)) = outcome {
            // What is read after this comes to nothing: the connection ends when the reason is
            // sent.
            self.session.host.close(code, note);
        }
        ControlFlow::Continue(())
    }

    fn charge(&mut self) -> Duration {
        self.session.charge()
    }

    fn beat(&mut self) -> bool {
        self.session.beat()
    }
}
