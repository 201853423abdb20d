//! Durable messages to an agent that this host runs.

use std::{fs, path::Path, sync::Arc, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rp_tests::host::Host;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::OwnedReadHalf,
    sync::Semaphore,
};

use crate::{
    Table,
    broker::{count_acknowledgements, register, send},
    create, float,
};

/// How soon one is injected, and how many are acknowledged.
pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let host = Host::start(Vec::new()).await?;
    let idle = create(&host, "idle").await?;
    let busy = create(&host, "busy").await?;

    let (mut reader, mut writer, own) = register(&host.broker(), "asker").await?;
    let mut latency = Histogram::<u64>::new(3)?;
    for _ in 0..300 {
        let id = uuid::Uuid::now_v7().to_string();
        let message =
            json!({ "from": own, "to": idle["address"], "id": id, "re": null, "body": "2+2" });
        writer.write_all(format!("{message}\n").as_bytes()).await?;
        wait_for_answer(&mut reader).await?;
        let path = format!("/v1/messages/{id}/trace?until=injected&wait_ms=10000");
        let trace = host.get(&path).await?;
        let at = |stage: &str| {
            trace["steps"].as_array().and_then(|steps| {
                steps.iter().find(|step| step["stage"] == stage).and_then(|s| s["at_ms"].as_u64())
            })
        };
        let (Some(accepted), Some(injected)) = (at("accepted"), at("injected")) else {
            bail!("the message was not injected: {trace}");
        };
        latency.record(injected.saturating_sub(accepted).max(1))?;
    }
    table.floor("one sync of the disk, p99", disk_sync_p99(&host.root())?, "ms");
    let p99 = float(latency.value_at_quantile(0.99));
    table.row("durable message, accepted to injected, p99", p99, "ms", "under 10 ms", p99 < 10.0);

    let id = busy["id"].as_str().context("no id")?;
    host.post(&format!("/v1/agents/{id}/commands"), &json!({ "type": "prompt", "text": "sleep" }))
        .await?;
    let to = busy["address"].as_str().context("no address")?.to_owned();
    let start = Instant::now();
    let (pairs, each) = (8, 1_000);
    let mut tasks = Vec::new();
    for pair in 0..pairs {
        let (reader, writer, _) = register(&host.broker(), &format!("load{pair}")).await?;
        let permits = Arc::new(Semaphore::new(256));
        let sending = tokio::spawn(send(writer, to.clone(), Arc::clone(&permits), each, start));
        tasks.push(async move {
            count_acknowledgements(reader, &permits, each).await?;
            sending.await?
        });
    }
    for kept in futures_util::future::join_all(tasks).await {
        kept?;
    }
    let rate = float(pairs * each as u64) / start.elapsed().as_secs_f64();
    table.row("durable messages acknowledged", rate, "messages/s", "20 k", rate >= 20_000.0);
    Ok(())
}

/// How long the disk takes to keep four kibibytes, in milliseconds.
fn disk_sync_p99(folder: &Path) -> Result<f64> {
    use std::io::Write;

    let mut file = fs::File::create(folder.join("sync"))?;
    let mut latency = Histogram::<u64>::new(3)?;
    for _ in 0..300 {
        let start = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        latency.record(u64::try_from(start.elapsed().as_micros())?)?;
    }
    Ok(float(latency.value_at_quantile(0.99)) / 1000.0)
}

async fn wait_for_answer(reader: &mut BufReader<OwnedReadHalf>) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line).await? > 0, "the connection was closed");
        let value: Value = serde_json::from_str(&line)?;
        if !value["re"].is_null() && value["body"].is_string() {
            return Ok(());
        }
    }
}
