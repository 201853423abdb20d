"""A routing policy: decides about every envelope before it is stored or delivered.

wit/routing.wit says what each field means and what else can be decided. Import everything here, at
the top: the component is a snapshot taken after that, and there are no files in it.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.policy import Decision, Decision_Deliver, Decision_Deny, Facts, Wants

DEFAULT_PER_MINUTE = 30


class Policy(exports.Policy):
    per_minute = DEFAULT_PER_MINUTE

    def configure(self, settings: str) -> Wants:
        """Called once, before the first `decide`.

        An Err is shown to the person who wrote the settings, and the policy before this one stays
        in force.
        """
        Policy.per_minute = read_per_minute(settings)
        # With `bodies=True` (and the permission) `decide` sees what messages say.
        return Wants(bodies=False)

    def decide(self, facts: Facts) -> Decision:
        """Stands in the path of every envelope: be quick.

        An exception that nobody catches ends this instance, and the envelope is held.
        """
        limit = Policy.per_minute
        if facts.sent_last_minute < limit:
            return Decision_Deliver()
        return Decision_Deny(f"{facts.sender.name} may send {limit} messages a minute")


def read_per_minute(text: str) -> int:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise Err(f"the settings are not JSON: {error}")
    if not isinstance(settings, dict):
        raise Err("the settings are not a JSON object")
    number = settings.pop("per_minute", DEFAULT_PER_MINUTE)
    if settings:
        names = ", ".join(f"`{name}`" for name in settings)
        raise Err(f"unknown settings: {names}")
    # To Python, True is a number.
    if type(number) is not int or number < 1:
        raise Err("`per_minute` must be a whole number from 1 on")
    return number
