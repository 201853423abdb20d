//! Short names for effects.

use serde_json::Value;

use crate::exports::rp::harness::adapter::{Effect, Event, Failure, Reply};
use crate::rp::session::types::{FailureKind, State};

pub(crate) fn event(event: Event) -> Effect {
    Effect::Event(event)
}

pub(crate) fn state(working: bool) -> Effect {
    let state = State { working, model: None, thinking: None, title: None, native_session: None };
    event(Event::State(state))
}

pub(crate) fn write(line: &Value) -> Effect {
    Effect::Write(format!("{line}\n").into_bytes())
}

pub(crate) fn done(number: u64) -> Effect {
    Effect::Settle((number, Ok(Reply::Done)))
}

pub(crate) fn failed(number: u64, kind: FailureKind, message: &str) -> Effect {
    Effect::Settle((number, Err(failure(kind, message))))
}

pub(crate) fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.into(), hint: None }
}
