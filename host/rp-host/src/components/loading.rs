//! From the bytes of a component to one that can be called.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rp_engine::{
    Actions, Adapter, Code, Engine, EngineConfig, KeyValue, Limits, NoStore, Policy,
    check_world_version,
};
use rp_protocol::component::{ComponentId, Kind, Manifest, Permit};
use rp_store::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::storage::Storage;
use crate::{
    embedded::COMPONENTS,
    files,
    paths::StateRoot,
    problem::{Problem, While},
};

/// How long a component may take to be compiled. An interpreter takes some ten seconds.
const COMPILING: Duration = Duration::from_secs(5 * 60);

/// A component that was tried and can be called.
#[derive(Clone)]
pub enum Loaded {
    /// One for each harness it drives.
    Adapters(Vec<Adapter>),
    /// A routing policy.
    Policy(Arc<Policy>),
    /// Actions.
    Actions(Actions),
}

impl Loaded {
    /// What it imports.
    pub fn imports(&self) -> &[String] {
        match self {
            Self::Adapters(adapters) => adapters.first().map_or(&[], Adapter::imports),
            Self::Policy(policy) => policy.imports(),
            Self::Actions(actions) => actions.imports(),
        }
    }
}

/// Loads components.
pub struct Loader {
    engine: Engine,
    database: Database,
}

impl Loader {
    /// Starts the engine.
    pub fn new(root: &StateRoot, database: Database) -> Result<Self, Problem> {
        Ok(Loader { engine: engine(root)?, database })
    }

    /// Has everything that ships compiled.
    pub async fn compile_what_ships(&self) {
        tracing::info!("compiling the components that ship");
        if let Err(problem) = compile_apart(None).await {
            tracing::warn!(%problem, "the components that ship are not compiled apart");
        }
    }

    /// Has a component compiled, unless it is.
    pub async fn compile(&self, id: &ComponentId, wasm: &[u8]) -> Result<(), Problem> {
        if self.is_compiled(wasm) {
            return Ok(());
        }
        tracing::info!(component = %id, "compiling a component");
        match tokio::time::timeout(COMPILING, compile_apart(Some(wasm))).await {
            Ok(compiled) => compiled.doing(format!("compile {id}")),
            Err(_) => Err(Problem::failed(format!(
                "compiling {id} took longer than {} minutes",
                COMPILING.as_secs() / 60
            ))),
        }
    }

    /// Whether loading it takes no time.
    pub fn is_compiled(&self, wasm: &[u8]) -> bool {
        self.engine.has_compiled(wasm)
    }

    /// Loads and tries a component with exactly these permits; `settings` are those of a policy.
    pub async fn load(
        &self,
        manifest: &Manifest,
        wasm: Arc<[u8]>,
        permits: &[Permit],
        settings: &str,
    ) -> Result<Loaded, Problem> {
        let id = manifest.id.as_str();
        let code = code(manifest, wasm);
        let loading = format!("load the component {id}");
        check_world_version(&manifest.world.to_string()).doing(&loading)?;
        match manifest.kind {
            Kind::Adapter => {
                let adapters = self.engine.load_adapter(code).await.doing(&loading)?;
                check_programs(manifest, &adapters).doing(&loading)?;
                Ok(Loaded::Adapters(adapters))
            }
            Kind::Policy => {
                let storage = self.storage(manifest, permits).await?;
                let policy = self.engine.load_policy(code, settings, storage).await;
                let policy = policy.doing(&loading)?;
                if policy.wants_bodies() && !has(permits, "bodies") {
                    return Err(Problem::failed(format!(
                        "could not {loading}: with its settings it wants to read messages, and it was not granted bodies"
                    ))
                    .hint(format!("`rp-host component grant {id} bodies`, if its manifest asks for it")));
                }
                Ok(Loaded::Policy(Arc::new(policy)))
            }
            Kind::Actions => {
                let storage = self.storage(manifest, permits).await?;
                let actions = self.engine.load_actions(code, storage).await.doing(&loading)?;
                Ok(Loaded::Actions(actions))
            }
        }
    }

    async fn storage(
        &self,
        manifest: &Manifest,
        permits: &[Permit],
    ) -> Result<Arc<dyn KeyValue>, Problem> {
        if !has(permits, "store") {
            return Ok(Arc::new(NoStore));
        }
        let storage = Storage::open(self.database.clone(), &manifest.id).await;
        Ok(Arc::new(storage.doing(format!("open the storage of {}", manifest.id))?))
    }
}

/// Code with the memory that its manifest asks for.
pub fn code(manifest: &Manifest, wasm: Arc<[u8]>) -> Code {
    let code = Code::new(manifest.id.as_str(), wasm);
    match manifest.memory_mib {
        Some(mib) => code.with_memory((mib as usize) << 20),
        None => code,
    }
}

fn has(permits: &[Permit], name: &str) -> bool {
    permits.iter().any(|permit| permit.name() == name)
}

/// What an adapter says it starts must be what its manifest asks to start.
pub fn check_programs(manifest: &Manifest, adapters: &[Adapter]) -> Result<(), String> {
    let permits = manifest.permits();
    let asks = |program: &str| {
        permits.iter().any(|permit| permit.name() == "run" && permit.value() == Some(program))
    };
    for adapter in adapters {
        let description = adapter.describe();
        if !description.program.is_empty() && !asks(&description.program) {
            return Err(format!(
                "it describes {} as the program {}, and its manifest does not ask to run that",
                description.name, description.program
            ));
        }
    }
    Ok(())
}

/// Compiles for the daemon, in a process that ends afterwards: the component that comes in on
/// standard input, or everything that ships if nothing comes.
pub async fn compile(root: &StateRoot) -> Result<(), Problem> {
    let engine = engine(root)?;
    let mut wasm = Vec::new();
    tokio::io::stdin().read_to_end(&mut wasm).await.doing("read the component")?;
    if !wasm.is_empty() {
        return engine.compile(wasm).await.doing("compile the component");
    }
    for component in COMPONENTS {
        engine.compile(component.bytes).await.doing("compile the components")?;
    }
    Ok(())
}

/// Has a process of its own do that: compiling needs more memory than all the rest, and a daemon
/// that runs for months would keep it. If it fails, the daemon compiles itself, unless that process
/// was killed, as by an operating system without memory: the daemon could be the next.
async fn compile_apart(wasm: Option<&[u8]>) -> Result<(), String> {
    let done = async {
        let program = std::env::current_exe()?;
        let mut command = tokio::process::Command::new(program);
        command.arg("compile-components").stdin(Stdio::piped()).kill_on_drop(true);
        // What is wrong with it is told by whoever loads it.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(wasm.unwrap_or_default()).await?;
        }
        child.wait().await
    };
    match done.await {
        Ok(status) => survived(status),
        Err(error) => {
            tracing::warn!(%error, "not compiled apart");
            Ok(())
        }
    }
}

fn survived(status: ExitStatus) -> Result<(), String> {
    if !status.success() {
        tracing::debug!(%status, "not compiled apart");
    }
    match status.signal() {
        Some(signal) => Err(format!(
            "the process that compiled it was killed by signal {signal}: it may need more memory \
             than this machine has left"
        )),
        None => Ok(()),
    }
}

fn engine(root: &StateRoot) -> Result<Engine, Problem> {
    Engine::new(EngineConfig {
        cache_dir: root.cache(),
        cache_key: cache_key(root)?,
        log_dir: root.logs(),
        limits: Limits::default(),
    })
    .doing("start the component engine")
}

/// The secret that compiled components are checked with; made when there is none.
pub fn cache_key(root: &StateRoot) -> Result<[u8; 32], Problem> {
    let path = root.cache_key();
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(key);
    }
    // Two times 122 random bits of the operating system.
    let mut key = [0; 32];
    let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    for (target, byte) in key.iter_mut().zip(halves.iter().flat_map(|half| half.as_bytes())) {
        *target = *byte;
    }
    files::write_atomically(&path, &key).doing(format!("write {}", path.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_compiler_that_was_killed_refuses_the_component() {
        let killed = survived(ExitStatus::from_raw(9));
        assert_eq!(
            killed,
            Err("the process that compiled it was killed by signal 9: it may need more memory \
                 than this machine has left"
                .to_owned())
        );
        // What is wrong with the component itself is told by whoever loads it.
        assert_eq!(survived(ExitStatus::from_raw(1 << 8)), Ok(()));
        assert_eq!(survived(ExitStatus::from_raw(0)), Ok(()));
    }
}
