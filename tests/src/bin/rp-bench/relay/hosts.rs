//! An agent's message from its machine to an agent on another one: two daemons and a relay.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rp_tests::{PATIENCE, host::Host, machines, relay::Relay};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::OwnedReadHalf,
};

use super::QUIC_TOO;
use crate::{Table, broker::register, create, float};

/// How many messages are sent, one after the other.
const MESSAGES: usize = 500;

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let relay = Relay::start_with(&QUIC_TOO)?;
    between_machines(table, pair(&relay, true).await?, "QUIC").await?;
    between_machines(table, pair(&relay, false).await?, "WebSocket").await
}

/// From the moment an agent's message is written to its daemon's socket until the other machine's
/// daemon notes in the message's trace that its agent's program has it. Both read one clock, in
/// whole milliseconds on the other side.
async fn between_machines(table: &mut Table, (lab, desk): (Host, Host), over: &str) -> Result<()> {
    let agent = create(&desk, "api").await?;
    let to = format!("desk:{}", agent["address"].as_str().context("no address")?);
    machines::knows(&lab, &to).await?;
    let state = lab.get("/v1/relay").await?;
    ensure!(state["transport"] == over.to_lowercase(), "connected otherwise: {state}");

    let (mut reader, mut writer, own) = register(&lab.broker(), "asker").await?;
    let (mut stored, mut injected) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for _ in 0..MESSAGES {
        let id = uuid::Uuid::now_v7().to_string();
        let message = json!({ "from": own, "to": to, "id": id, "re": null, "body": "2+2" });
        let (start, start_ms) = (Instant::now(), unix_ms()?);
        writer.write_all(format!("{message}\n").as_bytes()).await?;
        let acknowledged = until_answered(&mut reader, &id).await?;
        let took = acknowledged.saturating_duration_since(start);
        stored.record(u64::try_from(took.as_micros())?)?;
        let path = format!("/v1/messages/{id}/trace?until=injected&wait_ms=10000");
        let trace = desk.get(&path).await?;
        let mut steps = trace["steps"].as_array().into_iter().flatten();
        let step = steps.find(|step| step["stage"] == "injected");
        let at_ms = step.and_then(|step| step["at_ms"].as_u64());
        let at_ms = at_ms.with_context(|| format!("the message was not injected: {trace}"))?;
        injected.record(at_ms.saturating_sub(start_ms).max(1))?;
    }
    let acknowledged = float(stored.value_at_quantile(0.5)) / 1000.0;
    let what = format!("agent to another machine over {over}, acknowledged, p50");
    table.floor(&what, acknowledged, "ms");
    table.floor("the same, p99", float(stored.value_at_quantile(0.99)) / 1000.0, "ms");
    table.floor("the same, injected there, p50", float(injected.value_at_quantile(0.5)), "ms");
    let p99 = float(injected.value_at_quantile(0.99));
    let what = format!("agent to another machine over {over}, injected, p99");
    table.row(&what, p99, "ms", "under 15 ms", p99 < 15.0);
    Ok(())
}

fn unix_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Waits until a message is acknowledged and its agent has answered it; when the former was.
async fn until_answered(reader: &mut BufReader<OwnedReadHalf>, id: &str) -> Result<Instant> {
    let reading = async {
        let (mut line, mut acknowledged, mut answered) = (String::new(), None, false);
        loop {
            if let (Some(at), true) = (acknowledged, answered) {
                return Ok(at);
            }
            line.clear();
            ensure!(reader.read_line(&mut line).await? > 0, "the connection was closed");
            let envelope: Value = serde_json::from_str(&line)?;
            if envelope["re"] != id {
                continue;
            }
            match &envelope["body"] {
                Value::String(_) => answered = true,
                body if body["status"] == "received" => acknowledged = Some(Instant::now()),
                other => bail!("neither received nor answered: {other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.context("no answer")?
}

/// Two machines, `lab` and `desk`, of one owner whose key is on `lab`. Without the relay's
/// certificate there is no QUIC for them.
async fn pair(relay: &Relay, quic: bool) -> Result<(Host, Host)> {
    let mut variables = machines::variables(relay);
    variables.retain(|(name, _)| quic || name != "RP_HOST_RELAY_CERTIFICATE");
    let (lab, desk) = (Host::start(variables.clone()).await?, Host::start(variables).await?);
    machines::found(&lab, &desk).await?;
    Ok((lab, desk))
}
