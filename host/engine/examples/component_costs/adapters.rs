//! Harness adapters: how fast they read what a harness writes, and what a session of one weighs.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rp_engine::{Adapter, AdapterSession, Code, Engine};
use rp_protocol::session::{Command, Effect, LaunchRequest};
use serde_json::{Map, Value, json};

use crate::{Result, Shipped};

/// How much output of a harness is read for a figure.
const INPUT_BYTES: usize = 10 << 20;

/// How many sessions live at a time while they are weighed.
const SESSIONS: usize = 64;

/// Component, harness, and the folder with the recordings of that harness.
const RECORDED: [(&str, &str, &str); 4] = [
    ("pi", "pi", "adapters/pi/transcripts/0.87.1"),
    ("claude-code", "claude-code", "adapters/claude-code/transcripts/2.1.329"),
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
        let sessions = sessions(&shipped.repository.join(folder))?;
        let floor = read_as_json(&sessions)?;
        let (rate, events) = read_by_adapter(adapter, &sessions).await?;
        let figures = json!({
            "json_mb_per_second": floor,
            "adapter_mb_per_second": rate,
            "events_per_mb": events,
            "session_mib": weigh(adapter, &sessions).await?,
        });
        harnesses.insert(harness.to_owned(), figures);
    }
    Ok(Map::from_iter([("harnesses".to_owned(), harnesses.into())]))
}

/// A recorded session, as calls into its adapter.
struct Session {
    launch: LaunchRequest,
    calls: Vec<Call>,
}

enum Call {
    Output(String),
    Diagnostics(String),
    Command(Command),
    Wake,
}

impl Session {
    /// What the harness wrote, line by line.
    fn written(&self) -> impl Iterator<Item = &String> {
        self.calls.iter().filter_map(|call| match call {
            Call::Output(line) => Some(line),
            _ => None,
        })
    }
}

/// The recorded sessions of a harness: `sessions.jsonl` says which calls each of them was; a number
/// there is a line of the recording.
fn sessions(folder: &Path) -> Result<Vec<Session>> {
    let listed = fs::read_to_string(folder.join("sessions.jsonl"))?;
    listed.lines().map(|line| session(folder, &serde_json::from_str(line)?)).collect()
}

fn session(folder: &Path, listed: &Value) -> Result<Session> {
    let name = listed["recording"].as_str().ok_or("a session without a recording")?;
    let recording = fs::read_to_string(folder.join(name).with_extension("jsonl"))?;
    let recording: Vec<&str> = recording.split('\n').collect();
    let told = listed["told"].as_array().ok_or("a session without calls")?;
    let calls = told.iter().map(|told| call(&recording, told));
    let calls = calls.filter_map(Result::transpose).collect::<Result<_>>()?;
    let text = |name: &str| listed["launch"][name].as_str().map(str::to_owned);
    let launch = LaunchRequest {
        launch: "0190a1b2".to_owned(),
        cwd: "/home/ann/project".into(),
        agent: "scout".into(),
        model: text("model"),
        resume: text("resume"),
        mesh: None,
        settings: match &listed["launch"]["settings"] {
            Value::Null => "{}".to_owned(),
            settings => settings.to_string(),
        },
        version: text("version"),
    };
    Ok(Session { launch, calls })
}

fn call(recording: &[&str], told: &Value) -> Result<Option<Call>> {
    if let Some(number) = told.as_u64() {
        let place = usize::try_from(number)?.checked_sub(1).ok_or("lines are counted from 1")?;
        let line = recording.get(place).ok_or("the recording has no such line")?;
        let line: Value = serde_json::from_str(line)?;
        let text = line["line"].as_str().unwrap_or_default().to_owned();
        return Ok(Some(match line["dir"].as_str() {
            Some("out") => Call::Output(text),
            _ => Call::Diagnostics(text),
        }));
    }
    if let Some(text) = told["out"].as_str() {
        return Ok(Some(Call::Output(text.to_owned())));
    }
    if !told["command"].is_null() {
        return Ok(Some(Call::Command(serde_json::from_value(told["command"].clone())?)));
    }
    Ok((*told == "wake").then_some(Call::Wake))
}

/// Reads the lines outside any component.
fn read_as_json(sessions: &[Session]) -> Result<f64> {
    let lines: Vec<_> = sessions.iter().flat_map(Session::written).collect();
    let mut bytes = 0;
    let start = Instant::now();
    for line in lines.iter().cycle() {
        // Not every line of every harness is JSON.
        let _ = std::hint::black_box(serde_json::from_str::<Value>(line));
        bytes += line.len() + 1;
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok(megabytes(bytes) / start.elapsed().as_secs_f64())
}

/// Plays one recorded session after the other until enough was read. Only reading is timed.
async fn read_by_adapter(adapter: &Adapter, sessions: &[Session]) -> Result<(f64, f64)> {
    let (mut bytes, mut events, mut time) = (0, 0.0, Duration::ZERO);
    for recorded in sessions.iter().cycle() {
        let mut session = begin(adapter, recorded).await?;
        for (number, call) in recorded.calls.iter().enumerate() {
            let start = Instant::now();
            let effects = play(&mut session, number as u64, call).await?;
            if let Call::Output(line) = call {
                time += start.elapsed();
                bytes += line.len() + 1;
                events += effects.iter().filter(|e| matches!(e, Effect::Event(_))).count() as f64;
            }
        }
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok((megabytes(bytes) / time.as_secs_f64(), events / megabytes(bytes)))
}

async fn begin(adapter: &Adapter, recorded: &Session) -> Result<AdapterSession> {
    let mut session = adapter.session(&recorded.launch).await?;
    session.started().await?;
    Ok(session)
}

async fn play(session: &mut AdapterSession, number: u64, call: &Call) -> Result<Vec<Effect>> {
    Ok(match call {
        Call::Output(line) => session.output(line.as_bytes()).await?,
        Call::Diagnostics(line) => session.diagnostics(line).await?,
        Call::Command(command) => session.command(number + 1, command).await?,
        Call::Wake => session.wake().await?,
    })
}

/// What a session keeps of this process's memory while it lives, after it read a recording.
async fn weigh(adapter: &Adapter, sessions: &[Session]) -> Result<f64> {
    let mut living = Vec::with_capacity(SESSIONS);
    let before = resident_mib()?;
    for recorded in sessions.iter().cycle().take(SESSIONS) {
        let mut session = begin(adapter, recorded).await?;
        for (number, call) in recorded.calls.iter().enumerate() {
            play(&mut session, number as u64, call).await?;
        }
        living.push(session);
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
