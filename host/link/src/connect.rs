//! Connecting to one relay: over QUIC, or over a WebSocket where UDP does not get through.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rp_protocol::relay::RelayName;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::address::RelayUrl;
use crate::link::{Transport, Wires};
use crate::quic;
use crate::trust::Trust;
use crate::websocket::{self, Upgrade};
use crate::wire::{Connected, Wire, WireError, WireSender};

/// How much later the transport begins that is tried second.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long a connection may take to be made, without the login.
const DEADLINE: Duration = Duration::from_secs(10);
/// For how long the transport that won on a network begins there.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Most networks remembered.
const MAX_NETWORKS: usize = 64;
/// Most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;

/// Which transport won, by relay and by this machine's address towards it.
#[derive(Debug, Default)]
pub(crate) struct Winners(HashMap<(RelayName, IpAddr), (Transport, Instant)>);

impl Winners {
    fn get(&self, relay: &RelayName, network: IpAddr) -> Option<Transport> {
        let (transport, since) = self.0.get(&(relay.clone(), network))?;
        (since.elapsed() < REMEMBERED).then_some(*transport)
    }

    fn put(&mut self, relay: &RelayName, network: IpAddr, transport: Transport) {
        if self.0.len() >= MAX_NETWORKS {
            self.0.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        if self.0.len() < MAX_NETWORKS {
            let won = (transport, Instant::now());
            self.0.entry((relay.clone(), network)).insert_entry(won);
        }
    }
}

/// Connects to a relay over what gets through first.
pub(crate) async fn connect(
    relay: &RelayUrl,
    trust: Trust,
    wires: Wires,
    winners: &mut Winners,
) -> Result<Connected, WireError> {
    let connecting = async {
        match wires {
            Wires::All => race(relay, trust, winners).await,
            Wires::Old => websocket::connect_legacy(relay, trust).await.map(Connected::Legacy),
        }
    };
    match tokio::time::timeout(DEADLINE, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(WireError::Failed("no answer within 10 s".to_owned())),
    }
}

async fn race(
    relay: &RelayUrl,
    trust: Trust,
    winners: &mut Winners,
) -> Result<Connected, WireError> {
    let found = tokio::net::lookup_host((relay.host(), relay.port())).await;
    let addresses: Vec<SocketAddr> =
        found.map_err(WireError::failed)?.take(MAX_ADDRESSES).collect();
    // QUIC is always encrypted: without TLS on the other side or a pinned certificate there is none.
    let may_be_quic = relay.is_encrypted() || matches!(trust, Trust::Pinned(_));
    if !may_be_quic {
        return over_websocket(relay, trust).await;
    }
    let network = local_address(&addresses).await;
    let remembered = network.and_then(|network| winners.get(relay.name(), network));
    let (quic_delay, socket_delay) = match remembered {
        Some(Transport::WebSocket) => (HEAD_START, Duration::ZERO),
        _ => (Duration::ZERO, HEAD_START),
    };
    let quic = after(quic_delay, over_quic(relay, trust, &addresses));
    let socket = after(socket_delay, over_websocket(relay, trust));
    let connected = first_success(quic, socket).await?;
    if let (Some(network), Connected::Modern(wire, _)) = (network, &connected) {
        winners.put(relay.name(), network, Transport::of(wire));
    }
    Ok(connected)
}

async fn after<T>(delay: Duration, future: impl Future<Output = T>) -> T {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    future.await
}

/// The one that succeeds first. When both fail, what the WebSocket says: it gets through more often.
async fn first_success<T>(
    quic: impl Future<Output = Result<T, WireError>>,
    socket: impl Future<Output = Result<T, WireError>>,
) -> Result<T, WireError> {
    tokio::pin!(quic, socket);
    tokio::select! {
        connected = &mut quic => match connected {
            Ok(connected) => Ok(connected),
            Err(error) => {
                tracing::debug!(%error, "QUIC does not get through");
                socket.await
            }
        },
        connected = &mut socket => match connected {
            Ok(connected) => Ok(connected),
            Err(error) => quic.await.map_err(|_| error),
        },
    }
}

async fn over_quic(
    relay: &RelayUrl,
    trust: Trust,
    addresses: &[SocketAddr],
) -> Result<Connected, WireError> {
    let (wire, sender) = quic::connect(relay, trust, addresses).await?;
    Ok(Connected::Modern(Wire::Quic(wire), WireSender::Quic(sender)))
}

async fn over_websocket(relay: &RelayUrl, trust: Trust) -> Result<Connected, WireError> {
    Ok(match websocket::connect(relay, trust).await? {
        Upgrade::Modern(wire, sender) => {
            Connected::Modern(Wire::WebSocket(wire), WireSender::WebSocket(sender))
        }
        Upgrade::Legacy(socket) => Connected::Legacy(socket),
    })
}

/// This machine's address towards a relay: another one means another network. Sends nothing.
async fn local_address(addresses: &[SocketAddr]) -> Option<IpAddr> {
    let address = addresses.first()?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(address).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_won_on_a_network_is_remembered_for_an_hour() {
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let relay = RelayName::new("relay.example.org", 443).unwrap();
        let mut winners = Winners::default();
        winners.put(&relay, here, Transport::WebSocket);
        assert_eq!(winners.get(&relay, here), Some(Transport::WebSocket));
        assert_eq!(winners.get(&relay, there), None);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(winners.get(&relay, here), None);
        for number in 0..=255 {
            winners.put(&relay, [10, 0, 1, number].into(), Transport::Quic);
        }
        assert_eq!(winners.0.len(), MAX_NETWORKS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_websocket_wins_after_its_head_start_when_quic_does_not_answer() {
        let begun = Instant::now();
        let socket = after(HEAD_START, async { Ok("WebSocket") });
        assert_eq!(first_success(std::future::pending(), socket).await, Ok("WebSocket"));
        assert_eq!(begun.elapsed(), HEAD_START);
        let quic = async { Ok("QUIC") };
        assert_eq!(first_success(quic, std::future::pending()).await, Ok("QUIC"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_leaves_it_to_the_other_and_the_websocket_says_why() {
        let quic = after(DEADLINE, async { Ok("QUIC") });
        assert_eq!(first_success(quic, async { Err(WireError::Protocol) }).await, Ok("QUIC"));
        let quic = async { Err::<(), _>(WireError::Protocol) };
        let socket = async { Err(WireError::Failed("refused".to_owned())) };
        let failed = Err(WireError::Failed("refused".to_owned()));
        assert_eq!(first_success(quic, socket).await, failed);
    }
}
