import json
import unittest

from component import Handler
from componentize_py_types import Err, Ok
from wit_world.exports.handler import Context, Peer, Progress_Finished, Step_Ask, Step_Send
from wit_world.imports.types import Failure, FailureKind, Reply_Data, Reply_Done, State


def peer(name):
    address = f"/home/ann/project@{name}"
    return Peer(pc=None, address=address, name=name, cwd="/home/ann/project", harness=None)


def run(to, replies):
    state = State(working=False, model=None, thinking=None, title=None, native_session=None)
    parameters = json.dumps({"to": to})
    context = Context(peer("scout"), state, parameters, peers=[peer("reviewer")])
    return Handler().run("summary-to", context, replies)


SUMMARY = Ok(Reply_Data('"all done"'))


class ActionTest(unittest.TestCase):
    def test_every_action_has_a_schema_that_is_an_object(self):
        for action in Handler().actions():
            self.assertEqual(json.loads(action.parameters)["type"], "object")

    def test_the_summary_is_asked_for_sent_and_reported(self):
        self.assertIsInstance(run("reviewer", []).value[0], Step_Ask)
        sent = Step_Send(("/home/ann/project@reviewer", '"all done"'))
        self.assertEqual(run("reviewer", [SUMMARY]).value, [sent])
        end = run("reviewer", [SUMMARY, Ok(Reply_Done())])
        self.assertEqual(end, Progress_Finished("reviewer has the summary"))

    def test_a_step_that_failed_ends_the_action_with_its_failure(self):
        refused = Failure(kind=FailureKind.REFUSED, message="the mailbox is full", hint=None)
        with self.assertRaises(Err) as raised:
            run("reviewer", [SUMMARY, Err(refused)])
        self.assertEqual(raised.exception.value, refused)

    def test_somebody_who_is_not_there_is_named(self):
        with self.assertRaises(Err) as raised:
            run("nobody", [])
        self.assertEqual(raised.exception.value.message, "no agent is called nobody")
