//! Key-encryption keys that are held in memory for the life of the process.
//!
//! Invariant: the first one wraps, and none of the others wraps anything but by its own id.

use postern_core::secret::Secret;

use crate::envelope::{KekProvider, aead};
use crate::fault::Fault;

/// A key and its id.
pub(super) type Named = (String, Secret);

/// Keys by their ids.
pub struct Held {
    first: Named,
    others: Vec<Named>,
    attested: bool,
}

impl Held {
    pub(super) fn new(first: Named, others: Vec<Named>, attested: bool) -> Self {
        Self { first, others, attested }
    }

    fn key(&self, id: &str) -> Result<&Secret, Fault> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|(known, _)| known == id).map(|(_, key)| key).ok_or(Fault::OtherKek)
    }
}

impl KekProvider for Held {
    fn id(&self) -> &str {
        &self.first.0
    }

    fn attested(&self) -> bool {
        self.attested
    }

    fn wrap(&self, id: &str, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault> {
        aead::seal(self.key(id)?, aad, plain.expose())
    }

    fn unwrap(&self, id: &str, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault> {
        aead::open(self.key(id)?, aad, wrapped, "data key")
    }
}
