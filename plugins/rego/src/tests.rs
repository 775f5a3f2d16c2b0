//! What the engine answers, by bytecode and by interpreter.

use postern_core::denial::PolicyReason;
use postern_core::policy::{Answer, Changes, Obligations};
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
        ("f(_) := 1\nx if not f(input.z)", json!("<undefined>")),
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
        ("x := object.get(input, \"n\", 0)", json!(3)),
        ("x := strings.replace_n({\"a\": \"b\", \"b\": \"a\"}, \"ab\")", json!("ba")),
        ("x := concat(\"-\", {\"b\", \"a\"})", json!("a-b")),
        ("x := concat(\"-\", [\"b\", 1])", json!("<undefined>")),
        ("x := concat(\"-\", input.n)", json!("<undefined>")),
        ("x := strings.replace_n({\"a\": input.n}, \"abc\")", json!("<undefined>")),
        ("x := strings.replace_n({\"a\": \"b\"}, input.n)", json!("<undefined>")),
    ];
    for (text, want) in rows {
        assert_eq!(json(text, &input), want, "{text}");
    }
}

#[test]
fn what_is_assigned_is_defined_and_fits() {
    let input = json!({"n": 3, "list": ["p", "q"], "pairs": [["a", 1], ["b", 2]], "o": {"a": 1}});
    let rows = [
        ("x if { n = input.z; true }", json!("<undefined>")),
        ("x if { input.z = n; true }", json!("<undefined>")),
        ("x if { some n; n = input.z; true }", json!("<undefined>")),
        ("x if { _ = input.z; true }", json!("<undefined>")),
        ("x := n if n = input.n", json!(3)),
        ("x := n if input.n = n", json!(3)),
        ("x if input.n = 3", json!(true)),
        ("x if input.n = 4", json!("<undefined>")),
        ("x if input.z = input.z", json!("<undefined>")),
        ("x if not input.n = 4", json!(true)),
        ("x if not input.n = 3", json!("<undefined>")),
        ("x if not input.z = 3", json!(true)),
        ("x := [n | n = input.z]", json!([])),
        ("x if { [a, b] := input.n; true }", json!("<undefined>")),
        ("x if { [a, b] := input.o; true }", json!("<undefined>")),
        ("x if { [a] := input.list; true }", json!("<undefined>")),
        ("x if { [a, b, c] := input.list; true }", json!("<undefined>")),
        ("x if { l := input.list; [a] := l; true }", json!("<undefined>")),
        ("x if { l := \"pq\"; [a, b] := l; true }", json!("<undefined>")),
        ("x if { [] := input.list; true }", json!("<undefined>")),
        ("x := b if { [_, b] := input.list }", json!("q")),
        ("x := b if { l := input.list; [_, b] := l }", json!("q")),
        ("x := [v | some p in input.pairs; [_, v] := p]", json!([1, 2])),
        ("x := {k: v | some p in input.pairs; [k, v] := p}.a", json!(1)),
        ("x if every p in input.pairs { [_, v] := p; v > 0 }", json!(true)),
        ("x if every p in input.pairs { [_] := p }", json!("<undefined>")),
    ];
    for (text, want) in rows {
        assert_eq!(json(text, &input), want, "{text}");
    }
}

#[test]
fn what_another_engine_might_answer_is_a_fault() {
    let rows = [
        "x if not regex.match(`(?x)a b`, `a b`)",
        "x if not regex.match(`(?u)a`, `b`)",
        "x if not regex.match(`(?R)a`, `b`)",
        "x := regex.match(`a{1001}`, ``)",
        "x := regex.match(`(a{100}){100}`, `a`)",
        "x := regex.match(`a**`, `a`)",
        "x := regex.match(`a+*`, `a`)",
        "x := regex.match(`a{2}{3}`, `a`)",
        "x := regex.match(`a{,2}`, `a`)",
        "x := regex.match(`[\\b]`, `a`)",
        "x := regex.match(`[!-\\d]`, `!5]`)",
        "x := regex.match(`[[a]b]`, `a`)",
        "x := regex.match(`[a&&b]`, `a`)",
        "x := regex.match(`(?P<a.b>x)`, `x`)",
        "x if not regex.match(`\\Z`, `a`)",
        "x if not regex.match(`\\012`, `a`)",
        "x if not regex.match(`a{`, `a{`)",
        "x := regex.is_valid(`a{`)",
        "x := regex.is_valid(`(?<=a)b`)",
        "x := regex.match(`(.{1000}){1}(.{1000}){1}(\\w{900})`, `a`)",
        "x := regex.replace(`a`, `(a)`, `$1é`)",
        "x := regex.replace(`a`, `(a)`, `${a-b}`)",
        "x := regex.replace(`a`, `(a)`, `$01`)",
        "x if not glob.match(`[a`, [], `a`)",
        "x if not glob.match(`{a`, [], `a`)",
        "x := strings.replace_n({``: `b`}, `a`)",
    ];
    for text in rows {
        assert_eq!(value(text, &json!({})), Err(Fault::Failed), "{text}");
    }
}

#[test]
fn patterns_that_no_engine_takes_are_undefined() {
    for pattern in ["[", "[]", "[^]", "a)", "(a", "((a)", "a\\\\", "[a\\\\"] {
        let text = format!("x := regex.match(\"{pattern}\", \"a\")");
        assert_eq!(json(&text, &json!({})), json!("<undefined>"), "{text}");
        let text = format!("x := regex.is_valid(\"{pattern}\")");
        assert_eq!(json(&text, &json!({})), json!(false), "{text}");
    }
}

#[test]
fn patterns_of_both_engines_match() {
    let rows = [
        (r"^[0-9a-f]{8}-[0-9a-f]{4}$", "0123abcd-0a1b", true),
        (r"^[\w.-]+@[^\s@]+$", "a.b-c@d", true),
        (r"^[]a]+$", "a]", true),
        (r"^[^]a]+$", "]", false),
        (r"^[a\]]+$", "a]", true),
        (r"^(?i:AB)c$", "abc", true),
        (r"^(?P<n>a)(?<m>b)$", "ab", true),
        (r"^a{2,3}?b$", "aab", true),
        (r"\bb\b", "a b", true),
        (r"^[[:alpha:]_]+$", "a_b", true),
        (r"^[\d-]+$", "1-2", true),
        (r"^\(\[\{x\}\]\)$", "([{x}])", true),
        (r"^a--b$", "a--b", true),
        (r"^\x41\x{42}$", "AB", true),
    ];
    for (pattern, text, want) in rows {
        let text = format!("x := regex.match(`{pattern}`, `{text}`)");
        assert_eq!(json(&text, &json!({})), json!(want), "{text}");
    }
}

#[test]
fn no_text_grows_beyond_its_bound() {
    let double = |times: usize, first: &str, next: &str| {
        let mut text = format!("a0 := {first}\n");
        for step in 1..=times {
            let before = format!("a{}", step - 1);
            text.push_str(&format!("a{step} := {}\n", next.replace("IT", &before)));
        }
        format!("{text}x := count(a{times})")
    };
    let rows = [
        "concat(``, [IT, IT])",
        "sprintf(`%s%s`, [IT, IT])",
        "regex.replace(IT, `a`, `aa`)",
        "strings.replace_n({`a`: `aa`}, IT)",
        "replace(IT, `a`, `aa`)",
    ];
    for next in rows {
        let good = double(10, "`a`", next);
        assert_eq!(json(&good, &json!({})), json!(1024), "{next}");
        assert_eq!(value(&double(21, "`a`", next), &json!({})), Err(Fault::Failed), "{next}");
    }
}

#[test]
fn patterns_and_delimiters_are_not_mixed_up() {
    let text = "x := [glob.match(\"\\u0000x\", null, \"\\u0000x\"), \
                glob.match(\"x\", [\"\\u0000\"], \"x\")]";
    assert_eq!(json(text, &json!({})), json!([true, true]));
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
        ("x if { {\"a\": a} := input.o; a }", "expected a variable, or an array of variables"),
        ("x if { [a, [b]] := input.o; b }", "expected a variable, or an array of variables"),
        ("x if { [a, 1] := input.o; a }", "expected a variable, or an array of variables"),
        ("x if { [a, a] := input.o; a }", "expected a variable, or an array of variables"),
        ("x if { [a, b] = input.o; a == b }", "= with a pattern"),
        ("x if { input.o = {\"a\": a}; a }", "= with a pattern"),
        ("x if { some [a, b] in input.o; a == b }", "expected a variable behind some"),
        ("x if { some {\"a\": a} in input.o; a }", "expected a variable behind some"),
        ("x if { some k, {\"a\": a} in input.o; a }", "expected a variable behind some"),
        ("f([a, b]) := a\nx := f([1, 2])", "expected a variable of its own or a constant"),
        ("f({\"a\": a}) := a\nx := f({\"a\": 1})", "expected a variable of its own or a constant"),
        ("f(a, a) := a\nx := f(1, 2)", "expected a variable of its own or a constant"),
        ("x if not a := input.o", "an assignment behind not"),
        ("x if { some a, b; input.o[[a, b]] }", "an index with a pattern"),
        ("x := input", "input as a whole"),
        ("x := input.attributes", "input.attributes as a whole"),
        ("x := count(input.attributes.request)", "input.attributes.request as a whole"),
        ("x := input.attributes.request.http[k] if k := \"body\"", "http as a whole"),
        ("x if { h := input.attributes.request.http; h.body }", "http as a whole"),
        ("import input.attributes.request.http as h\nx := h", "http as a whole"),
        ("x := object.get(input, [\"attributes\", \"source\"], 1)", "is not in the input"),
        ("x := object.get(input, [\"attributes\", input.a], 1)", "input.attributes as a whole"),
        ("x := object.get(input, input.a, 1)", "input as a whole"),
        ("x := json.filter(input, [\"parsed_body\"])", "input as a whole"),
    ];
    for (text, want) in rows {
        let found = refusals(text);
        assert!(found.iter().any(|one| one.contains(want)), "{text}: {found:?}");
    }
}

#[test]
fn obligations_have_one_form_and_nothing_more() {
    let read = |text: &str| {
        let value = Value::from_json_str(&format!(r#"{{"allowed":true,"obligations":{text}}}"#));
        match crate::read_decision(&value.unwrap()) {
            Ok(Answer::Allow(changes, duties)) if changes == Changes::default() => Ok(duties),
            Ok(other) => panic!("{other:?}"),
            Err(reason) => Err(reason),
        }
    };
    let text = |text: &str| vec![text.to_owned()];
    let all = r#"[{"kind":"approval","reason":"why"},{"kind":"passkey"},{"kind":"redact","above":"b"},
        {"kind":"redact","above":"a"},{"kind":"rate","class":"c"},{"kind":"taint","label":"t"},
        {"kind":"alarm","reason":"why"}]"#;
    let duties = Obligations {
        approval: true,
        passkey: true,
        redact_above: vec!["b".to_owned(), "a".to_owned()],
        rate_classes: text("c"),
        taints: text("t"),
        alarm: true,
    };
    assert_eq!(read(all), Ok(duties));
    assert_eq!(read("[]"), Ok(Obligations::default()));
    for bad in [
        "{}",
        "true",
        "null",
        r#"{"kind":"approval"}"#,
        r#"["approval"]"#,
        r#"[{}]"#,
        r#"[{"kind":"other"}]"#,
        r#"[{"kind":"Approval"}]"#,
        r#"[{"kind":true}]"#,
        r#"[{"kind":"approval","by":"me"}]"#,
        r#"[{"kind":"redact"}]"#,
        r#"[{"kind":"redact","above":1}]"#,
        r#"[{"kind":"redact","below":"a"}]"#,
        r#"[{"kind":"rate","class":"a","label":"b"}]"#,
        r#"[{"kind":"taint","class":"a"}]"#,
        r#"[{"kind":"alarm","to":"me"}]"#,
    ] {
        assert_eq!(read(bad), Err(PolicyReason::Obligation), "{bad}");
    }
    let many = vec![r#"{"kind":"passkey"}"#; 33].join(",");
    assert_eq!(read(&format!("[{many}]")), Err(PolicyReason::Obligation));
    // A refusal with obligations that nobody could read is not even that.
    let value = Value::from_json_str(r#"{"allowed":false,"obligations":[1]}"#).unwrap();
    assert_eq!(crate::read_decision(&value), Err(PolicyReason::Obligation));
}
