"""The audit log, verified from host/keys/AUDIT.md alone: an independent verifier and its check.

`python3 audit.py verify EXPORT --key KEY [--checkpoint NOTE]` says whether an export is whole, and
names the first event that is not as it was written. `python3 audit.py check FOLDER` compares its
verdicts with the vectors. Exit codes: 0 good, 1 found bad. Needs `cryptography`.
"""

import argparse
import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

START = bytes(32)
MAX_LINE = 1024 * 1024
HEADING = "postern-audit-checkpoint/v1"
NAME = "postern-audit"
LINE = ({"n", "prev", "hash", "sig"}, {"bytes"})
HEADER = ({"postern_audit", "key", "count", "head"}, set())


class Broken(Exception):
    """The first break; its text is the verdict."""


class Malformed(ValueError):
    """A text that no writer of the format makes."""


@dataclasses.dataclass
class Entry:
    n: int = 0
    prev: bytes = START
    hash: bytes = START
    withheld: bool = False
    genuine: bool = False


@dataclasses.dataclass
class Report:
    good: int = 0
    withheld: int = 0
    head: bytes = START
    broken: str | None = None


# Reading ----------------------------------------------------------------------------------

def unbase64(text, length=None, alphabet=b"-_"):
    pad = "" if alphabet == b"+/" else "=" * (-len(text) % 4)
    data = base64.b64decode(text + pad, altchars=alphabet, validate=True)
    again = base64.b64encode(data, altchars=alphabet).decode()
    if again != text + pad or (length is not None and len(data) != length):
        raise Malformed(text)
    return data


def number(text):
    if not isinstance(text, str) or not re.fullmatch("0|[1-9][0-9]{0,19}", text):
        raise Malformed(text)
    return int(text)


def once(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise Malformed("a member is there twice")
    return dict(pairs)


def members(text, names):
    value = json.loads(text, object_pairs_hook=once)
    needed, more = names
    if not isinstance(value, dict) or not needed <= value.keys() <= needed | more:
        raise Malformed(text)
    return value


def checked(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except InvalidSignature:
        return False


def entry(text, key):
    """A line as an entry; one that does not decode is not genuine."""
    try:
        line = members(text, LINE)
        found = Entry(number(line["n"]), unbase64(line["prev"], 32), unbase64(line["hash"], 32))
        signature = unbase64(line["sig"], 64)
        found.withheld = line.get("bytes") is None
        if not found.withheld:
            data = unbase64(line["bytes"])
            linked = hashlib.sha256(b"audit/1\0" + found.prev + data).digest()
            inner = json.loads(data, object_pairs_hook=once)
            if linked != found.hash or number(inner["n"]) != found.n:
                return Entry()
        found.genuine = checked(key, signature, found.hash)
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        return Entry()


def checkpoint(note, key):
    """Number and hash that a signed note speaks of."""
    try:
        text, _, signatures = note.partition("\n\n")
        text += "\n"
        key_id = hashlib.sha256(NAME.encode() + b"\n\x01" + key).digest()[:4]
        ours = []
        for line in signatures.splitlines():
            dash, name, value = line.split(" ")
            value = unbase64(value, alphabet=b"+/")
            if dash != "\u2014":
                raise Malformed(line)
            if name == NAME and value[:4] == key_id:
                ours.append(checked(key, value[4:], text.encode()))
        form = f"{HEADING}\ncount ([0-9]+)\nhead (.+)\ntime ([0-9]+)\n"
        count, head, time = re.fullmatch(form, text).groups()
        number(time)
        if not ours or not all(ours):
            raise Malformed("not signed")
        return number(count), unbase64(head, 32, b"+/")
    except (ValueError, AttributeError):
        raise Broken("the checkpoint is not signed by this key") from None


# The chain ----------------------------------------------------------------------------------

def explain(report, want, following):
    fits = following and following.genuine and following.n == want
    if fits and following.prev == report.head:
        return Broken(f"an event was inserted before event {want}")
    return Broken(f"event {want} was changed")


def missing(first, last):
    return f"events {first} to {last} are missing"


def step(report, found, following, point):
    want = report.good + 1
    if not found.genuine:
        raise explain(report, want, following)
    if found.n > want:
        raise Broken(f"event {want} was deleted ({missing(want, found.n - 1)})")
    if found.n < want or found.prev != report.head:
        raise Broken(f"an event was inserted before event {want}")
    report.good, report.head = want, found.hash
    report.withheld += found.withheld
    if point and point[0] == want and point[1] != found.hash:
        raise Broken(f"event {want} is not the one the checkpoint was signed over")


def header(lines, key):
    try:
        found = members(next(lines), HEADER)
        found["count"] = number(found["count"])
        if found["postern_audit"] != 1 or isinstance(found["postern_audit"], bool):
            raise Malformed("version")
    except (ValueError, StopIteration):
        raise Broken("the export has no valid header") from None
    if found["key"] != base64.urlsafe_b64encode(key).decode().rstrip("="):
        raise Broken("the export names another signing key")
    return found


def walk(report, lines, key, note):
    head = header(lines, key)
    point = checkpoint(note, key) if note else None
    waiting = None
    for text in lines:
        found = entry(text, key)
        if waiting:
            step(report, waiting, found, point)
        waiting = found
    if waiting:
        step(report, waiting, None, point)
    promised = max(head["count"], point[0] if point else 0)
    if promised > report.good:
        raise Broken(f"the chain was truncated: {missing(report.good + 1, promised)}")
    named = base64.urlsafe_b64encode(report.head).decode().rstrip("=")
    if (head["count"], head["head"]) != (report.good, named):
        raise Broken("the export has no valid header")


def bounded(lines, report):
    for line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = None
        if text is None or len(line) >= MAX_LINE:
            raise Broken(f"the export could not be read after event {report.good}")
        yield text


def verify(lines, key, note=None):
    report = Report()
    try:
        walk(report, bounded(lines, report), key, note)
    except Broken as found:
        report.broken = str(found)
    return report


# Commands -----------------------------------------------------------------------------------

def check(folder):
    files = sorted(pathlib.Path(folder).glob("*.json"))
    assert files, "no vectors"
    for path in files:
        vector = json.loads(path.read_text())
        lines = (line.encode() for line in vector["export"])
        report = verify(lines, unbase64(vector["key"], 32), vector["checkpoint"])
        got = dataclasses.asdict(report) | {"head": report.head.hex()}
        assert got == vector["want"], f"{path.name}: {got}"
        print(f"{path.name}: as expected")
    print(f"vectors: {len(files)} passed")


def main():
    parser = argparse.ArgumentParser(description="Verifies exports of the audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("verify", help="verify one export")
    one.add_argument("export", type=pathlib.Path)
    one.add_argument("--key", required=True, help="A_sig, base64url, from /audit/signing-key")
    one.add_argument("--checkpoint", type=pathlib.Path, help="a note that was kept apart")
    every = commands.add_parser("check", help="compare with the vectors")
    every.add_argument("folder")
    words = parser.parse_args()
    if words.command == "check":
        return check(words.folder)
    note = words.checkpoint.read_text() if words.checkpoint else None
    with words.export.open("rb") as lines:
        report = verify(lines, unbase64(words.key, 32), note)
    print(f"{report.good} events are good; {report.broken or 'the chain is whole'}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
