//! How much anybody may ask of the relay.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the relay bears; each bound has its answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of any kind. A further one is closed as soon as it is accepted.
    pub connections: usize,
    /// Connections from one address (IPv6: from one /64). A further one is closed as soon as it
    /// is accepted, or gets status 429 when a proxy passes it on. Loopback is not counted.
    pub connections_per_address: usize,
    /// Connections that are accepted in a second. Further ones wait; those over QUIC are told to
    /// come back, and refused if they do while there are still too many.
    pub handshakes_per_second: u32,
    /// Frames from one peer in a second, over all its connections. The relay reads further ones
    /// later, so the sender waits and nothing is lost.
    pub frames_per_second: u32,
    /// Bytes from one peer in a second, with the same answer.
    pub bytes_per_second: u64,
    /// Peers that one peer watches the presence of, and as many that it watches the rooms of.
    /// Those further back in the list are not watched.
    pub subscriptions: usize,
    /// Open rooms of one peer. A connection that would open a further one is closed with 1008.
    pub rooms: usize,
    /// Largest content of an outer envelope, in bytes. A larger one is dropped.
    pub content_bytes: u64,
    /// Bytes waiting for one connection. One that falls further behind is cut off.
    pub queue_bytes: usize,
    /// Bytes held for all connections together: waiting to be sent, received in part, or received
    /// whole on a stream of QUIC and not handled. Whoever they grow further for is cut off, but none
    /// for its first 64 KiB. What QUIC itself holds for a connection is bounded apart from this.
    pub queued_bytes: usize,
    /// Owners whose membership is kept. A further one is refused with status 503.
    pub owners: u64,
    /// Publications of memberships in a second that are signed and newer than what is there.
    /// Further ones get status 429.
    pub publications_per_second: u32,
    /// Publications in a second from one address (IPv6: from one /64), whatever they are worth.
    /// Further ones get status 429. Loopback has as many as all together.
    pub publications_per_second_per_address: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_address: 512,
            handshakes_per_second: 5_000,
            frames_per_second: 50_000,
            bytes_per_second: 128 << 20,
            subscriptions: 4_096,
            rooms: 1_024,
            content_bytes: 4 << 20,
            queue_bytes: 32 << 20,
            queued_bytes: 1 << 30,
            owners: 1_000_000,
            publications_per_second: 200,
            publications_per_second_per_address: 20,
        }
    }
}

impl Limits {
    /// The largest message that is taken on a connection: an envelope with the largest content,
    /// every fourth character of it written as an escape, or an envelope between machines of 16
    /// MiB.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        let content = usize::try_from(self.content_bytes).unwrap_or(usize::MAX);
        content.saturating_mul(2).max(16 << 20)
    }

    /// [`Limits::queue_bytes`], but room for two of the largest messages in any case.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes.max(self.message_bytes().saturating_mul(2))
    }
}

/// So many in a second, and in a burst as many as in one second. Taking more than there is leaves
/// a debt, which is paid by waiting.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, level: per_second, at: now }
    }

    /// Takes `amount`, and returns how long to wait before taking more.
    pub fn take(&mut self, amount: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.per_second) - amount;
        match self.level < 0.0 {
            true => Duration::try_from_secs_f64(-self.level / self.per_second)
                .unwrap_or(Duration::from_secs(1)),
            false => Duration::ZERO,
        }
    }

    /// Takes `amount` if that leaves no debt.
    pub fn try_take(&mut self, amount: f64, now: Instant) -> bool {
        let is_there = self.take(0.0, now).is_zero() && self.level >= amount;
        if is_there {
            self.level -= amount;
        }
        is_there
    }
}

/// How fast one peer is read, whatever number of connections it has.
#[derive(Debug)]
pub struct Pace(Mutex<(Bucket, Bucket)>);

impl Pace {
    /// For a peer that has said nothing yet.
    #[must_use]
    pub fn new(limits: &Limits, now: Instant) -> Arc<Self> {
        // More than 2^53 bytes in a second are no limit anyway.
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let bytes = Bucket::new(limits.bytes_per_second as f64, now);
        Arc::new(Self(Mutex::new((Bucket::new(f64::from(limits.frames_per_second), now), bytes))))
    }

    /// The peer has said so much; returns how long to leave it unread.
    pub fn charge(&self, frames: u32, bytes: u32, now: Instant) -> Duration {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_frames = buckets.0.take(f64::from(frames), now);
        let by_bytes = buckets.1.take(f64::from(bytes), now);
        by_frames.max(by_bytes)
    }
}

/// Of how many addresses it is remembered how often they published. Beyond these all are forgotten,
/// which lets each of them publish a second's worth once more.
const REMEMBERED_ADDRESSES: usize = 65_536;

/// How often each address may publish.
#[derive(Debug)]
pub struct Publishers {
    of_one: f64,
    of_loopback: f64,
    buckets: Mutex<HashMap<Option<IpAddr>, Bucket>>,
}

impl Publishers {
    /// Nobody has published anything.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            of_one: f64::from(limits.publications_per_second_per_address),
            of_loopback: f64::from(limits.publications_per_second),
            buckets: Mutex::default(),
        }
    }

    /// Whether what comes from this address can be looked at now.
    pub fn may_publish(&self, address: IpAddr, now: Instant) -> bool {
        let address = counted_as(address);
        let per_second = if address.is_some() { self.of_one } else { self.of_loopback };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED_ADDRESSES && !buckets.contains_key(&address) {
            buckets.clear();
        }
        let bucket = buckets.entry(address).or_insert_with(|| Bucket::new(per_second, now));
        bucket.try_take(1.0, now)
    }
}

/// Counts the connections that are there.
#[derive(Debug)]
pub struct Admission {
    max: usize,
    max_per_address: usize,
    handshakes: Mutex<Bucket>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    is_connection: bool,
}

impl Admission {
    /// Nobody is there.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.connections,
            max_per_address: limits.connections_per_address,
            handshakes: Mutex::new(Bucket::new(
                f64::from(limits.handshakes_per_second),
                Instant::now(),
            )),
            counted: Mutex::default(),
        })
    }

    /// Counts a handshake that has begun, and returns how long to wait before the next one.
    pub fn pause_after_handshake(&self, now: Instant) -> Duration {
        self.handshakes().take(1.0, now)
    }

    /// Counts a handshake if it may begin now.
    pub fn may_shake_hands(&self, now: Instant) -> bool {
        self.handshakes().try_take(1.0, now)
    }

    fn handshakes(&self) -> MutexGuard<'_, Bucket> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, if there is one. Without an address it is counted in total
    /// only: it comes from a proxy that will say for whom.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        self.count(address, true)
    }

    /// A place at an address, for a connection that was admitted without one.
    pub fn admit_address(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.count(Some(address), false)
    }

    fn count(self: &Arc<Self>, address: Option<IpAddr>, is_connection: bool) -> Option<Place> {
        let address = address.and_then(counted_as);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if is_connection && counted.all >= self.max {
            return None;
        }
        if let Some(address) = address {
            let there = counted.by_address.entry(address).or_default();
            if *there >= self.max_per_address {
                return None;
            }
            *there += 1;
        }
        counted.all += usize::from(is_connection);
        drop(counted);
        Some(Place { admission: Arc::clone(self), address, is_connection })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.admission.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.all -= usize::from(self.is_connection);
        if let Some(address) = self.address
            && let Some(there) = counted.by_address.get_mut(&address)
        {
            *there -= 1;
            if *there == 0 {
                counted.by_address.remove(&address);
            }
        }
    }
}

/// What an address is counted as: who has an IPv6 address usually has the /64 around it. Loopback is
/// not counted.
fn counted_as(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        loopback if loopback.is_loopback() => None,
        IpAddr::V6(address) => {
            Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))))
        }
        address => Some(address),
    }
}
