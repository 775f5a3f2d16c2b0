"""Capability tokens, written from plugins/capability/SPEC.md alone: an independent implementation.

`python3 capability.py ../../../plugins/capability/vectors [POSTERN]` makes every good token of
the vectors again, byte for byte, computes its right, and refuses every hostile one; with the
path of the `postern` command, tokens and proofs also go both ways between that and this.
`python3 capability.py --gateway PORT AUTHORITY SEED` sends requests to a gateway that believes the issuer
`issuer-1` of this Ed25519 seed.
`python3 capability.py --invite PORT AUTHORITY INVITE KID ISSUER KEY AUDIENCE` exchanges an invite there and uses its token.
COSE is `pycose`'s and HTTP signatures are `http-message-signatures`'.
"""

import base64
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import time

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519
from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

LABEL = b"postern capability/1"
FIELD = "postern-capability"
LABELS = {
    "iss": 1, "sub": 2, "aud": 3, "exp": 4, "nbf": 5, "iat": 6, "cti": 7, "cnf": 8,
    **{name: -65537 - place for place, name in enumerate(
        "previous tenant organisation scopes roles trust clearance credentials hosts methods paths "
        "tools models budget document approval depth".split())},
}
NAMES = {number: name for name, number in LABELS.items()}
BYTES = {"cti": 16, "previous": 32}
TIMES = ("exp", "nbf", "iat")
LEVELS = {"trust": 3, "clearance": 255, "approval": 3, "depth": 7, "budget": 2**53 - 1}
GRANTS = ("scopes", "roles", "credentials")
LIMITS = ("hosts", "methods", "tools", "models", "paths")
TEXT = r'[!#-)+\-.-\[\]-~]{1,128}'
LABEL_OF_HOST = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
FORMS = {
    "hosts": rf"(?=.{{1,253}}$){LABEL_OF_HOST}(\.{LABEL_OF_HOST})*(:[1-9][0-9]{{0,4}})?",
    "methods": r"[A-Z]{1,16}",
    "paths": r"/|(?=.{1,256}$)(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()+=:@-]+)+",
}
FIRST = {"iss", "sub", "aud", "exp", "iat", "cti", "cnf", "tenant"}
FURTHER = {"cti", "cnf", "previous"}


class Refused(Exception):
    """The token or the proof is not good."""


def expect(holds, why):
    if not holds:
        raise Refused(why)


def unb64(text):
    """base64url without padding, in its one spelling."""
    expect(re.fullmatch(r"[A-Za-z0-9_-]*", text), "base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Refused("base64url") from error
    expect(b64(data) == text, "unused bits")
    return data


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# CBOR -----------------------------------------------------------------------------------

def decode(data):
    """One deterministically encoded item of the allowed types."""
    try:
        value = cbor2.loads(data)
        expect(plain(value) and encode(value) == data, "encoding")
    except Refused:
        raise
    except Exception as error:
        raise Refused("encoding") from error
    return value


def plain(value, deep=0):
    if deep > 8 or isinstance(value, bool):
        return False
    if isinstance(value, (list, tuple)):
        return all(plain(item, deep + 1) for item in value)
    if isinstance(value, dict):
        return all(plain(key, deep + 1) and plain(item, deep + 1) for key, item in value.items())
    return isinstance(value, (int, str, bytes))


def encode(value):
    # Keys of our maps are short: shortest first is bytewise order for them.
    return cbor2.dumps(value, canonical=True)


# Keys -----------------------------------------------------------------------------------

PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME


def good_key(data):
    """The canonical encoding of a point that is not of small order (RFC 8032, 5.1.3)."""
    expect(isinstance(data, bytes) and len(data) == 32, "key")
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    expect(y < PRIME, "key: y")
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    expect(x * x % PRIME == square and not (x == 0 and sign), "key: no point")
    point = (x if x % 2 == sign else PRIME - x, y)
    for _ in range(3):
        point = add(point, point)
    expect(point != (0, 1), "key: small order")
    return data


def add(a, b):
    product = D * a[0] * b[0] * a[1] * b[1] % PRIME
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, PRIME) % PRIME
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, PRIME) % PRIME
    return x, y


# Blocks ---------------------------------------------------------------------------------

def payload(claims):
    """The claims of a block from their readable form."""
    value = {}
    for name, claim in claims.items():
        if name == "cnf":
            claim = {1: {1: 1, -1: 6, -2: bytes.fromhex(claim)}}
        elif name in BYTES:
            claim = bytes.fromhex(claim)
        value[LABELS[name]] = claim
    return encode(value)


def seal(claims, key, kid=None):
    header = {Algorithm: EdDSA} if kid is None else {Algorithm: EdDSA, KID: kid.encode()}
    message = Sign1Message(phdr=header, payload=payload(claims), external_aad=LABEL)
    message.key = OKPKey(crv=Ed25519, d=key.private_bytes_raw(), x=public(key))
    return message.encode(tag=False)


def text(blocks):
    return "pct1." + b64(encode(blocks))


def mint(claims, key, kid):
    return text([seal(claims, key, kid)])


def attenuate(token, claims, key):
    blocks = chain_of(token)
    claims = {**claims, "previous": hashlib.sha256(blocks[-1]).hexdigest()}
    return text([*blocks, seal(claims, key)])


def chain_of(token):
    expect(len(token) <= 4096 and token.startswith("pct1."), "text")
    blocks = decode(unb64(token[5:]))
    expect(isinstance(blocks, (list, tuple)) and 1 <= len(blocks) <= 8, "blocks")
    expect(all(isinstance(block, bytes) for block in blocks), "blocks")
    return list(blocks)


def open_block(data, key, kid):
    """The claims of a block that `key` has signed; `key` is asked for with the key id."""
    parts = decode(data)
    expect(isinstance(parts, (list, tuple)) and len(parts) == 4 and parts[1] == {}, "structure")
    expect(all(isinstance(parts[at], bytes) for at in (0, 2, 3)) and len(parts[3]) == 64, "structure")
    header = decode(parts[0])
    expect(isinstance(header, dict) and header.get(1) == -8, "header")
    expect(set(header) == ({1, 4} if kid else {1}), "header")
    if kid:
        expect(isinstance(header[4], bytes), "header")
        expect(re.fullmatch(TEXT, header[4].decode("latin-1")) and len(header[4]) <= 64, "header")
        key = key(header[4].decode())
    message = Sign1Message.from_cose_obj(list(parts), False)
    message.external_aad = LABEL
    message.key = OKPKey(crv=Ed25519, x=key, optional_params={})
    try:
        expect(message.verify_signature(), "signature")
    except Refused:
        raise
    except Exception as error:
        raise Refused("signature") from error
    return claims_of(parts[2])


def claims_of(data):
    value = decode(data)
    expect(isinstance(value, dict), "claims")
    claims = {}
    for number, claim in value.items():
        expect(type(number) is int and number in NAMES, "unknown claim")
        name = NAMES[number]
        claims[name] = claim_of(name, claim)
    return claims


def claim_of(name, claim):
    if name == "cnf":
        expect(isinstance(claim, dict) and set(claim) == {1}, name)
        key = claim[1]
        expect(isinstance(key, dict) and set(key) == {1, -1, -2}, name)
        expect((key[1], key[-1]) == (1, 6), name)
        return good_key(key[-2])
    if name in BYTES:
        expect(isinstance(claim, bytes) and len(claim) == BYTES[name], name)
    elif name in TIMES:
        expect(type(claim) is int and 0 <= claim < 2**38, name)
    elif name in LEVELS:
        expect(type(claim) is int and 0 <= claim <= LEVELS[name], name)
    elif name in GRANTS or name in LIMITS:
        expect(isinstance(claim, (list, tuple)) and 1 <= len(claim) <= 32, name)
        for item in claim:
            expect(isinstance(item, str) and re.fullmatch(FORMS.get(name, TEXT), item), name)
            if name == "hosts" and ":" in item:
                expect(int(item.split(":")[1]) <= 65535, name)
        claim = list(claim)
        # Of ASCII, so the order of characters is the order of bytes.
        expect(all(a < b for a, b in zip(claim, claim[1:])), name)
    else:
        expect(isinstance(claim, str) and re.fullmatch(TEXT, claim), name)
    return claim


# Chains ---------------------------------------------------------------------------------

def verify(token, context):
    """The right, the holder's key and the attempts to widen."""
    issuers = {issuer["kid"]: issuer for issuer in context["issuers"]}
    used = {}

    def issuer_key(kid):
        expect(kid in issuers, "unknown issuer")
        used.update(issuers[kid])
        return bytes.fromhex(issuers[kid]["public"])

    blocks = [open_one for open_one in chain_of(token)]
    claims, key, left = [], issuer_key, 7
    for place, data in enumerate(blocks):
        block = open_block(data, key, kid=place == 0)
        check_place(block, place)
        if place:
            expect(block["previous"] == hashlib.sha256(blocks[place - 1]).digest(), "chain")
            expect(left > 0, "too deep")
            left -= 1
        left = min(left, block.get("depth", 7))
        claims.append(block)
        key = block["cnf"]
    expect(claims[0]["iss"] == used["iss"], "issuer")
    check_here(claims, context)
    right, widened = combine(claims)
    return {"right": right, "widened": widened, "holder": key, "blocks": claims}


def check_place(block, place):
    required = FURTHER if place else FIRST
    refused = {"iss"} if place else {"previous"}
    expect(required <= set(block) and not refused & set(block), "claims out of place")


def check_here(claims, context):
    first, now = claims[0], context["now"]
    expect(0 < first["exp"] - first["iat"] <= context["life"], "life")
    for block in claims:
        expect(block.get("aud", context["audience"]) == context["audience"], "audience")
        expect(block.get("tenant", context["tenant"]) == context["tenant"], "tenant")
        expect(now < block.get("exp", now + 1), "expired")
        expect(max(block.get("nbf", 0), block.get("iat", 0)) <= now + 5, "not yet")


def within(path, paths):
    return any(prefix == "/" or path == prefix or path.startswith(prefix + "/") for prefix in paths)


def combine(claims):
    """The intersection of all blocks, and who asked for more."""
    first, widened = claims[0], []
    right = {name: first.get(name, []) for name in GRANTS}
    right |= {name: first.get(name, 0) for name in ("trust", "clearance", "approval")}
    right |= {"tenant": first["tenant"], "expires": first["exp"], "not_before": first.get("nbf", 0)}
    for name in (*LIMITS, "budget", "document", "organisation"):
        if name in first:
            right[name] = first[name]
    for place, block in enumerate(claims[1:], 1):
        more = set()
        for name, claim in block.items():
            if narrow(right, name, claim):
                more.add(name)
        if more:
            widened.append({"block": place, "claims": more})
    return right, widened


def narrow(right, name, claim):
    """Takes away what a block does not allow; whether it asked for more."""
    if name in ("document", "organisation"):
        expect(right.get(name, claim) == claim, "disjoint")
        if name == "organisation":
            return name not in right
        right[name] = claim
        return False
    if name in ("exp", "nbf"):
        name = {"exp": "expires", "nbf": "not_before"}[name]
    if name in ("expires", "trust", "clearance", "budget"):
        more = claim > right.get(name, claim)
        right[name] = min(right.get(name, claim), claim)
        return more
    if name in ("not_before", "approval"):
        more = claim < right[name]
        right[name] = max(right[name], claim)
        return more
    if name not in GRANTS and name not in LIMITS:
        return False
    before = right.get(name)
    if before is None:
        right[name] = claim
        return False
    if name == "paths":
        both = {p for p in before if within(p, claim)} | {p for p in claim if within(p, before)}
        right[name] = sorted(both)
        return not all(within(path, before) for path in claim)
    right[name] = sorted(set(before) & set(claim))
    return not set(claim) <= set(before)


# Proofs ---------------------------------------------------------------------------------

class Keys(HTTPSignatureKeyResolver):
    def __init__(self, holder=None, private=None):
        self.holder, self.private = holder, private

    def resolve_public_key(self, key_id):
        expect(key_id == b64(self.holder), "keyid")
        return Ed25519PublicKey.from_public_bytes(self.holder)

    def resolve_private_key(self, key_id):
        return self.private


class Message:
    def __init__(self, method, url, headers):
        self.method, self.url, self.headers = method, url, headers


class Verifier(HTTPMessageVerifier):
    """The library's, with the window of the specification around a given moment."""

    now = 0

    def validate_created_and_expires(self, sig_input, max_age=None):
        created = sig_input.params.get("created")
        expect(type(created) is int and self.now - 30 <= created <= self.now + 5, "created")
        expires = sig_input.params.get("expires", self.now)
        expect(type(expires) is int and expires >= self.now, "expires")


def covered(headers):
    digest = ["content-digest"] if "content-digest" in headers else []
    return ["@method", "@authority", "@path", "@query", *digest, FIELD]


def check_further(names, headers):
    """Fields that are signed beside those that always are."""
    expect(len(names) <= 8 and names == sorted(set(names)), "further components")
    for name in names:
        expect(re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}", name), "name of a component")
        expect(name not in (FIELD, "content-digest", "signature", "signature-input"), "component")
        expect(re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", headers.get(name, "")), "value of a component")


def sign(method, url, token, key, content=None, created=None, further=None, issued=""):
    further = further or {}
    message = Message(method, url, {FIELD: token, **further})
    if content is not None:
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        message.headers["content-digest"] = f"sha-256=:{digest}:"
    signer = HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=Keys(private=key))
    moment = None if created is None else datetime.datetime.fromtimestamp(created, datetime.timezone.utc)
    signer.sign(message, key_id=b64(public(key)), created=moment, nonce=issued + secrets.token_urlsafe(16),
                tag="postern-pop", covered_component_ids=[*covered(message.headers), *sorted(further)],
                use_existing_digest=content is not None)
    return {name.lower(): value for name, value in message.headers.items()}


INPUT = re.compile(
    r'[a-z*][a-z0-9_.*-]{0,63}=\(((?:"[^"]+"(?: (?!\)))?)*)\)((?:;[a-z]+=(?:"[ !#-:<-\[\]-~]*"|0|[1-9][0-9]*))*)')


def check_proof(method, url, headers, holder, content, now):
    """Verifies a request's proof; the form of the fields is stricter than RFC 9421's."""
    headers = {name: value for name, value in headers.items() if value is not None}
    form = INPUT.fullmatch(headers.get("signature-input", ""))
    expect(form, "signature-input")
    names = re.fullmatch(r'"[^" ]+"(?: "[^" ]+")*', form[1]) and form[1].replace('"', "").split(" ")
    usual = covered(headers)
    expect(names and names[:len(usual)] == usual, "components")
    check_further(names[len(usual):], headers)
    names = re.findall(r";([a-z]+)=", form[2])
    expect(len(names) == len(set(names)), "a parameter twice")
    expect({"created", "nonce", "tag"} <= set(names), "parameters")
    nonce = re.search(r';nonce="([^"]*)"', form[2])
    expect(nonce and re.fullmatch(r"[A-Za-z0-9_-]{16,64}", nonce[1]), "nonce")
    expect(re.fullmatch(r"[^,]*", headers.get("signature", "")), "signature")
    if content is not None or "content-digest" in headers:
        digest = base64.b64encode(hashlib.sha256(content or b"").digest()).decode()
        expect(headers.get("content-digest") == f"sha-256=:{digest}:", "content-digest")
    verifier = Verifier(signature_algorithm=ED25519, key_resolver=Keys(holder))
    verifier.now = now
    try:
        verifier.verify(Message(method, url, headers), expect_tag="postern-pop", max_age=None)
    except Exception as error:
        raise Refused(str(error)) from error


# The check ------------------------------------------------------------------------------

class Count:
    passed = failed = 0

    def case(self, name, run):
        try:
            run()
            self.passed += 1
        except Exception as error:
            self.failed += 1
            print(f"failed: {name}: {type(error).__name__}: {error}")


def same(mine, theirs):
    assert mine == theirs, f"{mine} is not {theirs}"


def must_refuse(run):
    try:
        run()
    except Refused:
        return
    raise AssertionError("was taken")


def private(document, name):
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(document["keys"][name]["seed"]))


def good_token(document, case):
    context = {**document["context"], **case.get("context", {})}
    first, *further = case["blocks"]
    token = mint(first, private(document, "issuer-1"), document["kid"])
    for place, claims in enumerate(further, 1):
        token = attenuate(token, claims, private(document, f"holder-{place}"))
    same(token, case["token"])
    found = verify(token, context)
    same(found["right"], case["right"])
    same(found["widened"], [{**it, "claims": set(it["claims"])} for it in case["widened"]])
    same(b64(found["holder"]), case["holder"])


def check_vectors(folder, count):
    document = json.loads((folder / "tokens.json").read_text())
    for case in document["cases"]:
        context = {**document["context"], **case.get("context", {})}
        if "refused" in case:
            count.case(case["name"], lambda: must_refuse(lambda: verify(case["token"], context)))
        else:
            count.case(case["name"], lambda: good_token(document, case))
    document = json.loads((folder / "proofs.json").read_text())
    holder = bytes.fromhex(document["keys"][document["holder"]]["public"])
    for case in document["cases"]:
        request = case["request"]
        content = None if request["content"] is None else base64.b64decode(request["content"])
        url = f'{request["scheme"]}://{request["authority"]}{request["target"]}'
        arguments = (request["method"], url, case["fields"], holder, content, case["now"])
        if "refused" in case:
            count.case(case["name"], lambda: must_refuse(lambda: check_proof(*arguments)))
        else:
            count.case(case["name"], lambda: check_proof(*arguments))


class Postern:
    """The command, in a folder of its own."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(pathlib.Path(binary).resolve()), pathlib.Path(folder)

    def run(self, *words, code=0):
        done = subprocess.run([self.binary, "token", *words, "--json"], cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, f"{words[0]} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def key(self, name):
        """A key that both sides have."""
        key = Ed25519PrivateKey.generate()
        with open(self.folder / name, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(b64(key.private_bytes_raw()))
        return key

    def write(self, name, data):
        (self.folder / name).write_bytes(data)
        return name


ISSUER, AUDIENCE, URL = "https://issuer.test", "https://gateway.test", "https://api.test/api/v1?a=b"


def claims_now(**more):
    now = int(time.time())
    return {"iss": ISSUER, "sub": "ada", "aud": AUDIENCE, "exp": now + 300, "iat": now,
            "cti": secrets.token_hex(16), "tenant": "acme", "scopes": ["a", "b"],
            "paths": ["/api"], **more}


def theirs_by_us(postern, issuer, holder, agent):
    """The command mints, narrows and signs; this verifies."""
    minted = postern.run(
        "mint", "--key", "issuer.key", "--kid", "k1", "--issuer", ISSUER, "--subject", "ada",
        "--audience", AUDIENCE, "--tenant", "acme", "--holder", b64(public(holder)),
        "--scope", "b", "--scope", "a", "--path", "/api", "--expires", "5m")["token"]
    narrowed = postern.run(
        "attenuate", "--token", postern.write("token", minted.encode()), "--key", "holder.key",
        "--holder", b64(public(agent)), "--scope", "a", "--trust", "autonomous")["token"]
    context = {"tenant": "acme", "audience": AUDIENCE, "life": 900, "now": int(time.time()),
               "issuers": [{"kid": "k1", "iss": ISSUER, "public": public(issuer).hex()}]}
    found = verify(narrowed, context)
    same((found["right"]["scopes"], found["right"]["trust"]), (["a"], 0))
    same(found["widened"], [{"block": 1, "claims": {"trust"}}])
    content = b"content"
    fields = postern.run(
        "sign", "--token", postern.write("token", narrowed.encode()), "--key", "agent.key",
        "--method", "POST", "--url", URL, "--content", postern.write("content", content),
        "--field", "X-TAP-Credential: slack")
    same(fields["x-tap-credential"], "slack")
    must_refuse(lambda: check_proof("POST", URL, {**fields, "x-tap-credential": "mail"}, found["holder"], content, int(time.time())))
    check_proof("POST", URL, fields, found["holder"], content, int(time.time()))
    must_refuse(lambda: check_proof("POST", URL, fields, found["holder"], b"other", int(time.time())))
    must_refuse(lambda: check_proof("POST", URL, fields, public(holder), content, int(time.time())))


def ours_by_them(postern, issuer, holder, agent):
    """This mints, narrows and signs; the command verifies."""
    token = mint(claims_now(cnf=public(holder).hex()), issuer, "k1")
    further = {"cti": secrets.token_hex(16), "cnf": public(agent).hex(), "scopes": ["a"],
               "methods": ["GET"], "trust": 3}
    token = attenuate(token, further, holder)
    fields = sign("GET", URL, token, agent, further={"x-tap-credential": "slack"})
    words = ["verify", "--token", postern.write("token", token.encode()), "--issuer", ISSUER,
             "--issuer-key", f"k1={b64(public(issuer))}", "--tenant", "acme", "--audience", AUDIENCE]
    proof = ["--method", "GET", "--url", URL, "--signature-input", fields["signature-input"],
             "--signature", fields["signature"], "--field", "x-tap-credential: slack"]
    found = postern.run(*words, *proof)
    postern.run(*words, *proof[:-1], "x-tap-credential: mail", code=1)
    same((found["right"]["scopes"], found["right"]["methods"]), (["a"], ["GET"]))
    same(found["widened"], [{"block": 1, "claims": ["trust"]}])
    postern.run(*words, *[word.replace("?a=b", "?a=c") for word in proof], code=1)
    postern.run(*["other" if word == "acme" else word for word in words], code=1)
    again = sign("GET", URL, token, holder)
    proof = ["--method", "GET", "--url", URL, "--signature-input", again["signature-input"],
             "--signature", again["signature"]]
    postern.run(*words, *proof, code=1)


def a_token_made_by_both(postern, issuer, holder, agent):
    """The command narrows what this has minted, and this what the command has minted."""
    token = mint(claims_now(cnf=public(holder).hex()), issuer, "k1")
    token = postern.run("attenuate", "--token", postern.write("token", token.encode()), "--key",
                        "holder.key", "--holder", b64(public(agent)), "--path", "/api/v1")["token"]
    last = {"cti": secrets.token_hex(16), "cnf": public(issuer).hex(), "paths": ["/"]}
    token = attenuate(token, last, agent)
    found = postern.run(
        "verify", "--token", postern.write("token", token.encode()), "--issuer", ISSUER,
        "--issuer-key", f"k1={b64(public(issuer))}", "--tenant", "acme", "--audience", AUDIENCE)
    same(found["right"]["paths"], ["/api/v1"])
    postern.run("attenuate", "--token", "token", "--key", "holder.key", "--holder",
                b64(public(agent)), code=1)


def check_command(binary, count):
    with tempfile.TemporaryDirectory() as folder:
        postern = Postern(binary, folder)
        keys = [postern.key(name) for name in ("issuer.key", "holder.key", "agent.key")]
        for run in (theirs_by_us, ours_by_them, a_token_made_by_both):
            count.case(run.__name__, lambda: run(postern, *keys))


# A gateway ------------------------------------------------------------------------------

class Gateway:
    """A gateway that runs, and the issuer that it believes."""

    def __init__(self, port, authority, seed):
        self.port, self.authority = int(port), authority
        self.issuer = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        self.holder, self.agent = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def token(self, **more):
        claims = claims_now(cnf=public(self.holder).hex(), scopes=["documents:read", "documents:write"],
                            credentials=["slack"])
        further = {"cti": secrets.token_hex(16), "cnf": public(self.agent).hex(), "sub": "helper", **more}
        return attenuate(mint(claims, self.issuer, "issuer-1"), further, self.holder)

    def ask(self, method, target, fields, content=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        fields = {"host": self.authority, **fields}
        connection.request(method, target, body=content, headers=fields)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        code = json.loads(body)["code"] if answer.status >= 400 else None
        return answer.status, code

    def sign(self, method, target, token, key, content=None):
        further = {"x-tap-credential": "slack"}
        return sign(method, f"http://{self.authority}{target}", token, key, content, further=further)


def minted_narrowed_and_signed(gateway):
    token, content = gateway.token(paths=["/api/v1"]), b"content"
    fields = gateway.sign("GET", "/api/v1/a?b=c", token, gateway.agent)
    same(gateway.ask("GET", "/api/v1/a?b=c", fields), (200, None))
    same(gateway.ask("GET", "/api/v1/a?b=c", fields), (401, "invalid_token"))
    fields = gateway.sign("POST", "/api/v1/a", token, gateway.agent, content)
    same(gateway.ask("POST", "/api/v1/a", fields, content), (200, None))


def not_by_the_holder_or_not_this_request(gateway):
    token, content = gateway.token(), b"content"
    for key in (gateway.holder, gateway.issuer):
        fields = gateway.sign("GET", "/api/v1/a", token, key)
        same(gateway.ask("GET", "/api/v1/a", fields), (401, "invalid_token"))
    fields = gateway.sign("POST", "/api/v1/a", token, gateway.agent, content)
    same(gateway.ask("POST", "/api/v1/a", fields, b"another"), (401, "invalid_token"))
    fields = gateway.sign("GET", "/api/v1/a", token, gateway.agent)
    same(gateway.ask("GET", "/api/v1/b", fields), (401, "invalid_token"))
    for change in ({"x-tap-credential": "maps"}, sign("GET", f"http://{gateway.authority}/api/v1/a", token, gateway.agent)):
        fields = {**gateway.sign("GET", "/api/v1/a", token, gateway.agent), **change}
        same(gateway.ask("GET", "/api/v1/a", fields), (401, "invalid_token"))


def outside_of_what_was_left(gateway):
    token = gateway.token(paths=["/api/v1"], methods=["GET"])
    for method, target in (("GET", "/api/v2"), ("POST", "/api/v1")):
        fields = gateway.sign(method, target, token, gateway.agent)
        same(gateway.ask(method, target, fields), (403, "policy_denied"))
    token = gateway.token(credentials=["maps"])
    fields = gateway.sign("GET", "/api/v1", token, gateway.agent)
    same(gateway.ask("GET", "/api/v1", fields), (403, "credential_not_allowed"))


class Guest(Gateway):
    """Somebody with an invite and nothing else."""

    def __init__(self, port, authority):
        self.port, self.authority = int(port), authority

    def exchange(self, invite, key):
        fields = sign("POST", f"http://{self.authority}/.postern/invites", invite, key)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", "/.postern/invites", headers={"host": self.authority, **fields})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        return answer.status, body


def an_invite(port, authority, invite, kid, issuer, key, audience):
    guest, mine, other = Guest(port, authority), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    status, body = guest.exchange(invite, mine)
    same((status, body.get("document")), (200, "d1"))
    context = {"tenant": "acme", "audience": audience, "life": 900, "now": int(time.time()),
               "issuers": [{"kid": kid, "iss": issuer, "public": unb64(key).hex()}]}
    found = verify(body["token"], context)
    same((found["holder"], found["right"]["document"]), (public(mine), "d1"))
    same(guest.exchange(invite, mine), (200, body))
    same(guest.exchange(invite, other)[0], 401)
    for target, want in (("/api/documents/d1", (200, None)), ("/api/documents/d2", (403, "policy_denied"))):
        fields = sign("GET", f"http://{authority}{target}", body["token"], mine)
        same(guest.ask("GET", target, fields), want)
    fields = sign("GET", f"http://{authority}/api/documents/d1", body["token"], other)
    same(guest.ask("GET", "/api/documents/d1", fields), (401, "invalid_token"))


def check_invite(words):
    count = Count()
    count.case("an_invite", lambda: an_invite(*words))
    print(f"capability.py: {count.passed} passed, {count.failed} failed")
    return count.failed > 0


def check_gateway(words):
    count, gateway = Count(), Gateway(*words)
    for run in (minted_narrowed_and_signed, not_by_the_holder_or_not_this_request, outside_of_what_was_left):
        count.case(run.__name__, lambda: run(gateway))
    print(f"capability.py: {count.passed} passed, {count.failed} failed")
    return count.failed > 0


def main(folder, *words):
    if folder == "--gateway":
        return check_gateway(words)
    if folder == "--invite":
        return check_invite(words)
    binary = words[0] if words else None
    count = Count()
    check_vectors(pathlib.Path(folder), count)
    if binary:
        check_command(binary, count)
    print(f"capability.py: {count.passed} passed, {count.failed} failed")
    return count.failed > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
