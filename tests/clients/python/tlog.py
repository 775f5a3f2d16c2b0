"""Transparency logs, read a second time from plugins/tlog/SPEC.md with `cryptography` alone.

`python3 tlog.py plugins/tlog/vectors` judges every row of the vectors, makes trees and files anew,
and compares with what is published.
"""

import base64
import hashlib
import json
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NAME = r"[!-*,-~]{1,128}"
NUMBER = r"(?:0|[1-9][0-9]*)"
HASH = r"[A-Za-z0-9+/]{43}="


class Refused(Exception):
    """A rule is broken; its name."""


def need(holds, rule):
    if not holds:
        raise Refused(rule)


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("malformed") from None
    need(base64.b64encode(data).decode() == text, "malformed")
    return data


# Trees (RFC 6962, 2.1), as the definitions have them: by recursion over all leaves ------------

def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def half(size):
    return 1 << (size - 1).bit_length() - 1


def root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return node(root(leaves[:k]), root(leaves[k:]))


def included(index, size, data, path):
    """RFC 9162, 2.1.3.2: the root that a path leads to."""
    need(index < size, "inclusion")
    at, last, top = index, size - 1, leaf(data)
    for hash_ in path:
        need(last > 0, "inclusion")
        if at & 1 or at == last:
            top = node(hash_, top)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            top = node(top, hash_)
        at, last = at >> 1, last >> 1
    need(last == 0, "inclusion")
    return top


def consistent(old, old_root, new, new_root, path):
    """RFC 9162, 2.1.4.2."""
    if old == new:
        return not path and old_root == new_root
    if not path:
        return False
    path = ([old_root] if old & (old - 1) == 0 else []) + path
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    one = other = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            one, other = node(hash_, one), node(hash_, other)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            other = node(other, hash_)
        at, last = at >> 1, last >> 1
    return last == 0 and (one, other) == (old_root, new_root)


# Notes ----------------------------------------------------------------------------------------

def vkey(text, kind):
    name, digest, key = text.split("+", 2)
    key = base64.b64decode(key)
    assert key[0] == kind and len(key) == 33, text
    named = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    assert named.hex() == digest, text
    return name, named, Ed25519PublicKey.from_public_bytes(key[1:])


def parts(note):
    need(note.endswith("\n") and "\n\n" in note and len(note.encode()) <= 8192, "malformed")
    text, _, rest = note.rpartition("\n\n")
    lines = []
    for line in rest[:-1].split("\n"):
        found = re.fullmatch("\u2014 ([^ ]*) (.+)", line)
        need(found, "malformed")
        value = unbase64(found[2])
        need(len(value) >= 4, "malformed")
        lines.append((found[1], value[:4], value[4:]))
    need(1 <= len(lines) <= 16, "malformed")
    return text + "\n", lines


def verified(key, signature, message):
    try:
        key.verify(signature, message.encode())
    except InvalidSignature:
        raise Refused("forged") from None


def signed(text, lines, key, unsigned="unsigned"):
    name, named, public = key
    ours = [value for who, id_, value in lines if (who, id_) == (name, named)]
    for value in ours:
        verified(public, value, text)
    need(ours, unsigned)


def checkpoint(text, extension=""):
    form = re.fullmatch(f"({NAME})\n({NUMBER})\n({HASH})\n{extension}", text)
    need(form, "malformed")
    return form[1], int(form[2]), unbase64(form[3])


def seen(text, lines, witness):
    """When a witness says it saw this text, at the latest."""
    name, named, public = witness
    times = []
    for who, id_, value in lines:
        if (who, id_) == (name, named):
            need(len(value) == 72, "forged")
            time = int.from_bytes(value[:8], "big")
            verified(public, value[8:], f"cosignature/v1\ntime {time}\n{text}")
            times.append(time)
    return max(times, default=None)


def hashes(lines):
    need(len(lines) <= 63 and all(re.fullmatch(HASH, line) for line in lines), "malformed")
    return [unbase64(line) for line in lines]


# Judgements -------------------------------------------------------------------------------------

def prove(text, policy):
    head, blank, note = text.partition("\n\n")
    need(blank and len(text.encode()) <= 3 * 8192, "malformed")
    form, extra, index, *path = (head.split("\n") + ["", ""])[:max(3, head.count("\n") + 1)]
    need(form == "c2sp.org/tlog-proof@v1" and extra.startswith("extra "), "malformed")
    need(re.fullmatch(f"index {NUMBER}", index), "malformed")
    data, path = unbase64(extra[6:]), hashes(path)
    need(len(data) <= 4096, "malformed")
    body, lines = parts(note)
    signed(body, lines, vkey(policy["key"], 1))
    origin, size, top = checkpoint(body)
    need(origin == policy["origin"], "origin")
    times = [seen(body, lines, vkey(witness, 4)) for witness in policy["witnesses"]]
    times = [time for time in times if time is not None]
    need(len(times) >= policy["quorum"], "witnesses")
    now, age = policy["now"], policy["max_age"]
    need(sum(now - age <= time <= now + 60 for time in times) >= policy["quorum"], "stale")
    need(included(int(index[6:]), size, data, path) == top, "inclusion")


def ask(row, known):
    """The status with which a witness answers."""
    try:
        head, blank, note = row["body"].partition("\n\n")
        old, *path = head.split("\n")
        need(blank and re.fullmatch(f"old {NUMBER}", old), "malformed")
        old, path = int(old[4:]), hashes(path)
        body, lines = parts(note)
        origin, size, top = checkpoint(body, r"(?:[^\n]+\n)*")
        if origin != known["origin"]:
            return 404
        try:
            signed(body, lines, vkey(known["key"], 1))
        except Refused:
            return 403
        need(old <= size, "malformed")
    except Refused:
        return 400
    last, before = row["seen"], bytes.fromhex(row["root"])
    if old != last or (last == size and before != top):
        return 409
    if last == 0:
        return 422 if path else 200
    return 200 if consistent(last, before, size, top, path) else 422


# Files --------------------------------------------------------------------------------------------

def place(index, width):
    text = f"{index % 1000:03}"
    while index := index // 1000:
        text = f"x{index % 1000:03}/{text}"
    return text if width == 256 else f"{text}.p/{width}"


def files(entries):
    made, level, layer = {}, 0, [leaf(entry) for entry in entries]
    for at in range(0, len(entries), 256):
        some = entries[at:at + 256]
        data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in some)
        made["tile/entries/" + place(at // 256, len(some))] = data
    while layer:
        for at in range(0, len(layer), 256):
            some = layer[at:at + 256]
            made[f"tile/{level}/" + place(at // 256, len(some))] = b"".join(some)
        layer = [root(layer[at:at + 256]) for at in range(0, len(layer) // 256 * 256, 256)]
        level += 1
    return made


def canonical(text):
    """RFC 8785 of what a leaf may hold: ASCII strings and one small number."""
    found = json.loads(text)
    assert set(found) == {"hostdata", "image", "min_tcb", "seq", "sha", "state", "uvm", "v"}, text
    return json.dumps(found, sort_keys=True, separators=(",", ":")) == text


# Commands -----------------------------------------------------------------------------------------

def judged(text, policy):
    try:
        prove(text, policy)
    except Refused as why:
        return str(why)
    return None


def check(folder):
    read = lambda name: json.loads((folder / name).read_text())
    rows = 0
    policy = read("proofs.json")
    for row in policy["rows"]:
        got = judged(row["proof"], policy)
        assert got == row["want"], f"{row['name']}: {got}"
        rows += 1
    known = read("witness.json")
    for row in known["rows"]:
        got = ask(row, known)
        assert got == row["want"], f"{row['name']}: {got}"
        rows += 1
    tree = read("tree.json")
    leaves = [leaf(text.encode()) for text in tree["leaves"]]
    assert all(canonical(text) for text in tree["leaves"])
    for size, want in enumerate(tree["roots"]):
        assert root(leaves[:size]).hex() == want, size
        rows += 1
    made = files([f"entry {n}".encode() for n in range(600)])
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    assert digests == tree["files"], "files"
    rows += len(digests)
    print(f"vectors: {rows} passed")


if __name__ == "__main__":
    check(pathlib.Path(sys.argv[1]))
