//! The relay: what it forwards, what connections cost it, whom it lets write, and agents that
//! reach each other through it. The relay is a process of its own; its clients are in this one.

mod authorisation;
mod floor;
mod hosts;
mod idle;
mod legacy;
mod load;
mod machines;
mod reconnect;

use anyhow::{Context, Result};
use rp_tests::relay::Relay;

use crate::{Table, median};
use load::{Load, load};

pub(crate) use authorisation::measure as authorisation;
pub(crate) use hosts::measure as hosts;
pub(crate) use idle::measure as idle;
pub(crate) use reconnect::measure as reconnect;

/// What Remote Pi's relay does with the same load on a machine like the one the bars were set on:
/// messages a second with four pairs, and the median in microseconds of one at a time. It is not
/// measured here: it is not part of this project.
const REFERENCE_RATE: f64 = 4_400.0;
const REFERENCE_P50: f64 = 34.0;

/// How many pairs of connections there are, and how many messages of each are on their way.
const PAIRS: usize = 4;
const WINDOW: usize = 16;

/// Messages of one round, and of one where each waits for the one before.
const MESSAGES: usize = 60_000;
const MESSAGES_ALONE: usize = 10_000;

/// QUIC and WebSockets at one relay, TCP without TLS as behind a proxy.
pub(crate) const QUIC_TOO: [&str; 2] = ["--self-signed", "--plain-tcp"];

/// Messages through the relay, beside bytes that are only echoed.
pub(crate) async fn forwarding(table: &mut Table) -> Result<()> {
    let relay = Relay::start_with(&QUIC_TOO)?;
    let mut websocket_floor = floor::websocket(PAIRS).await?;
    let mut quic_floor = floor::quic(PAIRS).await?;
    let mut legacy = legacy::pairs(&relay.address().to_string(), PAIRS).await?;
    let mesh = machines::Mesh::publish(&relay).await?;
    let mut over_websocket = mesh.sealed_pairs(machines::Over::WebSocket, PAIRS).await?;
    let mut over_quic = mesh.sealed_pairs(machines::Over::Quic, PAIRS).await?;
    let mut unsealed = mesh.unsealed_pairs(machines::Over::Quic, PAIRS).await?;

    let mut rounds = Rounds::default();
    // Interleaved, so that a slow moment of the machine hits all.
    for _ in 0..3 {
        rounds.websocket_floor.push(load(&mut websocket_floor, WINDOW, MESSAGES).await?);
        rounds.legacy.push(load(&mut legacy, WINDOW, MESSAGES).await?);
        rounds.over_websocket.push(load(&mut over_websocket, WINDOW, MESSAGES).await?);
        rounds.quic_floor.push(load(&mut quic_floor, WINDOW, MESSAGES).await?);
        rounds.over_quic.push(load(&mut over_quic, WINDOW, MESSAGES).await?);
        rounds.unsealed.push(load(&mut unsealed, WINDOW, MESSAGES).await?);
    }
    rounds.show(table)?;

    for pairs in [&mut websocket_floor, &mut legacy] {
        pairs.truncate(1);
    }
    let floor = load(&mut websocket_floor, 1, MESSAGES_ALONE).await?.p50();
    table.floor("WebSocket echo, window 1, p50", floor, "us");
    let ours = load(&mut legacy, 1, MESSAGES_ALONE).await?.p50();
    let bar = format!("{REFERENCE_P50} us");
    table.row("relay, WebSocket, window 1, p50", ours, "us", &bar, ours <= REFERENCE_P50);
    quic_floor.truncate(1);
    let floor = load(&mut quic_floor, 1, MESSAGES_ALONE).await?.p50();
    table.floor("QUIC echo, window 1, p50", floor, "us");
    over_quic.truncate(1);
    let ours = load(&mut over_quic, 1, MESSAGES_ALONE).await?.p50();
    table.floor("relay, QUIC, sealed, window 1, p50", ours, "us");
    Ok(())
}

/// The same load several times on everything.
#[derive(Default)]
struct Rounds {
    websocket_floor: Vec<Load>,
    legacy: Vec<Load>,
    over_websocket: Vec<Load>,
    quic_floor: Vec<Load>,
    over_quic: Vec<Load>,
    unsealed: Vec<Load>,
}

impl Rounds {
    fn show(self, table: &mut Table) -> Result<()> {
        let rate = "messages/s";
        let websocket_floor = middle(self.websocket_floor)?.per_second;
        table.floor("WebSocket echo, 4 pairs, window 16, 1 KiB", websocket_floor, rate);
        let legacy = middle(self.legacy)?;
        let ours = legacy.per_second;
        let met = ours >= 10.0 * REFERENCE_RATE && ours * 2.0 >= websocket_floor;
        let bar = "10 x Remote Pi's, 1/2 floor";
        table.row("relay, WebSocket, 4 pairs, window 16, 1 KiB", ours, rate, bar, met);
        let p99 = legacy.p99() / 1000.0;
        table.row("the same, p99", p99, "ms", "under 3 ms", p99 < 3.0);

        let quic_floor = middle(self.quic_floor)?.per_second;
        table.floor("QUIC echo, 4 pairs, window 16, 1 KiB", quic_floor, rate);
        let over_quic = middle(self.over_quic)?;
        let sealed = over_quic.per_second;
        let met = sealed >= ours && sealed * 2.0 >= quic_floor;
        let bar = "WebSocket's and 1/2 floor";
        table.row("relay, QUIC, sealed end to end, the same load", sealed, rate, bar, met);
        table.floor("the same, p99", over_quic.p99() / 1000.0, "ms");
        let unsealed = middle(self.unsealed)?.per_second;
        table.floor("relay, QUIC, the same without sealing", unsealed, rate);
        let over_websocket = middle(self.over_websocket)?.per_second;
        table.floor("relay, sealed over a WebSocket", over_websocket, rate);
        Ok(())
    }
}

/// The round in the middle by its rate.
fn middle(mut rounds: Vec<Load>) -> Result<Load> {
    let rate = median(rounds.iter().map(|load| load.per_second).collect())?;
    let at = rounds.iter().position(|load| load.per_second == rate).context("no round")?;
    Ok(rounds.swap_remove(at))
}
