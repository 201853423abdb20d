"""A harness adapter: what the harness is, and how it is started.

adapter.py has the session: componentize-py looks for the resources of the interface `adapter` in a
module of that name. PROTOCOL.md describes the harness, wit/harness.wit and wit/deps/session what
the host wants. Import everything at the top: the component is a snapshot taken after that, and
there are no files in it.
"""

import json

from componentize_py_types import Err
from effects import failure
from wit_world import exports
from wit_world.exports.adapter import Abilities, Description, Framing, LaunchRequest, LaunchSpec
from wit_world.imports.types import FailureKind


class Adapter(exports.Adapter):
    def describe(self) -> list[Description]:
        description = Description(
            name="{{id}}",
            title="{{name}}",
            program="{{id}}",
            version_args=["--version"],
            tested=[],
            install="say here how {{id}} is installed",
            # What is not named here is answered with `unsupported`.
            abilities=Abilities.ABORT,
        )
        return [description]

    def launch(self, request: LaunchRequest) -> LaunchSpec:
        """An Err is shown to the person who starts the agent."""
        if "".join(request.settings.split()) != "{}":
            raise Err(failure(FailureKind.INVALID, "{{name}} has no settings"))
        files = mesh_files(request)
        args = ["--mesh", "{dir}/mesh.json"] if files else []
        return LaunchSpec("{{id}}", args, env=[], files=files, framing=Framing.LINES)


def mesh_files(request: LaunchRequest) -> list[tuple[str, bytes]]:
    """The MCP server through which the model reaches others.

    What it is started with is a secret, so it stands in a private file and not among the
    arguments, which everybody on the machine can see.
    """
    if request.mesh is None:
        return []
    server = request.mesh.server
    told = {"command": server.command, "args": server.args, "env": dict(server.env)}
    return [("mesh.json", json.dumps(told).encode())]
