//! `nonce` of proofs: when they have to hold a nonce that the gateway has issued.

use serde::Deserialize;

use crate::binding::is_safe_method;

/// Requests whose proofs have to hold a nonce of this gateway's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceDemand {
    /// None.
    #[default]
    Never,
    /// All but `GET`, `HEAD` and `OPTIONS`.
    Writes,
    /// All.
    All,
}

impl NonceDemand {
    /// Whether a request of this method has to.
    pub fn is_for(self, method: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Writes => !is_safe_method(method.as_bytes()),
            Self::All => true,
        }
    }
}
