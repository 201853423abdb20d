//! Harness adapters: how fast they read what a harness writes, and what a session of one weighs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rp_engine::{Adapter, AdapterSession, Code, Engine};
use rp_protocol::session::{Command, Effect, LaunchRequest, Prompt, Urgency};
use serde_json::{Map, Value, json};

use crate::{Result, Shipped};

/// How much output of a harness is read for a figure.
const INPUT_BYTES: usize = 10 << 20;

/// How many sessions live at a time while they are weighed.
const SESSIONS: usize = 64;

/// Component, harness, and the folder with the recordings of that harness.
const RECORDED: [(&str, &str, &str); 4] = [
    ("pi", "pi", "adapters/pi/transcripts/0.87.1"),
    ("claude-code", "claude", "adapters/claude-code/transcripts/2.1.329"),
    ("codex", "codex", "adapters/codex/transcripts/0.169.0"),
    ("acp", "opencode", "adapters/acp/transcripts/opencode-1.18.33"),
];

/// For each harness: megabytes a second read by the adapter, the same only read as JSON, events
/// that came of a megabyte, and mebibytes that a session keeps.
pub(crate) async fn measure(engine: &Engine, shipped: &Shipped) -> Result<Map<String, Value>> {
    let mut harnesses = Map::new();
    for (component, harness, folder) in RECORDED {
        let adapters = engine.load_adapter(Code::new(component, shipped.wasm(component)?)).await?;
        let adapter = adapters.iter().find(|adapter| adapter.describe().name == harness);
        let adapter = adapter.ok_or("the component does not drive the harness")?;
        let recordings = recordings(&shipped.repository.join(folder))?;
        let floor = read_as_json(&recordings)?;
        let (rate, events) = read_by_adapter(adapter, &recordings).await?;
        let figures = json!({
            "json_mb_per_second": floor,
            "adapter_mb_per_second": rate,
            "events_per_mb": events,
            "session_mib": weigh(adapter, &recordings).await?,
        });
        harnesses.insert(harness.to_owned(), figures);
    }
    Ok(Map::from_iter([("harnesses".to_owned(), harnesses.into())]))
}

/// Every line a harness wrote, for each recording in the folder.
fn recordings(folder: &Path) -> Result<Vec<Vec<String>>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "jsonl"));
    files.sort();
    files.iter().map(|file| written(&fs::read_to_string(file)?)).collect()
}

fn written(recording: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in recording.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name| line.get(name).and_then(Value::as_str);
        if let (Some("out"), Some(text)) = (text("dir"), text("line")) {
            lines.push(text.to_owned());
        }
    }
    Ok(lines)
}

/// Reads the lines outside any component.
fn read_as_json(recordings: &[Vec<String>]) -> Result<f64> {
    let mut bytes = 0;
    let start = Instant::now();
    for line in recordings.iter().flatten().cycle() {
        // Not every line of every harness is JSON.
        let _ = std::hint::black_box(serde_json::from_str::<Value>(line));
        bytes += line.len() + 1;
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok(megabytes(bytes) / start.elapsed().as_secs_f64())
}

/// Feeds one recording after the other to sessions of their own until enough went in. Starting a
/// session is part of the time.
async fn read_by_adapter(adapter: &Adapter, recordings: &[Vec<String>]) -> Result<(f64, f64)> {
    let (mut bytes, mut events) = (0, 0.0);
    let start = Instant::now();
    for lines in recordings.iter().cycle() {
        let mut session = begin(adapter).await?;
        for line in lines {
            let effects = session.output(line.as_bytes()).await?;
            events += effects.iter().filter(|e| matches!(e, Effect::Event(_))).count() as f64;
            bytes += line.len() + 1;
        }
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok((megabytes(bytes) / start.elapsed().as_secs_f64(), events / megabytes(bytes)))
}

/// A session whose harness was asked something.
async fn begin(adapter: &Adapter) -> Result<AdapterSession> {
    let request = LaunchRequest {
        launch: "0190a1b2".to_owned(),
        cwd: "/home/ann/project".into(),
        agent: "scout".into(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".into(),
        version: adapter.describe().tested.last().cloned(),
    };
    let mut session = adapter.session(&request).await?;
    session.started().await?;
    let prompt =
        Prompt { text: "Look at it.".to_owned(), images: Vec::new(), urgency: Urgency::default() };
    session.command(1, &Command::Prompt(prompt)).await?;
    Ok(session)
}

/// What a session keeps of this process's memory while it lives, after it read a recording.
async fn weigh(adapter: &Adapter, recordings: &[Vec<String>]) -> Result<f64> {
    let mut sessions = Vec::with_capacity(SESSIONS);
    let before = resident_mib()?;
    for lines in recordings.iter().cycle().take(SESSIONS) {
        let mut session = begin(adapter).await?;
        for line in lines {
            session.output(line.as_bytes()).await?;
        }
        sessions.push(session);
    }
    Ok((resident_mib()? - before) / SESSIONS as f64)
}

fn resident_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib / 1024.0)
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
