"""Evidence of hardware, appraised with `cryptography` alone: a second reading of section 3 of
plugins/crp/SPEC.md.

`python3 attestation.py plugins/attest/vectors` judges every row of attestation.json and compares
good or bad with what is published.
"""

import base64
import hashlib
import json
import pathlib
import re
import sys

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AMD = "1.3.6.1.4.1.3704.1."
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


class Refused(Exception):
    """A rule is broken."""


def need(holds, rule):
    if not holds:
        raise Refused(rule)


def b64url(text):
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text), "base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "canonical base64url")
    return data


def strict(text):
    """JSON with each name once."""
    def once(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), "a name twice")
        return dict(pairs)
    return json.loads(text, object_pairs_hook=once)


def rsa_key(n):
    return rsa.RSAPublicNumbers(65537, int.from_bytes(b64url(n), "big")).public_key()


def releases(note, pins, now):
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    signed = False
    for line in lines.splitlines():
        name, value = line.removeprefix("\u2014 ").split(" ")
        value = base64.b64decode(value)
        for vkey in pins["keys"]:
            known, number, key = vkey.split("+", 2)
            if (name, value[:4].hex()) == (known, number):
                key = base64.b64decode(key)[1:]
                Ed25519PublicKey.from_public_bytes(key).verify(value[4:], text.encode())
                signed = True
    need(signed, "no signature of a pinned key")
    heading, origin, _, end, *rows = text.splitlines()
    need((heading, origin) == ("crp-release-set/v1", pins["origin"]), "heading and origin")
    end = int(end.removeprefix("not-after "))
    need(now < end <= now + 7 * 86400 + 60, "life of the release set")
    return {row.split(" ")[0] for row in rows}


def token(text, pins, images, runtime, now):
    head, payload, signature = text.split(".")
    header, claims = strict(b64url(head)), strict(b64url(payload))
    need((header.get("alg"), header.get("typ")) == ("RS256", "JWT"), "alg and typ")
    issuer = [it for it in pins["issuers"] if it["issuer"] == claims.get("iss")]
    keys = [key for it in issuer for key in it["keys"] if key["kid"] == header.get("kid")]
    need(len(keys) == 1, "issuer and key")
    signed = f"{head}.{payload}".encode()
    rsa_key(keys[0]["n"]).verify(b64url(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    times = [claims.get(name) for name in ("iat", "nbf", "exp")]
    need(all(type(time) is int for time in times), "times")
    issued, start, end = times
    need(issued <= now + 60 and start <= now + 60 and now < end, "life of the token")
    need(now - issued <= 3600, "age")
    need(claims.get("x-ms-attestation-type") == "sevsnpvm", "attestation type")
    need(claims.get("x-ms-compliance-status") == "azure-compliant-uvm", "compliance")
    need(claims.get("x-ms-sevsnpvm-is-debuggable") is False, "debuggable")
    vmpl = claims.get("x-ms-sevsnpvm-vmpl")
    need(type(vmpl) is int and vmpl == 0, "vmpl")
    need(claims.get("x-ms-sevsnpvm-hostdata") in images, "host data")
    bound = hashlib.sha256(runtime).hexdigest() + "0" * 64
    need(claims.get("x-ms-sevsnpvm-reportdata") == bound, "report data")


def extension(certificate, number):
    oid = x509.ObjectIdentifier(AMD + number)
    return certificate.extensions.get_extension_for_oid(oid).value.value


def integer(certificate, number):
    value = extension(certificate, number)
    need(value[0] == 2 and value[1] == len(value) - 2, "INTEGER")
    return int.from_bytes(value[2:], "big")


def report(parts, pins, images, runtime):
    data = b64url(parts["report"])
    need(len(data) == 1184, "length")
    at = lambda start, length: data[start:start + length]
    number = lambda start, length: int.from_bytes(at(start, length), "little")
    need(number(0, 4) in (2, 3, 5) and number(0x34, 4) == 1, "version and algorithm")
    need(number(0x48, 4) & 0b11110 == 0, "signing key")
    need(number(8, 8) & (0b111 << 17) == 1 << 17, "guest policy")
    need(number(0x30, 4) == 0, "vmpl")
    ask = x509.load_der_x509_certificate(b64url(parts["ask"]))
    vcek = x509.load_der_x509_certificate(b64url(parts["vcek"]))
    root = rsa_key(pins["danger_roots"]["Genoa"])
    root.verify(ask.signature, ask.tbs_certificate_bytes, PSS, hashes.SHA384())
    ask.public_key().verify(vcek.signature, vcek.tbs_certificate_bytes, PSS, hashes.SHA384())
    r, s = number(0x2A0, 72), number(0x2E8, 72)
    signature = utils.encode_dss_signature(r, s)
    vcek.public_key().verify(signature, data[:0x2A0], ec.ECDSA(hashes.SHA384()))
    versions = [integer(vcek, f"3.{which}") for which in (1, 2, 3, 8)]
    tcb = at(0x180, 8)
    need(versions == [tcb[0], tcb[1], tcb[6], tcb[7]], "firmware")
    need(extension(vcek, "4") == at(0x1A0, 64), "chip id")
    need(at(0xC0, 32).hex() in images, "host data")
    need(endorsed(b64url(parts["uvm"]), pins["uvm"][0]) == at(0x90, 48).hex(), "measurement")
    need(at(0x50, 64) == hashlib.sha256(runtime).digest() + bytes(32), "report data")


def cbor(data, at=0):
    """One item of the CBOR that is used here, and where it ends."""
    first, at = data[at], at + 1
    major, value = first >> 5, first & 31
    if value >= 24:
        length = 1 << (value - 24)
        value, at = int.from_bytes(data[at:at + length], "big"), at + length
    if major in (0, 1):
        return (value, -1 - value)[major], at
    if major in (2, 3):
        content = data[at:at + value]
        return (content if major == 2 else content.decode()), at + value
    if major == 6:
        return cbor(data, at)
    items = []
    for _ in range(value * (2 if major == 5 else 1)):
        item, at = cbor(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if major == 5 else items), at


def byte_string(content):
    return bytes([0x59]) + len(content).to_bytes(2, "big") + content


def short(content):
    """The shortest head of a byte string."""
    if len(content) < 24:
        return bytes([0x40 | len(content)]) + content
    return bytes([0x58, len(content)]) + content if len(content) < 256 else byte_string(content)


def endorsed(data, pin):
    (protected, _, payload, signature), _ = cbor(data)
    head, _ = cbor(protected)
    need(head[1] == -38 and head["iss"] == pin["issuer"] and head["feed"] == pin["feed"], "issuer")
    leaf, root = (x509.load_der_x509_certificate(der) for der in head[33])
    fingerprint = base64.urlsafe_b64encode(root.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    need(fingerprint == pin["issuer"].split(":")[4], "fingerprint")
    key = root.public_key()
    key.verify(leaf.signature, leaf.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA384())
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    need(pin["issuer"].rpartition(":")[2] in {it.dotted_string for it in usage}, "usage")
    statement = b"\x84\x6aSignature1" + short(protected) + b"\x40" + short(payload)
    leaf.public_key().verify(signature, statement, PSS, hashes.SHA384())
    claims = strict(payload)
    need(int(claims["x-ms-sevsnpvm-guestsvn"]) >= pin["min_svn"], "version")
    return claims["x-ms-sevsnpvm-launchmeasurement"]


def judge(row, pins, now):
    document = strict(row["document"])
    members = {"maa": {"maa"}, "snp": {"snp"}, "maa+snp": {"maa", "snp"}}.get(document["kind"])
    need(members is not None, "kind")
    need(set(document) == {"v", "kind", "runtime", "release_set"} | members, "members")
    runtime = b64url(document["runtime"])
    images = releases(b64url(document["release_set"]).decode(), pins["releases"], now)
    for kind in row["require"]:
        need(kind in document, "a kind that is required")
    if "maa" in row["require"]:
        token(document["maa"], pins["maa"], images, runtime, now)
    if "snp" in row["require"]:
        report(document["snp"], pins["snp"], images, runtime)


def main(folder):
    vectors = json.loads((pathlib.Path(folder) / "attestation.json").read_text())
    for row in vectors["rows"]:
        try:
            judge(row, vectors["pins"], int(vectors["now"]))
            found = True
        except (Refused, InvalidSignature):
            found = False
        assert found == (row["want"] == "ok"), row["name"]
    print(f"attestation client: {len(vectors['rows'])} passed")


if __name__ == "__main__":
    main(sys.argv[1])
