//! What can go wrong with a component, said for a person.

use std::time::Duration;

use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::limits::{LimitReached, Limits};

/// Why a component was not loaded. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is bigger than components may be.
    #[error("the component is too large: {bytes} bytes, and {limit} are allowed")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
        /// The most it may be.
        limit: u64,
    },
    /// The file is something else.
    #[error("the file is not WebAssembly")]
    NotWebAssembly,
    /// The file is WebAssembly of the older kind, without interfaces.
    #[error(
        "the file is a core WebAssembly module, not a component\n\nhint: make a component of it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The end of the file is missing.
    #[error("the file is cut short\n\nhint: copy or download it again")]
    Truncated,
    /// The component was made for an interface version that this program does not know yet.
    #[error(
        "the component needs {interface} {wanted}, which is newer than this program knows ({known})\n\nhint: update rp-host"
    )]
    NewerInterface {
        /// The interface, without its version.
        interface: String,
        /// The version the component was made for.
        wanted: String,
        /// The version this program has.
        known: String,
    },
    /// The component was made for an interface version that is no longer supported.
    #[error(
        "the component needs {interface} {wanted}, which this program no longer supports (it has {known})\n\nhint: get a newer version of the component"
    )]
    OlderInterface {
        /// The interface, without its version.
        interface: String,
        /// The version the component was made for.
        wanted: String,
        /// The version this program has.
        known: String,
    },
    /// The component does something else than what it is loaded for.
    #[error("the component is not {wanted}: {detail}")]
    WrongWorld {
        /// What was expected, with its article: `a routing policy`.
        wanted: &'static str,
        /// What is missing or not allowed.
        detail: String,
    },
    /// The component is damaged, or uses something this program does not run.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// Its first calls failed.
    #[error("the component failed when it was tried: {0}")]
    Call(#[from] CallError),
    /// What an adapter says of itself cannot be.
    #[error("the adapter describes itself wrongly: {0}")]
    Description(String),
    /// The actions it has cannot be.
    #[error("the action handler lists its actions wrongly: {0}")]
    Actions(String),
    /// A policy refused its settings.
    #[error("the policy refused its settings: {0}")]
    Settings(String),
    /// The program broke while it loaded the component.
    #[error("loading was interrupted: {0}")]
    Interrupted(String),
}

/// Why a call into a component failed. The instance is gone after each of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It computed, or waited, for too long.
    #[error("the component took too long: it was ended after {}", in_words(*.limit))]
    Timeout {
        /// The time it had.
        limit: Duration,
    },
    /// It asked for more memory than it may have.
    #[error(
        "the component ran out of memory: it asked for {wanted} bytes in total, and {limit} are allowed"
    )]
    Memory {
        /// Bytes it would have had in use.
        wanted: usize,
        /// The most it may have.
        limit: usize,
    },
    /// It asked for more table elements, or instances, than it may have.
    #[error("the component asked for too much: {0}")]
    Resources(String),
    /// It returned more than a call may return.
    #[error("the component returned too much: {0}")]
    TooMuchOutput(String),
    /// It called itself too deeply.
    #[error("the component ran out of stack: it called itself too deeply")]
    StackOverflow,
    /// It stopped in the middle of a call.
    #[error("the component crashed: {text}")]
    Trap {
        /// What the runtime says of it.
        text: String,
        /// Where in the component it happened; may be empty.
        backtrace: String,
    },
    /// An earlier error, or a caller that gave up waiting, ended the instance.
    #[error("the component's instance is gone after an earlier error")]
    Gone,
    /// It crashed too often and stays off.
    #[error(
        "the component failed three times within a minute and stays off; last: {last}\n\nhint: run `rp-host component restart`"
    )]
    Failed {
        /// Its last error.
        last: String,
    },
}

fn in_words(time: Duration) -> String {
    if time.subsec_millis() == 0 && time.as_secs() > 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// The limits an error message names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Time for one call.
    pub(crate) time: Duration,
    /// Bytes one call may return.
    pub(crate) output: usize,
}

impl Bounds {
    pub(crate) fn adapter(limits: &Limits) -> Self {
        Bounds { time: limits.adapter_call, output: limits.adapter_output }
    }

    pub(crate) fn actions(limits: &Limits) -> Self {
        Bounds { time: limits.actions_call, output: limits.actions_output }
    }

    pub(crate) fn policy(limits: &Limits) -> Self {
        Bounds { time: limits.policy_call, output: limits.policy_body }
    }

    /// Says what the runtime's error means.
    pub(crate) fn explain(&self, error: &Error) -> CallError {
        if let Some(reached) = error.downcast_ref::<LimitReached>() {
            return self.reached(*reached);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return self.reached(LimitReached::Time),
            Some(Trap::StackOverflow) => return CallError::StackOverflow,
            _ => {}
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return trap(format!("it ended itself with exit code {}", exit.0), error);
        }
        let text = error.root_cause().to_string();
        // The runtime keeps these two types to itself; the tests hold their words.
        if text.contains("fuel allocated for hostcalls has been exhausted") {
            return self.reached(LimitReached::Output);
        }
        if text.starts_with("resource limit exceeded") {
            return CallError::Resources(text);
        }
        trap(text, error)
    }

    fn reached(&self, reached: LimitReached) -> CallError {
        match reached {
            LimitReached::Time => CallError::Timeout { limit: self.time },
            LimitReached::Memory { wanted, limit } => CallError::Memory { wanted, limit },
            LimitReached::Table { wanted, limit } => {
                CallError::Resources(format!("{wanted} table elements, and {limit} are allowed"))
            }
            LimitReached::Output => {
                CallError::TooMuchOutput(format!("more than {} bytes in one call", self.output))
            }
        }
    }
}

fn trap(text: String, error: &Error) -> CallError {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    CallError::Trap { text, backtrace: backtrace.unwrap_or_default() }
}
