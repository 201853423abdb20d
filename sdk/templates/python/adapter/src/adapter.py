"""One process of the harness: turns its lines into events, and commands into lines."""

import json

from effects import done, event, failed, state, write
from turn import Turn
from wit_world.exports import adapter as wit
from wit_world.imports import types
from wit_world.imports.types import FailureKind, TurnEnd, Urgency


class Session(wit.Session):
    """From start to exit. Every method returns effects.

    Every command is settled exactly once: when the harness confirms it, or when its process is
    gone.
    """

    def __init__(self, request: wit.LaunchRequest) -> None:
        self.asked: int | None = None  # The prompt that the harness has not confirmed yet.
        self.aborts: list[int] = []  # The aborts that wait for the end of the turn.
        self.turn = Turn()
        self.last_words = ""  # The last line the harness wrote to standard error.

    def started(self) -> list[wit.Effect]:
        return [state(working=False)]

    def command(self, number: int, command: types.Command) -> list[wit.Effect]:
        busy = self.turn.runs or self.asked is not None
        match command:
            case types.Command_Prompt(prompt) if prompt.images:
                return [failed(number, FailureKind.UNSUPPORTED, "{{name}} takes no images")]
            case types.Command_Prompt(prompt) if busy:
                waits = prompt.urgency == Urgency.WHEN_IDLE
                kind = FailureKind.BUSY if waits else FailureKind.UNSUPPORTED
                return [failed(number, kind, "{{name}} takes one prompt at a time")]
            case types.Command_Prompt(prompt):
                self.asked = number
                return [write({"prompt": prompt.text})]
            case types.Command_Abort() if busy:
                self.aborts.append(number)
                return [write({"abort": True})]
            case types.Command_Abort():
                return [done(number)]
            case types.Command_Refresh():
                return [state(self.turn.runs), done(number)]
        return [failed(number, FailureKind.UNSUPPORTED, "{{name}} cannot do that")]

    def output(self, data: bytes) -> list[wit.Effect]:
        try:
            line = json.loads(data.decode(errors="replace"))
        except (ValueError, RecursionError):
            return []  # What makes no sense is skipped.
        match line:
            case {"started": True} if self.asked is not None:
                number, self.asked = self.asked, None
                self.turn.runs = True
                begun = [event(types.Event_TurnStarted()), event(types.Event_PromptSeen(number))]
                return [*begun, done(number)]
            case {"done": True} if self.turn.runs:
                ended = self.turn.end(*how_it_ended(line))
                aborts, self.aborts = self.aborts, []
                return ended + [done(number) for number in aborts]
        return self.turn.line(line) if self.turn.runs else []

    def diagnostics(self, line: str) -> list[wit.Effect]:
        self.last_words = line
        return []

    def wake(self) -> list[wit.Effect]:
        return []

    def exited(self, how: wit.Exit) -> list[wit.Effect]:
        match how:
            case wit.Exit_Code(code):
                what = f"{{name}} ended with code {code}"
            case wit.Exit_Signal(signal):
                what = f"{{name}} was ended by signal {signal}"
            case wit.Exit_FailedToStart(reason):
                what = f"{{name}} did not start: {reason}"
        words = f" ({self.last_words})" if self.last_words else ""
        effects = self.turn.end(TurnEnd.FAILED, what + words) if self.turn.runs else []
        unsettled = self.aborts if self.asked is None else [self.asked, *self.aborts]
        return effects + [failed(number, FailureKind.HARNESS, what) for number in unsettled]


def how_it_ended(line: dict) -> tuple[TurnEnd, str | None]:
    error = line.get("error")
    if line.get("aborted"):
        return TurnEnd.ABORTED, None
    return (TurnEnd.FAILED, str(error)) if error else (TurnEnd.COMPLETED, None)
