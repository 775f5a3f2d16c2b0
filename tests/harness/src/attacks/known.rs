//! The cases that go otherwise on Spin: a list for people that is also checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use postern_attack::{Outcome, Verdict, library};

use crate::conformance::listed::Listed;
use crate::scenario::Boundary;

/// What is known of one boundary, and what a run has found.
pub(super) struct Known {
    listed: Option<Listed>,
    found: BTreeMap<String, Vec<String>>,
}

fn file() -> PathBuf {
    super::cases().join("spin-differences.md")
}

impl Known {
    /// The list of a boundary; only Spin has one.
    pub(super) fn of(boundary: Boundary) -> Result<Self> {
        let listed = (boundary == Boundary::Spin).then(|| Listed::read(&file())).transpose()?;
        if let Some(listed) = &listed {
            let cases = library::folder(&super::cases()).map_err(anyhow::Error::msg)?;
            listed.check(|name| cases.iter().any(|case| case.name == name))?;
        }
        Ok(Self { listed, found: BTreeMap::new() })
    }

    /// What is wrong with what a case came to; `None` where there is no list, or it was not sent.
    pub(super) fn judge(&mut self, outcome: &Outcome) -> Option<Vec<String>> {
        let listed = self.listed.as_ref()?;
        let lines = match &outcome.verdict {
            Verdict::Passed => Vec::new(),
            Verdict::Failed(lines) | Verdict::Pending(_, lines) => lines.clone(),
            Verdict::NotApplicable(_) => return None,
        };
        // A line of the list is a line of a file.
        let lines: Vec<String> =
            lines.iter().flat_map(|line| line.lines().map(str::to_owned)).collect();
        self.found.insert(outcome.case.name.clone(), lines.clone());
        Some(listed.judge(&outcome.case.name, lines))
    }

    /// The end of a run: with `record` the list says what was found.
    pub(super) fn close(self, record: bool) -> Result<()> {
        match self.listed {
            Some(mut listed) if record => listed.record(self.found, &file()),
            _ => Ok(()),
        }
    }
}
