"""The running turn, and what is unfinished in it."""

import json
from dataclasses import replace

from effects import event
from wit_world.exports.adapter import Effect
from wit_world.imports import types
from wit_world.imports.types import Message, Role, Severity, ToolCall, TurnEnd


class Turn:
    def __init__(self) -> None:
        self.runs = False
        self.message: Message | None = None
        self.tool: ToolCall | None = None
        self.ids = 0

    def line(self, line: object) -> list[Effect]:
        """A line of the harness, but for the one that ends the turn."""
        match line:
            case {"say": str(piece)}:
                return self.say(piece)
            case {"tool": str(name), "input": given}:
                return self.start_tool(name, json.dumps(given))
            case {"tool": str()}:
                return self.end_tool(str(line.get("output", "")), bool(line.get("failed")))
        return []

    def end(self, how: TurnEnd, error: str | None) -> list[Effect]:
        """Ends the turn; the error is shown."""
        effects = self.end_unfinished()
        self.runs = False
        if error:
            effects.append(event(types.Event_Notice((Severity.ERROR, error))))
        return [*effects, event(types.Event_TurnEnded(how))]

    def say(self, piece: str) -> list[Effect]:
        if self.message is None:
            self.message = Message(self.next_id("m"), Role.ASSISTANT, "", None, None, [], at_ms=0)
        self.message.text += piece
        return [event(types.Event_Text((self.message.id, piece)))]

    def start_tool(self, name: str, given: str) -> list[Effect]:
        effects = self.end_unfinished()
        self.tool = ToolCall(self.next_id("t"), name, given, output=None, failed=False)
        return [*effects, event(types.Event_ToolStarted(self.tool))]

    def end_tool(self, output: str | None, failed: bool) -> list[Effect]:
        tool, self.tool = self.tool, None
        if tool is None:
            return []
        return [event(types.Event_ToolEnded(replace(tool, output=output, failed=failed)))]

    def end_unfinished(self) -> list[Effect]:
        message, self.message = self.message, None
        ended = [] if message is None else [event(types.Event_MessageEnded(message))]
        return ended + self.end_tool(None, failed=True)

    def next_id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}{self.ids}"
