//! Randomness of the operating system, as a value that can be missing.
//!
//! Invariant: the one place of this crate that draws random bytes.

use postern_core::secret::Secret;

use crate::fault::Fault;

/// `N` random bytes that need no secrecy: nonces, ids, salts.
pub fn bytes<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Fault::NoRandomness)?;
    Ok(bytes)
}

/// 32 random bytes of key material.
pub fn key() -> Result<Secret, Fault> {
    let mut bytes = vec![0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Fault::NoRandomness)?;
    Ok(Secret::new(bytes))
}
