//! App actions as plain Rust.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

pub use crate::actions::exports::rp::actions::handler::{
    Action, Context, Guest, Peer, Progress, Step,
};
use crate::session::{Failure, FailureKind, Reply};

/// What became of a step.
pub type Outcome = Result<Reply, Failure>;

/// The buttons of a component. Nothing is kept between calls: what an action has done so far is
/// in its replies.
pub trait Handler: 'static {
    /// The actions it has.
    fn actions() -> Vec<Action>;

    /// What to do now, with the replies to all steps so far, in order.
    ///
    /// # Errors
    /// The action cannot be done; the person who pressed the button is shown why.
    fn run(name: &str, context: &Context, replies: &[Outcome]) -> Result<Progress, Failure>;
}

/// A [`Handler`] in the shape the generated bindings want.
#[derive(Debug)]
pub struct Component<H>(PhantomData<H>);

impl<H: Handler> Guest for Component<H> {
    fn actions() -> Vec<Action> {
        H::actions()
    }

    fn run(name: String, context: Context, replies: Vec<Outcome>) -> Result<Progress, Failure> {
        H::run(&name, &context, &replies)
    }
}

/// The action's parameters, as the type that describes them.
///
/// # Errors
/// They do not fit; the text names what does not.
pub fn parameters<T: DeserializeOwned>(context: &Context) -> Result<T, Failure> {
    serde_json::from_str(&context.parameters).map_err(|error| Failure {
        kind: FailureKind::Invalid,
        message: format!("the parameters do not fit: {error}"),
        hint: None,
    })
}

/// The failure for a name that is none of the handler's.
#[must_use]
pub fn no_such_action<H: Handler>(name: &str) -> Failure {
    let names: Vec<String> = H::actions().into_iter().map(|action| action.name).collect();
    Failure {
        kind: FailureKind::NotFound,
        message: format!("there is no action {name}"),
        hint: Some(format!("there is {}", names.join(", "))),
    }
}

/// Makes the crate a component of the world `app-actions`: `export_actions!(Core);`
/// On a machine that is no WebAssembly one, where its tests run, it does nothing.
#[macro_export]
macro_rules! export_actions {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, reason = "the canonical ABI is raw pointers")]
        mod component {
            use super::*;
            type Exported = $crate::handler::Component<$handler>;
            $crate::actions::export!(Exported with_types_in $crate::actions);
        }
    };
}
