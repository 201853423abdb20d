//! How fast mailboxes take messages and get them to the disk, beside what the disk itself can do:
//! `cargo run --release -p rp-mesh --example mailbox_rate [folder]`.

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rp_mesh::{AgentId, Incoming, MailboxLimits, Mailboxes, Origin, Stage};
use rp_store::Database;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

const AGENTS: usize = 4;
const BODY_BYTES: usize = 256;
const NOW: u64 = 1_800_000_000_000;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let rate = saturate(&folder.path().join("saturated.redb"), 200_000, 2_000).await?;
    say(&format!("saturated    {rate}"))?;
    for per_second in [1_000, 5_000, 10_000] {
        let paced = pace(&folder.path().join(format!("{per_second}.redb")), per_second).await?;
        say(&format!("{per_second:>6}/s     {paced}"))?;
    }
    // As many bytes as a message leaves in the database, and as many messages per sync.
    let batch = usize::try_from(rate.per_commit.max(1))?;
    for messages in [1, batch] {
        let floor = bare_sync(&folder.path().join("floor"), messages)?;
        say(&format!("bare sync of {messages} message(s): {floor}"))?;
    }
    Ok(())
}

/// A measurement.
struct Measured {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    per_commit: u64,
}

impl Measured {
    fn new(mut times: Vec<Duration>, messages: u64, elapsed: Duration, commits: u64) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Self {
            per_second: messages as f64 / elapsed.as_secs_f64(),
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            per_commit: messages / commits.max(1),
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, p50, p99, per_commit } = self;
        write!(
            formatter,
            "{per_second:>9.0} messages/s  p50 {p50:>9.2?}  p99 {p99:>9.2?}  {per_commit:>5} per sync"
        )
    }
}

/// As many messages as go through with `window` on their way at a time, while a reader takes them.
async fn saturate(path: &Path, messages: u64, window: usize) -> Result<Measured, Failure> {
    let bench = Bench::open(path)?;
    let room = Arc::new(Semaphore::new(window));
    let started = Instant::now();
    for number in 0..messages {
        let place = Arc::clone(&room).acquire_owned().await?;
        bench.accept(number, move || drop(place));
    }
    let all = room.acquire_many(u32::try_from(window)?).await?;
    drop(all);
    bench.finish(messages, started.elapsed()).await
}

/// A steady stream in bursts of a millisecond, for three seconds.
async fn pace(path: &Path, per_second: u64) -> Result<Measured, Failure> {
    let bench = Bench::open(path)?;
    let mut clock = tokio::time::interval(Duration::from_millis(1));
    let started = Instant::now();
    let messages = per_second * 3;
    let mut number = 0;
    while number < messages {
        clock.tick().await;
        for _ in 0..per_second / 1000 {
            bench.accept(number, || ());
            number += 1;
        }
    }
    bench.mailboxes.settled().await?;
    bench.finish(messages, started.elapsed()).await
}

struct Bench {
    database: Database,
    mailboxes: Mailboxes,
    agents: Vec<AgentId>,
    body: Box<RawValue>,
    times: Arc<std::sync::Mutex<Vec<Duration>>>,
    refused: Arc<AtomicU64>,
    readers: tokio::task::JoinSet<()>,
}

impl Bench {
    fn open(path: &Path) -> Result<Self, Failure> {
        let database = Database::open(path)?;
        let mailboxes = Mailboxes::open(database.clone(), MailboxLimits::default())?;
        let agents: Vec<AgentId> = (0..AGENTS).map(|_| AgentId::random()).collect();
        let mut readers = tokio::task::JoinSet::new();
        for agent in &agents {
            readers.spawn(take_all(mailboxes.clone(), agent.clone()));
        }
        let body = RawValue::from_string(format!("\"{}\"", "x".repeat(BODY_BYTES - 2)))?;
        Ok(Self {
            database,
            mailboxes,
            agents,
            body,
            times: Arc::default(),
            refused: Arc::default(),
            readers,
        })
    }

    fn accept(&self, number: u64, then: impl FnOnce() + Send + 'static) {
        let Some(agent) = self.agents.get(number as usize % AGENTS) else {
            return;
        };
        let message = Incoming {
            id: uuid::Uuid::now_v7().to_string(),
            from: "/home/person/api#reviewer".to_owned(),
            to: "/home/person/web#writer".to_owned(),
            re: None,
            body: self.body.clone(),
            origin: Origin::Agent,
            sender: None,
            expires_at_ms: None,
        };
        let (times, refused) = (Arc::clone(&self.times), Arc::clone(&self.refused));
        let started = Instant::now();
        self.mailboxes.accept(agent, message, NOW, move |result| {
            match result {
                Ok(_) => times
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(started.elapsed()),
                Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
            }
            then();
        });
    }

    async fn finish(mut self, messages: u64, elapsed: Duration) -> Result<Measured, Failure> {
        let refused = self.refused.load(Ordering::Relaxed);
        let counters = self.database.counters();
        self.readers.shutdown().await;
        if refused > 0 {
            say(&format!("{refused} of the next {messages} messages were refused"))?;
        }
        let mut times = self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let times = std::mem::take(&mut *times);
        Ok(Measured::new(times, messages, elapsed, counters.durable_commits))
    }
}

/// What a session does at each turn edge.
async fn take_all(mailboxes: Mailboxes, agent: AgentId) {
    let arrivals = mailboxes.arrivals(&agent);
    loop {
        let Ok(pending) = mailboxes.pending(&agent, 500) else {
            return;
        };
        if pending.is_empty() {
            arrivals.notified().await;
            continue;
        }
        let sequences: Vec<u64> = pending.iter().map(|pending| pending.sequence).collect();
        mailboxes.mark(&agent, &sequences, Stage::Offered, NOW);
        mailboxes.mark(&agent, &sequences, Stage::Injected, NOW);
        tokio::task::yield_now().await;
    }
}

/// What the disk takes for the same bytes and nothing else.
fn bare_sync(path: &Path, messages: usize) -> Result<Measured, Failure> {
    let file = std::fs::File::create(path)?;
    let data = vec![7u8; messages * (BODY_BYTES + 300)];
    let rounds = 1000;
    let mut times = Vec::with_capacity(rounds);
    let started = Instant::now();
    for round in 0..rounds {
        let offset = (round * data.len()) as u64 % (64 << 20);
        let began = Instant::now();
        file.write_all_at(&data, offset)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    let total = (messages * rounds) as u64;
    Ok(Measured::new(times, total, started.elapsed(), rounds as u64))
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
