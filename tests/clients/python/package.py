"""Packages of modules, read a second time from host/xtask/PACKAGE.md.

`python3 package.py FOLDER VKEY` verifies the signature and the list of files with `cryptography`,
reads every image from its layout alone, finds the module in it as Istio's agent does, and holds
the lists of what is inside to CycloneDX's own schema and the statement to in-toto's own messages.
"""

import base64
import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile

import cyclonedx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from jsonschema import Draft7Validator
from referencing import Registry, Resource

MODULES = ("audit", "credential", "gate")
COMPONENTS = ("spin-gateway",)
TAG = "org.opencontainers.image.ref.name"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def signed(note, vkey):
    """The text of a C2SP signed note, by its one key."""
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and sha256(name.encode() + b"\n" + key)[:8] == key_id, "vkey"
    text, _, line = note.rpartition(b"\n\n")
    text += b"\n"
    prefix = f"\u2014 {name} ".encode()
    assert line.startswith(prefix) and line.endswith(b"\n"), "signature line"
    value = base64.b64decode(line[len(prefix):-1], validate=True)
    assert value[:4].hex() == key_id, "key id"
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(value[4:], text)
    return text.decode()


def listed(folder, vkey):
    """Every file is on the list that was signed, and nothing else is there."""
    text = signed((folder / "SHA256SUMS.note").read_bytes(), vkey)
    head, version, revision, sums = text.splitlines()
    assert head == "postern package/1", head
    data = (folder / "SHA256SUMS").read_bytes()
    assert sums == f"sums {sha256(data)}", "another list"
    lines = [line.split("  ", 1) for line in data.decode().splitlines()]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there - {"SHA256SUMS", "SHA256SUMS.note"} == {name for _, name in lines}, "files"
    for sum_, name in lines:
        assert sha256((folder / name).read_bytes()) == sum_, name
    return version.removeprefix("version "), revision.removeprefix("revision ")


def images(layout):
    """Tags, digests and manifests of an OCI image layout, with a reader of its blobs."""
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}

    def blob(descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        data = (layout / "blobs" / algorithm / digest).read_bytes()
        assert sha256(data) == digest and len(data) == descriptor["size"], digest
        return data

    for descriptor in json.loads((layout / "index.json").read_bytes())["manifests"]:
        manifest = json.loads(blob(descriptor))
        assert descriptor["mediaType"] == manifest["mediaType"], "media types"
        blob(manifest["config"])
        yield descriptor["annotations"][TAG], descriptor["digest"], manifest, blob


def by_agent(manifest, blob):
    """The module as Istio's imagefetcher.go finds it."""
    layers = manifest["layers"]
    if layers[-1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip":
        archive = gzip.decompress(blob(layers[-1]))
        diff = json.loads(blob(manifest["config"]))["rootfs"]["diff_ids"]
        assert diff == [f"sha256:{sha256(archive)}"], "diff_ids"
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            (member,) = tar.getmembers()
            assert (member.name, member.mtime, member.uid) == ("plugin.wasm", 0, 0), member
            return tar.extractfile(member).read()
    assert len(layers) == 2, "number of layers must be 2"
    wasm = "application/vnd.module.wasm.content.layer.v1+wasm"
    return blob(next(layer for layer in layers if layer["mediaType"] == wasm))


def by_component_tools(manifest, blob):
    """The component in CNCF's artifact: one layer, named again in the configuration."""
    (layer,) = manifest["layers"]
    config = json.loads(blob(manifest["config"]))
    assert layer["mediaType"] == "application/wasm", layer
    assert config["layerDigests"] == [layer["digest"]] and config["component"]["exports"], config
    return blob(layer)


def schema():
    """CycloneDX's schema of version 1.6, with those that it refers to."""
    folder = pathlib.Path(cyclonedx.__file__).parent / "schema/_res"
    read = lambda name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_bytes())
    main = read("bom-1.6")
    base = main["$id"].rsplit("/", 1)[0]
    registry = Registry().with_resources(
        (f"{base}/{name}.SNAPSHOT.schema.json", Resource.from_contents(read(name)))
        for name in ("spdx", "jsf-0.82")
    )
    return Draft7Validator(main, registry=registry)


def held_to_schema(folder, name, wasm, validator):
    bom = json.loads((folder / f"{name}.cdx.json").read_bytes())
    problems = [error.message for error in validator.iter_errors(bom)]
    assert not problems, problems
    component = bom["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": sha256(wasm)}], name
    known = {component["bom-ref"]} | {it["bom-ref"] for it in bom["components"]}
    used = {ref for it in bom["dependencies"] for ref in [it["ref"], *it.get("dependsOn", [])]}
    assert used == known, used ^ known
    unlicensed = [it["name"] for it in bom["components"] if not it.get("licenses")]
    assert not unlicensed, unlicensed
    # Panics name the sources of packages: whoever is named in the module is on its list.
    names = {f"{it['name']}-{it['version']}" for it in bom["components"]}
    for part in wasm.split(b"/registry/")[1:]:
        package = part.split(b"/", 1)[0].decode()
        assert package in names, f"{name}: {package} is in the module and not on its list"
    assert b"/.cargo/" not in wasm, f"{name}: has a path of the machine that built it"
    return len(bom["components"])


def held_to_messages(folder, subjects, revision):
    statement = json.loads((folder / "provenance.intoto.json").read_bytes())
    # An unknown member is an error of the parser.
    json_format.ParseDict(statement, statement_pb2.Statement())
    provenance = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    stated = {it["name"]: it["digest"]["sha256"] for it in statement["subject"]}
    assert stated == subjects, (stated, subjects)
    definition = provenance.build_definition
    assert definition.external_parameters["revision"] == revision, "revision"
    sources = {it.name: dict(it.digest) for it in definition.resolved_dependencies}
    assert sources["source"] == {"gitCommit": revision}, sources


def main(folder, vkey):
    folder = pathlib.Path(folder)
    version, revision = listed(folder, vkey)
    validator, subjects = schema(), {}
    for name in MODULES + COMPONENTS:
        wasm = (folder / f"{name}.wasm").read_bytes()
        subjects[f"{name}.wasm"] = sha256(wasm)
        find = by_agent if name in MODULES else by_component_tools
        tags = []
        for tag, digest, manifest, blob in images(folder / name):
            assert find(manifest, blob) == wasm, f"{name}:{tag}"
            said = manifest["annotations"]
            assert said["org.opencontainers.image.revision"] == revision, said
            subjects[f"{name}:{tag}"] = digest.removeprefix("sha256:")
            tags.append(tag)
        assert tags == ([version, f"{version}-oci"] if name in MODULES else [version]), tags
        count = held_to_schema(folder, name, wasm, validator)
        print(f"{name}: {len(tags)} images, {count} packages inside")
    held_to_messages(folder, subjects, revision)


if __name__ == "__main__":
    main(*sys.argv[1:])
