//! The network between machines and a relay: a port of loopback that passes on what comes to it,
//! TCP and UDP, and keeps a copy. On demand it loses and delays datagrams and cuts connections.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{Notify, watch},
    task::JoinSet,
};

/// The longest datagram, and how much of a stream is taken at once.
const CHUNK: usize = 64 * 1024;
/// The same choices in every run.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A network; it is gone when this is dropped.
pub struct Forwarder {
    shared: Arc<Shared>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// What happens to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Datagrams {
    /// Each is passed on at once.
    #[default]
    Pass,
    /// None gets through.
    Swallow,
    /// Some are lost, and the others come later, so also in another order.
    Disturb {
        /// How many of a hundred are lost.
        loss: u64,
        /// From the least to the greatest delay, in milliseconds.
        delay_ms: (u64, u64),
    },
}

/// How many datagrams had which fate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Passed on.
    pub passed: usize,
    /// Swallowed or lost.
    pub lost: usize,
}

#[derive(Debug, Default)]
struct Shared {
    relay: OnceLock<SocketAddr>,
    faults: Mutex<Faults>,
    /// The connections that were cut.
    cuts: watch::Sender<usize>,
    /// What clients say instead of what they said.
    rewrite: Mutex<Option<(&'static str, &'static str)>>,
    /// What went through, each direction of each connection for itself.
    streams: Mutex<Vec<Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Faults {
    datagrams: Datagrams,
    counted: Counted,
    /// How many more connections are to be cut, and after how many bytes.
    cuts: usize,
    cut_after: Range<u64>,
    drawn: u64,
}

impl Forwarder {
    /// Takes a port. Nothing is passed on before [`Forwarder::lead_to`].
    ///
    /// # Errors
    /// When there is no port that is free for TCP and UDP.
    pub async fn open() -> Result<Self> {
        let (listener, socket) = bind().await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        tasks.spawn(pass_datagrams(Arc::new(socket), Arc::clone(&shared)));
        Ok(Forwarder { shared, address, _tasks: tasks })
    }

    /// Its address: the name by which machines know the relay behind it.
    #[must_use]
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// Passes everything on to this address from now on. Counts once.
    pub fn lead_to(&self, relay: SocketAddr) {
        let _ = self.shared.relay.set(relay);
    }

    /// Says what happens to datagrams from now on.
    pub fn datagrams(&self, datagrams: Datagrams) {
        self.shared.faults().datagrams = datagrams;
    }

    /// What has happened to datagrams since this was last asked.
    #[must_use]
    pub fn counted(&self) -> Counted {
        std::mem::take(&mut self.shared.faults().counted)
    }

    /// Cuts connections when so many bytes have gone over them, this many connections from now on.
    pub fn cut(&self, connections: usize, after: Range<u64>) {
        let mut faults = self.shared.faults();
        (faults.cuts, faults.cut_after) = (connections, after);
    }

    /// Waits until so many connections have been cut.
    ///
    /// # Errors
    /// When they are not within [`crate::PATIENCE`].
    pub async fn has_cut(&self, connections: usize) -> Result<()> {
        let mut cuts = self.shared.cuts.subscribe();
        let enough = cuts.wait_for(|cut| *cut >= connections);
        tokio::time::timeout(crate::PATIENCE, enough).await.context("they are not cut")??;
        Ok(())
    }

    /// Puts another text of the same length in the place of one that clients say over TCP.
    pub fn rewrite(&self, text: &'static str, instead: &'static str) {
        let mut rewrite = self.shared.rewrite.lock().unwrap_or_else(PoisonError::into_inner);
        *rewrite = Some((text, instead)).filter(|_| text.len() == instead.len());
    }

    /// All bytes that went through, those of one direction of one connection together.
    #[must_use]
    pub fn recording(&self) -> Vec<Vec<u8>> {
        self.shared.streams().clone()
    }
}

async fn bind() -> Result<(TcpListener, UdpSocket)> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // Somebody else may have the same number for UDP.
        if let Ok(socket) = UdpSocket::bind(listener.local_addr()?).await {
            return Ok((listener, socket));
        }
    }
    anyhow::bail!("no port is free for TCP and UDP")
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what clients say.
    fn rewrite(&self, bytes: &mut [u8]) {
        let rewrite = *self.rewrite.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((text, instead)) = rewrite
            && let Some(at) = memchr::memmem::find(bytes, text.as_bytes())
            && let Some(place) = bytes.get_mut(at..at + text.len())
        {
            place.copy_from_slice(instead.as_bytes());
        }
    }

    /// The place for one more direction in the recording.
    fn begin(&self) -> usize {
        let mut streams = self.streams();
        streams.push(Vec::new());
        streams.len() - 1
    }

    fn record(&self, place: usize, bytes: &[u8]) {
        if let Some(stream) = self.streams().get_mut(place) {
            stream.extend_from_slice(bytes);
        }
    }

    /// Where a connection is cut over which so many bytes have gone, if it is.
    fn cut(&self, gone: u64, spread: u64) -> Option<u64> {
        let mut faults = self.faults();
        let Range { start, end } = faults.cut_after;
        let at = start + spread % end.saturating_sub(start).max(1);
        if faults.cuts == 0 || gone < at {
            return None;
        }
        faults.cuts -= 1;
        drop(faults);
        self.cuts.send_modify(|cuts| *cuts += 1);
        Some(at)
    }
}

impl Faults {
    /// A number below `limit` (xorshift, Marsaglia 2003).
    fn below(&mut self, limit: u64) -> u64 {
        let mut drawn = if self.drawn == 0 { SEED } else { self.drawn };
        drawn ^= drawn << 13;
        drawn ^= drawn >> 7;
        drawn ^= drawn << 17;
        self.drawn = drawn;
        drawn % limit.max(1)
    }

    /// After how long a datagram is passed on, if it is.
    fn fate(&mut self) -> Option<Duration> {
        let fate = match self.datagrams {
            Datagrams::Pass => Some(Duration::ZERO),
            Datagrams::Swallow => None,
            Datagrams::Disturb { loss, delay_ms: (least, greatest) } => {
                let is_lost = self.below(100) < loss;
                let delay_us = least * 1000 + self.below((greatest - least) * 1000);
                (!is_lost).then(|| Duration::from_micros(delay_us))
            }
        };
        match fate {
            Some(_) => self.counted.passed += 1,
            None => self.counted.lost += 1,
        }
        fate
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// What has gone over a connection in both directions, and where it is cut if it is.
struct Gone {
    bytes: AtomicU64,
    spread: u64,
    is_cut: Notify,
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let Some(relay) = shared.relay.get() else { return };
    // A relay that is not there is one that refuses.
    let Ok(server) = TcpStream::connect(relay).await else { return };
    // What is passed on must not wait for more to come.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let spread = shared.faults().below(u64::MAX);
    let gone = Gone { bytes: AtomicU64::new(0), spread, is_cut: Notify::new() };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pass(from_client, to_server, &shared, &gone, |bytes| shared.rewrite(bytes)),
            pass(from_server, to_client, &shared, &gone, |_| {}),
        )
    };
    tokio::select! {
        _ = both => {}
        () = gone.is_cut.notified() => {}
    }
}

/// Passes one direction on to its end, or until the connection is to be cut: that may be in the
/// middle of anything.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    gone: &Gone,
    change: impl Fn(&mut [u8]),
) {
    let place = shared.begin();
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get_mut(..count).unwrap_or_default();
        change(bytes);
        let before = gone.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if let Some(end) = shared.cut(before + count as u64, gone.spread) {
            let rest = usize::try_from(end.saturating_sub(before)).unwrap_or(0);
            let _ = to.write_all(bytes.get(..rest).unwrap_or_default()).await;
            gone.is_cut.notify_one();
            return;
        }
        shared.record(place, bytes);
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn pass_datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    // Each client has a socket of its own towards the relay, as behind any router.
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, usize)> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        // An error is about an earlier datagram that nobody took.
        let Ok((count, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(&relay) = shared.relay.get() else { continue };
        let known = clients.get(&client).cloned();
        let (towards, place) = match known {
            Some(known) => known,
            None => {
                let Ok(towards) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { continue };
                let towards = Arc::new(towards);
                let (from, back) = (Arc::clone(&towards), Arc::clone(&socket));
                answers.spawn(pass_answers(from, back, client, Arc::clone(&shared)));
                let new = (towards, shared.begin());
                clients.insert(client, new.clone());
                new
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        pass_datagram(&shared, place, bytes, &towards, relay).await;
    }
}

async fn pass_answers(
    from: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    client: SocketAddr,
    shared: Arc<Shared>,
) {
    let place = shared.begin();
    let mut buffer = vec![0; CHUNK];
    loop {
        let Ok((count, _)) = from.recv_from(&mut buffer).await else { continue };
        let bytes = buffer.get(..count).unwrap_or_default();
        pass_datagram(&shared, place, bytes, &back, client).await;
    }
}

async fn pass_datagram(
    shared: &Shared,
    place: usize,
    bytes: &[u8],
    through: &Arc<UdpSocket>,
    to: SocketAddr,
) {
    let fate = shared.faults().fate();
    let Some(delay) = fate else { return };
    shared.record(place, bytes);
    if delay.is_zero() {
        let _ = through.send_to(bytes, to).await;
        return;
    }
    let (through, bytes) = (Arc::clone(through), bytes.to_vec());
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let _ = through.send_to(&bytes, to).await;
    });
}
