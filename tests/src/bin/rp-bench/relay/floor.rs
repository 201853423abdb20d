//! What no relay could beat: servers in this process that send everything back.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{RootCertStore, crypto::ring, pki_types::PrivatePkcs8KeyDer, version::TLS13};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

use super::{
    legacy,
    load::{BODY, Receives, Sends, body, time_in},
};

/// How much of a stream is read at once, and how many bytes of streams and connections may be
/// under way: as host and relay have it.
const CHUNK: usize = 64 << 10;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 10 << 20;

/// Connections to a WebSocket server that does nothing else.
pub(super) async fn websocket(count: usize) -> Result<Vec<(legacy::Sender, legacy::Receiver)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let (mut sink, mut stream) = accept_async(stream).await?.split();
                while let Some(message) = stream.next().await {
                    sink.send(message?).await?;
                }
                anyhow::Ok(())
            });
        }
    });
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push(legacy::echoed(legacy::connect_busy(&address).await?));
    }
    Ok(pairs)
}

/// Connections to a QUIC server that does nothing else, each with a socket and one stream.
pub(super) async fn quic(count: usize) -> Result<Vec<(Sender, Receiver)>> {
    let (server, client) = configurations()?;
    let endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into())?;
    let address = endpoint.local_addr()?;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await?;
                let (mut sink, mut stream) = connection.accept_bi().await?;
                while let Some(chunk) = stream.read_chunk(CHUNK, true).await? {
                    sink.write_all(&chunk.bytes).await?;
                }
                anyhow::Ok(())
            });
        }
    });
    let mut pairs = Vec::new();
    for _ in 0..count {
        let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let connection = endpoint.connect_with(client.clone(), address, "localhost")?.await?;
        let (sink, stream) = connection.open_bi().await?;
        let sender = Sender { sink, filler: "x".repeat(BODY) };
        let kept = (endpoint, connection);
        pairs.push((sender, Receiver { stream, buffer: Vec::new(), _kept: kept }));
    }
    Ok(pairs)
}

fn configurations() -> Result<(ServerConfig, ClientConfig)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .datagram_receive_buffer_size(None);
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(Arc::new(transport));
    Ok((server, ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?))))
}

/// Messages with their length in front, as frames of `rp/1` have it.
pub(super) struct Sender {
    sink: SendStream,
    filler: String,
}

pub(super) struct Receiver {
    stream: RecvStream,
    buffer: Vec<u8>,
    _kept: (Endpoint, Connection),
}

impl Sends for Sender {
    async fn send(&mut self, time: u64) -> Result<()> {
        let body = body(time, &self.filler);
        let length = u32::try_from(body.len())?;
        Ok(self.sink.write_all(&[&length.to_be_bytes(), body.as_bytes()].concat()).await?)
    }
}

impl Receives for Receiver {
    async fn receive(&mut self) -> Result<u64> {
        loop {
            if let Some((length, rest)) = self.buffer.split_first_chunk() {
                let length = usize::try_from(u32::from_be_bytes(*length))?;
                if let Some(body) = rest.get(..length) {
                    let time = time_in(body)?;
                    self.buffer.drain(..4 + length);
                    return Ok(time);
                }
            }
            let chunk = self.stream.read_chunk(CHUNK, true).await?.context("the end")?;
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }
}
