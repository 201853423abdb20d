//! What components cost, beside what the machine itself takes for the same.
//!
//! `cargo run --release -p rp-engine --example component_costs [POLICY]` prints one JSON object.
//! POLICY is the `.wasm` file of another routing policy that is measured too.

#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]
#![allow(clippy::indexing_slicing, reason = "only JSON is indexed; what is missing is null")]

mod adapters;
mod policies;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rp_engine::{Engine, EngineConfig, Limits};
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The repository and its compiled components.
struct Shipped {
    repository: PathBuf,
    guests: Vec<rp_guests::Guest>,
}

impl Shipped {
    fn wasm(&self, id: &str) -> Result<Vec<u8>> {
        let guest = self.guests.iter().find(|guest| guest.id == id);
        Ok(fs::read(&guest.ok_or("no such component")?.component)?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).ok_or("the program is not in a target folder")?;
    let guests = rp_guests::build(&repository, &target.join("guests"), &mut |_| {})?;
    let shipped = Shipped { repository, guests };
    let folder = tempfile::tempdir()?;

    let mut figures = Map::new();
    figures.insert("load_cold_ms".into(), load(folder.path(), &shipped).await?);
    // Another engine, as after a restart: it has the files of the cache and nothing in memory.
    figures.insert("load_warm_ms".into(), load(folder.path(), &shipped).await?);
    let engine = engine(folder.path())?;
    figures.append(&mut policies::measure(&engine, &shipped, std::env::args().nth(1)).await?);
    figures.append(&mut adapters::measure(&engine, &shipped).await?);
    println!("{}", Value::from(figures));
    Ok(())
}

fn engine(folder: &Path) -> Result<Engine> {
    Ok(Engine::new(EngineConfig {
        cache_dir: folder.join("cache"),
        cache_key: [0; 32],
        log_dir: folder.join("logs"),
        limits: Limits::default(),
    })?)
}

/// How long a fresh engine takes from the bytes of a policy to its first decision.
async fn load(folder: &Path, shipped: &Shipped) -> Result<Value> {
    let engine = engine(folder)?;
    let wasm = shipped.wasm("default")?;
    let start = Instant::now();
    let policy = policies::load(&engine, "default", wasm).await?;
    policies::decide(&policy)?;
    Ok((start.elapsed().as_secs_f64() * 1000.0).into())
}
