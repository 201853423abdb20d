//! The daemon's start, what it weighs, and what it does when there is nothing to do.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rp_tests::host::Host;

use crate::{Table, create, float, median, ms_since};

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    program(table).await?;
    idle(table).await
}

/// The command line against a running daemon, and the daemon's start.
async fn program(table: &mut Table) -> Result<()> {
    let mut host = Host::start(Vec::new()).await?;
    host.stop().await?;
    let start = Instant::now();
    host.start_again().await?;
    let ready = ms_since(start);
    table.row("serve ready with warm cache", ready, "ms", "under 300 ms", ready < 300.0);

    table.floor("rp-host --version, median", median_ms(&host, "--version").await?, "ms");
    let median = median_ms(&host, "status").await?;
    table.row("rp-host status, median", median, "ms", "under 20 ms", median < 20.0);
    Ok(())
}

/// How long a command takes from its start to its end.
async fn median_ms(host: &Host, command: &str) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let output = host.run(&[command]).await?;
        ensure!(output.code == Some(0), "{command} failed: {output:?}");
        times.push(ms_since(start));
    }
    median(times)
}

/// What an idle daemon costs.
async fn idle(table: &mut Table) -> Result<()> {
    let host = Host::start(Vec::new()).await?;
    let pid = host.pid().context("no daemon")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let alone = resident_mib(pid)?;
    table.row("resident memory, no agents", alone, "MiB", "under 40 MB", alone < 38.0);
    let mut agents = Vec::new();
    for number in 0..10 {
        agents.push(create(&host, &format!("idle{number}")).await?);
    }
    // The same program doing nothing at all: it waits for a line.
    let nothing = agents[0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    table.floor(
        "resident memory, the program alone",
        resident_mib(nothing.context("no pid")?)?,
        "MiB",
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident_mib(pid)? - alone) / 10.0;
    table.row("resident memory per idle agent", each, "MiB", "under 2 MB", each < 1.9);

    let (before, switches) = (cpu_ticks(pid)?, wake_ups(pid)?);
    let seconds = 30;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = float(cpu_ticks(pid)?.saturating_sub(before)) / ticks_per_second()? / float(seconds)
        * 100.0;
    // Threads that ended meanwhile take their counts with them.
    let woken = float(wake_ups(pid)?.saturating_sub(switches)) / float(seconds);
    table.row("idle CPU with 10 agents over 30 s", used, "% of a core", "under 0.1 %", used < 0.1);
    table.row("idle wake-ups with 10 agents", woken, "per second", "none", woken < 0.5);
    Ok(())
}

pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib / 1024.0)
}

pub(crate) fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let field =
        |number: usize| -> Result<u64> { Ok(fields.get(number).context("short")?.parse()?) };
    Ok(field(11)? + field(12)?)
}

/// Voluntary context switches of all threads: each is a wake-up.
fn wake_ups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches:"))
            .context("no switches")?;
        sum += line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()?;
    }
    Ok(sum)
}

pub(crate) fn ticks_per_second() -> Result<f64> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}
