//! The request's content against the digest of what was decided on.
//!
//! Invariant: content that differs never reaches its end: the stream is cut before the
//! last bytes go on.

use sha2::{Digest, Sha256};

use crate::denial::{Denial, PolicyReason};

/// A running comparison; nothing to compare when the decision did not read the content.
pub(super) struct Content(Option<([u8; 32], Sha256)>);

impl Content {
    pub(super) fn new(decided: Option<[u8; 32]>) -> Self {
        Self(decided.map(|digest| (digest, Sha256::new())))
    }

    /// More content.
    pub(super) fn chunk(&mut self, bytes: &[u8]) {
        if let Some((_, hash)) = &mut self.0 {
            hash.update(bytes);
        }
    }

    /// The content is complete.
    pub(super) fn end(&mut self) -> Result<(), Denial> {
        let Some((decided, hash)) = self.0.take() else { return Ok(()) };
        if decided == <[u8; 32]>::from(hash.finalize()) {
            return Ok(());
        }
        Err(Denial::PolicyDenied(PolicyReason::RequestChanged))
    }
}
