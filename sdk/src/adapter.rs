//! A harness adapter as plain Rust.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::effects::Effects;
use crate::harness::exports::rp::harness::adapter::{
    Command, Description, Effect, Exit, Failure, Guest, GuestSession, LaunchRequest, LaunchSpec,
};

/// Translates one harness. A value is one session; it owns no process, file or clock, and
/// the same calls in the same order give the same effects. The methods mean what
/// `wit/harness` says of the functions with their names; what they want done they leave in
/// [`effects`](Adapter::effects), from where the host gets it after each call.
pub trait Adapter: Sized + 'static {
    /// The harnesses it drives, at least one.
    fn describe() -> Vec<Description>;

    /// How to start the harness.
    ///
    /// # Errors
    /// The request asks for something the harness cannot do, or the settings are wrong.
    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure>;

    /// A session whose process has not started yet.
    fn new(request: LaunchRequest) -> Self;

    /// What it wants done and the host has not got yet.
    fn effects(&mut self) -> &mut Effects;

    /// The process runs.
    fn started(&mut self);

    /// One line or chunk of its standard output.
    fn output(&mut self, data: &[u8]);

    /// One line of its standard error.
    fn diagnostics(&mut self, line: &str);

    /// A client wants something.
    fn command(&mut self, number: u64, command: Command);

    /// The time asked for with `wake-after` has passed. An adapter that never asks needs none.
    fn wake(&mut self) {}

    /// The process is gone.
    fn exited(&mut self, how: &Exit);
}

/// An [`Adapter`] in the shape the generated bindings want.
pub struct Component<A>(PhantomData<A>);

/// One session, in the shape the generated bindings want. The host never enters an instance
/// twice, so a borrow cannot fail.
pub struct Session<A>(RefCell<A>);

impl<A: Adapter> Guest for Component<A> {
    type Session = Session<A>;

    fn describe() -> Vec<Description> {
        A::describe()
    }

    fn launch(request: LaunchRequest) -> Result<LaunchSpec, Failure> {
        A::launch(&request)
    }
}

impl<A: Adapter> Session<A> {
    fn call(&self, call: impl FnOnce(&mut A)) -> Vec<Effect> {
        let mut adapter = self.0.borrow_mut();
        call(&mut adapter);
        adapter.effects().take()
    }
}

impl<A: Adapter> GuestSession for Session<A> {
    fn new(request: LaunchRequest) -> Self {
        Self(RefCell::new(A::new(request)))
    }

    fn started(&self) -> Vec<Effect> {
        self.call(A::started)
    }

    fn output(&self, data: Vec<u8>) -> Vec<Effect> {
        self.call(|adapter| adapter.output(&data))
    }

    fn diagnostics(&self, line: String) -> Vec<Effect> {
        self.call(|adapter| adapter.diagnostics(&line))
    }

    fn command(&self, number: u64, command: Command) -> Vec<Effect> {
        self.call(|adapter| adapter.command(number, command))
    }

    fn wake(&self) -> Vec<Effect> {
        self.call(A::wake)
    }

    fn exited(&self, how: Exit) -> Vec<Effect> {
        self.call(|adapter| adapter.exited(&how))
    }
}

/// Makes the crate a component of the world `harness-adapter`: `export_adapter!(Pi);`
/// On a machine that is no WebAssembly one, where its tests run, it does nothing.
#[macro_export]
macro_rules! export_adapter {
    ($adapter:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, reason = "the canonical ABI is raw pointers")]
        mod component {
            use super::*;
            type Exported = $crate::adapter::Component<$adapter>;
            $crate::harness::export!(Exported with_types_in $crate::harness);
        }
    };
}
