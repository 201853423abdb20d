//! What connections cost the relay on which nothing is said.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use rp_link::Link;
use rp_tests::relay::Relay;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    QUIC_TOO, legacy,
    machines::{self, Over},
};
use crate::{
    Table,
    daemon::{cpu_ticks, resident_mib, ticks_per_second},
    float,
};

/// How many connections there are where one is weighed.
const WEIGHED: u32 = 2_000;
/// How many there are where they do nothing together.
const MANY: u32 = 10_000;
/// File descriptors for what is no connection.
const OTHER_FILES: u64 = 500;
/// How many connect at a time.
const AT_A_TIME: usize = 64;
/// How often the relay pings each: what is measured over that time is everything it does.
const BEAT: Duration = Duration::from_secs(25);
/// Until what connecting has left behind is over.
const SETTLING: Duration = Duration::from_secs(2);

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let files = raise_file_limit();
    memory_of_websockets(table).await?;
    memory_of_quic(table).await?;
    let most = u32::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(u32::MAX);
    many(table, MANY.min(most)).await
}

async fn memory_of_websockets(table: &mut Table) -> Result<()> {
    let relay = Relay::start()?;
    let pid = relay.pid().context("no relay")?;
    let before = resident_mib(pid)?;
    let _connections = websockets(&relay, WEIGHED).await?;
    tokio::time::sleep(SETTLING).await;
    let each = (resident_mib(pid)? - before) * 1024.0 / f64::from(WEIGHED);
    table.row("relay memory per WebSocket, 2000 idle", each, "KiB", "under 8 KiB", each < 8.0);
    Ok(())
}

async fn memory_of_quic(table: &mut Table) -> Result<()> {
    let relay = Relay::start_with(&QUIC_TOO)?;
    let pid = relay.pid().context("no relay")?;
    let before = resident_mib(pid)?;
    let _links = links(&relay, Over::Quic, WEIGHED).await?;
    tokio::time::sleep(SETTLING).await;
    let each = (resident_mib(pid)? - before) * 1024.0 / f64::from(WEIGHED);
    table.row("relay memory per QUIC host, 2000 idle", each, "KiB", "under 16 KiB", each < 16.0);
    Ok(())
}

/// What many do together, from one ping of each to the next.
async fn many(table: &mut Table, count: u32) -> Result<()> {
    let relay = Relay::start()?;
    let pid = relay.pid().context("no relay")?;
    let _connections = websockets(&relay, count).await?;
    tokio::time::sleep(SETTLING).await;
    let (ticks, memory) = (cpu_ticks(pid)?, resident_mib(pid)?);
    tokio::time::sleep(BEAT).await;
    let used = float(cpu_ticks(pid)?.saturating_sub(ticks)) / ticks_per_second()?;
    let percent = used / BEAT.as_secs_f64() * 100.0;
    let grown = resident_mib(pid)? - memory;
    let what = format!("{count} idle WebSockets, CPU over 25 s");
    table.row(&what, percent, "% of a core", "under 1 %", percent < 1.0);
    // A page for every tenth of them would be growth.
    let most = f64::from(count) * 4.0 / 1024.0 / 10.0;
    let bar = format!("under {most:.1} MiB");
    table.row("the same, memory grown meanwhile", grown, "MiB", &bar, grown < most);
    Ok(())
}

/// Connections that are logged in; each answers pings until this is dropped.
async fn websockets(relay: &Relay, count: u32) -> Result<JoinSet<()>> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut logins = JoinSet::new();
    for number in 0..count {
        let (address, places) = (relay.address().to_string(), Arc::clone(&places));
        logins.spawn(async move {
            let _place = places.acquire_owned().await?;
            legacy::log_in(&address, &legacy::key(u64::from(number))).await
        });
    }
    let mut connections = JoinSet::new();
    while let Some(socket) = logins.join_next().await {
        let mut socket = socket??;
        connections.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    }
    Ok(connections)
}

/// Links that are connected.
pub(super) async fn links(relay: &Relay, over: Over, count: u32) -> Result<Vec<Link>> {
    let reached = machines::reached(relay, over)?;
    let mut links = Vec::new();
    let numbers: Vec<u32> = (0..count).collect();
    for numbers in numbers.chunks(AT_A_TIME) {
        let started = numbers.iter().map(|number| {
            let (link, deliveries) =
                machines::link(reached.clone(), legacy::key(u64::from(*number)));
            // Nobody writes to them.
            drop(deliveries);
            link
        });
        let started: Vec<Link> = started.collect();
        for link in &started {
            machines::until_connected(link).await?;
        }
        links.extend(started);
    }
    Ok(links)
}

/// As many file descriptors as this process may have.
fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}
