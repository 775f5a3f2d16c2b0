//! Configuration: JSON in, domain types out, every problem at once with its path.
//!
//! A document is first read into *wire* structs (serde, unknown keys refused), then turned
//! into domain types by `TryFrom`. Wire fields are optional, so that a missing key is
//! reported beside the others and not instead of them.
//!
//! Invariant: nothing here is partly accepted; a [`ConfigError`] names at least one
//! problem, and no problem repeats a value from the document or the environment.

use std::fmt;

pub mod audit;
pub mod credential;
pub mod evidence;
pub mod gate;
pub mod key_service;
mod read;
pub mod units;

pub use read::{MAX_DOCUMENT, read};

/// Why a module refuses to start or to take an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// Every problem found, in the order of the document's keys.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `bindings[0].site.header`; empty for the whole document.
    pub path: String,
    /// What was expected.
    pub message: String,
}

impl ConfigError {
    /// An error with one problem.
    pub fn one(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { path: path.into(), message: message.into() }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects problems while a `TryFrom` goes through its fields.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one problem at a key of the struct at hand.
    pub fn note(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into() });
    }

    /// The value of a required key, or a note that it is missing.
    pub fn required<T>(&mut self, path: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.note(path, "missing");
        }
        value
    }

    /// The value of a part; its problems are noted below `path`.
    pub fn part<T>(&mut self, path: &str, part: Result<T, ConfigError>) -> Option<T> {
        match part {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.problems.into_iter().map(|problem| problem.below(path)));
                None
            }
        }
    }

    /// The value of a scalar whose reader says what was expected.
    pub fn scalar<T>(&mut self, path: &str, value: Result<T, &'static str>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(expected) => {
                self.note(path, expected);
                None
            }
        }
    }

    /// Every element of a list, each one's problems below `path[index]`.
    pub fn list<W, T>(
        &mut self,
        path: &str,
        list: Vec<W>,
        read: impl Fn(W) -> Result<T, ConfigError>,
    ) -> Vec<T> {
        let elements = list.into_iter().enumerate();
        elements
            .filter_map(|(index, wire)| self.part(&format!("{path}[{index}]"), read(wire)))
            .collect()
    }

    /// `value` when nothing was noted. A `None` without a note is our bug, and refused too.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                if self.0.is_empty() {
                    self.note("", "not usable");
                }
                Err(ConfigError { problems: self.0 })
            }
        }
    }
}

impl Problem {
    fn below(mut self, parent: &str) -> Self {
        self.path = match (parent.is_empty(), self.path.is_empty()) {
            (true, _) => self.path,
            (false, true) => parent.to_owned(),
            (false, false) if self.path.starts_with('[') => format!("{parent}{}", self.path),
            (false, false) => format!("{parent}.{}", self.path),
        };
        self
    }
}

/// `tenant`, which every module's document has.
fn tenant(text: Option<String>, problems: &mut Problems) -> Option<String> {
    let text = problems.required("tenant", text)?;
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let checked = if fits { Ok(text) } else { Err("expected 1 to 128 printable characters") };
    problems.scalar("tenant", checked)
}
