//! The scenarios that go otherwise on Spin: a list for people that is also checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::conformance::listed::Listed;
use crate::root;
use crate::run::folder;
use crate::scenario::{Boundary, load};

/// What is known of one boundary, and what a run has found.
pub(super) struct Differs {
    listed: Option<Listed>,
    found: BTreeMap<String, Vec<String>>,
}

fn file() -> PathBuf {
    root().join("tests/conformance/spin-differences.md")
}

impl Differs {
    /// The list of a boundary; only Spin has one.
    pub(super) fn of(boundary: Boundary) -> Result<Self> {
        let listed = (boundary == Boundary::Spin).then(|| Listed::read(&file())).transpose()?;
        if let Some(listed) = &listed {
            let scenarios = load(&folder())?;
            listed.check(|name| scenarios.iter().any(|named| named.name == name))?;
        }
        Ok(Self { listed, found: BTreeMap::new() })
    }

    /// What is wrong with what a scenario came to.
    pub(super) fn judge(&mut self, name: &str, lines: Vec<String>) -> Vec<String> {
        // A line of the list is a line of a file.
        let lines: Vec<String> =
            lines.iter().flat_map(|line| line.lines().map(str::to_owned)).collect();
        self.found.insert(name.to_owned(), lines.clone());
        match &self.listed {
            Some(listed) => listed.judge(name, lines),
            None => lines,
        }
    }

    /// The end of a run: with `record` the list says what was found.
    pub(super) fn close(self, record: bool) -> Result<()> {
        match self.listed {
            Some(mut listed) if record => listed.record(self.found, &file()),
            _ => Ok(()),
        }
    }
}
