//! The request's content on its way: as it was decided on, and without a secret.
//!
//! Invariant: content that differs from what was decided on never reaches its end: it is
//! refused, or the stream is cut where an answer has begun, before the last bytes go on.

use sha2::{Digest, Sha256};

use super::guard::Guarded;
use crate::denial::{Denial, PolicyReason};
use crate::fields::Fields;

/// A running comparison; nothing to compare when the decision did not read the content.
pub(super) struct Content {
    decided: Option<([u8; 32], Sha256)>,
    guarded: Guarded,
}

impl Content {
    pub(super) fn new(decided: Option<[u8; 32]>, guarded: Guarded) -> Self {
        Self { decided: decided.map(|digest| (digest, Sha256::new())), guarded }
    }

    /// What comes is no content: messages are looked through one by one.
    pub(super) fn into_guarded(self) -> Guarded {
        self.guarded
    }

    /// More content.
    pub(super) fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        if let Some((_, hash)) = &mut self.decided {
            hash.update(bytes);
        }
        self.guarded.chunk(bytes)
    }

    /// The content is complete.
    pub(super) fn end(&mut self) -> Result<(), Denial> {
        self.guarded.end()?;
        let Some((decided, hash)) = self.decided.take() else { return Ok(()) };
        if decided == <[u8; 32]>::from(hash.finalize()) {
            return Ok(());
        }
        Err(Denial::PolicyDenied(PolicyReason::RequestChanged))
    }

    /// The content is complete and has trailers.
    pub(super) fn trailers(&mut self, fields: &Fields) -> Result<(), Denial> {
        self.guarded.fields(fields)?;
        self.end()
    }
}
