//! Measures the program against floors that are taken in the same run, so that the noise of
//! the machine cancels, and prints one table.
//!
//! The first argument is a file for the figures as JSON; with a second one, only the groups are
//! measured whose name contains it. `RP_HOST_BIN` and `RP_RELAY_BIN` name the programs.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]
#![allow(clippy::indexing_slicing, reason = "only JSON is indexed; what is missing is null")]

mod broker;
mod components;
mod daemon;
mod durable;
mod relay;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rp_tests::host::Host;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().context("give a file for the figures")?;
    if first == "forward" {
        return broker::forward(arguments.next().context("give a socket")?.as_ref()).await;
    }
    let file = PathBuf::from(first);
    let only = arguments.next().unwrap_or_default();
    let mut table = Table::default();
    let wanted = |group: &str| group.contains(&only);
    if wanted("broker") {
        broker::measure(&mut table).await?;
    }
    if wanted("durable") {
        durable::measure(&mut table).await?;
    }
    if wanted("daemon") {
        daemon::measure(&mut table).await?;
    }
    if wanted("components") {
        components::measure(&mut table).await?;
    }
    if wanted("relay-forwarding") {
        relay::forwarding(&mut table).await?;
    }
    if wanted("relay-idle") {
        relay::idle(&mut table).await?;
    }
    if wanted("relay-authorisation") {
        relay::authorisation(&mut table).await?;
    }
    if wanted("relay-hosts") {
        relay::hosts(&mut table).await?;
    }
    if wanted("relay-reconnect") {
        relay::reconnect(&mut table).await?;
    }
    ensure!(!table.rows.is_empty(), "no group has {only} in its name");
    fs::write(&file, serde_json::to_vec_pretty(&table.rows)?)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// The rows that were measured; each is printed when it is known.
#[derive(Default)]
struct Table {
    rows: Vec<Value>,
}

impl Table {
    /// What no program could beat on this machine right now.
    fn floor(&mut self, what: &str, figure: f64, unit: &str) {
        println!("{:58} {figure:>12.2} {unit}", format!("floor: {what}"));
        self.rows.push(json!({ "floor": what, "figure": figure, "unit": unit }));
    }

    fn row(&mut self, what: &str, figure: f64, unit: &str, bar: &str, met: bool) {
        let verdict = if met { "met" } else { "MISSED" };
        println!("{what:58} {figure:>12.2} {unit:14} bar {bar:28} {verdict}");
        self.rows
            .push(json!({ "what": what, "figure": figure, "unit": unit, "bar": bar, "met": met }));
    }
}

/// The middle one of these.
fn median(mut figures: Vec<f64>) -> Result<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().context("nothing was measured")
}

/// Milliseconds since then.
fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(value: u64) -> f64 {
    value as f64
}

async fn create(host: &Host, name: &str) -> Result<Value> {
    let folder = host.agent_folder(name)?;
    let request = json!({ "folder": folder, "harness": "demo" });
    let agent = host.post("/v1/agents", &request).await?;
    let id = agent["id"].as_str().context("no id")?;
    let deadline = Instant::now() + rp_tests::PATIENCE;
    loop {
        let agent = host.get(&format!("/v1/agents/{id}")).await?;
        if agent["state"] == "idle" {
            return Ok(agent);
        }
        ensure!(Instant::now() < deadline, "the agent does not become idle: {agent}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
