//! What the engine answers, by bytecode and by interpreter.

use serde_json::{Value as Json, json};

use crate::Value;
use crate::machine::{Fault, Machine};
use crate::program::{self, Rules};

const NOW: u64 = 1_750_000_000_123;

fn modules(text: &str) -> Vec<(String, String)> {
    vec![("policy.rego".to_owned(), text.to_owned())]
}

/// The value of `data.t.x` by bytecode, which the interpreter has to have too.
fn value(text: &str, input: &Json) -> Result<Value, Fault> {
    let text = format!("package t\n{text}");
    let program = program::load(&modules(&text), &json!({"d": {"a": [1, 2]}}), "data.t.x");
    let program = program.unwrap_or_else(|found| panic!("{text}\n{found:?}"));
    let mut machine = Machine::new(&program, 25_000).unwrap();
    let input = Value::from(input.clone());
    let compiled = machine.run(input.clone(), NOW);
    let again = machine.run(input.clone(), NOW);
    assert_eq!(compiled, again, "{text}");
    let mut rules = Rules::new(&modules(&text), &json!({"d": {"a": [1, 2]}})).unwrap();
    let interpreted = rules.value("data.t.x", input, NOW);
    if compiled != Err(Fault::Limit) {
        assert_eq!(compiled, interpreted, "{text}");
    }
    compiled
}

fn json(text: &str, input: &Json) -> Json {
    let value = value(text, input).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    if value == Value::Undefined {
        return json!("<undefined>");
    }
    serde_json::to_value(&value).unwrap()
}

fn refusals(text: &str) -> Vec<String> {
    let text = format!("package t\n{text}");
    match program::load(&modules(&text), &json!({}), "data.t.x") {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn plain_rules_have_their_values() {
    let input = json!({"a": {"b": "c"}, "n": 3, "list": ["p", "q"]});
    let rows = [
        ("x := 1", json!(1)),
        ("x if input.n == 3", json!(true)),
        ("default x := false\nx if input.n == 4", json!(false)),
        ("x if input.n == 4", json!("<undefined>")),
        ("x := input.a.b", json!("c")),
        ("import input.a as alias\nx := alias.b", json!("c")),
        ("x := data.d.a", json!([1, 2])),
        ("import data.d\nx := d.a[1]", json!(2)),
        ("h[\"k\"] := 1\nh.l := 2\nx := h", json!({"k": 1, "l": 2})),
        ("h[k] := v if some k, v in input.list\nx := count(h)", json!(2)),
        ("s contains v if some v in input.list\nx := s", json!(["p", "q"])),
        ("x := {k: v | some k, v in input.list}[1]", json!("q")),
        ("f(a, _) := a + 1\nf(_, b) := b if b == 9\nx := f(1, 2)", json!(2)),
        ("f(\"a\", y) := y\nf(\"b\", y) := y + 1\nx := f(\"b\", 1)", json!(2)),
        ("x := 401 if input.n == 4\nelse := 403 if input.n == 3\nelse := 500", json!(403)),
        ("x := \"a\" if input.n == 3\nx := \"b\" if input.n == 4", json!("a")),
        ("x := sprintf(\"%s-%d %v %%\", [\"a\", 3, [true, \"b\"]])", json!("a-3 [true, \"b\"] %")),
        ("x if every v in input.list { startswith(v, \"p\") }", json!("<undefined>")),
        ("x if not input.z", json!(true)),
        ("x if { some i; input.list[i] == \"q\" }", json!(true)),
        ("x := v if { v := input.list[_]; v == \"q\" }", json!("q")),
        ("x if \"p\" in input.list", json!(true)),
        ("x := [v | some v in input.list; v != \"p\"]", json!(["q"])),
        ("x := {\"a\", \"b\"} & {\"b\"}", json!(["b"])),
        ("x := time.now_ns()", json!(1_750_000_000_123_000_000_u64)),
        ("x := [v.id | some v in [{\"id\": 1}, {}]]", json!([1])),
        ("x := [n | some v in [{\"id\": 1}, {}]; n := v.id]", json!([1])),
        ("x := v.id if some v in [{\"id\": 1}, {}]", json!(1)),
        ("h[\"a\"] := 1\nh[\"b\"] := y\ny if input.z\nx := h", json!({"a": 1})),
        ("s contains y\ny if input.z\nx := s", json!([])),
        ("x := y if true\nelse := 2\ny if input.z", json!(2)),
        ("x := count({k: v.id | some k, v in [{\"id\": 1}, {}]})", json!(1)),
        ("x if { n := input.z; true }", json!("<undefined>")),
        ("x := [1 | n := y]\ny if input.z", json!([])),
        ("f(a) := 1\nx := f(input.z)", json!("<undefined>")),
        ("f(_) := 1\nx if not f(input.z)", json!(true)),
        ("x := {\"a\": input.z}", json!("<undefined>")),
        ("x := [1, input.z]", json!("<undefined>")),
        ("x := {1, input.z}", json!("<undefined>")),
        ("x if input.z in [1]", json!("<undefined>")),
        ("x if { [a, b] := input.z; true }", json!("<undefined>")),
        ("x if { [a, b] := input.list; b == \"q\" }", json!(true)),
        ("x := input.z + 1", json!("<undefined>")),
        ("x if every v in input.z { v }", json!("<undefined>")),
        ("x := count(input.z)", json!("<undefined>")),
        ("x if { a := input.n; b := a; b == 3 }", json!(true)),
        ("x := strings.count(\"abc\", \"\")", json!(4)),
        ("x := glob.match(\"*:read\", [\":\"], \"a:b:read\")", json!(false)),
        ("x := to_number(\" 1\")", json!("<undefined>")),
        ("x := object.get(input, [\"a\", \"b\"], 0)", json!("c")),
        ("x := base64.decode(\"%%\")", json!("<undefined>")),
        ("x if not base64.decode(\"%%\")", json!(true)),
        ("x := (1 + 2) * 3 - 4 / 2", json!(7)),
        ("x := {\"a b\": 1}[\"a b\"]", json!(1)),
        ("x := `a\"b`", json!("a\"b")),
    ];
    for (text, want) in rows {
        assert_eq!(json(text, &input), want, "{text}");
    }
}

#[test]
fn contradictions_are_conflicts() {
    let input = json!({"n": 3, "list": ["p", "q"]});
    let rows = [
        "x := \"a\" if input.n == 3\nx := \"b\" if input.n > 2",
        "x := v if some v in input.list",
        "x := input.list[_]",
        "f(a) := 1 if a > 0\nf(a) := 2 if a > 1\nx := f(5)",
        "h[\"k\"] := 1\nh[\"k\"] := 2 if input.n == 3\nx := h",
        "h[\"k\"] := v if some v in input.list\nx := h",
        "x := {1: v | some v in input.list}",
        "y := input.list[_]\nx if not y",
    ];
    for text in rows {
        assert_eq!(value(text, &input), Err(Fault::Conflict), "{text}");
    }
}

#[test]
fn an_endless_decision_meets_the_limit() {
    let text = "r := numbers.range(1, 1000)\nx := count([1 | some a in r; some b in r; a == b])";
    assert_eq!(value(text, &json!({})), Err(Fault::Limit));
}

#[test]
fn what_is_not_supported_is_refused_with_its_place() {
    let rows = [
        ("x if", "policy.rego:2:5:"),
        ("x := y\ny := x", "policy.rego:2:1: recursion: data.t.x -> data.t.y -> data.t.x"),
        ("x if x2 with input as {}\nx2 if input.a", "with is for tests"),
        ("default f(_) := 0\nf(a) := a\nx := f(1)", "policy.rego:2:1: default of a function"),
        ("x := http.send({})", "policy.rego:2:6: http.send: a decision asks nobody"),
        ("x := nothing(1)", "nothing: no rule and no builtin"),
        ("x if print(1)", "print: it is for tests"),
        ("x := data.t", "data.t is a package"),
        ("x := data", "data is a package"),
        ("h.a.b := 1\nx := h", "a rule's head may be a name"),
        ("y := 1", "query: no rule data.t.x"),
        ("x contains 1", "makes a value"),
        ("x := 0.1 + 0.2", "arithmetic on fractions"),
        ("x := sprintf(input.f, [1])", "sprintf: expected a literal format"),
        ("x := sprintf(\"%s %s\", [1])", "sprintf: expected an array of 2"),
        ("x if input.attributes.source.address", "is not in the input of this gate"),
        ("import input.a\nx if { a := 1; a == 1 }", "has the name of an import"),
        ("x := glob.match(\"a\", [])", "glob.match: expected 3 arguments"),
        ("x := y", "policy.rego:"),
        ("x := postern.one(1, 2, 3)", "postern.one"),
        ("x := -input.n", "unary"),
        ("x if { [x | some x in [1]]; x }", "has the name of a rule"),
    ];
    for (text, want) in rows {
        let found = refusals(text);
        assert!(found.iter().any(|one| one.contains(want)), "{text}: {found:?}");
    }
}
