//! Machines of one owner, connected by `rp/1` through the link that hosts use.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use rp_link::{
    Config, Delivery, Fingerprint, Link, Message, RelayUrl, State, Transport, Trust, Wires,
};
use rp_protocol::{
    key::{PublicKey, SecretKey},
    membership::Membership,
    relay::{MessageId, Verdict},
    seal::{Channel, Received, SealError, SealingKey},
};
use rp_tests::{
    PATIENCE,
    relay::{Relay, publish},
};
use tokio::sync::mpsc;

use super::{
    authorisation::member,
    legacy::key,
    load::{BODY, Receives, Sends, body, time_in},
};

/// The owner's key, and the first of the machines'.
const OWNER: u64 = 1 << 32;
const FIRST_MACHINE: u64 = OWNER + 1;
/// How many machines the owner has.
const MACHINES: u64 = 32;

/// What a machine connects over.
#[derive(Clone, Copy)]
pub(super) enum Over {
    Quic,
    /// Without TLS, as behind a proxy.
    WebSocket,
}

/// How a relay is reached over that.
pub(super) fn reached(relay: &Relay, over: Over) -> Result<rp_link::Relay> {
    let trust = match over {
        Over::Quic => {
            let fingerprint = relay.fingerprint().and_then(Fingerprint::parse);
            Trust::Pinned(fingerprint.context("the relay has no certificate of its own")?)
        }
        Over::WebSocket => Trust::Platform,
    };
    Ok(rp_link::Relay { url: RelayUrl::from_person(&relay.url())?, trust })
}

/// A link that is being connected.
pub(super) fn link(relay: rp_link::Relay, key: SecretKey) -> (Link, mpsc::Receiver<Delivery>) {
    let software = "rp-bench".to_owned();
    Link::start(Config { relays: vec![relay], key, software, wires: Wires::All })
}

/// Waits until a link is connected; when that was, and over what.
pub(super) async fn until_connected(link: &Link) -> Result<(Instant, Transport)> {
    let mut state = link.state();
    let connected = state.wait_for(|state| matches!(state, State::Connected { .. }));
    let connected = tokio::time::timeout(PATIENCE, connected).await;
    match &*connected.context("a link does not connect")?? {
        State::Connected { transport, .. } => Ok((Instant::now(), *transport)),
        _ => bail!("it waited for another state"),
    }
}

/// Machines that may write to each other.
pub(super) struct Mesh {
    quic: rp_link::Relay,
    websocket: rp_link::Relay,
    next: AtomicU64,
}

impl Mesh {
    /// Has an owner publish that these machines are hers.
    pub(super) async fn publish(relay: &Relay) -> Result<Self> {
        let owner = key(OWNER);
        let machines = FIRST_MACHINE..FIRST_MACHINE + MACHINES;
        let members = machines.map(|number| member(key(number).public())).collect();
        let membership = Membership { version: 1, issued_at: 1, owner: owner.public(), members };
        let websocket = reached(relay, Over::WebSocket)?;
        publish(&websocket, &owner, membership).await?;
        let next = AtomicU64::new(FIRST_MACHINE);
        Ok(Mesh { quic: reached(relay, Over::Quic)?, websocket, next })
    }

    /// Pairs whose messages are sealed from host to host; the handshake is over.
    pub(super) async fn sealed_pairs(
        &self,
        over: Over,
        count: usize,
    ) -> Result<Vec<(Sender, Receiver)>> {
        let mut pairs = self.unsealed_pairs(over, count).await?;
        for (sender, receiver) in &mut pairs {
            let (one, other) = shake_hands(&sender.key, &receiver.key)?;
            (sender.seal, receiver.seal) = (Some(one), Some(other));
        }
        Ok(pairs)
    }

    /// Pairs whose messages go as they are, where sealed ones would.
    pub(super) async fn unsealed_pairs(
        &self,
        over: Over,
        count: usize,
    ) -> Result<Vec<(Sender, Receiver)>> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            let (from, link, _) = self.machine(over).await?;
            let receiver = self.machine(over).await?;
            let (to, filler) = (receiver.0.public(), "x".repeat(BODY));
            let sender = Sender { key: from, link, to, filler, next_id: 0, seal: None };
            let (key, link, deliveries) = receiver;
            pairs.push((sender, Receiver { key, link, deliveries, seal: None }));
        }
        Ok(pairs)
    }

    async fn machine(&self, over: Over) -> Result<(SecretKey, Link, mpsc::Receiver<Delivery>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ensure!(number < FIRST_MACHINE + MACHINES, "the owner has too few machines");
        let (relay, wanted) = match over {
            Over::Quic => (&self.quic, Transport::Quic),
            Over::WebSocket => (&self.websocket, Transport::WebSocket),
        };
        let key = key(number);
        let (link, deliveries) = link(relay.clone(), key.clone());
        let (_, transport) = until_connected(&link).await?;
        ensure!(transport == wanted, "connected over {transport:?}");
        Ok((key, link, deliveries))
    }
}

/// One side of a sealed channel.
pub(super) struct Seal {
    keys: SealingKey,
    channel: Channel,
}

/// Two sides of a sealed channel after their handshake.
fn shake_hands(one: &SecretKey, other: &SecretKey) -> Result<(Seal, Seal)> {
    let side = |own: &SecretKey, peer: &SecretKey| Seal {
        keys: SealingKey::certify(own, *own.seed(), now_ms()),
        channel: Channel::new(peer.public()),
    };
    let (mut first, mut second) = (side(one, other), side(other, one));
    let opening = first.channel.begin(&first.keys, now_ms())?;
    let reply = second.answer(&opening)?;
    let last = first.answer(&reply)?;
    second.channel.receive(&last, &second.keys, now_ms())?;
    Ok((first, second))
}

impl Seal {
    /// The next step of the handshake.
    fn answer(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        match self.channel.receive(message, &self.keys, now_ms())? {
            Received::Answer { message, .. } => Ok(message),
            _ => bail!("the handshake goes wrong"),
        }
    }

    fn seal(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        match self.channel.seal(content, now_ms()) {
            Err(SealError::SaveFirst) => {
                // It would be put on disk here.
                drop(self.channel.save());
                Ok(self.channel.seal(content, now_ms())?)
            }
            sealed => Ok(sealed?),
        }
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>> {
        match self.channel.receive(sealed, &self.keys, now_ms())? {
            Received::Content(opened) => Ok(opened.content),
            _ => bail!("not a message"),
        }
    }
}

fn now_ms() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

pub(super) struct Sender {
    key: SecretKey,
    link: Link,
    to: PublicKey,
    filler: String,
    next_id: u128,
    seal: Option<Seal>,
}

pub(super) struct Receiver {
    key: SecretKey,
    link: Link,
    deliveries: mpsc::Receiver<Delivery>,
    seal: Option<Seal>,
}

impl Sends for Sender {
    async fn send(&mut self, time: u64) -> Result<()> {
        let body = body(time, &self.filler).into_bytes();
        let content = match &mut self.seal {
            Some(seal) => seal.seal(&body)?,
            None => body,
        };
        self.next_id += 1;
        let id = MessageId(self.next_id.to_be_bytes());
        // Both ends are here, so the one that receives says what arrived.
        drop(self.link.send(id, self.to, Message::Sealed(content)).await?);
        Ok(())
    }
}

impl Receives for Receiver {
    async fn receive(&mut self) -> Result<u64> {
        let delivery = self.deliveries.recv().await.context("the link has ended")?;
        let Message::Sealed(content) = &delivery.message else { bail!("a message in the clear") };
        let time = match &mut self.seal {
            Some(seal) => time_in(&seal.open(content)?),
            None => time_in(content),
        };
        self.link.answer(delivery.id, delivery.from, Verdict::Received).await?;
        time
    }
}
