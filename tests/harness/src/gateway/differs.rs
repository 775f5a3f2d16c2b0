//! The scenarios that go otherwise on Spin: a list for people that is also checked.

use anyhow::Result;

use crate::conformance::listed::Checked;
use crate::root;
use crate::run::folder;
use crate::scenario::{Boundary, load};

/// The list of a boundary; only Spin has one.
pub(super) fn list(boundary: Boundary) -> Result<Checked> {
    if boundary != Boundary::Spin {
        return Ok(Checked::default());
    }
    let scenarios = load(&folder())?;
    let exists = |name: &str| scenarios.iter().any(|named| named.name == name);
    Checked::open(root().join("tests/conformance/spin-differences.md"), exists)
}
