"""Bundles of the Open Policy Agent, read and made without a line of Postern's.

  bundle.py check POSTERN                 bundles made here and read by the command, and back
  bundle.py verify BUNDLE KEYS            every digest and the signature; prints the names

OPA hashes a document with its names sorted, without blanks and with numbers as they stand.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

SIGNATURES = ".signatures.json"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def generate(algorithm):
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sign(key, message):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jwk(key):
    public = key.public_key()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": b64(raw)}
    numbers = public.public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
    x, y = (b64(one.to_bytes(32, "big")) for one in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y}


def check(key, signature, message):
    if key["kty"] == "OKP":
        public = ed25519.Ed25519PublicKey.from_public_bytes(unb64(key["x"]))
        return public.verify(signature, message)
    if key["kty"] == "RSA":
        n, e = (int.from_bytes(unb64(key[name]), "big") for name in ("n", "e"))
        public = rsa.RSAPublicNumbers(e, n).public_key()
        return public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    x, y = (int.from_bytes(unb64(key[name]), "big") for name in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    return public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


class Literal(str):
    """A number as it stands in a document."""


def canonical(value):
    """What OPA hashes of a document: names sorted, numbers as they stand, no blanks."""
    if isinstance(value, Literal):
        return value
    if isinstance(value, dict):
        pairs = (canonical(name) + ":" + canonical(value[name]) for name in sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def digest(name, content):
    if name.endswith(".json") or name == ".manifest":
        document = json.loads(content, parse_int=Literal, parse_float=Literal)
        content = canonical(document).encode()
    return hashlib.sha256(content).hexdigest()


def listed(files):
    names = sorted(name for name in files if name != SIGNATURES)
    return [
        {"name": name, "hash": digest(name, files[name]), "algorithm": "SHA-256"} for name in names
    ]


def key(algorithm, out):
    private = generate(algorithm).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(private)


def make(algorithm, pem, folder, out, keys, instead=None):
    """Signs a folder; `instead` is what modules hold after that."""
    with open(pem, "rb") as file:
        private = serialization.load_pem_private_key(file.read(), None)
    files = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, folder)] = file.read()
    header, payload = ({"alg": algorithm}, {"files": listed(files)})
    message = ".".join(b64(json.dumps(part).encode()) for part in (header, payload))
    token = message + "." + b64(sign(private, message.encode()))
    if instead:
        files = {name: instead if name.endswith(".rego") else files[name] for name in files}
    files[SIGNATURES] = json.dumps({"signatures": [token]}).encode()
    with tarfile.open(out, "w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo("/" + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with open(keys, "w") as file:
        json.dump({"keys": [jwk(private)]}, file)


def verify(bundle, keys):
    with open(keys) as file:
        (public,) = json.load(file)["keys"]
    files = {}
    with gzip.open(bundle) as stream, tarfile.open(fileobj=stream) as archive:
        for entry in archive:
            assert entry.isfile() and entry.mtime == 0, entry
            files[entry.name.lstrip("/")] = archive.extractfile(entry).read()
    (token,) = json.loads(files[SIGNATURES])["signatures"]
    message, signature = token.rsplit(".", 1)
    header, payload = (json.loads(unb64(part)) for part in message.split("."))
    assert header["alg"] == public["alg"], header
    check(public, unb64(signature), message.encode())
    assert sorted(payload["files"], key=lambda file: file["name"]) == listed(files), payload
    return sorted(files)


MODULE = "package team\n\nallow if data.team.f > 1\n"
DATA = '{"b": [null, true], "f": 1.5, "big": 12345678901234567, "s": "a<b>&\\u2028\\u0001\\n\u00e9"}'


class Count:
    passed = failed = 0

    def note(self, name, good):
        self.passed += good
        self.failed += not good
        if not good:
            print(f"FAILED  {name}")


def check_algorithm(postern, algorithm, folder, count):
    def at(name):
        return os.path.join(folder, name)

    def run(*words):
        command = [postern, "policy", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)

    pem, theirs, ours = at(f"{algorithm}.pem"), at("theirs.tar.gz"), at("ours.tar.gz")
    key(algorithm, pem)
    make(algorithm, pem, at("source"), theirs, at("theirs.json"))
    read = run("check", "--keys", "theirs.json", theirs)
    count.note(f"{algorithm}: a bundle of Python's is read: {read.stderr}", read.returncode == 0)
    words = ("--signing-key", pem, "--keys-out", "ours.json", "--revision", "r2", "source")
    built = run("build", "--output", ours, *words)
    count.note(f"{algorithm}: a bundle is built: {built.stderr}", built.returncode == 0)
    try:
        names = verify(ours, at("ours.json"))
    except Exception as error:  # Whatever is wrong with it.
        names = error
    want = [".manifest", ".signatures.json", "data.json", "source/team/team.rego"]
    count.note(f"{algorithm}: it verifies here: {names!r}", names == want)
    make(algorithm, pem, at("source"), theirs, at("theirs.json"), b"package team\n\nallow\n")
    read = run("check", "--keys", "theirs.json", theirs)
    refused = read.returncode == 1 and "not what was signed" in read.stderr
    count.note(f"{algorithm}: a changed module is refused: {read.stderr}", refused)


def check_command(postern):
    count, postern = Count(), os.path.abspath(postern)
    for algorithm in ("EdDSA", "ES256", "RS256"):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "source")
            os.makedirs(os.path.join(source, "team"))
            texts = {
                ".manifest": '{ "roots": ["team"], "revision": "r1" }',
                "team/team.rego": MODULE,
                "team/data.json": DATA,
            }
            for name, text in texts.items():
                with open(os.path.join(source, name), "w", encoding="utf-8") as file:
                    file.write(text)
            check_algorithm(postern, algorithm, folder, count)
    print(f"bundle.py: {count.passed} passed, {count.failed} failed")
    return count.failed > 0


def main(command, *words):
    if command == "verify":
        print(json.dumps(verify(*words)))
        return 0
    return check_command(*words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
