"""Events as `postern audit export --format` writes them, held against published forms.

`python3 ocsf.py check OCSF CLOUDEVENTS` validates each line of the first file against the JSON schema
of its class in OCSF 1.8 (as the package `ocsf-json-schema` has it), and of the second against the
rules of CloudEvents 1.0.2; and sees that wrong events are refused. Exit codes: 0 good, 1 found bad.
"""

import argparse
import copy
import datetime
import json
import pathlib
import re
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
REQUIRED = ("id", "source", "specversion", "type")


class Wrong(Exception):
    """What is wrong with an event."""


class Ocsf:
    """OCSF's classes, each compiled once."""

    def __init__(self):
        self.schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
        self.validators = {}

    def check(self, event):
        uid = event.get("class_uid")
        if uid not in self.validators:
            try:
                name = self.schema.lookup_class_name_from_uid(uid)
            except ValueError:
                raise Wrong(f"class {uid}") from None
            made = self.schema.get_class_schema(name)
            self.validators[uid] = jsonschema.Draft202012Validator(made)
        for error in self.validators[uid].iter_errors(event):
            raise Wrong(f"{'/'.join(map(str, error.path))}: {error.message[:200]}")
        if event["type_uid"] != uid * 100 + event["activity_id"]:
            raise Wrong("type_uid")
        if event["metadata"]["version"] != VERSION:
            raise Wrong("metadata/version")


def cloudevent(event):
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise Wrong(name)
    if event["specversion"] != "1.0":
        raise Wrong("specversion")
    for name, value in event.items():
        if not re.fullmatch("[a-z0-9]{1,20}", name):
            raise Wrong(name)
        if name != "data" and not isinstance(value, (str, int, bool)):
            raise Wrong(name)
    if not event["time"].endswith("Z"):
        raise Wrong("time")
    datetime.datetime.fromisoformat(event["time"])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(check, event, change):
    other = copy.deepcopy(event)
    change(other)
    try:
        check(other)
    except Wrong:
        return True
    return False


def check(ocsf_file, cloud_file):
    ocsf, passed = Ocsf(), 0
    for path, judge in [(ocsf_file, ocsf.check), (cloud_file, cloudevent)]:
        events = lines(path)
        assert events, path
        for number, event in enumerate(events, 1):
            try:
                judge(event)
            except Wrong as wrong:
                raise SystemExit(f"{path.name}:{number}: {wrong}") from None
            print(f"{path.name}:{number}: as expected")
            passed += 1
    negatives = [
        (ocsf.check, ocsf_file, lambda event: event.pop("metadata")),
        (ocsf.check, ocsf_file, lambda event: event.update(severity_id=77)),
        (ocsf.check, ocsf_file, lambda event: event.update(unheard=1)),
        (ocsf.check, ocsf_file, lambda event: event.update(type_uid=1)),
        (ocsf.check, ocsf_file, lambda event: event.update(class_uid=1)),
        (cloudevent, cloud_file, lambda event: event.pop("id")),
        (cloudevent, cloud_file, lambda event: event.update(specversion="0.3")),
        (cloudevent, cloud_file, lambda event: event.update(Bad_Name="x")),
    ]
    for number, (judge, path, change) in enumerate(negatives, 1):
        assert refused(judge, lines(path)[0], change), f"negative {number} of {path.name}"
        print(f"negative {number}: refused")
        passed += 1
    print(f"forms: {passed} passed")


def main():
    parser = argparse.ArgumentParser(description="Holds exported events against published forms.")
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser("check", help="check the files")
    every.add_argument("ocsf", type=pathlib.Path)
    every.add_argument("cloudevents", type=pathlib.Path)
    words = parser.parse_args()
    check(words.ocsf, words.cloudevents)
    return 0


if __name__ == "__main__":
    sys.exit(main())
