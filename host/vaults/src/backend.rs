//! What a vault is to the rest of the program.
//!
//! Invariant: a back end is not asked to list, write or delete: there is no way to say it.

use std::pin::Pin;

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::{Place, Refused};

/// An answer that is waited for.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Value, Refused>> + Send + 'a>>;

/// The value of a field, of one version of its secret.
pub struct Value {
    /// The value: 1 to 16384 bytes.
    pub secret: Secret,
    /// The version that it is of. A changed value has another one.
    pub version: u64,
}

/// A vault that values are read from.
pub trait Backend: Send + Sync {
    /// The value at `place`, of the newest version or of `version`.
    ///
    /// Answers within the deadline that the back end was made with, whatever the vault does,
    /// and reads no more of an answer than its cap. Asks once: when to ask again is the
    /// caller's decision ([`Refused::may_pass`]). Needs a runtime of tokio around it.
    fn read<'a>(&'a self, place: &'a Place, version: Option<u64>, now: UnixMillis) -> Reading<'a>;
}
