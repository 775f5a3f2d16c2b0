//! Generated policies: rules of every kind that call each other, each with an input.
//!
//! Invariant: no builtin is called with what it takes for an error: the library raises these
//! out of the whole policy, where a deployed OPA takes the expression for undefined.

use serde_json::{Value, json};

use super::Pair;
use super::generate::Source;

mod rarer;

/// `count` pairs from this seed.
pub fn pairs(seed: u64, count: usize, input: &Value) -> Vec<Pair> {
    let mut source = Source::new(seed ^ 0x5eed);
    (0..count)
        .map(|index| Pair {
            name: format!("generated/policy/{index}"),
            modules: vec![("policy.rego".to_owned(), Policy::new(&mut source).text())],
            data: json!({
                "list": ["a", "people", "x", "a"],
                "levels": {"a": 1, "x": 2, "GET": 3, "POST": 3},
                "names": {"alice": "a", "x": "GET", "people": "x"},
            }),
            query: "data.t.answer".to_owned(),
            input: changed(input, &mut source),
            expression: None,
        })
        .collect()
}

/// The document with other values, or without some.
fn changed(input: &Value, source: &mut Source) -> Value {
    let mut input = input.clone();
    let method = source.of(&["GET", "POST", "DELETE", "x"]).to_owned();
    input["attributes"]["request"]["http"]["method"] = json!(method);
    match source.below(5) {
        0 => input["parsed_path"] = json!(["a"]),
        1 => input["parsed_path"] = json!([]),
        2 => input["parsed_body"] = json!({"age": 2, "tags": ["a", "a", "people"]}),
        3 => input["parsed_body"] = Value::Null,
        _ => {}
    }
    input
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Text,
    Truth,
    /// Of texts.
    Set,
    /// Of numbers, by text.
    Object,
    /// From a text to a number.
    Function,
}

struct Policy<'a> {
    source: &'a mut Source,
    rules: Vec<(String, Kind)>,
    text: String,
    /// Variables in sight, all texts.
    variables: Vec<String>,
    made: usize,
}

impl<'a> Policy<'a> {
    fn new(source: &'a mut Source) -> Self {
        let text = "package t\n\nimport rego.v1\n".to_owned();
        Self { source, rules: Vec::new(), text, variables: Vec::new(), made: 0 }
    }

    fn text(mut self) -> String {
        for index in 0..3 + self.source.below(4) {
            let kind = match self.source.below(6) {
                0 => Kind::Number,
                1 => Kind::Text,
                2 => Kind::Truth,
                3 => Kind::Set,
                4 => Kind::Object,
                _ => Kind::Function,
            };
            let name = format!("r{index}");
            self.rule(&name, kind);
            self.rules.push((name, kind));
        }
        for (name, kind) in self.rules.clone() {
            let value =
                if kind == Kind::Function { format!("{name}(\"a\")") } else { name.clone() };
            self.text.push_str(&format!("\nanswer[\"{name}\"] := {value}\n"));
        }
        self.text
    }

    fn rule(&mut self, name: &str, kind: Kind) {
        let complete = matches!(kind, Kind::Number | Kind::Text | Kind::Truth);
        if complete && self.source.below(2) == 0 {
            let value = match kind {
                Kind::Number => "0",
                Kind::Text => "\"none\"",
                _ => "false",
            };
            self.text.push_str(&format!("\ndefault {name} := {value}\n"));
        }
        let parameters = ["\"a\"", "\"x\"", "\"GET\"", "p"];
        let first = self.source.below(parameters.len());
        for turn in 0..=self.source.below(3) {
            self.variables.clear();
            let parameter = parameters[(first + turn) % parameters.len()];
            if kind == Kind::Function && parameter == "p" {
                self.variables.push("p".to_owned());
            }
            let body = self.body();
            let head = match kind {
                Kind::Number => format!("{name} := {}", self.number(1)),
                Kind::Text => format!("{name} := {}", self.fixed()),
                Kind::Truth => name.to_owned(),
                Kind::Set => format!("{name} contains {}", self.word(1)),
                Kind::Object => format!("{name}[{}] := {}", self.word(0), self.number(0)),
                Kind::Function => format!("{name}({parameter}) := {}", self.number(0)),
            };
            let mut text = format!("\n{head} if {{\n\t{body}\n}}");
            let ends = matches!(kind, Kind::Number | Kind::Text | Kind::Function);
            if ends && self.source.below(3) == 0 {
                self.variables.retain(|name| name == "p");
                let body = self.body();
                let value = if kind == Kind::Text { self.fixed() } else { self.number(0) };
                text.push_str(&format!(" else := {value} if {{\n\t{body}\n}}"));
            }
            self.text.push_str(&text);
            self.text.push('\n');
        }
    }

    fn body(&mut self) -> String {
        let count = 1 + self.source.below(3);
        (0..count).map(|_| self.condition()).collect::<Vec<_>>().join("\n\t")
    }

    fn condition(&mut self) -> String {
        if self.source.below(3) == 0 {
            return self.rarer();
        }
        match self.source.below(12) {
            0 => format!("{} == {}", self.word(1), self.word(1)),
            1 => format!("{} != {}", self.word(1), self.word(0)),
            2 => format!("{} < {}", self.number(1), self.number(0)),
            3 => format!("{} >= {}", self.number(1), self.number(1)),
            4 => format!("{} in {}", self.word(1), self.words()),
            5 => format!("not {} in {}", self.word(0), self.words()),
            6 => format!("not {} == {}", self.word(1), self.word(0)),
            7 => {
                let words = self.words();
                let name = self.variable();
                self.variables.push(name.clone());
                format!("some {name} in {words}")
            }
            8 => {
                let (words, name) = (self.words(), self.variable());
                format!("every {name} in {words} {{ {} }}", self.inside(&name))
            }
            9 => {
                let (number, name) = (self.number(1), self.variable());
                format!("{name} := {number}\n\t{name} > {}", self.number(0))
            }
            10 => self.of_kind(Kind::Truth).unwrap_or_else(|| "true".to_owned()),
            _ => self
                .of_kind(Kind::Truth)
                .map_or_else(|| "input.truncated_body == false".to_owned(), |n| format!("not {n}")),
        }
    }

    /// What is asked of each `name` that a part of its own goes through.
    fn inside(&mut self, name: &str) -> String {
        self.variables.push(name.to_owned());
        let text = match self.source.below(9) {
            0 => format!("data.names[{name}]"),
            1 => format!("data.names[{name}] == {}", self.word(1)),
            2 => format!("{name} != data.names[{name}]"),
            3 => format!("not data.levels[{name}] == 3"),
            4 => match self.of_kind(Kind::Set) {
                Some(set) => format!("{set}[{name}]"),
                None => format!("{name} in data.list"),
            },
            5 => match self.of_kind(Kind::Object) {
                Some(object) => format!("{object}[{name}] > {}", self.number(0)),
                None => format!("data.list[_] == {name}"),
            },
            6 => format!("{name} != {}; {} in {}", self.word(1), self.word(0), self.words()),
            _ => format!("{name} != {}", self.word(0)),
        };
        self.variables.pop();
        text
    }

    fn variable(&mut self) -> String {
        self.made += 1;
        format!("w{}", self.made)
    }

    fn of_kind(&mut self, kind: Kind) -> Option<String> {
        let names: Vec<&str> = self
            .rules
            .iter()
            .filter(|(_, of)| *of == kind)
            .map(|(name, _)| name.as_str())
            .collect();
        if names.is_empty() { None } else { Some(self.source.of(&names).to_owned()) }
    }

    fn number(&mut self, depth: usize) -> String {
        let leaf = |source: &mut Source| source.of(&["0", "1", "2", "3", "7"]).to_owned();
        match self.source.below(if depth == 0 { 5 } else { 10 }) {
            0 => "input.parsed_body.age".to_owned(),
            1 => self.of_kind(Kind::Number).unwrap_or_else(|| leaf(self.source)),
            2 => format!("data.levels[{}]", self.word(0)),
            5 => format!("sum([{}, {}])", self.number(0), self.number(0)),
            6 => format!("count({})", self.words()),
            7 => match self.of_kind(Kind::Object) {
                Some(name) => format!("{name}[{}]", self.word(0)),
                None => format!("max([{}, {}])", self.number(0), self.number(0)),
            },
            8 => match self.of_kind(Kind::Function) {
                Some(name) => format!("{name}({})", self.word(0)),
                None => leaf(self.source),
            },
            9 => {
                let (name, words) = (self.variable(), self.words());
                let inside = self.inside(&name);
                match self.source.below(2) {
                    0 => format!("count([{name} | some {name} in {words}; {inside}])"),
                    _ => format!("count({{{name} | some {name} in {words}; {inside}}})"),
                }
            }
            _ => leaf(self.source),
        }
    }

    /// A text that is written out.
    fn fixed(&mut self) -> String {
        self.source.of(&["\"a\"", "\"x\"", "\"GET\"", "\"people\"", "\"POST\""]).to_owned()
    }

    fn word(&mut self, depth: usize) -> String {
        match self.source.below(if depth == 0 { 6 } else { 8 }) {
            0 => "input.attributes.request.http.method".to_owned(),
            1 => format!("input.parsed_path[{}]", self.source.below(3)),
            2 => self.of_kind(Kind::Text).unwrap_or_else(|| self.fixed()),
            3 if !self.variables.is_empty() => {
                let names: Vec<&str> = self.variables.iter().map(String::as_str).collect();
                self.source.of(&names).to_owned()
            }
            6 => format!("data.names[{}]", self.word(0)),
            7 => "input.missing.deeper".to_owned(),
            _ => self.fixed(),
        }
    }

    fn words(&mut self) -> String {
        match self.source.below(6) {
            0 => "input.parsed_path".to_owned(),
            1 => "input.parsed_body.tags".to_owned(),
            2 => "data.list".to_owned(),
            3 => self.of_kind(Kind::Set).unwrap_or_else(|| "{\"a\", \"x\"}".to_owned()),
            4 => "object.keys(data.levels)".to_owned(),
            _ => format!("[{}, {}]", self.fixed(), self.fixed()),
        }
    }
}
