//! Engines with folders of their own, and what guests are asked with.

use std::path::{Path, PathBuf};

use rp_engine::{
    Actions, Adapter, AdapterSession, Code, Engine, EngineConfig, Limits, LoadError, NoStore,
    Policy,
};
use rp_protocol::{
    actions::{self, Context},
    routing::{Direction, Facts, Peer},
    session::{LaunchRequest, State},
};

pub use crate::guest::*;

/// An engine whose files are in a temporary folder.
pub struct Place {
    pub engine: Engine,
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path(), [7; 32], limits);
        Place { engine, folder }
    }

    pub async fn adapter(&self, guest: &Guest) -> Result<Adapter, LoadError> {
        let adapters = self.engine.load_adapter(Code::new("test", guest.build())).await?;
        Ok(adapters.into_iter().next().unwrap())
    }

    pub async fn session(&self, guest: &Guest) -> AdapterSession {
        self.adapter(guest).await.unwrap().session(&request()).await.unwrap()
    }

    pub async fn policy(&self, guest: &Guest) -> Result<Policy, LoadError> {
        self.engine
            .load_policy(Code::new("test", guest.build()), "{}", std::sync::Arc::new(NoStore))
            .await
    }

    pub async fn actions(&self, guest: &Guest) -> Result<Actions, LoadError> {
        self.engine
            .load_actions(Code::new("test", guest.build()), std::sync::Arc::new(NoStore))
            .await
    }

    /// The component's log without the time that begins each line.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("logs/test.log"));
        text.unwrap_or_default()
            .lines()
            .map(|line| line.split_once("Z ").unwrap().1.to_owned())
            .collect()
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }
}

pub fn engine(folder: &Path, cache_key: [u8; 32], limits: Limits) -> Engine {
    Engine::new(EngineConfig {
        cache_dir: folder.join("cache"),
        cache_key,
        log_dir: folder.join("logs"),
        limits,
    })
    .unwrap()
}

pub fn request() -> LaunchRequest {
    LaunchRequest {
        launch: "0190a1b2".into(),
        cwd: "/home/ann/project".into(),
        agent: "scout".into(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".into(),
        version: None,
    }
}

pub const PEER: Peer<'static> = Peer {
    pc: None,
    cwd: "/home/ann/project",
    name: "scout",
    address: "/home/ann/project#scout",
    harness: Some("demo"),
    person: false,
};

pub const FACTS: Facts<'static> = Facts {
    direction: Direction::Local,
    sender: PEER,
    recipients: &[PEER],
    to: "reviewer",
    id: "0199a2b4-0000-7000-8000-000000000000",
    re: None,
    body_bytes: 2,
    body_type: None,
    body: None,
    sent_last_minute: 0,
    now_ms: 1_763_700_000_000,
};

/// The button was pressed for the agent `scout`, which reaches nobody.
pub fn context() -> Context {
    Context {
        agent: actions::Peer {
            pc: None,
            address: "/home/ann/project@scout".into(),
            name: "scout".into(),
            cwd: "/home/ann/project".into(),
            harness: Some("demo".into()),
        },
        state: State::default(),
        parameters: serde_json::Map::new(),
        peers: Vec::new(),
    }
}
