//! What is wrong with a policy, and where.

use std::fmt;

use postern_core::config::Problem;
use regorus::unstable::Span;

/// One thing that keeps a policy from being loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Name of the module; empty for the policy as a whole.
    pub file: String,
    /// Line, from 1; 0 for the whole module.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What was expected.
    pub message: String,
}

impl Finding {
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self { file: String::new(), line: 0, column: 0, message: message.into() }
    }

    pub(crate) fn at(span: &Span, message: impl Into<String>) -> Self {
        let file = span.source.file().clone();
        Self { file, line: span.line, column: span.col, message: message.into() }
    }

    /// From an error of the engine, which is a text that ends in `--> file:line:column`, an
    /// excerpt and `error: message`. The excerpt is left out.
    pub(crate) fn of(error: &str, file: &str) -> Self {
        let message = error.rsplit_once("error: ").map_or(error, |(_, message)| message);
        let message = message.lines().next().unwrap_or_default().to_owned();
        let place = error.rsplit_once("--> ").and_then(|(_, rest)| rest.lines().next());
        let place = place.and_then(|place| {
            let (rest, column) = place.rsplit_once(':')?;
            let (file, line) = rest.rsplit_once(':')?;
            Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
        });
        let (file, line, column) = place.unwrap_or((file.to_owned(), 0, 0));
        Self { file, line, column, message }
    }

    /// As a problem of a module's document.
    pub(crate) fn problem(&self, path: &str) -> Problem {
        Problem { path: path.to_owned(), message: self.to_string() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => f.write_str(&self.message),
            (false, 0) => write!(f, "{}: {}", self.file, self.message),
            (false, line) => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}
