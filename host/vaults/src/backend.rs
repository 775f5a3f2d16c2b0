//! What a vault is to the rest of the program.
//!
//! Invariant: a back end is not asked to list, write or delete: there is no way to say it.

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant};

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::{Place, Refused};

/// Longest name of a version, in bytes.
const LONGEST: usize = 64;

/// An answer that is waited for.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Value, Refused>> + Send + 'a>>;

/// Reads on a thread that may block, and no longer than `patience`: also while it waits for a
/// thread, or for the login of another.
pub(crate) async fn within(
    patience: Duration,
    read: impl FnOnce(Instant) -> Result<Value, Refused> + Send + 'static,
) -> Result<Value, Refused> {
    let reading = tokio::task::spawn_blocking(move || read(Instant::now() + patience));
    match tokio::time::timeout(patience, reading).await {
        Err(_) => Err(Refused::late()),
        Ok(Err(_)) => Err(Refused::Unreachable(Redacted::new("the reading thread ended"))),
        Ok(Ok(read)) => read,
    }
}

/// What a vault calls a version: a number, an id. It is compared for being the same and shown;
/// which of two is newer it does not say.
///
/// Invariant: it goes into a URL as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// Takes 1 to 64 letters, digits, `-`, `_` and `.`; `None` for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = (1..=LONGEST).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of a field, of one version of its secret.
pub struct Value {
    /// The value: 1 to 16384 bytes.
    pub secret: Secret,
    /// The version that it is of. A changed value has another one.
    pub version: Version,
}

/// A vault that values are read from.
pub trait Backend: Send + Sync {
    /// The value at `place`, of the newest version or of `version`.
    ///
    /// Answers within the deadline that the back end was made with, whatever the vault does,
    /// and reads no more of an answer than its cap. Asks once: when to ask again is the
    /// caller's decision ([`Refused::may_pass`]). Needs a runtime of tokio around it.
    fn read<'a>(
        &'a self,
        place: &'a Place,
        version: Option<&'a Version>,
        now: UnixMillis,
    ) -> Reading<'a>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_short_text_that_a_url_reads_as_it_is() {
        for good in ["1", "0123456789abcdef0123456789abcdef", "EXAMPLE1-90ab-cdef", &"v".repeat(64)]
        {
            assert_eq!(Version::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "1&x=2", "a/b", "é", &"v".repeat(65)] {
            assert_eq!(Version::new(bad), None, "{bad}");
        }
        assert_eq!(Version::from(7), Version::new("7").unwrap());
    }
}
