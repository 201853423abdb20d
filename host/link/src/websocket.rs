//! A connection to a relay over a WebSocket, for this protocol or the old one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rp_protocol::relay::{
    CloseCode, Frame, MAX_FRAME_BYTES, Parts, SUBPROTOCOL, is_large, parts, read_large,
    read_message,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message as SocketMessage;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{Error as SocketError, ProtocolError};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as SocketCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::address::RelayUrl;
use crate::trust::{Trust, client_config};
use crate::wire::WireError;

/// The longest message of the old wire that is taken: more than its relays pass on.
const MAX_LEGACY_BYTES: usize = 16 * 1024 * 1024;
/// The longest frame of this protocol with its type and length, rounded up.
const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + 64;

/// How long a relay of the old wire may take to read what is sent.
const LONGEST_SEND: Duration = Duration::from_secs(60);
/// How many large frames wait at most before nothing passes them any more.
const MAX_WAITING: usize = 4;

/// A stream of bytes, encrypted or not.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

type Socket = WebSocketStream<Box<dyn Duplex>>;

/// What a relay answered to the wish for this protocol.
pub(crate) enum Upgrade {
    /// It speaks it.
    Modern(SocketWire, SocketSender),
    /// It speaks only the old wire; nothing has been said on this connection.
    Legacy(LegacySocket),
}

/// The receiving half for this protocol.
pub(crate) struct SocketWire {
    socket: SplitStream<Socket>,
    parts: Parts,
}

/// The sending half for this protocol.
pub(crate) struct SocketSender {
    socket: SplitSink<Socket, SocketMessage>,
}

/// A connection for the old wire.
pub(crate) struct LegacySocket {
    socket: Socket,
}

/// Connects, and asks for this protocol. A relay that does not know it is asked for the old wire.
pub(crate) async fn connect(relay: &RelayUrl, trust: Trust) -> Result<Upgrade, WireError> {
    match open(relay, trust, true).await {
        Ok(socket) => {
            let (sender, receiver) = socket.split();
            let wire = SocketWire { socket: receiver, parts: Parts::default() };
            Ok(Upgrade::Modern(wire, SocketSender { socket: sender }))
        }
        Err(SocketError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))) => {
            connect_legacy(relay, trust).await.map(Upgrade::Legacy)
        }
        Err(error) => Err(WireError::failed(error)),
    }
}

/// Connects for the old wire.
pub(crate) async fn connect_legacy(
    relay: &RelayUrl,
    trust: Trust,
) -> Result<LegacySocket, WireError> {
    let socket = open(relay, trust, false).await.map_err(WireError::failed)?;
    Ok(LegacySocket { socket })
}

async fn open(relay: &RelayUrl, trust: Trust, modern: bool) -> Result<Socket, SocketError> {
    let host = relay.host();
    let stream = TcpStream::connect((host.as_str(), relay.port())).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Duplex> = if relay.is_encrypted() {
        let config = client_config(trust, b"http/1.1").map_err(std::io::Error::other)?;
        let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
        Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    let mut request = relay.websocket().into_client_request()?;
    if modern {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let limit = if modern { MAX_MESSAGE_BYTES } else { MAX_LEGACY_BYTES };
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .max_write_buffer_size(4 * MAX_LEGACY_BYTES);
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

impl SocketWire {
    /// Takes the next frame as `take` makes it. May be dropped while it waits.
    pub(crate) async fn next<T>(
        &mut self,
        take: impl FnOnce(&Frame<'_>) -> T,
    ) -> Result<T, WireError> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(SocketMessage::Binary(message))) => message,
                // The library answers pings.
                Some(Ok(SocketMessage::Ping(_) | SocketMessage::Pong(_))) => continue,
                Some(Ok(SocketMessage::Close(frame))) => return Err(closed(frame.as_ref())),
                Some(Ok(_)) => return Err(WireError::Protocol),
                Some(Err(error)) => return Err(WireError::failed(error)),
                None => return Err(WireError::Failed("the relay ended the connection".to_owned())),
            };
            match read_message(&message)? {
                None => {}
                Some(Frame::Part { last, bytes }) => {
                    if let Some(frame) = self.parts.push(last, bytes)? {
                        return Ok(take(&read_large(&frame)?));
                    }
                }
                Some(frame) => return Ok(take(&frame)),
            }
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> WireError {
    match frame.map(|frame| u16::from(frame.code)) {
        Some(1001) => WireError::Closed(CloseCode::GoingAway),
        Some(code @ 4000..) => WireError::Closed(CloseCode::of(u64::from(code) - 4000)),
        _ => WireError::Failed("the relay closed the connection".to_owned()),
    }
}

impl SocketSender {
    /// Sends encoded frames until there are none any more. A large frame goes in parts, and smaller
    /// ones pass it.
    pub(crate) async fn run(
        &mut self,
        frames: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), WireError> {
        let mut large: VecDeque<Vec<u8>> = VecDeque::new();
        loop {
            let Some(frame) = large.pop_front() else {
                let Some(first) = frames.recv().await else { return Ok(()) };
                let mut next = Some(first);
                // What waits is written together.
                while let Some(frame) = next.take_if(|frame| !is_large(frame)) {
                    self.feed(frame).await?;
                    next = frames.try_recv().ok();
                }
                self.flush().await?;
                large.extend(next);
                continue;
            };
            for part in parts(&frame) {
                while large.len() < MAX_WAITING
                    && let Ok(frame) = frames.try_recv()
                {
                    if is_large(&frame) { large.push_back(frame) } else { self.send(frame).await? }
                }
                self.send(part).await?;
            }
        }
    }

    /// Sends one encoded frame that is not large.
    pub(crate) async fn send(&mut self, frame: Vec<u8>) -> Result<(), WireError> {
        self.feed(frame).await?;
        self.flush().await
    }

    async fn feed(&mut self, frame: Vec<u8>) -> Result<(), WireError> {
        self.socket.feed(SocketMessage::binary(frame)).await.map_err(WireError::failed)
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.socket.flush().await.map_err(WireError::failed)
    }

    /// Ends the connection.
    pub(crate) async fn close(mut self, code: u64) {
        let code = u16::try_from(code).unwrap_or_default().saturating_add(4000);
        let frame = CloseFrame { code: SocketCode::from(code), reason: "".into() };
        let _ = self.socket.send(SocketMessage::Close(Some(frame))).await;
        let _ = self.socket.close().await;
    }
}

impl LegacySocket {
    /// The next text. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<String, WireError> {
        loop {
            match self.socket.next().await {
                Some(Ok(SocketMessage::Text(text))) => return Ok(text.as_str().to_owned()),
                // A sign of life, which the library has answered.
                Some(Ok(SocketMessage::Ping(_))) => return Ok(String::new()),
                Some(Ok(SocketMessage::Close(_))) | None => {
                    return Err(WireError::Failed("the relay closed the connection".to_owned()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(WireError::failed(error)),
            }
        }
    }

    /// Sends one JSON document.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), WireError> {
        let sent = self.socket.send(SocketMessage::text(text));
        // A relay that does not read must not hold up everything else.
        tokio::time::timeout(LONGEST_SEND, sent)
            .await
            .map_err(|_| WireError::Failed("the relay does not read".to_owned()))?
            .map_err(WireError::failed)
    }
}
