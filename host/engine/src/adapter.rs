//! Harness adapters: one instance in a store of its own for each session.

use std::sync::Arc;

use rp_protocol::session::{
    Command, Effect, Exit, Failure, HarnessDescription, LaunchRequest, LaunchSpec,
};
use wasmtime::{Store, component::ResourceAny};

use crate::{
    CallError, LoadError,
    bindings::harness::{HarnessAdapter, HarnessAdapterPre, exports::rp::harness::adapter as wit},
    call::{Limited, Loaded},
    convert_session::launch_request,
    error::Bounds,
    host::Host,
};

/// A loaded harness adapter, for one of the harnesses it drives. Clones, and the adapters of its
/// other harnesses, share the compiled code.
#[derive(Clone)]
pub struct Adapter {
    loaded: Arc<Loaded<HarnessAdapterPre<Host>>>,
    description: Arc<HarnessDescription>,
}

impl Adapter {
    /// Asks a throw-away instance which harnesses the adapter drives.
    pub(crate) async fn describe_itself(
        loaded: Loaded<HarnessAdapterPre<Host>>,
    ) -> Result<Vec<Self>, LoadError> {
        let loaded = Arc::new(loaded);
        let mut instance = Instance::new(&loaded, "").await?;
        let (adapter, store, limited) = instance.begin();
        let told = limited.run(adapter.call_describe(store)).await?;
        let descriptions: Vec<HarnessDescription> = told.into_iter().map(Into::into).collect();
        check_descriptions(&descriptions).map_err(LoadError::Description)?;
        let adapter = |description| Adapter {
            loaded: Arc::clone(&loaded),
            description: Arc::new(description),
        };
        Ok(descriptions.into_iter().map(adapter).collect())
    }

    /// The id it was loaded with.
    pub fn id(&self) -> &str {
        self.loaded.log.component()
    }

    /// What the adapter says of the harness; asked once, when it was loaded.
    pub fn describe(&self) -> &HarnessDescription {
        &self.description
    }

    /// The interfaces it imports, with their versions.
    pub fn imports(&self) -> &[String] {
        &self.loaded.imports
    }

    /// The most memory that any of its instances has had, in bytes.
    pub fn most_memory(&self) -> usize {
        self.loaded.most.bytes()
    }

    /// What to start for this request. The inner error is the adapter's own refusal.
    pub async fn launch(
        &self,
        request: &LaunchRequest,
    ) -> Result<Result<LaunchSpec, Failure>, CallError> {
        let mut instance = self.instance(&request.agent).await?;
        let (adapter, store, limited) = instance.begin();
        let outcome = limited.run(adapter.call_launch(store, &self.request(request))).await?;
        Ok(outcome.map(Into::into).map_err(Into::into))
    }

    /// Begins a session: one harness process, from start to exit.
    pub async fn session(&self, request: &LaunchRequest) -> Result<AdapterSession, CallError> {
        let mut instance = self.instance(&request.agent).await?;
        let (adapter, store, limited) = instance.begin();
        let session =
            limited.run(adapter.session().call_constructor(store, &self.request(request))).await?;
        Ok(AdapterSession { live: Some((instance, session)) })
    }

    async fn instance(&self, session: &str) -> Result<Instance, CallError> {
        Instance::new(&self.loaded, session).await
    }

    fn request(&self, request: &LaunchRequest) -> wit::LaunchRequest {
        launch_request(&self.description.name, request)
    }
}

/// Holds what an adapter says of itself to what the host can show and look up.
fn check_descriptions(descriptions: &[HarnessDescription]) -> Result<(), String> {
    if descriptions.is_empty() {
        return Err("it drives no harness".to_owned());
    }
    for (place, description) in descriptions.iter().enumerate() {
        let name = &description.name;
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
            return Err(format!(
                "the harness name {name:?} must be lower-case letters, digits and hyphens"
            ));
        }
        if descriptions.iter().take(place).any(|other| other.name == *name) {
            return Err(format!("it names the harness {name} twice"));
        }
    }
    Ok(())
}

/// A running session of an adapter. After an error, and after a call whose future was
/// dropped before it was done, the instance is gone and every call gives
/// [`CallError::Gone`].
pub struct AdapterSession {
    /// Taken for the time of a call and put back only when the call went well.
    live: Option<(Instance, ResourceAny)>,
}

impl AdapterSession {
    /// The process runs; its input is open.
    pub async fn started(&mut self) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let effects = limited.run(adapter.session().call_started(store, session)).await?;
        self.keep(instance, session, effects)
    }

    /// One line without its newline, or a chunk of bytes, as the launch spec asked.
    pub async fn output(&mut self, data: &[u8]) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let effects = limited.run(adapter.session().call_output(store, session, data)).await?;
        self.keep(instance, session, effects)
    }

    /// One line of standard error.
    pub async fn diagnostics(&mut self, line: &str) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let effects = limited.run(adapter.session().call_diagnostics(store, session, line)).await?;
        self.keep(instance, session, effects)
    }

    /// A command; numbers rise and are never used twice.
    pub async fn command(
        &mut self,
        number: u64,
        command: &Command,
    ) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let command = command.into();
        let effects =
            limited.run(adapter.session().call_command(store, session, number, &command)).await?;
        self.keep(instance, session, effects)
    }

    /// The time the adapter asked to be woken at has come.
    pub async fn wake(&mut self) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let effects = limited.run(adapter.session().call_wake(store, session)).await?;
        self.keep(instance, session, effects)
    }

    /// The process is gone.
    pub async fn exited(&mut self, how: &Exit) -> Result<Vec<Effect>, CallError> {
        let (mut instance, session) = self.take()?;
        let (adapter, store, limited) = instance.begin();
        let effects =
            limited.run(adapter.session().call_exited(store, session, &how.into())).await?;
        self.keep(instance, session, effects)
    }

    fn take(&mut self) -> Result<(Instance, ResourceAny), CallError> {
        self.live.take().ok_or(CallError::Gone)
    }

    fn keep(
        &mut self,
        instance: Instance,
        session: ResourceAny,
        effects: Vec<wit::Effect>,
    ) -> Result<Vec<Effect>, CallError> {
        let allowed = instance.loaded.shared.limits.adapter_effects;
        if effects.len() > allowed {
            let error = CallError::TooMuchOutput(format!(
                "{} effects in one call, and {allowed} are allowed",
                effects.len()
            ));
            return Err(limited(&instance.loaded, &instance.session).failed(error));
        }
        self.live = Some((instance, session));
        Ok(effects.into_iter().map(Effect::from).collect())
    }
}

/// One instance in its store. It must be dropped after an error.
struct Instance {
    loaded: Arc<Loaded<HarnessAdapterPre<Host>>>,
    store: Store<Host>,
    world: HarnessAdapter,
    session: Arc<str>,
}

impl Instance {
    async fn new(
        loaded: &Arc<Loaded<HarnessAdapterPre<Host>>>,
        session: &str,
    ) -> Result<Self, CallError> {
        let limits = &loaded.shared.limits;
        // What the effects take themselves does not count as output.
        let output = limits.adapter_output + limits.adapter_effects * size_of::<wit::Effect>();
        let mut store = loaded.store(session, output);
        let limited = limited(loaded, session);
        limited.start(&mut store);
        let world = limited.run(loaded.pre.instantiate_async(&mut store)).await?;
        Ok(Instance { loaded: Arc::clone(loaded), store, world, session: session.into() })
    }

    /// Everything a call needs.
    fn begin(&mut self) -> (&wit::Guest, &mut Store<Host>, Limited<'_>) {
        let Instance { loaded, store, world, session } = self;
        let limited = limited(loaded, session);
        limited.start(store);
        (world.rp_harness_adapter(), store, limited)
    }
}

fn limited<'a>(loaded: &'a Loaded<HarnessAdapterPre<Host>>, session: &'a str) -> Limited<'a> {
    let limits = &loaded.shared.limits;
    loaded.limited(session, Bounds::adapter(limits), limits.adapter_wait)
}
