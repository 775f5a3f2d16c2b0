//! The system's randomness.

use crate::failure::{Outcome, Sort};

/// `N` random bytes.
pub fn bytes<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).or_environment("no randomness from the system")?;
    Ok(bytes)
}
