"""Answers of the Open Policy Agent itself, for comparison.

Reads one JSON document a line: modules, data, query and input; writes one a line: the value,
that it is undefined, or the error. The first argument is the folder of opa_bindings.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

from opa_bindings import OpaEngine, OpaError, OpaUndefinedError  # noqa: E402


def answer(case):
    engine = OpaEngine()
    try:
        for name, text in case["modules"]:
            engine.add_policy(name, text)
        engine.add_data(case["data"])
        path = case["query"].removeprefix("data.")
        return {"value": engine.eval_document(path, case["input"])}
    except OpaUndefinedError:
        return {"undefined": True}
    except OpaError as error:
        return {"error": error.code, "message": error.message}
    finally:
        engine.close()


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
