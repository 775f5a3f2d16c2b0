//! The one type a credential value may live in.
//!
//! Invariant: a [`Secret`] cannot be printed, cloned, compared or serialised, and
//! its bytes are wiped when it is dropped. The single way to read one is
//! [`Secret::expose`]; `cargo xtask tidy` counts the calls.

use zeroize::Zeroizing;

/// A credential value or key material, wiped on drop.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`; the caller keeps no copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself, for injection, sealing and scrubbing only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
