"""What is below `deploy`, tried with everything that can be had without a cluster.

`python3 deploy.py check NPM PROMTOOL POSTERN ENVOY POSTGRES` renders the chart in Helm's own engine, holds
every object against the schemas of Kubernetes, Istio and Envoy Gateway, runs the rendered Envoy and two
replicas of the key service, plays the alarms in promtool, and sees that wrong values are refused. `python3 deploy.py write` renders
`deploy/kubernetes`. Exit codes: 0 good, 1 found bad. No cluster and no control plane runs here.
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import yaml
from helm_python import Chart
from helm_python.errors import HelmError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

import deploy_alarms
import deploy_envoy
import deploy_keys

ROOT = pathlib.Path("deploy")
CHART = ROOT / "helm/postern"
PLAIN = ROOT / "kubernetes"
SCHEMAS = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict"
EXTENSION = {"selector", "targetRefs", "phase", "priority", "match", "wasm"}

CHANGED = {
    "tenant": "other",
    "keys": {
        "replicas": 3,
        "nodeSelector": {"confidential": "true"},
        "tolerations": [{"key": "confidential", "operator": "Exists"}],
        "operators": [{"podSelector": {"matchLabels": {"app": "console"}}}],
        "storage": {"size": "2Gi", "className": "fast"},
    },
    "migrate": {"enabled": True},
    "gateway": {
        "replicas": 5,
        "service": {"type": "LoadBalancer", "port": 8443},
        "callers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "monitoring": [],
        "upstreams": [
            {"name": "slack", "host": "slack.com", "port": 443, "region": "us"},
            {"name": "billing", "host": "api.billing.example", "port": 8443, "region": "eu"},
        ],
    },
}

# Path, value, and what is said of it.
REFUSED = [
    ("evidence.gateway", None, "/evidence"),
    ("evidence.gateway", "none", "/evidence/gateway"),
    ("evidence.simulatedKey", "", "/evidence/simulatedKey"),
    ("evidence.gateway", {"require": ["snp"]}, "/evidence/simulatedKey"),
    ("keys.image.digest", "latest", "/keys/image/digest"),
    ("keys.image.repository", "a@b", "/keys/image/repository"),
    ("keys.replicas", 0, "/keys/replicas"),
    ("keys.replicas", "two", "/keys/replicas"),
    ("keys.database.password", "hunter2", "/keys/database"),
    ("keys.database.peers", [], "/keys/database/peers"),
    ("keys.resources.limits.memory", None, "/keys/resources/limits"),
    ("gateway.id", "xyz", "/gateway/id"),
    ("gateway.env", [], "/gateway"),
    ("gateway.modules.audit", None, "/gateway/modules"),
    ("gateway.modules.gate.digest", "sha256:1", "/gateway/modules/gate/digest"),
    ("gateway.upstreams", [], "/gateway/upstreams"),
    ("gateway.upstreams", [{"name": "a", "host": "A b", "port": 1, "region": "x"}], "/host"),
    ("gateway.upstreams", [{"name": "admin", "host": "a.b", "port": 1, "region": "x"}], "/name"),
    ("gateway.bindings", [{"credential": "a"}], "/gateway/bindings/0"),
    ("gateway.service.type", "Other", "/gateway/service/type"),
    ("migrate.enabled", "yes", "/migrate/enabled"),
    ("unheard", 1, "unheard"),
]

# Of every container.
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

PASSED = []


def good(what):
    print(f"{what}: as expected")
    PASSED.append(what)


def expect(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")


def merged(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    return {key: merged(base.get(key), over[key]) if key in over else copy.deepcopy(base[key])
            for key in {**base, **over}}


def set_at(values, path, value):
    *above, last = path.split(".")
    for key in above:
        values = values.setdefault(key, {})
    values[last] = value


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def rendered(values):
    with Chart.load(str(CHART)) as chart:
        return chart.render(values=values, name="postern", namespace="postern")


def objects(values):
    texts = rendered(values)
    found = [one for name in sorted(texts) for one in yaml.safe_load_all(texts[name]) if one]
    expect(found, "the chart renders something")
    return found


class Kubernetes:
    """Kubernetes' own schemas, in which unknown names are errors."""

    def __init__(self):
        places = [pathlib.Path(place) / SCHEMAS for place in sys.path]
        self.home = next(place for place in places if place.is_dir())
        definitions = json.loads((self.home / "_definitions.json").read_text())
        resource = Resource.from_contents(definitions, default_specification=DRAFT7)
        self.registry = Registry().with_resource("_definitions.json", resource)

    def wrong(self, one):
        group, _, version = one["apiVersion"].rpartition("/")
        parts = [one["kind"].lower(), group.split(".")[0], version]
        path = self.home / ("-".join(part for part in parts if part) + ".json")
        if not path.exists():
            return f"no schema for {one['kind']} of {one['apiVersion']}"
        validator = jsonschema.Draft7Validator(json.loads(path.read_text()), registry=self.registry)
        error = next(validator.iter_errors(one), None)
        return error and f"{'/'.join(map(str, error.path))}: {error.message[:200]}"


def pod_of(one):
    return one.get("spec", {}).get("template", {}).get("spec")


def hardened(one):
    """What is missing of the restricted Pod Security Standard, and of our own."""
    pod = pod_of(one)
    if pod is None:
        return None
    if pod.get("automountServiceAccountToken") is not False:
        return "automountServiceAccountToken"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True:
        return "runAsNonRoot"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        return "seccompProfile"
    for container in pod.get("initContainers", []) + pod["containers"]:
        if container.get("securityContext") != CONFINED:
            return f"{container['name']}: securityContext"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            return f"{container['name']}: resources"
        if "@sha256:" not in container["image"]:
            return f"{container['name']}: image"
        for variable in container.get("env", []):
            if "secretKeyRef" not in variable.get("valueFrom", {}):
                return f"{container['name']}: {variable['name']}"
    return None


def chosen_by(one):
    spec = one["spec"]
    if one["kind"] == "Service":
        return spec["selector"]
    return spec["podSelector" if one["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]


def selected(all_of):
    """Each selector finds the pods of its own part and no other."""
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
            for one in all_of if pod_of(one)}
    for one in all_of:
        if one["kind"] in ("ConfigMap", "Job"):
            continue
        labels, name = chosen_by(one), one["metadata"]["name"]
        fits = [pod for pod, have in pods.items() if labels.items() <= have.items()]
        expect(fits == [name.removesuffix("-replicas")], f"{one['kind']} {name} selects {fits}")


def check_objects(kubernetes, all_of, what):
    for one in all_of:
        name = f"{what}: {one['kind']} {one['metadata']['name']}"
        expect(one["kind"] != "Secret", f"{name}: secrets are named and never written")
        for wrong in (kubernetes.wrong(one), hardened(one)):
            expect(wrong is None, f"{name}: {wrong}")
        good(name)
    selected(all_of)


def trial():
    return yaml.safe_load((CHART / "trial.yaml").read_text())


def check_chart(kubernetes):
    check_objects(kubernetes, objects(trial()), "trial values")
    check_objects(kubernetes, objects(merged(trial(), CHANGED)), "changed values")
    try:
        rendered({})
        raise SystemExit("failed: the defaults render, without evidence and digests")
    except HelmError as error:
        expect("/evidence" in str(error) and "digest" in str(error), f"defaults: {error}")
    good("defaults alone: refused")
    for path, value, said in REFUSED:
        values = trial()
        set_at(values, path, value)
        try:
            rendered(values)
        except HelmError as error:
            expect(said in str(error), f"{path}: {error}")
            good(f"{path} = {value!r}: refused")
            continue
        raise SystemExit(f"failed: {path} = {value!r} is taken")


# An edit of an object, and that it is found.
def spoil(one):
    container = pod_of(one)["containers"][0]
    return [
        (lambda: container.update(unheard=1), "schema"),
        (lambda: container.update(ports=[{"containerPort": "https"}]), "schema"),
        (lambda: one["spec"].pop("selector"), "schema"),
        (lambda: container["securityContext"].update(privileged=True), "hardened"),
        (lambda: container.update(image="a:latest"), "hardened"),
        (lambda: container["env"].append({"name": "PGPASSWORD", "value": "x"}), "hardened"),
        (lambda: pod_of(one).pop("automountServiceAccountToken"), "hardened"),
        (lambda: pod_of(one).update(securityContext={}), "hardened"),
    ]


def check_negatives(kubernetes):
    def fresh():
        return next(one for one in objects(trial()) if one["kind"] == "StatefulSet")

    for number in range(len(spoil(fresh()))):
        one = fresh()
        edit, by = spoil(one)[number]
        edit()
        wrong = kubernetes.wrong(one) if by == "schema" else hardened(one)
        expect(wrong, f"edit {number} of a StatefulSet is not found")
        good(f"edit {number} of a StatefulSet: refused")


def plain_files():
    texts = rendered(trial())
    names = {name: pathlib.PurePath(name).name for name in texts}
    return {names[name]: texts[name].strip() + "\n" for name in sorted(texts) if yaml_of(texts[name])}


def yaml_of(text):
    return [one for one in yaml.safe_load_all(text) if one]


HEAD = "# Rendered from deploy/helm/postern with trial.yaml (tests/clients/python/deploy.py write).\n"


def write():
    for name, text in plain_files().items():
        (PLAIN / name).write_text(HEAD + text)


def check_plain():
    kustomization = yaml.safe_load((PLAIN / "kustomization.yaml").read_text())
    wanted = plain_files()
    expect(sorted(kustomization["resources"]) == sorted(wanted), "kustomization.yaml lists every file")
    for name, text in wanted.items():
        have = (PLAIN / name).read_text()
        expect(have == HEAD + text, f"{PLAIN / name} is not what the chart renders: deploy.py write")
        good(f"{PLAIN / name}")


def as_published(one):
    """`TrafficExtension` has no schema in the registries: it is held to that of `WasmPlugin`, which
    has the same names in another place."""
    if one["kind"] != "TrafficExtension":
        return one
    spec = dict(one["spec"])
    expect(set(spec) <= EXTENSION, f"TrafficExtension: {sorted(set(spec) - EXTENSION)}")
    wasm = spec.pop("wasm")
    expect(not set(wasm) & EXTENSION, "TrafficExtension: phase and the like stand beside wasm")
    return {**one, "kind": "WasmPlugin", "spec": {**spec, **wasm}}


def judged(npm, resources):
    node = ["node", "tests/clients/kubernetes/validate.mjs", npm]
    text = json.dumps([as_published(one) for one in resources])
    done = subprocess.run(node, input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def wrong_resources(plugin, filters, policy):
    def edited(base, change):
        one = copy.deepcopy(base)
        change(one["spec"])
        return one

    return [
        edited(plugin, lambda spec: spec.update(failStrategy="FAIL_MAYBE")),
        edited(plugin, lambda spec: spec.update(phase="FIRST")),
        edited(plugin, lambda spec: spec.update(fallStrategy="FAIL_RELOAD")),
        edited(plugin, lambda spec: spec.pop("url")),
        edited(plugin, lambda spec: spec.update(priority="high")),
        edited(filters, lambda spec: spec["configPatches"][0].update(applyTo="FILTERS")),
        edited(filters, lambda spec: spec["configPatches"][0]["match"].update(context="OUTSIDE")),
        edited(policy, lambda spec: spec["wasm"][0].update(failOpen="no")),
        edited(policy, lambda spec: spec["wasm"][0].pop("code")),
        edited(policy, lambda spec: spec["wasm"][0].update(failOpen_=False)),
    ]


def check_resources(npm, postern):
    folders = [ROOT / "istio", ROOT / "envoy-gateway", pathlib.Path("envoy/istio")]
    files = sorted(path for folder in folders for path in folder.glob("*.yaml"))
    named = [(path, one) for path in files for one in documents(path)]
    for (path, one), wrong in zip(named, judged(npm, [one for _, one in named]), strict=True):
        expect(wrong is None, f"{path}: {one['kind']} {one['metadata']['name']}: {wrong}")
        good(f"{path}: {one['kind']}")
    of = {one["kind"]: one for _, one in named}
    bad = wrong_resources(of["WasmPlugin"], of["EnvoyFilter"], of["EnvoyExtensionPolicy"])
    for number, wrong in enumerate(judged(npm, bad)):
        expect(wrong, f"wrong resource {number} is taken")
        good(f"wrong resource {number}: refused ({wrong[:60]})")
    for path in [*files, PLAIN / "gateway-config.yaml", PLAIN / "keys-config.yaml"]:
        checked(postern, path)


def checked(postern, path, what=None):
    words = [postern, "check", "--allow-simulated", path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"postern check {path}:\n{done.stdout}{done.stderr}")
    good(f"postern check {what or path}")


def check_configurations(postern, envoy, values, what, run):
    found = [one for one in objects(values) if one["kind"] == "ConfigMap"]
    maps = {one["metadata"]["name"]: one["data"] for one in found}
    with tempfile.TemporaryDirectory() as folder:
        for name, file in [("postern-gateway", "envoy.yaml"), ("postern-keys", "keys.yaml")]:
            path = pathlib.Path(folder) / file
            path.write_text(maps[name][file])
            checked(postern, path, f"{what}: {file}")
    if run:
        shown = deploy_envoy.metrics(envoy, maps["postern-gateway"]["envoy.yaml"])
        good(f"{what}: Envoy runs it and shows its counters")
        return shown
    return None


def check_keys(postern, postgres):
    all_of = objects(trial())
    maps = {one["metadata"]["name"]: one["data"] for one in all_of if one["kind"] == "ConfigMap"}
    keys = next(one for one in all_of if one["kind"] == "StatefulSet")
    script = pod_of(keys)["initContainers"][0]["command"][-1]
    deploy_keys.check(postern, postgres, maps["postern-keys"]["keys.yaml"], script, good, expect)


def main():
    if sys.argv[1:] == ["write"]:
        return write()
    if sys.argv[1:2] != ["check"] or len(sys.argv) != 7:
        raise SystemExit(__doc__)
    npm, promtool, postern, envoy, postgres = sys.argv[2:]
    kubernetes = Kubernetes()
    check_chart(kubernetes)
    check_negatives(kubernetes)
    check_plain()
    check_resources(npm, postern)
    check_configurations(postern, envoy, merged(trial(), CHANGED), "changed values", run=False)
    shown = check_configurations(postern, envoy, trial(), "trial values", run=True)
    check_keys(postern, postgres)
    deploy_alarms.check(promtool, shown, good, expect)
    print(f"deployments: {len(PASSED)} passed")
    return None


if __name__ == "__main__":
    sys.exit(main())
