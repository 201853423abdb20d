//! The router's throughput and latency, and a load of messages for whoever needs one.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rp_tests::host::Host;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
};

use crate::{Table, float};

/// Bytes of filler in the body of each message.
const BODY: usize = 256;

/// What Remote Pi's router in Node.js does with the same load on a machine like the one the bars
/// were set on, in messages a second. It is not measured here: it is not part of this project.
const NODE_ROUTER: f64 = 12_000.0;

/// Envelopes through the router, beside bytes that are only echoed.
pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let host = Host::start(Vec::new()).await?;
    let mut ratios = Vec::new();
    // Interleaved, so that a slow moment of the machine hits both.
    for round in 0..3 {
        let floor = echo_floor(4, 16, 100_000).await?;
        let ours = through_broker(&host.broker(), round, 4, 16, 100_000).await?;
        ratios.push((ours.per_second, floor.per_second));
    }
    ratios.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (ours, floor) = *ratios.get(1).context("three rounds")?;
    table.floor("echo over a Unix socket, 4 pairs, window 16", floor, "messages/s");
    table.row(
        "broker with policy component, 4 pairs, window 16",
        ours,
        "messages/s",
        "10 x Node's and 1/3 of the floor",
        ours >= 10.0 * NODE_ROUTER && ours * 3.0 >= floor,
    );
    let floor = echo_floor(1, 1, 20_000).await?.p50();
    let forwarder = through_forwarder(20_000).await?.p50();
    table.floor("the same through a process that only forwards, p50", forwarder, "us");
    let ours = through_broker(&host.broker(), 9, 1, 1, 20_000).await?.p50();
    table.floor("echo, window 1, p50", floor, "us");
    table.row("broker, window 1, p50", ours, "us", "3 x the floor", ours <= 3.0 * floor);
    Ok(())
}

/// Messages per second and their latencies in microseconds.
struct Load {
    per_second: f64,
    latency: Histogram<u64>,
}

impl Load {
    fn p50(&self) -> f64 {
        float(self.latency.value_at_quantile(0.5))
    }
}

/// What one end of a pair reads and writes.
type End = (BufReader<OwnedReadHalf>, OwnedWriteHalf, String);

/// The same bytes echoed by a task that does nothing else.
async fn echo_floor(pairs: usize, window: usize, messages: usize) -> Result<Load> {
    let folder = tempfile::tempdir_in("/tmp")?;
    let path = folder.path().join("echo");
    let listener = UnixListener::bind(&path)?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut ends = Vec::new();
    for _ in 0..pairs {
        let (reader, writer) = UnixStream::connect(&path).await?.into_split();
        ends.push((None, (BufReader::with_capacity(65536, reader), writer, "y".to_owned())));
    }
    load(ends, window, messages).await
}

/// Bytes of the first connection go to the second and back: what two wake-ups of another process
/// cost, whatever it does.
pub(crate) async fn forward(path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    let (mut one, _) = listener.accept().await?;
    let (mut two, _) = listener.accept().await?;
    tokio::io::copy_bidirectional(&mut one, &mut two).await?;
    Ok(())
}

async fn through_forwarder(messages: usize) -> Result<Load> {
    let folder = tempfile::tempdir_in("/tmp")?;
    let path = folder.path().join("forward");
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    let _forwarder = command.arg("forward").arg(&path).kill_on_drop(true).spawn()?;
    let connect = async || loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return stream.into_split(),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let ((_kept, writer), (reader, _also_kept)) = (connect().await, connect().await);
    let end = (BufReader::with_capacity(65536, reader), writer, "y".to_owned());
    load(vec![(None, end)], 1, messages).await
}

async fn through_broker(
    socket: &Path,
    round: usize,
    pairs: usize,
    window: usize,
    messages: usize,
) -> Result<Load> {
    let mut ends = Vec::new();
    for pair in 0..pairs {
        let (reader, writer, _) = register(socket, &format!("a{round}-{pair}")).await?;
        let (receiver, receiver_writer, address) =
            register(socket, &format!("b{round}-{pair}")).await?;
        ends.push((Some((reader, receiver_writer)), (receiver, writer, address)));
    }
    load(ends, window, messages).await
}

pub(crate) async fn register(socket: &Path, name: &str) -> Result<End> {
    let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
    let hello = json!({ "type": "register", "name": name, "cwd": "/bench" });
    writer.write_all(format!("{hello}\n").as_bytes()).await?;
    let mut reader = BufReader::with_capacity(65536, reader);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let ack: Value = serde_json::from_str(&line)?;
    let address = ack["address_assigned"].as_str().context("no address")?.to_owned();
    Ok((reader, writer, address))
}

/// Acknowledgements come on a connection of their own, or the echo is the acknowledgement.
type Acknowledgements = Option<(BufReader<OwnedReadHalf>, OwnedWriteHalf)>;

async fn load(ends: Vec<(Acknowledgements, End)>, window: usize, messages: usize) -> Result<Load> {
    let each = messages / ends.len().max(1);
    let start = Instant::now();
    let mut receivers = Vec::new();
    for (acknowledgements, (reader, writer, to)) in ends {
        let permits = Arc::new(Semaphore::new(window));
        let own = acknowledgements.is_none().then(|| Arc::clone(&permits));
        if let Some((reader, kept)) = acknowledgements {
            let permits = Arc::clone(&permits);
            tokio::spawn(async move {
                let _kept = kept;
                count_acknowledgements(reader, &permits, each).await
            });
        }
        tokio::spawn(send(writer, to, permits, each, start));
        receivers.push(tokio::spawn(receive(reader, own, each, start)));
    }
    let mut latency = Histogram::new(3)?;
    for receiver in receivers {
        latency.add(receiver.await??)?;
    }
    let per_second = float(latency.len()) / start.elapsed().as_secs_f64();
    Ok(Load { per_second, latency })
}

pub(crate) async fn send(
    mut writer: OwnedWriteHalf,
    to: String,
    permits: Arc<Semaphore>,
    messages: usize,
    start: Instant,
) -> Result<OwnedWriteHalf> {
    let filler = "x".repeat(BODY);
    for _ in 0..messages {
        permits.acquire().await?.forget();
        let id = uuid::Uuid::now_v7();
        let at = start.elapsed().as_micros();
        let line = format!(
            "{{\"from\":\"x\",\"to\":\"{to}\",\"id\":\"{id}\",\"re\":null,\"body\":{{\"t\":{at},\"pad\":\"{filler}\"}}}}\n"
        );
        writer.write_all(line.as_bytes()).await?;
    }
    Ok(writer)
}

async fn receive(
    mut reader: BufReader<OwnedReadHalf>,
    permits: Option<Arc<Semaphore>>,
    messages: usize,
    start: Instant,
) -> Result<Histogram<u64>> {
    let mut latency = Histogram::new(3)?;
    let mut line = String::new();
    while latency.len() < messages as u64 {
        line.clear();
        ensure!(reader.read_line(&mut line).await? > 0, "the connection was closed");
        let Some((_, rest)) = line.split_once("\"t\":") else { continue };
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let now = u64::try_from(start.elapsed().as_micros())?;
        latency.record(now.saturating_sub(digits.parse()?))?;
        if let Some(permits) = &permits {
            permits.add_permits(1);
        }
    }
    Ok(latency)
}

pub(crate) async fn count_acknowledgements(
    mut reader: BufReader<OwnedReadHalf>,
    permits: &Semaphore,
    messages: usize,
) -> Result<()> {
    let mut line = String::new();
    let mut seen = 0;
    while seen < messages {
        line.clear();
        ensure!(reader.read_line(&mut line).await? > 0, "the connection was closed");
        if line.contains("\"ack\"") {
            seen += 1;
            permits.add_permits(1);
        }
    }
    Ok(())
}
