//! Components: what a call costs, how fast adapters read, and how soon one that was dropped in
//! can be used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rp_tests::{PATIENCE, host::Host, project, target};
use serde_json::Value;

use crate::{Table, median, ms_since};

/// How many components are installed where many are.
const MANY: usize = 50;

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    calls(table).await?;
    dropped_in(table).await?;
    many(table).await
}

/// Calls into components, measured inside one process by an example of the engine.
async fn calls(table: &mut Table) -> Result<()> {
    let host = Host::stopped(Vec::new())?;
    let javascript = project::javascript(&host, "policy", "slow-down").await?;
    let program = std::env::current_exe()?.with_file_name("examples").join("component_costs");
    let output = Command::new(&program)
        .arg(javascript.join("component.wasm"))
        .output()
        .context("run component_costs")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| figures[name].as_f64().with_context(|| format!("no {name}"));

    table.floor("measuring nothing, p50", figure("timing_p50_us")?, "us");
    let call = figure("policy_p50_us")?;
    table.row("policy call, p50", call, "us", "under 3 us", call < 3.0);
    let chain = figure("chain_p50_us")?;
    table.row("two chained policies, p50 added", chain, "us", "under 6 us", chain < 6.0);
    let other = figure("other_p50_us")?;
    table.row("policy in JavaScript, p50", other, "us", "under 100 us", other < 100.0);
    table.floor("loading the default policy, compiled anew", figure("load_cold_ms")?, "ms");
    let warm = figure("load_warm_ms")?;
    table.row("loading it from the cache", warm, "ms", "under 5 ms", warm < 5.0);
    for harness in ["pi", "claude-code", "codex", "opencode"] {
        adapter(table, harness, &figures["harnesses"][harness])?;
    }
    Ok(())
}

fn adapter(table: &mut Table, harness: &str, figures: &Value) -> Result<()> {
    let figure = |name: &str| figures[name].as_f64().with_context(|| format!("no {name}"));
    let floor = format!("output of {harness} only read as JSON");
    table.floor(&floor, figure("json_mb_per_second")?, "MB/s");
    let rate = figure("adapter_mb_per_second")?;
    // The oldest adapter has the higher bar.
    let least = if harness == "pi" { 100.0 } else { 50.0 };
    let bar = format!("over {least} MB/s");
    table.row(&format!("adapter: output of {harness}"), rate, "MB/s", &bar, rate > least);
    let memory = figure("session_mib")?;
    let row = format!("adapter: memory of a session of {harness}");
    table.row(&row, memory, "MiB", "under 2 MB", memory < 1.9);
    Ok(())
}

/// From the moment a package appears in the folder until its policy decides.
async fn dropped_in(table: &mut Table) -> Result<()> {
    let host = Host::start(Vec::new()).await?;
    let mut times = Vec::new();
    for number in 0..5 {
        let id = format!("dropped{number}");
        let staged = package(&host.root(), &id)?;
        let start = Instant::now();
        fs::rename(staged, host.root().join("host/components").join(&id))?;
        until_in_force(&host, &[id]).await?;
        times.push(ms_since(start));
    }
    let ms = median(times)?;
    table.row("drop a component in: until it decides", ms, "ms", "under 200 ms", ms < 200.0);
    Ok(())
}

/// A daemon's start with many components, all compiled before.
async fn many(table: &mut Table) -> Result<()> {
    let mut host = Host::start(Vec::new()).await?;
    let ids: Vec<_> = (0..MANY).map(|number| format!("many{number}")).collect();
    for id in &ids {
        let staged = package(&host.root(), id)?;
        fs::rename(staged, host.root().join("host/components").join(id))?;
    }
    until_in_force(&host, &ids).await?;
    let mut times = Vec::new();
    for _ in 0..5 {
        host.stop().await?;
        let start = Instant::now();
        host.start_again().await?;
        until_in_force(&host, &ids).await?;
        times.push(ms_since(start));
    }
    let ms = median(times)?;
    let what = format!("serve ready with {MANY} components, warm cache");
    table.row(&what, ms, "ms", "under 500 ms", ms < 500.0);
    Ok(())
}

/// A package of the default policy under another id, outside the folder that is watched. Its bytes
/// are its own too, so that nothing compiled before will do.
fn package(root: &Path, id: &str) -> Result<PathBuf> {
    let folder = root.join("staged").join(id);
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("component.toml"),
        format!(
            "id = \"{id}\"\nversion = \"1.0.0\"\nkind = \"policy\"\n\
             world = \"rp:routing/routing-policy@0.1.0\"\nabout = \"Measures.\"\n"
        ),
    )?;
    let mut wasm = fs::read(target::folder()?.join("guests/components/default.wasm"))?;
    wasm.extend(custom_section(id)?);
    fs::write(folder.join("component.wasm"), wasm)?;
    Ok(folder)
}

/// A section that means nothing, with this name (WebAssembly binary format, custom section).
fn custom_section(name: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(name.len())?;
    ensure!(length < 127, "the length has one byte");
    let mut section = vec![0, length + 1, length];
    section.extend(name.as_bytes());
    Ok(section)
}

/// The control API is asked again and again: that is part of what is measured, and little.
async fn until_in_force(host: &Host, ids: &[String]) -> Result<()> {
    let start = Instant::now();
    loop {
        let listing = host.get("/v1/components").await?;
        let rows = listing["components"].as_array().context("no components")?;
        let is_ready = |id: &String| rows.iter().any(|r| r["id"] == **id && r["state"] == "ready");
        if ids.iter().all(is_ready) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "they do not come in force: {listing}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
