//! A connection to a relay over QUIC.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rp_protocol::relay::login::{EXPORTER_LABEL, Transport};
use rp_protocol::relay::{
    ALPN, Frame, FrameReader, MAX_LARGE_FRAME_BYTES, MAX_LARGE_STREAMS, is_large, read_large,
};
use tokio::sync::{Semaphore, mpsc};

use crate::address::RelayUrl;
use crate::trust::{Trust, client_config};
use crate::wire::WireError;

/// After how long without any packet the connection is over: the session sends pings before.
const IDLE: Duration = Duration::from_secs(90);
/// How long an address may take before the next one is tried.
const PER_ADDRESS: Duration = Duration::from_secs(3);
/// How long the relay may take to receive what was sent last.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of the control stream is read at once, and about how much is written.
const CHUNK: usize = 64 * 1024;

/// An open connection with its control stream.
pub(crate) struct QuicWire {
    connection: Connection,
    control: RecvStream,
    reader: FrameReader,
    /// Large frames, each from a stream of its own.
    large: mpsc::Receiver<Result<Vec<u8>, WireError>>,
    /// Keeps the socket.
    _endpoint: Endpoint,
}

/// The sending half.
pub(crate) struct QuicSender {
    connection: Connection,
    control: SendStream,
    large: Arc<Semaphore>,
}

/// Connects to the first of these addresses that answers.
pub(crate) async fn connect(
    relay: &RelayUrl,
    trust: Trust,
    addresses: &[SocketAddr],
) -> Result<(QuicWire, QuicSender), WireError> {
    let tls = client_config(trust, ALPN).map_err(WireError::failed)?;
    let mut config =
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(WireError::failed)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into().map_err(WireError::failed)?));
    transport.max_concurrent_uni_streams(VarInt::from_u32(MAX_LARGE_STREAMS));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    let mut last = WireError::Failed("the host has no address".to_owned());
    for address in addresses {
        let attempt = connect_to(relay, &config, *address);
        match tokio::time::timeout(PER_ADDRESS, attempt).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => last = error,
            Err(_) => last = WireError::Failed("no answer over QUIC".to_owned()),
        }
    }
    Err(last)
}

async fn connect_to(
    relay: &RelayUrl,
    config: &ClientConfig,
    address: SocketAddr,
) -> Result<(QuicWire, QuicSender), WireError> {
    let unspecified: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(unspecified).map_err(WireError::failed)?;
    let connecting = endpoint.connect_with(config.clone(), address, &relay.host());
    let connection = connecting.map_err(WireError::failed)?.await.map_err(WireError::failed)?;
    let (sender, control) = connection.open_bi().await.map_err(WireError::failed)?;
    let (large_sender, large) = mpsc::channel(1);
    tokio::spawn(accept_large(connection.clone(), large_sender));
    let sender = QuicSender {
        connection: connection.clone(),
        control: sender,
        large: Arc::new(Semaphore::new(large_streams())),
    };
    let reader = FrameReader::default();
    Ok((QuicWire { connection, control, reader, large, _endpoint: endpoint }, sender))
}

/// Reads the streams that the relay opens until the connection ends. A new one is not read before
/// one of those before it was taken.
async fn accept_large(connection: Connection, frames: mpsc::Sender<Result<Vec<u8>, WireError>>) {
    let places = Arc::new(Semaphore::new(large_streams()));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok(mut stream) = connection.accept_uni().await else { return };
        let frames = frames.clone();
        tokio::spawn(async move {
            // Type and length take at most 16 bytes.
            let read = stream.read_to_end(MAX_LARGE_FRAME_BYTES + 16).await;
            // The session may have ended meanwhile.
            let _ = frames.send(read.map_err(WireError::failed)).await;
            drop(place);
        });
    }
}

fn large_streams() -> usize {
    usize::try_from(MAX_LARGE_STREAMS).unwrap_or(1)
}

impl QuicWire {
    /// What a login on this connection is bound to.
    pub(crate) fn login_transport(&self) -> Result<Transport, WireError> {
        let mut exporter = [0; 32];
        let exported = self.connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]);
        exported.map_err(|_| WireError::Failed("TLS gives no exporter material".to_owned()))?;
        Ok(Transport::Quic { exporter })
    }

    /// Takes the next frame as `take` makes it. May be dropped while it waits.
    pub(crate) async fn next<T>(
        &mut self,
        take: impl FnOnce(&Frame<'_>) -> T,
    ) -> Result<T, WireError> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(take(&frame));
            }
            tokio::select! {
                chunk = self.control.read_chunk(CHUNK, true) => match chunk {
                    Ok(Some(chunk)) => {
                        self.reader.buffer(chunk.bytes.len()).extend_from_slice(&chunk.bytes);
                    }
                    Ok(None) => return Err(WireError::Failed("the relay ended the stream".to_owned())),
                    Err(error) => return Err(WireError::failed(error)),
                },
                Some(frame) = self.large.recv() => return Ok(take(&read_large(&frame?)?)),
            }
        }
    }
}

impl QuicSender {
    /// Sends encoded frames until there are none any more. What waits is written together, so that
    /// packets are full.
    pub(crate) async fn run(
        &mut self,
        frames: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), WireError> {
        while let Some(first) = frames.recv().await {
            let (mut together, mut next) = (Vec::new(), Some(first));
            while let Some(frame) = next.take_if(|frame| !is_large(frame)) {
                together.extend_from_slice(&frame);
                next = (together.len() < CHUNK).then(|| frames.try_recv().ok()).flatten();
            }
            self.control.write_all(&together).await.map_err(WireError::failed)?;
            if let Some(large) = next {
                self.send_large(large).await?;
            }
        }
        Ok(())
    }

    /// Sends an encoded frame.
    pub(crate) async fn send(&mut self, frame: Vec<u8>) -> Result<(), WireError> {
        match is_large(&frame) {
            true => self.send_large(frame).await,
            false => self.control.write_all(&frame).await.map_err(WireError::failed),
        }
    }

    /// Sends an encoded frame on a stream of its own.
    async fn send_large(&mut self, frame: Vec<u8>) -> Result<(), WireError> {
        let permit = self.large.clone().acquire_owned().await.map_err(WireError::failed)?;
        let mut stream = self.connection.open_uni().await.map_err(WireError::failed)?;
        tokio::spawn(async move {
            let written = stream.write_all(&frame).await;
            if written.is_ok() && stream.finish().is_ok() {
                // Until the relay has it, it counts as one of the large ones.
                let _ = stream.stopped().await;
            }
            drop(permit);
        });
        Ok(())
    }

    /// Ends the connection.
    pub(crate) async fn close(mut self, code: u64) {
        // What was written last should arrive.
        let _ = self.control.finish();
        let _ = tokio::time::timeout(LAST_WORDS, self.control.stopped()).await;
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        self.connection.close(code, &[]);
    }
}
