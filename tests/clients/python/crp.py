"""CRP/1, written from plugins/crp/SPEC.md alone: an independent client and its check.

`python3 crp.py ../../../plugins/crp/vectors` rebuilds every request of the vectors from the
readable question and the seed, byte for byte, opens every reply, and takes and refuses
revocation heads. Needs `cryptography`.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CODES = {"release": 1, "enrol": 2, "directory": 3, "store": 4, "audit": 5, "exchange": 6, "approval": 7}
NEEDED = ["none", "writes", "every_release"]
KEM = b"KEM" + (0x0020).to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x0020, 0x0001, 0x0002))


def sha256(data):
    return hashlib.sha256(data).digest()


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# RFC 9180 -------------------------------------------------------------------------------

def extract(suite, salt, label, ikm):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(suite, prk, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([count]), "sha256")
        out, count = out + block, count + 1
    return out[:length]


def derive(ikm):
    prk = extract(KEM, b"", b"dkp_prk", ikm)
    return X25519PrivateKey.from_private_bytes(expand(KEM, prk, b"sk", b"", 32))


def shared(dh, enc, recipient):
    prk = extract(KEM, b"", b"eae_prk", dh)
    return expand(KEM, prk, b"shared_secret", enc + recipient, 32)


class Context:
    def __init__(self, secret, info, psk=b"", psk_id=b""):
        mode = bytes([1 if psk else 0])
        schedule = mode + extract(SUITE, b"", b"psk_id_hash", psk_id)
        schedule += extract(SUITE, b"", b"info_hash", info)
        prk = extract(SUITE, secret, b"secret", psk)
        self.aead = AESGCM(expand(SUITE, prk, b"key", schedule, 32))
        self.nonce = expand(SUITE, prk, b"base_nonce", schedule, 12)
        self.exporter = expand(SUITE, prk, b"exp", schedule, 32)

    def export(self, label, length):
        return expand(SUITE, self.exporter, b"sec", label, length)


def send(ephemeral, recipient, info):
    enc = public(ephemeral)
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    return enc, Context(shared(dh, enc, recipient), info)


def receive(private, enc, info, psk=b"", psk_id=b""):
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    return Context(shared(dh, enc, public(private)), info, psk, psk_id)


# CRP/1 ----------------------------------------------------------------------------------

def u(bits, value):
    return int(value).to_bytes(bits // 8, "big")


def lp8(value):
    value = value.encode() if isinstance(value, str) else value
    return u(8, len(value)) + value


def lp16(value):
    value = value.encode() if isinstance(value, str) else value
    return u(16, len(value)) + value


def fields(pairs):
    pairs = sorted(pairs)
    return u(8, len(pairs)) + b"".join(lp8(name) + lp16(value) for name, value in pairs)


def part(kind, q):
    """Section 5."""
    raw = bytes.fromhex
    if kind == "release":
        tags = [(1, raw(q["request_digest"])), (3, q["path"].encode()), (4, raw(q["binding_hash"]))]
        if q.get("approval"):
            tags.append((2, raw(q["approval"])))
        if q["modules"]:
            digests = b"".join(lp8(name) + raw(digest) for name, digest in sorted(q["modules"]))
            tags.append((5, sha256(b"postern modules/1\0" + digests)))
        if q["policy"]:
            tags.append((6, raw(q["policy"])))
        head = lp8(q["agent"]) + lp8(q["credential"]) + lp8(q["host"]) + lp8(q["method"])
        head += raw(q["caller_hash"]) + lp16(raw(q["capability"])) + u(16, len(tags))
        return head + b"".join(u(8, tag) + lp16(value) for tag, value in sorted(tags))
    if kind == "enrol":
        return lp8(q["join_token"]) + u(8, q["role"]) + raw(q["public_key"]) + lp8(q["label"])
    if kind == "directory":
        return u(8, len(q["ids"])) + b"".join(key.encode() for key in sorted(q["ids"]))
    if kind == "store":
        bindings = sorted((sha256(b["json"].encode()), b["json"]) for b in q["bindings"])
        out = lp8(q["credential"]) + lp8(q["description"]) + u(32, q["expected"])
        out += u(64, q["not_after_ms"]) + fields(q["fields"]) + u(8, len(bindings))
        out += b"".join(digest + lp16(text) for digest, text in bindings)
        out += u(8, NEEDED.index(q["approval"])) + u(8, q["require_passkey"]) + u(8, q["approvers"])
        minted = q["minted"]
        if minted is None:
            return out + u(8, 0)
        out += u(8, 1) + lp8(minted["agent"]) + raw(minted["caller_hash"])
        return out + lp8(minted["source"]) + raw(minted["source_binding_hash"])
    if kind == "exchange":
        return lp8(q["invite"]) + raw(q["holder"]) + lp8(q["audience"]) + u(32, q["max_life_s"])
    if kind == "approval":
        return approval(q)
    records = [lp16(raw(record)) for record in q["records"]]
    head = raw(q["boot"]) + raw(q["vm"]) + u(64, q["first"]) + raw(q["prev"])
    return head + u(16, len(records)) + b"".join(records)


def approval(q):
    """Section 5.7; what is sent says what is bound."""
    raw = bytes.fromhex
    if "poll" in q:
        return u(8, 2) + raw(q["poll"]) + raw(q["caller_hash"])
    out = u(8, 1) + lp8(q["agent"]) + lp8(q["user"]) + lp8(q["organisation"])
    out += raw(q["caller_hash"]) + u(8, q["passkey"]) + u(32, q["life_s"])
    out += u(8, 1) + raw(q["named"]) if q["named"] else u(8, 0)
    out += lp8(q["method"]) + lp8(q["scheme"]) + lp16(q["authority"]) + lp16(q["path"])
    bound = sorted(q["fields"], key=lambda pair: pair[0])
    out += u(8, len(bound)) + b"".join(lp8(name) + lp16(value) for name, value in bound)
    content = q["content"].encode()
    out += u(8, 1) + raw(q["content_digest"]) if q["content_digest"] else u(8, 0)
    out += u(64, q["content_length"]) + lp16(content)
    if q["content_digest"] and len(content) == int(q["content_length"]):
        assert sha256(content).hex() == q["content_digest"], "content"
    names = sorted({name for name, _ in bound})
    values = [[value.encode() for name, value in bound if name == one] for one in names]
    parts = [q[key].encode() for key in ("method", "scheme", "authority", "path")]
    parts += [part for name, all in zip(names, values) for part in (name.encode(), b"\0".join(all))]
    parts.append(raw(q["content_digest"]) if q["content_digest"] else bytes(32))
    digest = sha256(b"postern request/1\0" + b"".join(u(32, len(part)) + part for part in parts))
    assert digest.hex() == q["request_digest"], "request digest"
    return out + u(8, len(q["credentials"])) + b"".join(map(lp8, sorted(q["credentials"])))


class Stream:
    """ChaCha20 under the seed (section 8, Randomness)."""

    def __init__(self, seed):
        self.cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()

    def draw(self, count):
        return self.cipher.update(bytes(count))


def ask(runtime, kex, identity, kind, question, head, seed):
    """The body (section 4) and what opens the reply (section 6)."""
    stream = Stream(seed)
    nonce, reply_key, ephemeral = stream.draw(16), derive(stream.draw(32)), derive(stream.draw(32))
    header = bytes([1, CODES[kind], 0, 1]) + sha256(kex)[:8]
    enc, context = send(ephemeral, kex, b"crp/1 req\0" + sha256(runtime))
    plain = head["gateway_id"] + u(64, head["ts_ms"]) + nonce + public(reply_key)
    plain += lp8(head["tenant"]) + part(kind, question) + u(32, 0) + u(16, 0)
    plain += bytes(-len(plain) % 64)
    label = b"crp/1 " + kind.encode() + b"\0"
    plain += identity.sign(label + header + enc + sha256(runtime) + plain)
    body = header + enc + lp16(context.aead.encrypt(context.nonce, plain, header))
    subject = [question.get("agent", ""), question.get("credential", ""), question.get("host", "")]
    if kind not in ("release", "store"):
        subject = ["", "", ""]
    aad = b"crp/1 aad\0" + lp8(head["tenant"]) + b"".join(map(lp8, subject)) + nonce
    psk = context.export(b"crp/1 resp psk", 32)

    def opens(reply):
        assert reply[:2] == bytes([1, 0x80 | CODES[kind]]) and reply[2:18] == nonce
        sealed = reply[52:]
        assert len(sealed) == int.from_bytes(reply[50:52], "big")
        info = b"crp/1 resp\0" + sha256(body)
        answer = receive(reply_key, reply[18:50], info, psk, nonce)
        return answer.aead.decrypt(answer.nonce, sealed, aad)

    return body, opens


def refuse_changes(opens, reply):
    """No bit of a reply can be changed."""
    for at in range(len(reply)):
        changed = bytes(reply[:at]) + bytes([reply[at] ^ 1]) + bytes(reply[at + 1:])
        try:
            opens(changed)
        except Exception:
            continue
        raise AssertionError(f"byte {at} of the reply is not authenticated")


class Refused(Exception):
    pass


def revocation_entry(kind, tenant, identifier):
    hashed = sha256(b"crp rev\0" + bytes([kind]) + lp8(tenant) + identifier.encode())
    return bytes([kind]) + hashed[:16]


def open_head(body, key):
    """Section 9: what the head says and its entries, None where they did not come along."""
    if not 3 <= len(body) <= 65536:
        raise Refused("malformed")
    length = int.from_bytes(body[:2], "big")
    note, form, rest = body[2:2 + length], body[2 + length:3 + length], body[3 + length:]
    head = open_note(note, key) if form else None
    if form == b"\0" and not rest:
        return head, None
    entries = [rest[at:at + 17] for at in range(0, len(rest), 17)]
    kinds = [entry[0] for entry in entries]
    whole = form == b"\1" and len(rest) % 17 == 0 and len(entries) <= 3000
    ascend = all(left < right for left, right in zip(entries, entries[1:]))
    forgets = [entry for entry in entries if entry[0] == 0]
    if not whole or not ascend or len(forgets) > 1 or any(kind > 11 for kind in kinds):
        raise Refused("malformed")
    if any(entry[1:9] != bytes(8) for entry in forgets):
        raise Refused("malformed")
    if head["count"] != len(entries) or head["hash"] != sha256(rest):
        raise Refused("list")
    return head, entries


def open_note(note, key):
    try:
        text, signatures = note.decode().split("\n\n", 1)
        text += "\n"
        heading, origin, epoch, ts, count, digest = text[:-1].split("\n")
        head = {
            "epoch": int(epoch.removeprefix("epoch ")),
            "ts": int(ts.removeprefix("ts ")),
            "count": int(count.removeprefix("count ")),
            "hash": base64.b64decode(digest, validate=True),
        }
        again = f"crp-rev/v1\npostern-keys\nepoch {head['epoch']}\nts {head['ts']}\n"
        again += f"count {head['count']}\n{base64.b64encode(head['hash']).decode()}\n"
        if again != text or len(head["hash"]) != 32 or not signatures.endswith("\n"):
            raise Refused("malformed")
        lines = [line.split(" ") for line in signatures[:-1].split("\n")]
        if any(len(line) != 3 or line[0] != "\u2014" for line in lines):
            raise Refused("malformed")
        values = [(name, base64.b64decode(value, validate=True)) for _, name, value in lines]
    except ValueError:
        raise Refused("malformed") from None
    identifier = sha256(b"postern-keys\n\1" + key)[:4]
    ours = [v[4:] for name, v in values if name == "postern-keys" and v[:4] == identifier]
    for signature in ours:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, text.encode())
        except InvalidSignature:
            raise Refused("forged") from None
    if not ours:
        raise Refused("unknown key")
    return head


def check_heads(vector):
    for entry in vector["entries"]:
        made = revocation_entry(entry["kind"], entry["tenant"], entry["id"])
        assert made.hex() == entry["entry"], entry
    key = bytes.fromhex(vector["public"])
    for case in vector["heads"]:
        try:
            head, entries = open_head(bytes.fromhex(case["body"]), key)
            forget = [int.from_bytes(e[9:], "big") for e in entries or [] if e[0] == 0]
            outcome = {name: str(head[name]) for name in ("epoch", "ts", "count")}
            outcome["entries"] = None if entries is None else len(entries)
            outcome["forget"] = None if entries is None else str(sum(forget))
        except Refused as refused:
            outcome = str(refused)
        assert outcome == case["outcome"], (case["name"], outcome)


def check(path):
    vector = json.loads(path.read_text())
    if "heads" in vector:
        return check_heads(vector)
    parties = vector["parties"]
    runtime, kex = parties["R"].encode(), bytes.fromhex(parties["kex"])
    if "document" in vector:
        document = json.loads(vector["document"])
        unpadded = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        assert unpadded(document["runtime"]) == runtime
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vector["development_public"]))
        key.verify(unpadded(document["sim"]), b"crp/1 sim\0" + sha256(runtime))
        return
    request = vector["request"]
    identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(parties["identity_seed"]))
    head = {
        "gateway_id": bytes.fromhex(request["gateway_id"]),
        "ts_ms": request["ts_ms"],
        "tenant": request["tenant"],
    }
    seed = bytes.fromhex(request["seed"])
    body, opens = ask(runtime, kex, identity, request["type"], vector["question"], head, seed)
    assert body.hex() == request["body"], "request"
    reply = bytes.fromhex(vector["reply"]["body"])
    assert opens(reply).hex() == vector["reply"]["P2"], "reply"
    refuse_changes(opens, reply)


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    assert files, "no vectors"
    for path in files:
        check(path)
        print(f"{path.name}: good")
    print(f"vectors: {len(files)} passed")


if __name__ == "__main__":
    main()
