//! Measures the program against floors that are taken in the same run, so that the noise of
//! the machine cancels, and prints one table.
//!
//! The first argument is a file for the figures as JSON. `RP_HOST_BIN` names the program.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]
#![allow(clippy::indexing_slicing, reason = "only JSON is indexed; what is missing is null")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
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

/// Bytes of filler in the body of each message.
const BODY: usize = 256;

/// What Remote Pi's router in Node.js does with the same load on a machine like the one the bars
/// were set on, in messages a second. It is not measured here: it is not part of this project.
const NODE_ROUTER: f64 = 12_000.0;

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("forward") {
        return forward(std::env::args().nth(2).context("give a socket")?.as_ref()).await;
    }
    let file = PathBuf::from(std::env::args().nth(1).context("give a file for the figures")?);
    let mut table = Table::default();
    broker(&mut table).await?;
    durable(&mut table).await?;
    program(&mut table).await?;
    idle(&mut table).await?;
    engine(&mut table)?;
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

/// Messages per second and their latencies in microseconds.
struct Load {
    per_second: f64,
    latency: Histogram<u64>,
}

impl Load {
    fn p50(&self) -> f64 {
        micros(self.latency.value_at_quantile(0.5))
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn micros(value: u64) -> f64 {
    value as f64
}

/// What one end of a pair reads and writes.
type End = (BufReader<OwnedReadHalf>, OwnedWriteHalf, String);

async fn broker(table: &mut Table) -> Result<()> {
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
async fn forward(path: &Path) -> Result<()> {
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

async fn register(socket: &Path, name: &str) -> Result<End> {
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
    let per_second = micros(latency.len()) / start.elapsed().as_secs_f64();
    Ok(Load { per_second, latency })
}

async fn send(
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

async fn count_acknowledgements(
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

/// Durable messages to an agent that this host runs.
async fn durable(table: &mut Table) -> Result<()> {
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
    let p99 = micros(latency.value_at_quantile(0.99));
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
    let rate = micros(pairs * each as u64) / start.elapsed().as_secs_f64();
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
    Ok(micros(latency.value_at_quantile(0.99)) / 1000.0)
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

/// The command line against a running daemon, and the daemon's start.
async fn program(table: &mut Table) -> Result<()> {
    let mut host = Host::start(Vec::new()).await?;
    host.stop().await?;
    let start = Instant::now();
    host.start_again().await?;
    let ready = start.elapsed().as_secs_f64() * 1000.0;
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
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(*times.get(10).context("twenty runs")?)
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
    let used =
        micros(cpu_ticks(pid)?.saturating_sub(before)) / ticks_per_second()? / micros(seconds)
            * 100.0;
    // Threads that ended meanwhile take their counts with them.
    let woken = micros(wake_ups(pid)?.saturating_sub(switches)) / micros(seconds);
    table.row("idle CPU with 10 agents over 30 s", used, "% of a core", "under 0.1 %", used < 0.1);
    table.row("idle wake-ups with 10 agents", woken, "per second", "none", woken < 0.5);
    Ok(())
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib / 1024.0)
}

fn cpu_ticks(pid: u32) -> Result<u64> {
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

fn ticks_per_second() -> Result<f64> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// Calls into components, measured inside one process by an example of the engine.
fn engine(table: &mut Table) -> Result<()> {
    let program = std::env::current_exe()?.with_file_name("examples").join("policy_call");
    let output = Command::new(&program).arg("--json").output().context("run policy_call")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| figures[name].as_f64().with_context(|| format!("no {name}"));
    let call = figure("policy_p50_us")?;
    table.floor("measuring nothing, p50", figure("timing_p50_us")?, "us");
    table.row("policy call, p50", call, "us", "under 3 us", call < 3.0);
    table.floor("the same lines only read as JSON", figure("json_mb_per_second")?, "MB/s");
    let rate = figure("adapter_mb_per_second")?;
    table.row(
        "adapter: replay of a 10 MB Pi transcript",
        rate,
        "MB/s",
        "over 100 MB/s",
        rate > 100.0,
    );
    Ok(())
}
