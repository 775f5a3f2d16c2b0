"""The audit log, verified from host/keys/AUDIT.md alone: an independent verifier and its check.

`python3 audit.py verify EXPORT --key KEY [--checkpoint NOTE]...` says whether an export is whole, and
names the first event that is not as it was written; `prove PROOF --key KEY` whether a receipt
holds. `python3 audit.py check FOLDER` compares its verdicts with the vectors. Exit codes: 0 good, 1 found bad. Needs `cryptography`.
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
NAME = "postern-audit"
PROOF = "c2sp.org/tlog-proof@v1"
LINE = ({"n", "prev", "hash", "sig"}, {"bytes", "gone"})
TOLD = ("first", "last", "count", "digest")
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
    gone: int | None = None
    removed: tuple | None = None
    genuine: bool = False


@dataclasses.dataclass
class Report:
    good: int = 0
    withheld: int = 0
    removed: int = 0
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
    text = text.removesuffix("\n")
    if not text.startswith("{") or not text.endswith("}"):
        raise Malformed(text)
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


def told(event):
    """What a tombstone says; nothing where it is none that a service writes."""
    try:
        first, last, count, digest = (event[name] for name in TOLD)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            return None
        return number(first), number(last), number(count), digest
    except (ValueError, KeyError, TypeError):
        return None


def entry(text, key):
    """A line as an entry; one that does not decode is not genuine."""
    try:
        line = members(text, LINE)
        found = Entry(number(line["n"]), unbase64(line["prev"], 32), unbase64(line["hash"], 32))
        signature = unbase64(line["sig"], 64)
        content, gone = line.get("bytes"), line.get("gone")
        found.gone = None if gone is None else number(gone)
        if found.gone is not None and (content is not None or found.gone <= found.n):
            return Entry()
        found.withheld = content is None and gone is None
        if content is not None:
            data = unbase64(line["bytes"])
            linked = hashlib.sha256(b"audit/1\0" + found.prev + data).digest()
            inner = json.loads(data, object_pairs_hook=once)
            if linked != found.hash or number(inner["n"]) != found.n:
                return Entry()
            if inner.get("kind") == "content_removed":
                found.removed = told(inner)
        found.genuine = checked(key, signature, found.hash)
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        return Entry()


@dataclasses.dataclass
class Checkpoint:
    count: int
    root: bytes
    head: bytes


def checkpoint(note, key):
    """What a signed note says, if the key signed it."""
    try:
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        if len(note.encode()) > 8192 or not note.endswith("\n"):
            raise Malformed("note")
        key_id = hashlib.sha256(NAME.encode() + b"\n\x01" + key).digest()[:4]
        lines = signatures.removesuffix("\n").split("\n")
        ours = []
        for line in lines:
            dash, name, value = line.split(" ")
            value = unbase64(value, alphabet=b"+/")
            if dash != "\u2014" or len(value) < 4:
                raise Malformed(line)
            if name == NAME and value[:4] == key_id:
                ours.append(checked(key, value[4:], text.encode()))
        form = f"{NAME}\n([0-9]+)\n(.+)\nhead (.+)\ntime ([0-9]+)\n"
        count, root, head, time = re.fullmatch(form, text).groups()
        if not ours or not all(ours) or len(lines) > 16 or number(count) == 0:
            raise Malformed("not signed")
        number(time)
        return Checkpoint(number(count), unbase64(root, 32, b"+/"), unbase64(head, 32, b"+/"))
    except (ValueError, AttributeError):
        raise Broken("the checkpoint is not signed by this key") from None


# The tree (RFC 6962, 2.1) -------------------------------------------------------------------

def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The roots of complete subtrees, each with its size, the largest first."""

    def __init__(self):
        self.peaks = []

    def push(self, data):
        size, top = 1, leaf(data)
        while self.peaks and self.peaks[-1][0] == size:
            top, size = node(self.peaks.pop()[1], top), 2 * size
        self.peaks.append((size, top))

    def root(self):
        top = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            top = node(left, top)
        return top


def root_of(index, size, path, data):
    """The root that a leaf's path leads to."""
    def climb(start, end, path):
        if end - start == 1:
            return leaf(data), path
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        near = (start, middle) if index < middle else (middle, end)
        top, path = climb(*near, path)
        sibling = path[0]
        return (node(top, sibling) if index < middle else node(sibling, top)), path[1:]

    if not 0 <= index < size:
        raise Malformed("index")
    top, rest = climb(0, size, path)
    if rest:
        raise Malformed("path")
    return top


def receipt(text, key):
    """The number of the event that a proof shows to be in the log."""
    try:
        head, _, note = text.partition("\n\n")
        form, extra, index, *path = head.split("\n")
        if form != PROOF or not extra.startswith("extra ") or not index.startswith("index "):
            raise Malformed("form")
        found = entry(unbase64(extra[6:], alphabet=b"+/").decode(), key)
        path = [unbase64(line, 32, b"+/") for line in path]
        if number(index[6:]) != found.n - 1 and found.genuine:
            raise Malformed("index")
    except (ValueError, IndexError):
        raise Broken("this is not a proof of the audit log") from None
    if not found.genuine:
        raise Broken("the event was changed, or is signed by another key")
    point = checkpoint(note, key)
    try:
        if root_of(found.n - 1, point.count, path, found.hash) == point.root:
            return found.n
    except (Malformed, IndexError):
        pass
    raise Broken("the event is not in the tree of this checkpoint")


# The chain ----------------------------------------------------------------------------------

def explain(report, want, following):
    fits = following and following.genuine and following.n == want
    if fits and following.prev == report.head:
        return Broken(f"an event was inserted before event {want}")
    return Broken(f"event {want} was changed")


def missing(first, last):
    return f"events {first} to {last} are missing"


def removals(found, gone):
    """Counts an event without content for its tombstone, and compares a tombstone."""
    if found.gone is not None:
        gone.setdefault(found.gone, []).append((found.n, found.hash))
    events = gone.pop(found.n, None)
    told = found.removed
    first = events[0][0] if events else told[0] if told else found.n
    if events:
        data = b"".join(n.to_bytes(8, "big") + hash for n, hash in events)
        digest = hashlib.sha256(b"audit removed/1\0" + data).hexdigest()
        events = (events[0][0], events[-1][0], len(events), digest)
    if events != told:
        raise unlike(first, found.n)


def unlike(n, tombstone):
    return Broken(f"event {n} is not as event {tombstone} says of removed content")


def step(report, tree, found, following, points, gone):
    want = report.good + 1
    if not found.genuine:
        raise explain(report, want, following)
    if found.n > want:
        raise Broken(f"event {want} was deleted ({missing(want, found.n - 1)})")
    if found.n < want or found.prev != report.head:
        raise Broken(f"an event was inserted before event {want}")
    report.removed += found.gone is not None
    removals(found, gone)
    report.good, report.head = want, found.hash
    report.withheld += found.withheld
    tree.push(found.hash)
    for point in points:
        if point.count == want and (point.head, point.root) != (found.hash, tree.root()):
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


def walk(report, lines, key, notes):
    head = header(lines, key)
    points = [checkpoint(note, key) for note in notes]
    waiting, tree, gone = None, Tree(), {}
    for text in lines:
        found = entry(text, key)
        if waiting:
            step(report, tree, waiting, found, points, gone)
        waiting = found
    if waiting:
        step(report, tree, waiting, None, points, gone)
    promised = max([head["count"], *(point.count for point in points)])
    if promised > report.good:
        raise Broken(f"the chain was truncated: {missing(report.good + 1, promised)}")
    for tombstone in sorted(gone)[:1]:
        raise unlike(gone[tombstone][0][0], tombstone)
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


def verify(lines, key, notes=()):
    report = Report()
    try:
        walk(report, bounded(lines, report), key, notes)
    except Broken as found:
        report.broken = str(found)
    return report


def proven(text, key):
    try:
        return {"n": str(receipt(text, key)), "broken": None}
    except Broken as found:
        return {"n": None, "broken": str(found)}


# Commands -----------------------------------------------------------------------------------

def check(folder):
    files = sorted(pathlib.Path(folder).glob("*.json"))
    assert files, "no vectors"
    for path in files:
        vector = json.loads(path.read_text())
        if "proof" in vector:
            got = proven(vector["proof"], unbase64(vector["key"], 32))
            assert got == vector["want"], f"{path.name}: {got}"
            print(f"{path.name}: as expected")
            continue
        lines = (line.encode() for line in vector["export"])
        report = verify(lines, unbase64(vector["key"], 32), vector["checkpoints"])
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
    one.add_argument("--checkpoint", type=pathlib.Path, action="append", default=[], help="kept apart")
    shown = commands.add_parser("prove", help="verify a receipt")
    shown.add_argument("proof", type=pathlib.Path)
    shown.add_argument("--key", required=True)
    every = commands.add_parser("check", help="compare with the vectors")
    every.add_argument("folder")
    words = parser.parse_args()
    if words.command == "check":
        return check(words.folder)
    if words.command == "prove":
        found = proven(words.proof.read_text(), unbase64(words.key, 32))
        print(found["broken"] or f"event {found['n']} is in the log")
        return 1 if found["broken"] else 0
    notes = [path.read_text() for path in words.checkpoint]
    with words.export.open("rb") as lines:
        report = verify(lines, unbase64(words.key, 32), notes)
    print(f"{report.good} events are good; {report.broken or 'the chain is whole'}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
