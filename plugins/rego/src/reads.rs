//! Which parts of `input` a policy reads.

use std::collections::BTreeSet;

use crate::names::Path;

/// Prefixes of `input` that are read as a whole, each without `input`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads(BTreeSet<Path>);

impl Reads {
    pub(crate) fn add(&mut self, path: &[String]) {
        self.0.insert(path.iter().skip(1).cloned().collect());
    }

    /// Whether something at, above or below this path is read.
    pub(crate) fn wants(&self, path: &[&str]) -> bool {
        self.0.iter().any(|read| read.iter().zip(path).all(|(read, wanted)| read == wanted))
    }

    /// Every prefix, dotted, with `input` before it.
    pub fn paths(&self) -> Vec<String> {
        let dotted = |path: &Path| {
            path.iter().fold("input".to_owned(), |text, part| format!("{text}.{part}"))
        };
        self.0.iter().map(dotted).collect()
    }
}
