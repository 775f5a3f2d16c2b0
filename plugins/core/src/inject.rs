//! Injection: the only place where a secret meets a request.

use crate::secret::Secret;

/// A field value that holds a secret, ready to be set. Made only in this module, from
/// a permit and a release.
pub struct Injection {
    name: String,
    value: Secret,
}

impl Injection {
    /// Lower-case name of the field that every earlier line of is replaced.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands the rendered value to `set`, once.
    pub fn perform<T>(self, set: impl FnOnce(&str, &[u8]) -> T) -> T {
        set(&self.name, self.value.expose())
    }
}

/// A secret that is in this request, to be scrubbed from the answer.
pub struct InPlay {
    /// The value as released.
    pub value: Secret,
    /// The field value as rendered, for example `Basic …`.
    pub rendered: Secret,
}
