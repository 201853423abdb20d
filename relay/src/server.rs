//! Accepting connections, and ending in an orderly way.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use rp_protocol::relay::{CloseCode, Frame, RelayName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::host::{self, Host, QuicError, ResetKey};
use crate::http::{Arrival, Served, router};
use crate::hub::Hub;
use crate::limits::{Admission, Limits, Place};
use crate::membership::{Memberships, MembershipsError};
use crate::recipient::Recipient;
use crate::stream::Stream;
use crate::tls::{ACME_ALPN, CertificateError, Certificates, Source};
use crate::websocket::{Close, Outbox};

/// How long a client has for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;

/// Over how long the ends of all connections are spread when the relay ends, so that their clients
/// do not all come back at once.
const SPREAD: Duration = Duration::from_secs(4);

/// How long the relay takes to end at the most.
const ENDING: Duration = Duration::from_secs(9);

/// How long the last packets of QUIC have to leave. Its connections linger for longer, for clients
/// that did not get theirs: those notice by themselves.
const LAST_PACKETS: Duration = Duration::from_millis(500);

/// How the relay is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// By which names clients know the relay; those of loopback if there are none.
    pub names: Vec<RelayName>,
    /// Where the certificate comes from; without one TCP is plain and there is no QUIC.
    pub certificate: Option<Source>,
    /// TCP is plain even so: a proxy takes TLS off.
    pub plain_tcp: bool,
    /// The file with the memberships.
    pub database: std::path::PathBuf,
    /// The proxies whose word about a client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// What anybody may ask for.
    pub limits: Limits,
}

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The memberships cannot be used.
    #[error(transparent)]
    Memberships(#[from] MembershipsError),
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// QUIC cannot be spoken.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The address cannot be listened on, by TCP or, for QUIC, by UDP.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// A relay that accepts connections.
#[derive(Debug)]
pub struct Relay {
    hub: Arc<Hub>,
    address: SocketAddr,
    fingerprint: Option<String>,
    accepting: tokio::task::JoinHandle<()>,
    endpoint: Option<quinn::Endpoint>,
}

impl Relay {
    /// Opens the memberships and starts to accept connections.
    ///
    /// # Errors
    /// The file cannot be used, or the address cannot be listened on.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let memberships = Memberships::open(&settings.database).await?;
        let listening = |source| StartError::Listen { address: settings.listen, source };
        let certificates = settings.certificate.as_ref().map(Certificates::open).transpose()?;
        let bound = bind(settings.listen, certificates.is_some()).await;
        let (listener, datagrams) = bound.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let tls = match &certificates {
            Some(certificates) if !settings.plain_tcp => {
                let config = certificates.server_config(&[b"http/1.1", ACME_ALPN]);
                let config = config.map_err(CertificateError::Rejected)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
            _ => None,
        };
        let names = match settings.names.is_empty() {
            true => local_relay_names(address.port()),
            false => settings.names,
        };
        let hub = Hub::new(memberships, settings.limits, names);
        let admission = Admission::new(&settings.limits);
        let endpoint = match certificates.as_ref().zip(datagrams) {
            Some((certificates, datagrams)) => {
                let folder = settings.database.parent().unwrap_or(Path::new("."));
                let key = ResetKey::in_folder(folder)?;
                Some(host::listen(&hub, &admission, certificates, datagrams, &key)?)
            }
            None => None,
        };
        let served = Served { hub: Arc::clone(&hub), admission: Arc::clone(&admission) };
        let acceptor = Acceptor {
            hub: Arc::clone(&hub),
            admission,
            router: router(served),
            tls,
            trusted_proxies: settings.trusted_proxies.into(),
        };
        let accepting = tokio::spawn(acceptor.run(listener));
        let fingerprint = certificates.and_then(|certificates| certificates.fingerprint);
        Ok(Self { hub, address, fingerprint, accepting, endpoint })
    }

    /// The SHA-256 of the certificate that the relay made for itself.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Where it listens: the port is the real one if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all connections share.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Ends: accepts nobody any more, closes every connection with 1001, each at its own moment,
    /// and returns when all are gone or the time for it is up.
    pub async fn end(self) {
        self.hub.ending.cancel();
        // Has closed the listener when it returns.
        let _ = self.accepting.await;
        let everybody = Leaving::everybody(&self.hub);
        tracing::info!(connections = everybody.len(), "ending");
        self.hub.tasks.close();
        let close = async {
            let step = SPREAD.checked_div(u32::try_from(everybody.len()).unwrap_or(u32::MAX));
            // A few are closed at once: there is no crowd to spread.
            let step = step.filter(|step| *step < Duration::from_millis(40)).unwrap_or_default();
            for (place, leaving) in (0u32..).zip(&everybody) {
                leaving.warn(step * place);
            }
            let started = tokio::time::Instant::now();
            for (place, leaving) in (0u32..).zip(everybody) {
                tokio::time::sleep_until(started + step * place).await;
                leaving.close();
            }
            self.hub.tasks.wait().await;
            if let Some(endpoint) = &self.endpoint {
                let _ = tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await;
            }
        };
        if tokio::time::timeout(ENDING, close).await.is_err() {
            tracing::warn!(left = self.hub.tasks.len(), "some connections did not end in time");
        }
        if let Some(endpoint) = &self.endpoint {
            endpoint.close(0_u32.into(), b"");
        }
    }
}

/// The names of a relay that is reached on this machine only.
#[must_use]
pub fn local_relay_names(port: u16) -> Vec<RelayName> {
    let hosts = ["localhost", "127.0.0.1", "[::1]"];
    hosts.into_iter().filter_map(|host| RelayName::new(host, port).ok()).collect()
}

/// A connection that is to end.
enum Leaving {
    Legacy(Arc<Outbox>),
    Host(Arc<Host>),
}

impl Leaving {
    fn everybody(hub: &Hub) -> Vec<Self> {
        let legacy: Vec<Self> = hub
            .registry()
            .everybody()
            .filter_map(|one| match one {
                Recipient::Legacy { outbox, .. } => Some(Self::Legacy(Arc::clone(outbox))),
                Recipient::Room { .. } => None,
            })
            .collect();
        let hosts: Vec<Self> = hub.hosts().everybody().cloned().map(Self::Host).collect();
        legacy.into_iter().chain(hosts).collect()
    }

    /// Tells those who can be told when to leave by themselves.
    fn warn(&self, after: Duration) {
        if let Self::Host(host) = self {
            let reconnect_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            host.say(&Frame::Drain { reconnect_after_ms });
        }
    }

    fn close(&self) {
        match self {
            Self::Legacy(outbox) => outbox.close(Close::Code(1001)),
            Self::Host(host) => host.close(CloseCode::GoingAway, "the relay is ending"),
        }
    }
}

/// Takes the address for TCP and, where there is QUIC, for UDP. A port that the system chooses for
/// the one may be taken for the other: then it chooses again.
async fn bind(
    address: SocketAddr,
    for_quic: bool,
) -> std::io::Result<(TcpListener, Option<UdpSocket>)> {
    let mut attempts = if address.port() == 0 { 32 } else { 1 };
    loop {
        let listener = TcpListener::bind(address).await?;
        if !for_quic {
            return Ok((listener, None));
        }
        attempts -= 1;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(datagrams) => return Ok((listener, Some(datagrams))),
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

struct Acceptor {
    hub: Arc<Hub>,
    admission: Arc<Admission>,
    router: Router,
    tls: Option<TlsAcceptor>,
    trusted_proxies: Arc<[IpNet]>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let ending = self.hub.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer.ip().to_canonical()),
                Err(error) => {
                    // Out of file descriptors, mostly: they come back when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            let wait = self.admission.pause_after_handshake(Instant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: IpAddr) {
        self.hub.metrics.connections_accepted.add(1);
        let is_proxy = self.trusted_proxies.iter().any(|trusted| trusted.contains(&peer));
        let Some(place) = self.admission.admit((!is_proxy).then_some(peer)) else {
            self.hub.metrics.connections_refused.add(1);
            return;
        };
        // What is forwarded must not wait for more to come.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let client = Client {
            peer,
            place: Arc::new(place),
            trusted_proxies: Arc::clone(&self.trusted_proxies),
        };
        let ending = self.hub.ending.clone();
        let router = self.router.clone();
        let tls = self.tls.clone();
        self.hub.tasks.spawn(async move {
            if let Some(stream) = secure(stream, tls).await {
                serve_http(stream, client, router, ending).await;
            }
        });
    }
}

/// Who is at the other end of a TCP connection.
struct Client {
    peer: IpAddr,
    place: Arc<Place>,
    trusted_proxies: Arc<[IpNet]>,
}

impl Client {
    fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let forwarded = forwarded_for(self.peer, headers, &self.trusted_proxies);
        Arrival {
            address: forwarded.unwrap_or(self.peer),
            is_forwarded: forwarded.is_some(),
            place: Arc::clone(&self.place),
        }
    }
}

/// The address that trusted proxies say they forward for. Each adds the address it got a request
/// from, so it is the last one that is not itself a trusted proxy: whatever stands before that,
/// the client may have written.
fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return None;
    }
    let values = headers.get_all("x-forwarded-for").into_iter().rev();
    let addresses = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    let mut found = None;
    for address in addresses {
        let Ok(address) = address.trim().parse::<IpAddr>() else { break };
        found = Some(address.to_canonical());
        if !found.as_ref().is_some_and(is_trusted) {
            break;
        }
    }
    found
}

/// Speaks TLS if that is spoken here.
async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(stream)) };
    let handshake = tokio::time::timeout(HEAD_DEADLINE, tls.accept(stream));
    let stream = handshake.await.ok()?.ok()?;
    // An authority has what it wanted to know with the handshake.
    let is_authority = stream.get_ref().1.alpn_protocol() == Some(ACME_ALPN);
    (!is_authority).then(|| Stream::Tls(Box::new(stream)))
}

async fn serve_http(stream: Stream, client: Client, router: Router, ending: CancellationToken) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let arrival = client.arrival(request.headers());
        request.extensions_mut().insert(arrival);
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = ending.cancelled() => {
            // What was asked already is answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}
