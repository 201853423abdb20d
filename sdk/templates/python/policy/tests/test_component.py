import unittest

from component import Policy
from componentize_py_types import Err
from wit_world.exports.policy import Decision_Deliver, Decision_Deny, Direction, Facts, Peer


def peer(name):
    return Peer(
        pc=None,
        cwd="/home/ann/project",
        name=name,
        address=f"/home/ann/project@{name}",
        harness=None,
        person=False,
    )


def facts(sent_last_minute):
    return Facts(
        direction=Direction.LOCAL,
        sender=peer("scout"),
        recipients=[peer("reviewer")],
        to="reviewer",
        id="0199a2b4-0000-7000-8000-000000000000",
        re=None,
        body_bytes=7,
        body_type=None,
        body=None,
        sent_last_minute=sent_last_minute,
        now_ms=1763700000000,
    )


class PolicyTest(unittest.TestCase):
    def refusal(self, settings):
        with self.assertRaises(Err) as raised:
            Policy().configure(settings)
        return raised.exception.value

    def test_a_sender_who_stays_below_the_limit_reaches_everybody(self):
        policy = Policy()
        policy.configure("{}")
        self.assertEqual(policy.decide(facts(29)), Decision_Deliver())

    def test_one_message_more_than_the_limit_is_denied_with_the_reason(self):
        policy = Policy()
        policy.configure('{"per_minute":2}')
        self.assertEqual(policy.decide(facts(1)), Decision_Deliver())
        reason = "scout may send 2 messages a minute"
        self.assertEqual(policy.decide(facts(2)), Decision_Deny(reason))

    def test_settings_that_make_no_sense_are_refused(self):
        self.assertEqual(self.refusal('{"per_hour":2}'), "unknown settings: `per_hour`")
        self.assertEqual(self.refusal("[]"), "the settings are not a JSON object")
        self.assertIn("the settings are not JSON: ", self.refusal("{"))
        for number in ["0", "-1", "1.5", '"2"', "null", "true"]:
            refusal = self.refusal(f'{{"per_minute":{number}}}')
            self.assertIn("must be a whole number", refusal)
