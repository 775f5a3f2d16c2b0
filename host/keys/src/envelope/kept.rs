//! Values that are kept in memory for a while.
//!
//! Invariant: the key is one that this process drew and keeps to itself, so nothing that is stored
//! opens under it.

use postern_core::secret::Secret;

use crate::envelope::aead;
use crate::fault::Fault;

/// Seals a value under a key of this process.
pub fn seal_kept(key: &Secret, aad: &[u8], value: &Secret) -> Result<Vec<u8>, Fault> {
    aead::seal(key, aad, value.expose())
}

/// Opens what [`seal_kept`] made.
pub fn open_kept(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, Fault> {
    aead::open(key, aad, sealed, "value of a vault")
}
