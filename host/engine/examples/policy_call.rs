//! What a component costs: a decision of the default policy, and the Pi adapter's input.
//!
//! `cargo run --release -p rp-engine --example policy_call` prints one JSON object.

#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rp_engine::{Adapter, Code, Engine, EngineConfig, Limits, NoStore, Policy};
use rp_protocol::{
    routing::{Direction, Facts, Peer},
    session::LaunchRequest,
};

const DECISIONS: usize = 1_000_000;
const INPUT_BYTES: usize = 10 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).ok_or("the program is not in a target folder")?;
    let guests = rp_guests::build(&root, &target.join("guests"), &mut |_| {})?;
    let wasm = |id: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        let guest = guests.iter().find(|guest| guest.id == id).ok_or("no such component")?;
        Ok(fs::read(&guest.component)?)
    };
    let engine = Engine::new(EngineConfig {
        cache_dir: folder.path().join("cache"),
        cache_key: [0; 32],
        log_dir: folder.path().join("logs"),
        limits: Limits::default(),
    })?;

    let policy =
        engine.load_policy(Code::new("default", wasm("default")?), "{}", Arc::new(NoStore)).await?;
    let (p50, p99) = measure_policy(&policy)?;
    let adapters = engine.load_adapter(Code::new("pi", wasm("pi")?)).await?;
    let adapter = adapters.first().ok_or("Pi has no adapter")?;
    let lines = recorded(&root.join("adapters/pi/transcripts/0.87.1"))?;
    let rate = measure_adapter(adapter, &lines).await?;
    let figures = serde_json::json!({
        "timing_p50_us": measure_timing(),
        "policy_p50_us": p50,
        "policy_p99_us": p99,
        "json_mb_per_second": measure_json(&lines)?,
        "adapter_mb_per_second": rate,
    });
    println!("{figures}");
    Ok(())
}

/// The median and the 99th percentile of a decision, in microseconds.
fn measure_policy(policy: &Policy) -> Result<(f64, f64), Box<dyn Error>> {
    let peer = |name, address| Peer {
        pc: None,
        cwd: "/home/ann/project",
        name,
        address,
        harness: Some("pi"),
        person: false,
    };
    let recipients = [peer("reviewer", "/home/ann/project@reviewer")];
    let facts = Facts {
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
    };
    let mut times = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let start = Instant::now();
        policy.decide(&facts)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(DECISIONS * part / 1000).copied().unwrap_or(Duration::MAX);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok((micros(at(500)), micros(at(990))))
}

/// The median of measuring nothing, in microseconds: no figure can be below it.
fn measure_timing() -> f64 {
    let mut times: Vec<_> = (0..DECISIONS).map(|_| Instant::now().elapsed()).collect();
    times.sort_unstable();
    times.get(DECISIONS / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// Reads recorded lines as JSON outside any component; megabytes a second.
fn measure_json(lines: &[String]) -> Result<f64, Box<dyn Error>> {
    let mut bytes = 0;
    let start = Instant::now();
    for line in lines.iter().cycle() {
        std::hint::black_box(serde_json::from_str::<serde_json::Value>(line)?);
        bytes += line.len() + 1;
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// Feeds recorded lines to one session until enough went in; megabytes a second.
async fn measure_adapter(adapter: &Adapter, lines: &[String]) -> Result<f64, Box<dyn Error>> {
    let request = LaunchRequest {
        launch: "0190a1b2".to_owned(),
        cwd: "/home/ann/project".into(),
        agent: "scout".into(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".into(),
        version: Some("0.87.1".into()),
    };
    let mut session = adapter.session(&request).await?;
    session.started().await?;
    let mut bytes = 0;
    let start = Instant::now();
    for line in lines.iter().cycle() {
        session.output(line.as_bytes()).await?;
        bytes += line.len() + 1;
        if bytes >= INPUT_BYTES {
            break;
        }
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// Every line a harness wrote in the recordings of the folder.
fn recorded(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "jsonl"));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let text = |name| line.get(name).and_then(serde_json::Value::as_str);
            if let (Some("out"), Some(text)) = (text("dir"), text("line")) {
                lines.push(text.to_owned());
            }
        }
    }
    Ok(lines)
}
