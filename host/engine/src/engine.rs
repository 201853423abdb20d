//! Loading components.

use std::{path::PathBuf, sync::Arc};

use tokio::{runtime::Handle, sync::Semaphore, task};
use wasmtime::{
    Config,
    component::{Component, InstancePre, Linker},
};

use crate::{
    Actions, Adapter, KeyValue, Limits, LoadError, NoStore, Policy,
    bindings::{actions::AppActionsPre, harness::HarnessAdapterPre, routing::RoutingPolicyPre},
    cache::Cache,
    call::Loaded,
    host::{self, Host},
    limits::MostMemory,
    log::Logs,
    preflight,
    ticker::Ticker,
    world::{self, World},
};

/// Components compiled at the same time. Compiling takes whole cores.
const COMPILERS: usize = 2;

/// Stack of guest code. Deeper recursion is a stack overflow of the guest.
const GUEST_STACK: usize = 512 << 10;

/// Stack of a call that can wait: the guest's, and room for the host functions it calls.
const CALL_STACK: usize = 1 << 20;

/// Where the engine keeps its files, and what components may use.
#[derive(Clone)]
pub struct EngineConfig {
    /// Folder of compiled components. Created with mode 0700.
    pub cache_dir: PathBuf,
    /// Secret that compiled components are authenticated with. Whoever has it can make the
    /// engine run any code, so keep it where only the user can read it. A new key merely
    /// empties the cache.
    pub cache_key: [u8; 32],
    /// Folder of the components' log files.
    pub log_dir: PathBuf,
    /// What components may use.
    pub limits: Limits,
}

/// A component as it is handed over to be loaded.
pub struct Code {
    id: String,
    wasm: Arc<[u8]>,
    memory: Option<usize>,
}

impl Code {
    /// The bytes of a `.wasm` file. `id` names it in logs and must be usable as the name of a file.
    pub fn new(id: &str, wasm: impl Into<Arc<[u8]>>) -> Self {
        Code { id: id.to_owned(), wasm: wasm.into(), memory: None }
    }

    /// Lets an instance have this many bytes of memory instead of what its kind usually may have.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        Code { memory: Some(bytes), ..self }
    }
}

/// Runs components. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

/// What every loaded component needs of the engine.
pub(crate) struct Shared {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) limits: Limits,
    pub(crate) ticker: Ticker,
    /// Where a policy's waiting takes place.
    pub(crate) runtime: Handle,
    logs: Logs,
    linker: Linker<Host>,
    cache: Arc<Cache>,
    compilers: Semaphore,
}

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the component engine: {0}")]
pub struct StartError(String);

impl Engine {
    /// Starts the engine; must be called from within a tokio runtime. It writes nothing
    /// until a component is loaded.
    pub fn new(config: EngineConfig) -> Result<Self, StartError> {
        let runtime = Handle::try_current().map_err(|error| StartError(error.to_string()))?;
        let failed = |error: wasmtime::Error| StartError(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&runtime_config()).map_err(failed)?;
        let clock = wasmtime.clone();
        let ticker = Ticker::start(move || clock.increment_epoch())
            .map_err(|error| StartError(error.to_string()))?;
        Ok(Engine(Arc::new(Shared {
            linker: host::linker(&wasmtime).map_err(failed)?,
            wasmtime,
            limits: config.limits,
            ticker,
            runtime,
            logs: Logs::new(config.log_dir),
            cache: Arc::new(Cache::new(config.cache_dir, config.cache_key)),
            compilers: Semaphore::new(COMPILERS),
        })))
    }

    /// Whether the cache has the compiled form of a component. It is checked when it is loaded.
    pub fn has_compiled(&self, wasm: &[u8]) -> bool {
        self.0.cache.has(&self.0.wasmtime, wasm)
    }

    /// Compiles a component into the cache, without running anything of it.
    pub async fn compile(&self, wasm: impl Into<Arc<[u8]>>) -> Result<(), LoadError> {
        let wasm = wasm.into();
        preflight::check(&wasm, self.0.limits.component_bytes)?;
        self.0.compile(wasm).await.map(drop)
    }

    /// Loads a harness adapter and asks it what it drives: one [`Adapter`] for each harness, at
    /// least one.
    pub async fn load_adapter(&self, code: Code) -> Result<Vec<Adapter>, LoadError> {
        let memory = self.0.limits.adapter_memory;
        let storage = Arc::new(NoStore);
        let loaded = self.0.load(code, &world::ADAPTER, HarnessAdapterPre::new, storage, memory);
        Adapter::describe_itself(loaded.await?).await
    }

    /// Loads an action handler and asks it which actions it has.
    pub async fn load_actions(
        &self,
        code: Code,
        store: Arc<dyn KeyValue>,
    ) -> Result<Actions, LoadError> {
        let memory = self.0.limits.actions_memory;
        let loaded = self.0.load(code, &world::ACTIONS, AppActionsPre::new, store, memory);
        Actions::list_themselves(loaded.await?).await
    }

    /// Loads a routing policy and configures it with `settings`, a JSON object.
    pub async fn load_policy(
        &self,
        code: Code,
        settings: &str,
        store: Arc<dyn KeyValue>,
    ) -> Result<Policy, LoadError> {
        let memory = code.memory.unwrap_or(self.0.limits.policy_memory);
        let pre = self.0.prepare(code.wasm, &world::POLICY).await?;
        let imports = self.0.imports(&pre);
        let pre = RoutingPolicyPre::new(pre)
            .map_err(|error| world::POLICY.wrong(format!("{error:#}")))?;
        let log = self.0.logs.component(&code.id);
        let shared = Arc::clone(&self.0);
        let settings = settings.to_owned();
        let start = move || Policy::start(shared, pre, imports, log, store, settings, memory);
        task::spawn_blocking(start)
            .await
            .map_err(|error| LoadError::Interrupted(error.to_string()))?
    }
}

impl Shared {
    /// Everything up to the first instance of a component whose calls can wait.
    async fn load<P>(
        self: &Arc<Self>,
        code: Code,
        world: &'static World,
        typed: impl FnOnce(InstancePre<Host>) -> wasmtime::Result<P>,
        storage: Arc<dyn KeyValue>,
        memory: usize,
    ) -> Result<Loaded<P>, LoadError> {
        let pre = self.prepare(code.wasm, world).await?;
        let imports = self.imports(&pre);
        let pre = typed(pre).map_err(|error| world.wrong(format!("{error:#}")))?;
        let log = self.logs.component(&code.id);
        let memory = code.memory.unwrap_or(memory);
        let most = MostMemory::default();
        Ok(Loaded { shared: Arc::clone(self), pre, imports, log, storage, memory, most })
    }

    /// Everything up to the first instance: check, compile, check the world, link.
    async fn prepare(
        self: &Arc<Self>,
        wasm: Arc<[u8]>,
        world: &'static World,
    ) -> Result<InstancePre<Host>, LoadError> {
        preflight::check(&wasm, self.limits.component_bytes)?;
        let component = self.compile(wasm).await?;
        world.check(&component.component_type(), &self.wasmtime)?;
        self.linker.instantiate_pre(&component).map_err(|error| world.wrong(format!("{error:#}")))
    }

    fn imports(&self, pre: &InstancePre<Host>) -> Vec<String> {
        world::imports(&pre.component().component_type(), &self.wasmtime)
    }

    async fn compile(self: &Arc<Self>, wasm: Arc<[u8]>) -> Result<Component, LoadError> {
        // Only closing the semaphore fails this, which nobody does.
        let _permit = self.compilers.acquire().await;
        let engine = self.wasmtime.clone();
        let cache = Arc::clone(&self.cache);
        task::spawn_blocking(move || cache.component(&engine, &wasm))
            .await
            .map_err(|error| LoadError::Interrupted(error.to_string()))?
            .map_err(|error| LoadError::Compile(format!("{error:#}")))
    }
}

fn runtime_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(CALL_STACK)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .wasm_memory64(false)
        .shared_memory(false);
    config
}
