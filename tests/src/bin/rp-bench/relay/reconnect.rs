//! Hosts that lose their relay all at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rp_link::{Link, State};
use rp_tests::{PATIENCE, relay::Relay};

use super::{
    QUIC_TOO,
    idle::links,
    machines::{self, Over},
};
use crate::Table;

/// How many hosts there are.
const HOSTS: u32 = 1_000;
/// After how long a link takes its connection for a good one, which begins its waits anew.
const GOOD: Duration = Duration::from_secs(10);
/// Over which time accepts are counted together.
const SPAN: Duration = Duration::from_millis(100);

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    crash(table).await?;
    restart(table, Over::WebSocket, "WebSocket").await?;
    restart(table, Over::Quic, "QUIC").await
}

/// The relay is killed and comes back at once.
async fn crash(table: &mut Table) -> Result<()> {
    let mut relay = Relay::start_with(&QUIC_TOO)?;
    let links = links(&relay, Over::WebSocket, HOSTS).await?;
    tokio::time::sleep(GOOD).await;
    let returning = returning(&links);
    let killed = Instant::now();
    relay.kill();
    relay.start_again()?;
    show(table, "relay killed", "WebSocket", killed, returning).await
}

/// The relay is told to end, has its hosts leave, and is started again.
async fn restart(table: &mut Table, over: Over, name: &str) -> Result<()> {
    let mut relay = Relay::start_with(&QUIC_TOO)?;
    let links = links(&relay, over, HOSTS).await?;
    tokio::time::sleep(GOOD).await;
    let returning = returning(&links);
    let told = Instant::now();
    let mut relay = tokio::task::spawn_blocking(move || relay.stop().map(|()| relay)).await??;
    table.floor("relay with 1000 hosts, told to end, until it has", seconds(told.elapsed()), "s");
    relay.start_again()?;
    show(table, "relay restarted", name, Instant::now(), returning).await
}

/// What gives, for each of the links, when it is connected again.
fn returning(links: &[Link]) -> Vec<tokio::task::JoinHandle<Result<Instant>>> {
    let returning = |link: &Link| {
        let link = link.clone();
        tokio::spawn(async move {
            let mut state = link.state();
            let lost = state.wait_for(|state| !matches!(state, State::Connected { .. }));
            let lost = tokio::time::timeout(2 * PATIENCE, lost).await;
            drop(lost.context("a link does not notice")??);
            Ok(machines::until_connected(&link).await?.0)
        })
    };
    links.iter().map(returning).collect()
}

async fn show(
    table: &mut Table,
    event: &str,
    over: &str,
    since: Instant,
    returning: Vec<tokio::task::JoinHandle<Result<Instant>>>,
) -> Result<()> {
    let mut back = Vec::new();
    for link in returning {
        back.push(link.await??.saturating_duration_since(since));
    }
    back.sort_unstable();
    let last = seconds(back.last().copied().unwrap_or_default());
    let what = format!("{event}, {HOSTS} hosts on {over}, all back");
    table.row(&what, last, "s", "under 5 s", last < 5.0);
    let most = back.iter().map(|from| back.iter().filter(|at| in_span(*from, **at)).count()).max();
    let most = f64::from(u32::try_from(most.unwrap_or_default())?);
    table.floor("the same, most hosts that came back in 100 ms", most, "hosts");
    Ok(())
}

fn in_span(from: Duration, at: Duration) -> bool {
    at >= from && at < from + SPAN
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
