import json
import unittest
from dataclasses import replace

from adapter import Session
from component import Adapter
from componentize_py_types import Err
from effects import done, event, failed, write
from wit_world.exports.adapter import Exit_Code, Framing, LaunchRequest, McpServer, MeshAccess
from wit_world.imports import types
from wit_world.imports.types import FailureKind, Message, Role, ToolCall, TurnEnd, Urgency


def request(settings="{}"):
    return LaunchRequest(
        launch="0199a2b4-0000-7000-8000-000000000000",
        harness="{{id}}",
        cwd="/home/ann/project",
        agent="scout",
        model=None,
        resume=None,
        mesh=None,
        settings=settings,
        version=None,
    )


def prompt(text, urgency=Urgency.WHEN_IDLE):
    return types.Command_Prompt(types.Prompt(text, images=[], urgency=urgency))


ABORT = types.Command_Abort()
STARTED = {"started": True}


def running(*commands):
    session = Session(request())
    session.started()
    for number, command in enumerate(commands, 1):
        session.command(number, command)
    return session


def hear(session, *lines):
    return [effect for line in lines for effect in session.output(json.dumps(line).encode())]


class AdapterTest(unittest.TestCase):
    def test_the_program_is_started_with_lines_as_framing_and_settings_are_refused(self):
        self.assertEqual(Adapter().launch(request()).framing, Framing.LINES)
        with self.assertRaises(Err):
            Adapter().launch(request('{"fast":true}'))

    def test_the_harness_is_told_of_the_server_that_its_model_reaches_the_mesh_with(self):
        server = McpServer("mesh", "/bin/rp-host", args=["mcp"], env=[("TOKEN", "x")])
        mesh = MeshAccess(server, socket="", agent_id="", skill="", token="")
        spec = Adapter().launch(replace(request(), mesh=mesh))
        self.assertEqual(spec.args, ["--mesh", "{dir}/mesh.json"])
        [(name, content)] = spec.files
        self.assertEqual(name, "mesh.json")
        told = {"command": "/bin/rp-host", "args": ["mcp"], "env": {"TOKEN": "x"}}
        self.assertEqual(json.loads(content), told)

    def test_a_prompt_becomes_a_turn_with_text_and_a_tool(self):
        session = running()
        self.assertEqual(session.command(7, prompt("Grüße")), [write({"prompt": "Grüße"})])
        begun = [event(types.Event_TurnStarted()), event(types.Event_PromptSeen(7)), done(7)]
        said = [event(types.Event_Text(("m1", piece))) for piece in ("Gr", "üße")]
        self.assertEqual(hear(session, STARTED, {"say": "Gr"}, {"say": "üße"}), begun + said)
        message = Message("m1", Role.ASSISTANT, "Grüße", None, None, [], 0)
        tool = ToolCall("t2", "shell", "{}", None, False)
        ended = ToolCall("t2", "shell", "{}", "a", False)
        self.assertEqual(
            hear(session, {"tool": "shell", "input": {}}, {"tool": "shell", "output": "a"}),
            [
                event(types.Event_MessageEnded(message)),
                event(types.Event_ToolStarted(tool)),
                event(types.Event_ToolEnded(ended)),
            ],
        )
        completed = event(types.Event_TurnEnded(TurnEnd.COMPLETED))
        self.assertEqual(hear(session, {"done": True}), [completed])

    def test_a_second_prompt_is_refused_while_a_turn_runs(self):
        session = running(prompt("one"))
        why = "{{name}} takes one prompt at a time"
        self.assertEqual(session.command(2, prompt("two")), [failed(2, FailureKind.BUSY, why)])
        third = session.command(3, prompt("two", Urgency.INTERRUPT))
        self.assertEqual(third, [failed(3, FailureKind.UNSUPPORTED, why)])

    def test_an_abort_is_settled_when_the_turn_is_over_and_at_once_when_none_runs(self):
        session = running(prompt("one"))
        self.assertEqual(session.command(2, ABORT), [write({"abort": True})])
        self.assertEqual(hear(session, {"say": "too early"}), [])
        hear(session, STARTED)
        aborted = event(types.Event_TurnEnded(TurnEnd.ABORTED))
        self.assertEqual(hear(session, {"done": True, "aborted": True}), [aborted, done(2)])
        self.assertEqual(session.command(3, ABORT), [done(3)])

    def test_the_end_of_the_process_ends_the_turn_and_settles_what_is_open(self):
        what = "{{name}} ended with code 3"
        harness = FailureKind.HARNESS
        asked = running(prompt("one"), ABORT)
        unsettled = [failed(1, harness, what), failed(2, harness, what)]
        self.assertEqual(asked.exited(Exit_Code(3)), unsettled)
        working = running(prompt("one"))
        hear(working, STARTED)
        working.diagnostics("out of memory")
        notice = types.Event_Notice((types.Severity.ERROR, f"{what} (out of memory)"))
        failure = types.Event_TurnEnded(TurnEnd.FAILED)
        self.assertEqual(working.exited(Exit_Code(3)), [event(notice), event(failure)])

    def test_lines_that_make_no_sense_are_skipped(self):
        session = running(prompt("one"))
        hear(session, STARTED)
        lines = [None, [1], "text", {"say": 7}, {"new": 1}, {"tool": 1}]
        self.assertEqual(hear(session, *lines), [])
        self.assertEqual(session.output(b"\xff{"), [])
