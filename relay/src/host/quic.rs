//! `rp/1` on QUIC: frames on the control stream that the client opens, large ones each on a stream
//! of its own.

use std::future::poll_fn;
use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, IdleTimeout, Incoming, RecvStream, SendStream};
use quinn::{TransportConfig, VarInt};
use rp_protocol::relay::login::{
    EXPORTER_LABEL, LOGIN_DEADLINE_MS, RelayLogin, RelayStep, Transport,
};
use rp_protocol::relay::{
    ALPN, CloseCode, Frame, FrameReader, MAX_LARGE_FRAME_BYTES, MAX_LARGE_STREAMS, read_large,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::reset_key::ResetKey;
use super::session::{Broken, HostSession};
use super::{Carrier, Counted, Host, Large, lock, login};
use crate::conversation::BEAT;
use crate::hub::Hub;
use crate::limits::Admission;
use crate::tls::Certificates;
use crate::websocket::{Close, Held, Outbox};

/// How long a login may take.
const LOGIN_DEADLINE: Duration = Duration::from_millis(LOGIN_DEADLINE_MS);

/// How long a client has for taking the last words.
const PARTING: Duration = Duration::from_secs(2);

/// After how long without a packet a connection is over: longer than three beats.
const IDLE: Duration = Duration::from_secs(100);

/// How many bytes of a control stream may be under way to the relay.
const STREAM_WINDOW: u32 = 1 << 20;

/// How many bytes of all streams of a connection may be under way to the relay.
const CONNECTION_WINDOW: u32 = 10 << 20;

/// Why QUIC cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The key by which hosts know this relay again cannot be read or kept.
    #[error("cannot use {}: {source}", path.display())]
    Key {
        /// Its file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The socket is of no use.
    #[error("cannot receive by UDP: {0}")]
    Socket(#[source] std::io::Error),
    /// The cryptography that is built in lacks something; never in practice.
    #[error("QUIC cannot be set up: {0}")]
    Setup(String),
}

/// Accepts hosts over QUIC until the relay ends.
///
/// # Errors
/// The socket or the certificates cannot be used.
pub fn listen(
    hub: &Arc<Hub>,
    admission: &Arc<Admission>,
    certificates: &Certificates,
    socket: UdpSocket,
    key: &ResetKey,
) -> Result<Endpoint, QuicError> {
    let setup = |error: &dyn std::fmt::Display| QuicError::Setup(error.to_string());
    let tls = certificates.server_config(&[ALPN]).map_err(|error| setup(&error))?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| setup(&error))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(MAX_LARGE_STREAMS.into())
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).map_err(|error| setup(&error))?))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport));
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(key.endpoint_config(), Some(config), socket, runtime)
        .map_err(QuicError::Socket)?;
    hub.tasks.spawn(accept(Arc::clone(hub), Arc::clone(admission), endpoint.clone()));
    Ok(endpoint)
}

async fn accept(hub: Arc<Hub>, admission: Arc<Admission>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = hub.ending.cancelled() => break,
        };
        let Some(incoming) = incoming else { return };
        hub.metrics.connections_accepted.add(1);
        // Whoever has not shown that it gets what is sent to its address is asked to do so first,
        // as soon as that is worth a round trip.
        let is_crowded = endpoint.open_connections() > hub.limits.connections / 2;
        let is_validated = incoming.remote_address_validated();
        let may_begin = (is_validated || !is_crowded) && admission.may_shake_hands(Instant::now());
        if !may_begin && !is_validated {
            let _ = incoming.retry();
            continue;
        }
        let address = incoming.remote_address().ip();
        let Some(place) = may_begin.then(|| admission.admit(Some(address))).flatten() else {
            hub.metrics.connections_refused.add(1);
            incoming.refuse();
            continue;
        };
        let serving = serve(Arc::clone(&hub), incoming);
        hub.tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    }
    // Whoever comes now is told so, instead of waiting for an answer. It ends with the endpoint.
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            incoming.refuse();
        }
    });
}

async fn serve(hub: Arc<Hub>, incoming: Incoming) {
    let Ok(Ok(connection)) = timeout(LOGIN_DEADLINE, async { incoming.await }).await else {
        return;
    };
    let outbox = Outbox::new(hub.limits.queue_bytes(), Arc::clone(&hub.budget));
    let opened = tokio::select! {
        opened = timeout(LOGIN_DEADLINE, Box::pin(log_in(&hub, &connection, &outbox))) => opened,
        () = hub.ending.cancelled() => {
            return connection.close(code(CloseCode::GoingAway), b"");
        }
    };
    match opened {
        Ok(Ok((session, sink, control))) => {
            Box::pin(converse(&hub, &connection, session, sink, control)).await;
        }
        Ok(Err(refused)) => {
            hub.metrics.logins_failed.add(1);
            connection.close(code(refused), b"");
        }
        Err(_) => {
            hub.metrics.logins_failed.add(1);
            connection.close(code(CloseCode::TooSlow), b"");
        }
    }
}

fn code(code: CloseCode) -> VarInt {
    VarInt::from_u64(code.number()).unwrap_or(VarInt::MAX)
}

/// What is read of the control stream.
struct Control {
    stream: RecvStream,
    reader: FrameReader,
}

impl Control {
    /// Waits for bytes; how many came, or nothing at the end of the stream.
    async fn receive(&mut self) -> Option<usize> {
        let chunk = self.stream.read_chunk(64 << 10, true).await.ok()??;
        self.reader.buffer(chunk.bytes.len()).extend_from_slice(&chunk.bytes);
        Some(chunk.bytes.len())
    }
}

async fn log_in(
    hub: &Arc<Hub>,
    connection: &Connection,
    outbox: &Arc<Outbox>,
) -> Result<(HostSession, SendStream, Control), CloseCode> {
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
        .map_err(|_| CloseCode::LoginRefused)?;
    let (mut sink, stream) = connection.accept_bi().await.map_err(|_| CloseCode::Done)?;
    let mut control = Control { stream, reader: FrameReader::default() };
    let mut state = RelayLogin::new(Transport::Quic { exporter }, [0; 32]);
    loop {
        while let Some(frame) = control.reader.next_frame().map_err(|_| CloseCode::ProtocolError)? {
            match state.on_frame(&frame, &hub.names) {
                Ok(RelayStep::Wait) => {}
                Ok(RelayStep::Send(bytes)) => {
                    sink.write_all(&bytes).await.map_err(|_| CloseCode::Done)?;
                }
                Ok(RelayStep::LoggedIn(client)) => {
                    let carrier = Carrier::Quic(Large::default());
                    let session = login::admit(hub, &client, outbox, carrier);
                    return Ok((session, sink, control));
                }
                Err(refused) => {
                    let frame = refused.close();
                    let _ = sink.write_all(&frame.to_bytes()).await;
                    part(&mut sink).await;
                    let Frame::Close(close) = frame else { return Err(CloseCode::LoginRefused) };
                    return Err(close.code);
                }
            }
        }
        control.receive().await.ok_or(CloseCode::Done)?;
    }
}

/// Lets the client take what was written.
async fn part(sink: &mut SendStream) {
    if sink.finish().is_ok() {
        let _ = timeout(PARTING, sink.stopped()).await;
    }
}

async fn converse(
    hub: &Arc<Hub>,
    connection: &Connection,
    mut session: HostSession,
    mut sink: SendStream,
    mut control: Control,
) {
    let host = Arc::clone(&session.host);
    let (large, mut large_frames) = mpsc::channel(1);
    let streams = tokio::spawn(receive_large(connection.clone(), Arc::clone(&host), large));
    let sending_large = tokio::spawn(send_large(connection.clone(), Arc::clone(&host)));
    let how = {
        // One and the same to the end: what is written half must become whole first.
        let mut sending = pin!(send(&host, &mut sink));
        tokio::select! {
            how = &mut sending => how,
            () = receive(connection, &mut session, &mut control, &mut large_frames) => {
                // Whatever was the reason, it may still have to be sent.
                tokio::select! {
                    how = &mut sending => how,
                    () = tokio::time::sleep(PARTING) => Close::Abort,
                    _ = connection.closed() => Close::Abort,
                }
            }
        }
    };
    hub.metrics.slow_readers.add(u64::from(host.outbox.has_overflowed()));
    drop(session);
    streams.abort();
    sending_large.abort();
    let number = match how {
        Close::Code(1001) => CloseCode::GoingAway,
        Close::Code(code) => CloseCode::of(u64::from(code.saturating_sub(4000))),
        Close::NoCode => CloseCode::Done,
        Close::Abort => CloseCode::TooSlow,
    };
    if how != Close::Abort {
        part(&mut sink).await;
    }
    connection.close(code(number), b"");
}

/// Sends what waits until the connection is to end.
async fn send(host: &Host, sink: &mut SendStream) -> Close {
    let mut sending = Vec::new();
    loop {
        if let Some(how) = poll_fn(|context| host.outbox.poll_take(&mut sending, context)).await {
            return how;
        }
        if sink.write_all(&sending).await.is_err() {
            return Close::Abort;
        }
    }
}

/// Sends large frames, each on a stream of its own.
async fn send_large(connection: Connection, host: Arc<Host>) {
    let Carrier::Quic(large) = &host.carrier else { return };
    let permits = Arc::new(Semaphore::new(large_streams()));
    loop {
        let next = lock(&large.frames).pop_front();
        let Some(frame) = next else {
            large.is_there.notified().await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok(mut stream) = connection.open_uni().await else { return };
        tokio::spawn(async move {
            if stream.write_all(&frame.bytes).await.is_ok() && stream.finish().is_ok() {
                let _ = stream.stopped().await;
            }
            drop(permit);
        });
    }
}

/// A large frame, and its place among those that a connection may have received and not handled.
type Received = (Counted, OwnedSemaphorePermit);

/// Reads the streams that the host opens, each a large frame. A new one is not read before one of
/// those before it was handled.
async fn receive_large(connection: Connection, host: Arc<Host>, frames: mpsc::Sender<Received>) {
    let places = Arc::new(Semaphore::new(large_streams()));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(stream) = connection.accept_uni().await else { return };
        let (frames, host) = (frames.clone(), Arc::clone(&host));
        tokio::spawn(async move {
            if let Some(frame) = read_whole(stream, &host).await {
                let _ = frames.send((frame, place)).await;
            }
        });
    }
}

/// All that a stream carries, if that is no more than a large frame. The connection ends at once
/// when there is no room for it.
async fn read_whole(mut stream: RecvStream, host: &Host) -> Option<Counted> {
    let mut bytes = Vec::new();
    let mut held = Held::new(host.outbox.budget());
    while let Some(chunk) = stream.read_chunk(64 << 10, true).await.ok()? {
        bytes.extend_from_slice(&chunk.bytes);
        // Type and length take at most 16 bytes.
        if bytes.len() > MAX_LARGE_FRAME_BYTES + 16 {
            return None;
        }
        if !held.set(bytes.capacity()) {
            host.outbox.close(Close::Abort);
            return None;
        }
    }
    Some(Counted { bytes, _held: held })
}

fn large_streams() -> usize {
    usize::try_from(MAX_LARGE_STREAMS).unwrap_or(1)
}

/// Handles what comes until the host is gone or has broken the rules.
async fn receive(
    connection: &Connection,
    session: &mut HostSession,
    control: &mut Control,
    large: &mut mpsc::Receiver<Received>,
) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.reset();
    loop {
        let outcome = tokio::select! {
            received = control.receive() => match received {
                Some(bytes) => take(session, control, bytes),
                None => Err(Broken(CloseCode::Done, "")),
            },
            Some((frame, _place)) = large.recv() => {
                session.count(frame.bytes.len());
                match read_large(&frame.bytes) {
                    Ok(frame) => session.on_frame(frame),
                    Err(_) => Err(Broken(CloseCode::ProtocolError, "a frame cannot be read")),
                }
            }
            _ = beat.tick() => match session.beat() {
                true => Ok(()),
                false => return,
            },
        };
        if let Err(Broken(code, note)) = outcome {
            return session.host.close(code, note);
        }
        let pause = session.charge();
        if !pause.is_zero() {
            // Whoever goes meanwhile is gone at once.
            let _ = timeout(pause, connection.closed()).await;
        }
    }
}

fn take(session: &mut HostSession, control: &mut Control, bytes: usize) -> Result<(), Broken> {
    session.count(bytes);
    loop {
        match control.reader.next_frame() {
            Ok(Some(frame)) => session.on_frame(frame)?,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Broken(CloseCode::ProtocolError, "a frame cannot be read")),
        }
    }
}
