//! The cases that go otherwise on Spin: a list for people that is also checked.

use anyhow::Result;
use postern_attack::{Outcome, Verdict, library};

use crate::conformance::listed::Checked;
use crate::scenario::Boundary;

/// The list of a boundary; only Spin has one.
pub(super) fn list(boundary: Boundary) -> Result<Checked> {
    if boundary != Boundary::Spin {
        return Ok(Checked::default());
    }
    let cases = library::folder(&super::cases()).map_err(anyhow::Error::msg)?;
    let exists = |name: &str| cases.iter().any(|case| case.name == name);
    Checked::open(super::cases().join("spin-differences.md"), exists)
}

/// What is wrong with what a case came to; `None` where there is no list, or it was not sent.
pub(super) fn judge(known: &mut Checked, outcome: &Outcome) -> Option<Vec<String>> {
    let lines = match &outcome.verdict {
        Verdict::Passed => Vec::new(),
        Verdict::Failed(lines) | Verdict::Pending(_, lines) => lines.clone(),
        Verdict::NotApplicable(_) => return None,
    };
    known.has_list().then(|| known.judge(&outcome.case.name, lines))
}
