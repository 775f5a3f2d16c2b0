"""Alarms, their runbook and the dashboard: played by promtool, and held to names that exist."""

import json
import pathlib
import re
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path("deploy")
RULES = ROOT / "prometheus/rules.yaml"
SCRAPE = ROOT / "prometheus/scrape.yaml"
CASES = ROOT / "prometheus/cases.yaml"
DASHBOARD = ROOT / "grafana/postern.json"
RUNBOOK = ROOT / "RUNBOOK.md"
# What Grafana puts in place of its own variables.
VARIABLES = {"$__rate_interval": "5m", "$job": "postern-gateway"}


def rules_of(kind):
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def promtool(binary, words, what, good, expect):
    done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{what}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    good(what)


def expected(rule, labels):
    merged = {**rule["labels"], **labels}
    return {"exp_labels": merged, "exp_annotations": rule["annotations"]}


def test_of(case):
    """Every alarm is asked about: those of `fires` have to, and the others must not."""
    for name in case["fires"]:
        assert name in [rule["alert"] for rule in rules_of("alert")], name
    asked = []
    for rule in rules_of("alert"):
        fires = case["fires"].get(rule["alert"])
        alerts = [] if fires is None else [expected(rule, fires)]
        asked.append({"eval_time": case["at"], "alertname": rule["alert"], "exp_alerts": alerts})
    series = [{"series": one["name"], "values": one["values"]} for one in case["series"]]
    return {"name": case["note"], "interval": "30s", "input_series": series, "alert_rule_test": asked}


def played(binary, cases, good, expect):
    tests = [test_of(case) for case in cases]
    document = {"rule_files": [str(RULES.resolve())], "evaluation_interval": "30s", "tests": tests}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "test.yaml"
        path.write_text(yaml.safe_dump(document))
        promtool(binary, ["test", "rules", str(path)], "alarms", good, expect)
    for case in cases:
        good(f"alarms: {case['note']}")


def ours():
    """Counters that the modules' sources count by, as Prometheus is shown them."""
    names = set()
    for path in pathlib.Path("plugins").rglob("*.rs"):
        for written in re.findall(r'"(postern\.[a-z_.=]+)"', path.read_text()):
            counter = re.sub(r"\.reason=[a-z_]*", "", written)
            names.add(counter.removesuffix(".total").replace(".", "_") + "_total")
    return names


def read_by(expression):
    bare = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b((?:postern|envoy)_[a-z0-9_]+)\b", bare))


def families(shown):
    return {line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE ")}


def names_exist(expressions, shown, good, expect):
    own = pathlib.Path("host/runtime/src/serve/stats.rs").read_text()
    known, live = ours(), families(shown)
    for name in sorted({name for one in expressions for name in read_by(one)}):
        if name.startswith("postern_"):
            expect(name in known, f"{name}: no module counts it")
        else:
            # By the name of a plugin in Envoy, by a label in our own gateway.
            by_label = name == "envoy_wasm_vm_reload_success" and '"vm_reload_success"' in own
            expect(name in live or by_label, f"{name}: Envoy does not show it")
        good(f"{name}: exists")


def reasons_exist(expressions, good, expect):
    source = pathlib.Path("plugins/core/src/denial/code.rs").read_text()
    codes = set(re.findall(r'"([a-z_]+)"', source))
    counted = set()
    for path in pathlib.Path("plugins").rglob("*.rs"):
        counted.update(re.findall(r"\.reason=([a-z_]+)\.", path.read_text()))
    for text in expressions:
        for found in re.findall(r'reason(?:=~|!=|=)"([a-z_|]+)"', text):
            for reason in found.split("|"):
                expect(reason in codes | counted, f"reason {reason}: nothing counts it")
    good("reasons: exist")


def recorded():
    return {rule["record"] for rule in rules_of("record")}


def check_runbook(good, expect):
    headings = {line[3:].strip().lower() for line in RUNBOOK.read_text().splitlines() if line.startswith("## ")}
    for rule in rules_of("alert"):
        place = f"{RUNBOOK}#{rule['alert'].lower()}"
        expect(rule["annotations"]["runbook"] == place, f"{rule['alert']}: expected runbook {place}")
        expect(rule["alert"].lower() in headings, f"{RUNBOOK} has no section {rule['alert']}")
    alarms = {rule["alert"].lower() for rule in rules_of("alert")}
    extra = {one for one in headings if one.startswith("postern")} - alarms
    expect(not extra, f"{RUNBOOK}: no such alarms: {extra}")
    good("runbook: a section for each alarm")


def queries():
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def check_dashboard(binary, good, expect):
    """As rules, its queries are read by Prometheus' own parser."""
    plain = []
    for query in queries():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        plain.append(query)
    expect(plain, "the dashboard has queries")
    expect(not any("$" in query for query in plain), "the dashboard has a variable that is not known here")
    for name in {name for query in plain for name in re.findall(r"\bpostern:[a-z_:0-9]+", query)}:
        expect(name in recorded(), f"{DASHBOARD}: no rule records {name}")
    rules = [{"record": f"dashboard:query:{number}", "expr": query} for number, query in enumerate(plain)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        promtool(binary, ["check", "rules", str(path)], "dashboard: queries", good, expect)


def check(binary, shown, good, expect):
    promtool(binary, ["check", "rules", str(RULES)], "rules", good, expect)
    scrape = ["check", "config", "--syntax-only", str(SCRAPE)]
    promtool(binary, scrape, "scrape", good, expect)
    job = yaml.safe_load(SCRAPE.read_text())["scrape_configs"][0]["job_name"]
    expect(job in RULES.read_text(), f"{SCRAPE}: no alarm is for the job {job}")
    expressions = [rule["expr"] for kind in ("record", "alert") for rule in rules_of(kind)] + queries()
    names_exist(expressions, shown, good, expect)
    reasons_exist(expressions, good, expect)
    check_runbook(good, expect)
    check_dashboard(binary, good, expect)
    cases = yaml.safe_load(CASES.read_text())
    played(binary, cases, good, expect)
    fired = {name for case in cases for name in case["fires"]}
    silent = {rule["alert"] for rule in rules_of("alert")} - fired
    expect(not silent, f"no case lets fire: {silent}")
