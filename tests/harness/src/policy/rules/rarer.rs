//! Conditions that policies have less often: loops with keys, patterns, indices that are loops,
//! parts inside of parts, objects that are made, imports' names.

use super::{Kind, Policy};

impl Policy<'_> {
    pub(super) fn rarer(&mut self) -> String {
        match self.source.below(16) {
            0 => self.pairs("some"),
            1 => self.pairs("every"),
            2 => {
                let (name, words) = (self.variable(), self.words());
                let inner = self.part(&name);
                format!("every {name} in {words} {{ {inner} }}")
            }
            3 => {
                let (name, words) = (self.variable(), self.words());
                let inner = self.part(&name);
                format!("not count([{name} | some {name} in {words}; {inner}]) == 1")
            }
            4 => {
                let (one, other) = (self.variable(), self.variable());
                let values = format!("[{}, {}]", self.word(1), self.word(0));
                let text = format!("[{one}, {other}] := {values}\n\t{one} != {other}");
                self.variables.extend([one, other]);
                text
            }
            5 => {
                let index = self.variable();
                let list = self.source.of(&["input.parsed_path", "data.list"]).to_owned();
                format!("some {index}\n\t{list}[{index}] == {}\n\t{index} > 0", self.word(0))
            }
            6 => format!("{}[_] == {}", self.list(), self.word(1)),
            7 => format!("not {} in {}", self.word(1), self.set()),
            8 => format!("object.get(data.levels, {}, 2) < {}", self.word(1), self.number(1)),
            9 => {
                let sets =
                    format!("{} {} {}", self.set(), self.source.of(&["|", "&", "-"]), self.set());
                format!("count({sets}) > 0")
            }
            10 => format!("{{{}, {}}} == {}", self.word(1), self.fixed(), self.set()),
            11 => format!("startswith({}, {})", self.word(1), self.fixed()),
            12 => format!("not contains({}, {})", self.word(1), self.fixed()),
            13 => format!("not {}", self.made_object()),
            14 => format!("{} == {}", self.made_object(), self.number(0)),
            _ => format!("x{0} := {{{1}}}\n\tcount(x{0}) == 1", self.number_of(), self.fields()),
        }
    }

    /// A loop over keys and values.
    fn pairs(&mut self, word: &str) -> String {
        let (key, value) = (self.variable(), self.variable());
        let of = self
            .source
            .of(&[
                "data.levels",
                "data.names",
                "input.attributes.request.http.headers",
                "data.list",
            ])
            .to_owned();
        let condition = match self.source.below(4) {
            0 => format!("{value} == data.levels[{key}]"),
            1 => format!("{key} != {}; {value} != 1", self.word(0)),
            2 => format!("not {value} == data.names[{key}]"),
            _ => format!("{value} != {}; {key} != \"POST\"", self.word(1)),
        };
        if word == "every" {
            return format!("every {key}, {value} in {of} {{ {condition} }}");
        }
        format!("some {key}, {value} in {of}\n\t{condition}")
    }

    /// A part inside of a part.
    fn part(&mut self, name: &str) -> String {
        self.variables.push(name.to_owned());
        let (inner, words) = (self.variable(), self.words());
        let inside = self.inside(&inner);
        let text = match self.source.below(4) {
            0 => format!("every {inner} in {words} {{ {inside}; {inner} != {name} }}"),
            1 => format!(
                "count([{inner} | some {inner} in {words}; {inside}; {inner} != {name}]) > 0"
            ),
            2 => {
                format!("not count({{{inner} | some {inner} in {words}; {inner} == {name}}}) == 1")
            }
            _ => format!("some {inner} in {words}; {inner} == {name}"),
        };
        self.variables.pop();
        text
    }

    fn list(&mut self) -> String {
        self.source.of(&["input.parsed_path", "data.list", "input.parsed_body.tags"]).to_owned()
    }

    fn set(&mut self) -> String {
        match self.of_kind(Kind::Set) {
            Some(set) if self.source.below(2) == 0 => set,
            _ => format!("{{{}, {}}}", self.fixed(), self.word(1)),
        }
    }

    fn fields(&mut self) -> String {
        format!("{}: {}", self.fixed(), self.word(1))
    }

    fn made_object(&mut self) -> String {
        let (one, other) = (self.number(0), self.number(0));
        format!("{{\"GET\": {one}, \"a\": {other}}}[input.attributes.request.http.method]")
    }

    fn number_of(&mut self) -> usize {
        self.made += 1;
        self.made
    }
}
