//! What a component finds around itself: a log, storage, and a WASI with nothing in it.

use std::{sync::Arc, time::Duration};

use wasmtime::{
    Engine, Store,
    component::{HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    bindings::plugin::{
        Imports,
        rp::plugin::{log, store},
    },
    limits::{Meter, MostMemory},
    log::{ComponentLog, Level, message},
    stdio::LineStream,
    store::{KeyValue, StoreFailure},
};

/// The data of one store: everything one instance of a component can reach.
pub(crate) struct Host {
    pub(crate) meter: Meter,
    /// Ticks the running call of an adapter may still compute.
    pub(crate) ticks_left: u64,
    /// Time this thread had computed when the running call of a policy saw its first tick.
    pub(crate) first_tick: Option<Duration>,
    log: Arc<ComponentLog>,
    session: Arc<str>,
    storage: Arc<dyn KeyValue>,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Host {
    /// Surroundings with `memory` bytes; `session` names the instance in its log.
    pub(crate) fn new(
        log: Arc<ComponentLog>,
        session: &str,
        storage: Arc<dyn KeyValue>,
        memory: usize,
        most: MostMemory,
    ) -> Self {
        let session: Arc<str> = session.into();
        let stream = |level| LineStream::new(Arc::clone(&log), Arc::clone(&session), level);
        // Without further permissions the builder grants nothing: no folder, no address, no
        // argument, no variable, an empty standard input.
        let wasi = WasiCtxBuilder::new()
            .stdout(stream(Level::Info))
            .stderr(stream(Level::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Host {
            meter: Meter::new(memory, most),
            ticks_left: 0,
            first_tick: None,
            log,
            session,
            storage,
            wasi,
            table: ResourceTable::new(),
        }
    }

    /// A store with these surroundings, whose calls may hand over `output` bytes at a time.
    pub(crate) fn into_store(self, engine: &Engine, output: usize) -> Store<Host> {
        let mut store = Store::new(engine, self);
        store.limiter(|host| &mut host.meter);
        store.set_hostcall_fuel(output);
        store
    }
}

/// Offers everything a component of any of our worlds may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    Imports::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, text: String, fields: Vec<(String, String)>) {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.write(level, &self.session, &message(&text, &fields));
    }
}

impl store::Host for Host {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, store::Error> {
        self.told(self.storage.get(&key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), store::Error> {
        self.told(self.storage.set(&key, &value))
    }

    fn delete(&mut self, key: String) -> Result<(), store::Error> {
        self.told(self.storage.delete(&key))
    }

    fn keys(&mut self, prefix: String) -> Result<Vec<String>, store::Error> {
        self.told(self.storage.keys(&prefix))
    }
}

impl Host {
    /// What storage refuses is in the log too: a component may pass over it in silence.
    fn told<T>(&self, outcome: Result<T, StoreFailure>) -> Result<T, store::Error> {
        outcome.map_err(|failure| {
            self.log.write(Level::Warn, &self.session, &failure.to_string());
            failure.into()
        })
    }
}

impl From<StoreFailure> for store::Error {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::Denied => store::Error::Denied,
            StoreFailure::Full => store::Error::Full,
            StoreFailure::Other(text) => store::Error::Other(text),
        }
    }
}
