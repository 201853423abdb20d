"""An app action: a button that a phone, a browser or the command line can press.

wit/actions.wit says what each field means and which steps there are. Import everything here, at
the top: the component is a snapshot taken after that, and there are no files in it.
"""

import json

from componentize_py_types import Err, Result
from wit_world import exports
from wit_world.exports.handler import (
    Action,
    Context,
    Progress,
    Progress_Finished,
    Progress_Steps,
    Step_Ask,
    Step_Send,
)
from wit_world.imports.types import Failure, FailureKind, Reply

SUMMARY = Action(
    name="summary-to",
    title="Send a summary",
    summary="Has the agent sum up its work and sends that to another agent.",
    icon="✉",
    parameters=json.dumps({
        "type": "object",
        "properties": {"to": {"type": "string", "description": "Name of the agent that gets it"}},
        "required": ["to"],
        "additionalProperties": False,
    }),
    destructive=False,
    harnesses=[],
)
QUESTION = "Sum up in five sentences what you did and what is left to do."


class Handler(exports.Handler):
    def actions(self) -> list[Action]:
        return [SUMMARY]

    def run(self, name: str, context: Context, replies: list[Result[Reply, Failure]]) -> Progress:
        """Called first without replies, then after each round of steps with the replies to all.

        Every call may be on a fresh instance, so what to do follows from the replies alone. An Err
        is shown to the person who pressed the button.
        """
        if name != SUMMARY.name:
            raise not_found(f"there is no action {name}")
        to = json.loads(context.parameters)["to"]
        recipient = next((peer for peer in context.peers if peer.name == to), None)
        if recipient is None:
            raise not_found(f"no agent is called {to}")
        for reply in replies:
            if isinstance(reply, Err):
                raise reply
        match replies:
            case []:
                return Progress_Steps([Step_Ask(QUESTION)])
            case [summary]:
                # The reply to `ask` is already a JSON string, as the body of a message has to be.
                return Progress_Steps([Step_Send((recipient.address, summary.value.value))])
            case _:
                return Progress_Finished(f"{to} has the summary")


def not_found(message: str) -> Err[Failure]:
    return Err(Failure(kind=FailureKind.NOT_FOUND, message=message, hint=None))
