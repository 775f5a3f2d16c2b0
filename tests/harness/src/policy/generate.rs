//! Generated pairs: expressions of a small grammar over the builtins that are admitted, most of
//! them with a value.

use serde_json::Value;

use super::{Pair, pair};

/// `count` pairs from this seed.
pub fn pairs(seed: u64, count: usize, input: &Value) -> Vec<Pair> {
    let mut source = Source::new(seed);
    let expression = |source: &mut Source| match source.below(7) {
        0 => source.number(3),
        1 => source.text(3),
        2 => source.truth(3),
        3 => source.list(3),
        4 => source.set(3),
        5 => source.object(3),
        _ => source.comprehension(),
    };
    (0..count)
        .map(|index| pair(format!("generated/{index}"), &expression(&mut source), input))
        .collect()
}

/// A stream of numbers (xorshift64*).
pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 on, below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % most
    }

    /// One of a list that is not empty.
    pub fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn number(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.of(&["0", "1", "2", "7", "-3", "40", "input.parsed_body.age"]).to_owned();
        }
        let depth = depth - 1;
        match self.below(12) {
            0 => format!("({} + {})", self.number(depth), self.number(depth)),
            1 => format!("({} - {})", self.number(depth), self.number(depth)),
            2 => format!("({} * {})", self.number(depth), self.number(depth)),
            3 => format!("({} % {})", self.number(depth), self.number(depth)),
            4 => format!("count({})", self.list(depth)),
            5 => format!("count({})", self.text(depth)),
            6 => format!("abs({})", self.number(depth)),
            7 => format!("max([{}, {}])", self.number(depth), self.number(depth)),
            // An empty one is an error, which the library raises even out of a comprehension.
            8 => {
                let sought = self.of(&["\"a\"", "\"/v\"", "\"ü\""]).to_owned();
                format!("indexof({}, {sought})", self.text(depth))
            }
            9 => format!("strings.count({}, {})", self.text(depth), self.text(0)),
            10 => format!("sum([{}, {}])", self.number(depth), self.number(depth)),
            _ => self.number(0),
        }
    }

    /// A text that is not empty, as `policies/DIFFERENCES.md` asks of what is replaced.
    fn needle(&mut self) -> String {
        Some(self.text(0)).filter(|text| text != "\"\"").unwrap_or_else(|| "\"r\"".to_owned())
    }

    fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            let leaves = [
                "\"\"",
                "\"a\"",
                "\"abc\"",
                "\"/api/v1\"",
                "\"a.b.c\"",
                "\"Zürich\"",
                "\"x-y-x\"",
                "input.attributes.request.http.path",
                "input.attributes.request.http.method",
                "input.postern.trust",
                "input.parsed_path[2]",
            ];
            return self.of(&leaves).to_owned();
        }
        let depth = depth - 1;
        match self.below(14) {
            0 => format!("concat({}, {})", self.text(0), self.texts(depth)),
            1 => format!("lower({})", self.text(depth)),
            2 => format!("upper({})", self.text(depth)),
            3 => format!("replace({}, {}, {})", self.text(depth), self.needle(), self.text(0)),
            4 => format!("trim({}, {})", self.text(depth), self.text(0)),
            5 => format!("substring({}, {}, 2)", self.text(depth), self.below(4)),
            6 => format!("sprintf(\"%s:%d\", [{}, {}])", self.text(depth), self.number(depth)),
            7 => format!("trim_prefix({}, {})", self.text(depth), self.text(0)),
            8 => format!("trim_suffix({}, {})", self.text(depth), self.text(0)),
            9 => format!("base64.encode({})", self.text(depth)),
            10 => format!("format_int({}, 16)", self.number(depth)),
            11 => format!("json.marshal({})", self.object(depth)),
            12 => {
                let (one, two, three) = (self.text(0), self.text(0), self.text(0));
                let pairs = format!("{{\"a\": {one}, \"ab\": {two}, \"/v\": {three}}}");
                format!("strings.replace_n({pairs}, {})", self.text(depth))
            }
            _ => format!("strings.reverse({})", self.text(depth)),
        }
    }

    fn texts(&mut self, depth: usize) -> String {
        match self.below(4) {
            0 => format!("split({}, {})", self.text(depth), self.text(0)),
            1 => "input.parsed_path".to_owned(),
            2 => format!("[{}, {}]", self.text(depth), self.text(depth)),
            _ => "input.postern.scopes".to_owned(),
        }
    }

    fn truth(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.of(&["true", "false", "input.truncated_body"]).to_owned();
        }
        let depth = depth - 1;
        match self.below(12) {
            0 => format!("{} == {}", self.text(depth), self.text(depth)),
            1 => format!("{} < {}", self.number(depth), self.number(depth)),
            2 => format!("startswith({}, {})", self.text(depth), self.text(0)),
            3 => format!("contains({}, {})", self.text(depth), self.text(0)),
            4 => format!("{} in {}", self.text(0), self.texts(depth)),
            // Never the empty text: see `policies/DIFFERENCES.md`.
            5 => {
                let text = format!("concat(\"\", [\"a\", {}])", self.text(depth));
                format!("glob.match({}, [\"/\"], {text})", self.glob())
            }
            6 => format!("regex.match({}, {})", self.regex(), self.text(depth)),
            7 => format!("net.cidr_contains({}, {})", self.range(), self.address()),
            8 => format!("{} != {}", self.list(depth), self.list(depth)),
            9 => format!("is_string({})", self.text(depth)),
            10 => format!("{} >= {}", self.set(depth), self.list(depth)),
            _ => format!("strings.any_prefix_match({}, {})", self.text(depth), self.texts(depth)),
        }
    }

    fn glob(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..=self.below(4) {
            text.push_str(
                self.of(&["*", "**", "?", "/", "a", "api", "[abc]", "[!a]", "{a,v1}", "b"]),
            );
        }
        format!("\"{text}\"")
    }

    fn regex(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..=self.below(4) {
            text.push_str(self.of(&[
                "^", "$", "a", "b+", "[a-c]", "(x|y)*", ".", "v[0-9]", "/", "\\\\d", "\\\\w?",
            ]));
        }
        format!("\"{text}\"")
    }

    fn range(&mut self) -> String {
        format!(
            "\"{}.0.0.0/{}\"",
            self.of(&["10", "172", "0"]),
            self.of(&["0", "4", "8", "31", "32", "33"])
        )
    }

    fn address(&mut self) -> String {
        self.of(&["\"10.0.0.1\"", "\"172.16.9.9\"", "\"10.0.0.0/9\"", "\"::1\"", "\"10.0.0\""])
            .to_owned()
    }

    fn list(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .of(&["[]", "[1]", "[\"a\", 2]", "input.parsed_path", "input.parsed_body.tags"])
                .to_owned();
        }
        let depth = depth - 1;
        match self.below(7) {
            0 => format!("array.concat({}, {})", self.list(depth), self.list(depth)),
            1 => format!("array.slice({}, {}, {})", self.list(depth), self.below(3), self.below(5)),
            2 => format!("array.reverse({})", self.list(depth)),
            3 => format!("[{}, {}]", self.number(depth), self.text(depth)),
            4 => format!("sort({})", self.set(depth)),
            5 => self.texts(depth),
            _ => format!("numbers.range({}, {})", self.below(4), self.below(4)),
        }
    }

    fn set(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.of(&["set()", "{1}", "{\"a\", 2}", "{\"a\", \"b\"}"]).to_owned();
        }
        let depth = depth - 1;
        match self.below(5) {
            0 => format!("({} | {})", self.set(depth), self.set(depth)),
            1 => format!("({} & {})", self.set(depth), self.set(depth)),
            2 => format!("({} - {})", self.set(depth), self.set(depth)),
            3 => format!("{{{}, {}}}", self.text(depth), self.number(depth)),
            _ => format!("{{x{depth} | some x{depth} in {}}}", self.list(depth)),
        }
    }

    fn object(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .of(&["{}", "{\"a\": 1}", "{\"a\": {\"b\": 2}}", "input.parsed_query"])
                .to_owned();
        }
        let depth = depth - 1;
        match self.below(5) {
            0 => format!("object.union({}, {})", self.object(depth), self.object(depth)),
            1 => format!("object.remove({}, [\"a\"])", self.object(depth)),
            2 => format!("{{\"k\": {}, \"l\": {}}}", self.number(depth), self.text(depth)),
            3 => {
                format!("{{x{depth}: i{depth} | some i{depth}, x{depth} in {}}}", self.texts(depth))
            }
            _ => format!("object.filter({}, {{\"a\", \"q\"}})", self.object(depth)),
        }
    }

    fn comprehension(&mut self) -> String {
        let condition = match self.below(6) {
            0 => format!("not startswith(v, {})", self.text(0)),
            1 => format!("count(v) > {}", self.below(4)),
            2 => format!("v != {}", self.text(0)),
            3 => format!("[_, w] := split(v, {}); w != v", self.text(0)),
            4 => format!("w = {}; v != w", self.text(1)),
            _ => format!("some w in {}; v == w", self.texts(1)),
        };
        let term = self.of(&["v", "[i, v]", "upper(v)", "sum([i, 1])"]);
        format!("[{term} | some i, v in {}; {condition}]", self.texts(1))
    }
}
