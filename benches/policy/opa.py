"""Time of decisions by the Open Policy Agent, which runs in this process.

The first argument is the folder of opa_bindings. Reads one JSON document a line: modules, data,
query, inputs and seconds; writes one a line: the values of one round of the inputs, and
microseconds of processor time for each decision, less what a call that decides nothing takes.
"""

import json
import sys
import time

sys.path.insert(0, sys.argv[1])

from opa_bindings import OpaEngine, OpaError, OpaUndefinedError  # noqa: E402


class Policy:
    def __init__(self, modules, data, query):
        self.engine = OpaEngine()
        for name, text in modules:
            self.engine.add_policy(name, text)
        self.engine.add_data(data)
        self.path = query.removeprefix("data.")

    def decide(self, value):
        try:
            return self.engine.eval_document(self.path, value)
        except OpaUndefinedError:
            return None
        except OpaError as error:
            # Two values are no decision.
            if "eval_conflict_error" not in error.message:
                raise
            return None

    def cost(self, inputs, seconds):
        """Microseconds of this thread's processor for each decision."""
        decisions, start, end = 0, time.thread_time(), time.monotonic() + seconds
        while time.monotonic() < end:
            for value in inputs:
                self.decide(value)
            decisions += len(inputs)
        return (time.thread_time() - start) / decisions * 1e6


NOTHING = Policy([("nothing.rego", "package nothing\nvalue := true\n")], {}, "data.nothing.value")


def answer(case, known):
    key = json.dumps([case["modules"], case["data"], case["query"]])
    if key not in known:
        known[key] = Policy(case["modules"], case["data"], case["query"])
    policy, inputs = known[key], case["inputs"]
    values = [policy.decide(value) for value in inputs]
    call = NOTHING.cost([{}], case["seconds"] / 4)
    return {"values": values, "us": policy.cost(inputs, case["seconds"]) - call, "call": call}


def main():
    known = {}
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), known)), flush=True)


main()
