//! Decisions of routing policies.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rp_engine::{Code, Engine, KeyValue, Policy, StoreFailure};
use rp_protocol::routing::{Direction, Facts, Peer};
use serde_json::{Map, Value};

use crate::{Result, Shipped};

const DECISIONS: usize = 300_000;

/// The median and the 99th percentile of a decision, in microseconds: of the shipped policy, of
/// two policies in a chain, and of the one in this file.
pub(crate) async fn measure(
    engine: &Engine,
    shipped: &Shipped,
    other: Option<String>,
) -> Result<Map<String, Value>> {
    let mut figures = Map::new();
    let mut put = |name: &str, (p50, p99): (f64, f64)| {
        figures.insert(format!("{name}_p50_us"), p50.into());
        figures.insert(format!("{name}_p99_us"), p99.into());
    };
    put("timing", times(|| Ok(()))?);
    let default = load(engine, "default", shipped.wasm("default")?).await?;
    put("policy", times(|| decide(&default))?);
    let guarded = load(engine, "guarded", shipped.wasm("guarded")?).await?;
    put("chain", times(|| decide(&default).and_then(|()| decide(&guarded)))?);
    if let Some(file) = other {
        let other = load(engine, "other", fs::read(file)?).await?;
        put("other", times(|| decide(&other))?);
    }
    Ok(figures)
}

pub(crate) async fn load(engine: &Engine, id: &str, wasm: Vec<u8>) -> Result<Policy> {
    // What an interpreter needs.
    let code = Code::new(id, wasm).with_memory(256 << 20);
    Ok(engine.load_policy(code, "{}", Arc::new(Memory::default())).await?)
}

/// One message between two agents of a folder.
pub(crate) fn decide(policy: &Policy) -> Result<()> {
    let peer = |name, address| Peer {
        pc: None,
        cwd: "/home/ann/project",
        name,
        address,
        harness: Some("pi"),
        person: false,
    };
    let recipients = [peer("reviewer", "/home/ann/project@reviewer")];
    policy.decide(&Facts {
        direction: Direction::Local,
        sender: peer("scout", "/home/ann/project@scout"),
        recipients: &recipients,
        to: "reviewer",
        id: "0199a2b4-0000-7000-8000-000000000000",
        re: None,
        body_bytes: 256,
        body_type: None,
        body: None,
        sent_last_minute: 12,
        now_ms: 1_763_700_000_000,
    })?;
    Ok(())
}

fn times(mut work: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    let mut times = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(DECISIONS * part / 1000).copied().unwrap_or(Duration::MAX);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok((micros(at(500)), micros(at(990))))
}

/// Storage without a disk.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValue for Memory {
    fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.entries().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> std::result::Result<(), StoreFailure> {
        self.entries().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&self, key: &str) -> std::result::Result<(), StoreFailure> {
        self.entries().remove(key);
        Ok(())
    }

    fn keys(&self, prefix: &str) -> std::result::Result<Vec<String>, StoreFailure> {
        let entries = self.entries();
        Ok(entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
