//! Walks the document and keeps count of what was read.
//!
//! Invariant: a [`Table`] knows every key that somebody asked for; what is left when it is
//! dropped with [`Table::done`] is a problem.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use postern_files::yaml::{At, Tree};

use super::duration;

/// One thing in the file that this gateway does not understand or will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `static_resources.listeners[0].name`; empty for the document.
    pub path: String,
    /// Line, counted from 1.
    pub line: u64,
    /// What was expected.
    pub message: String,
}

/// All problems of a file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { path, line, message }) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}line {line}: {path}: {message}")?;
        }
        Ok(())
    }
}

/// Collects problems while a document is read.
#[derive(Default)]
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
    /// Names of clusters that something relies on, as problems if there is no such cluster.
    wanted: RefCell<Vec<(String, Problem)>>,
}

impl Report {
    /// Notes a problem at a node.
    pub fn problem(&self, at: &At<'_>, message: impl Into<String>) {
        let (path, line) = (at.path.clone(), at.node.line);
        self.problems.borrow_mut().push(Problem { path, line, message: message.into() });
    }

    /// Notes that a node names a cluster.
    pub fn wants_cluster(&self, at: &At<'_>, name: &str) {
        let (path, line) = (at.path.clone(), at.node.line);
        let problem = Problem { path, line, message: format!("no cluster is called {name:?}") };
        self.wanted.borrow_mut().push((name.to_owned(), problem));
    }

    /// Turns every wanted cluster that does not exist into a problem.
    pub fn resolve(&self, exists: impl Fn(&str) -> bool) {
        let wanted = self.wanted.take();
        let missing = wanted.into_iter().filter(|(name, _)| !exists(name));
        self.problems.borrow_mut().extend(missing.map(|(_, problem)| problem));
    }

    /// The value if nothing was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems.dedup();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Problems(problems)),
        }
    }
}

/// A mapping of which every key has to be asked for.
pub(super) struct Table<'a, 'r> {
    /// Where it stands.
    pub at: At<'a>,
    known: Vec<&'static str>,
    /// Where problems go.
    pub report: &'r Report,
}

impl<'a, 'r> Table<'a, 'r> {
    /// The mapping at `at`; anything else is a problem.
    pub fn new(at: At<'a>, report: &'r Report) -> Option<Self> {
        if !matches!(at.node.tree, Tree::Map(_)) {
            report.problem(&at, "expected a mapping");
            return None;
        }
        Some(Self { at, known: Vec::new(), report })
    }

    /// The value of a key, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<At<'a>> {
        self.known.push(key);
        self.at.get(key)
    }

    /// The value of a key that has to be there.
    pub fn need(&mut self, key: &'static str) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.report.problem(&self.at, format!("expected {key}"));
        }
        found
    }

    /// The mapping under a key, if it is there.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let at = self.get(key)?;
        Self::new(at, self.report)
    }

    /// The mapping under a key that has to be there.
    pub fn need_table(&mut self, key: &'static str) -> Option<Self> {
        let at = self.need(key)?;
        Self::new(at, self.report)
    }

    /// The items of a list; absent is empty.
    pub fn list(&mut self, key: &'static str) -> Vec<At<'a>> {
        let Some(at) = self.get(key) else { return Vec::new() };
        if !matches!(at.node.tree, Tree::List(_)) {
            self.report.problem(&at, "expected a list");
        }
        at.items()
    }

    /// The mappings of a list; absent is empty.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let report = self.report;
        self.list(key).into_iter().filter_map(|at| Self::new(at, report)).collect()
    }

    /// Exactly one mapping in a list.
    pub fn single(&mut self, key: &'static str) -> Option<Self> {
        let mut tables = self.tables(key);
        if tables.len() != 1 {
            let at = self.at.get(key).unwrap_or_else(|| self.at.clone());
            self.report.problem(&at, format!("expected {key} with exactly one entry"));
        }
        tables.pop()
    }

    /// Text under a key.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let at = self.get(key)?;
        self.as_text(&at)
    }

    /// Text under a key that has to be there.
    pub fn need_text(&mut self, key: &'static str) -> Option<String> {
        let at = self.need(key)?;
        self.as_text(&at)
    }

    /// Text in every item of a list.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let items = self.list(key);
        items.iter().filter_map(|at| self.as_text(at)).collect()
    }

    fn as_text(&self, at: &At<'_>) -> Option<String> {
        let text = at.text().map(str::to_owned);
        self.expected(at, text, "text")
    }

    /// A whole number under a key.
    pub fn number<N: TryFrom<u64>>(&mut self, key: &'static str) -> Option<N> {
        let at = self.get(key)?;
        let number = at.number().and_then(|number| N::try_from(number).ok());
        self.expected(&at, number, "a whole number in range")
    }

    /// A whole number under a key, which may be below zero.
    pub fn integer(&mut self, key: &'static str) -> Option<i64> {
        let at = self.get(key)?;
        let number = match at.node.to_json() {
            serde_json::Value::Number(number) => number.as_i64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        };
        self.expected(&at, number, "a whole number in range")
    }

    /// A boolean under a key; absent is false.
    pub fn flag(&mut self, key: &'static str) -> bool {
        let Some(at) = self.get(key) else { return false };
        let value = at.node.to_json().as_bool();
        self.expected(&at, value, "true or false").unwrap_or(false)
    }

    /// A span such as `0.5s` under a key.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let at = self.get(key)?;
        let span = at.text().and_then(duration::parse);
        self.expected(&at, span, "a span such as 30s")
    }

    /// One of several words under a key, with what they mean.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let at = self.get(key)?;
        let text = at.text().unwrap_or("");
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.expected(&at, found, &format!("one of: {}", known.join(", ")))
    }

    /// A key that, where it stands, may only say what this gateway does anyway.
    pub fn only(&mut self, key: &'static str, value: bool) {
        let Some(at) = self.get(key) else { return };
        if at.node.to_json().as_bool() != Some(value) {
            self.report.problem(&at, format!("expected {value}"));
        }
    }

    /// A key that must not stand here; `why` says what was expected.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        if let Some(at) = self.get(key) {
            self.report.problem(&at, why);
        }
    }

    /// Checks `@type`.
    pub fn typed(&mut self, name: &str) -> Option<()> {
        let at = self.need("@type")?;
        let good = at.text().and_then(|text| text.strip_prefix("type.googleapis.com/"));
        let good = (good == Some(name)).then_some(());
        self.expected(&at, good, &format!("type.googleapis.com/{name}"))
    }

    /// Reports `what` was expected when there is no value.
    pub fn expected<T>(&self, at: &At<'_>, value: Option<T>, what: &str) -> Option<T> {
        if value.is_none() {
            self.report.problem(at, format!("expected {what}"));
        }
        value
    }

    /// Every key that nobody asked for is a problem.
    pub fn done(self) {
        for (key, at) in self.at.entries() {
            if !self.known.contains(&key) {
                self.report.problem(&at, "this gateway does not know this field");
            }
        }
    }
}
