"""Short names for effects."""

import json

from componentize_py_types import Err, Ok
from wit_world.exports.adapter import Effect, Effect_Event, Effect_Settle, Effect_Write
from wit_world.imports.types import Event, Event_State, Failure, FailureKind, Reply_Done, State


def event(of: Event) -> Effect:
    return Effect_Event(of)


def state(working: bool) -> Effect:
    return event(Event_State(State(working, None, None, None, None)))


def write(line: dict) -> Effect:
    return Effect_Write(f"{json.dumps(line)}\n".encode())


def done(number: int) -> Effect:
    return Effect_Settle((number, Ok(Reply_Done())))


def failed(number: int, kind: FailureKind, message: str) -> Effect:
    return Effect_Settle((number, Err(failure(kind, message))))


def failure(kind: FailureKind, message: str) -> Failure:
    return Failure(kind, message, hint=None)
