//! A message, and the identity that has signed it.
//!
//! Invariant: the two belong together: whose rows a message may see and what its sender may
//! ask for come from the identity that its signature was verified with.

use postern_core::time::UnixMillis;
use postern_crp::service::{Opened, Verified};

use crate::store::identities::Identity;

/// A message with its sender. Made by its check alone.
pub(super) struct Signed {
    message: Verified,
    sender: Identity,
}

impl Signed {
    /// The message, and which of `senders` has signed it; or the message and why none has.
    pub(super) fn by_one_of(
        senders: Vec<Identity>,
        mut opened: Opened,
        now: UnixMillis,
    ) -> Result<Self, Box<(Opened, String)>> {
        let mut why = "no active identity of this tenant may send it".to_owned();
        for sender in senders {
            match opened.verify(&sender.public_key, now) {
                Ok(message) => return Ok(Self { message, sender }),
                Err(refused) => {
                    why = format!("{:?}", refused.reason);
                    opened = refused.opened;
                }
            }
        }
        Err(Box::new((opened, why)))
    }

    pub(super) fn message(&self) -> &Verified {
        &self.message
    }

    pub(super) fn sender(&self) -> &Identity {
        &self.sender
    }
}
