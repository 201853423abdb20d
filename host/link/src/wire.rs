//! A connection to a relay, whatever it runs on.

use rp_protocol::key::SecretKey;
use rp_protocol::relay::login::{ClientLogin, ClientStep, LoginError, Transport as LoginTransport};
use rp_protocol::relay::{CloseCode, Frame, FrameError, Instance, Welcome};
use tokio::sync::mpsc;

use crate::address::RelayUrl;
use crate::quic::{QuicSender, QuicWire};
use crate::websocket::{LegacySocket, SocketSender, SocketWire};

/// Why a connection cannot be made, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0}")]
    Failed(String),
    #[error("the relay closed the connection ({0:?})")]
    Closed(CloseCode),
    #[error("the relay breaks the rules of the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the relay breaks the rules of the protocol")]
    Protocol,
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl WireError {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        WireError::Failed(error.to_string())
    }
}

/// The receiving half.
pub(crate) enum Wire {
    Quic(QuicWire),
    WebSocket(SocketWire),
}

/// The sending half.
pub(crate) enum WireSender {
    Quic(QuicSender),
    WebSocket(SocketSender),
}

/// A connection before the login.
pub(crate) enum Connected {
    Modern(Wire, WireSender),
    Legacy(LegacySocket),
}

impl Wire {
    /// Takes the next frame as `take` makes it. May be dropped while it waits.
    pub(crate) async fn next<T>(
        &mut self,
        take: impl FnOnce(&Frame<'_>) -> T,
    ) -> Result<T, WireError> {
        match self {
            Wire::Quic(wire) => wire.next(take).await,
            Wire::WebSocket(wire) => wire.next(take).await,
        }
    }

    /// Logs in.
    pub(crate) async fn log_in(
        &mut self,
        sender: &mut WireSender,
        key: &SecretKey,
        instance: Instance,
        relay: &RelayUrl,
        software: &str,
    ) -> Result<Welcome, WireError> {
        let transport = match self {
            Wire::Quic(wire) => wire.login_transport()?,
            Wire::WebSocket(_) => LoginTransport::WebSocket,
        };
        let (mut login, frames) =
            ClientLogin::start(transport, key, instance, relay.name().clone(), software);
        sender.send(frames).await?;
        loop {
            match self.next(|frame| login.on_frame(frame, key)).await?? {
                ClientStep::Send(frame) => sender.send(frame).await?,
                ClientStep::LoggedIn(welcome) => return Ok(welcome),
            }
        }
    }
}

impl WireSender {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), WireError> {
        match self {
            WireSender::Quic(sender) => sender.send(frame).await,
            WireSender::WebSocket(sender) => sender.send(frame).await,
        }
    }

    /// Sends encoded frames until there are none any more, then ends the connection.
    pub(crate) async fn run(mut self, mut frames: mpsc::Receiver<Vec<u8>>) {
        let sent = match &mut self {
            WireSender::WebSocket(sender) => sender.run(&mut frames).await,
            WireSender::Quic(sender) => sender.run(&mut frames).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "nothing more can be sent to the relay");
        }
        let code = CloseCode::Done.number();
        match self {
            WireSender::Quic(sender) => sender.close(code).await,
            WireSender::WebSocket(sender) => sender.close(code).await,
        }
    }
}
