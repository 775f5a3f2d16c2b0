//! What was found, where, and how bad it is.

use std::collections::BTreeSet;

use serde::Serialize;

use super::yaml::At;

/// Whether a finding makes the file bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file must not be used like this.
    Error,
    /// Worth knowing.
    Note,
}

/// One thing that a rule or a parser has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Error or note.
    pub severity: Severity,
    /// Line, counted from 1.
    pub line: u64,
    /// Path of the node, empty for the whole document.
    pub path: String,
    /// What was expected.
    pub message: String,
}

/// All findings of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file once [`Report::in_order`] was called.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The file must not be used like this.
    pub fn error(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.add(Severity::Error, at.node.line, &at.path, message.into());
    }

    /// An error about something that is absent: `path` is where it belongs, below `at`.
    pub fn missing(&mut self, at: &At<'_>, path: &str, message: impl Into<String>) {
        let line = at.nearest(path).node.line;
        let path = match (at.path.is_empty(), path.starts_with('[')) {
            (true, _) => path.to_owned(),
            (false, true) => format!("{}{path}", at.path),
            (false, false) => format!("{}.{path}", at.path),
        };
        self.add(Severity::Error, line, &path, message.into());
    }

    /// An error of a document whose lines are not known.
    pub fn at_path(&mut self, path: &str, message: impl Into<String>) {
        self.add(Severity::Error, 0, path, message.into());
    }

    /// What was found in a document that stands at `path` of this one.
    pub fn below(&mut self, path: &str, found: Self) {
        for finding in found.findings {
            let inner = &finding.path;
            let separator = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
            let path = format!("{path}{separator}{inner}");
            self.add(finding.severity, 0, &path, finding.message);
        }
    }

    /// What was found in a document that stands as a block of text at `at`.
    pub fn block(&mut self, at: &At<'_>, found: Self) {
        for finding in found.findings {
            let separator = if finding.path.is_empty() { "" } else { ":" };
            let path = format!("{}{separator}{}", at.path, finding.path);
            // The block's line is that of its first line of text.
            let line = at.node.line.saturating_add(finding.line).saturating_sub(1);
            self.add(finding.severity, line, &path, finding.message);
        }
    }

    /// Worth knowing.
    pub fn note(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.add(Severity::Note, at.node.line, &at.path, message.into());
    }

    /// The document is not YAML.
    pub fn unreadable(&mut self, error: &str) {
        self.add(Severity::Error, 0, "", format!("not readable as YAML: {error}"));
    }

    /// Whether any finding is an error.
    pub fn is_bad(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Sorted by line; a finding about one place that aliases or two modules lead to
    /// stands once.
    pub fn in_order(mut self) -> Self {
        self.findings.sort_by_key(|f| (f.line, f.severity));
        let mut seen = BTreeSet::new();
        self.findings.retain(|finding| {
            let key = finding.path.rsplit('.').next().unwrap_or_default();
            seen.insert((finding.line, key.to_owned(), finding.message.clone()))
        });
        self
    }

    fn add(&mut self, severity: Severity, line: u64, path: &str, message: String) {
        self.findings.push(Finding { severity, line, path: path.to_owned(), message });
    }
}
