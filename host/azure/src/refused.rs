//! Why there is no key: the error map.
//!
//! Invariant: a text of the other side is cleaned and cut before it is kept; no variant holds a
//! key or a token.

use postern_core::redacted::Redacted;

/// What went wrong on the way to a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No connection, or one that broke: DNS, TLS, a truncated answer.
    #[error("unreachable: {0}")]
    Unreachable(Redacted),
    /// No answer within the deadline.
    #[error("no answer in time")]
    Slow,
    /// 429, with the seconds that were asked for.
    #[error("throttled (429)")]
    Throttled(Option<u64>),
    /// 5xx.
    #[error("answers {0}")]
    Away(u16),
    /// 400: this program asks wrongly, or the key's settings do not fit.
    #[error("refuses the request (400 {0})")]
    BadRequest(Redacted),
    /// 401: the identity's token.
    #[error("does not accept the managed identity's token (401)")]
    Unauthorised,
    /// 403. The vault does not say whether it was the role, the release policy or the key's state.
    #[error("forbids it (403 {0}): role, release policy, or a key that is disabled or expired")]
    Forbidden(Redacted),
    /// 404.
    #[error("has no such key (404)")]
    NotFound,
    /// Any other status.
    #[error("answers {0}, which it should not")]
    Unexpected(u16),
    /// A larger answer than is read.
    #[error("sends more than is read")]
    TooLarge,
    /// Not the documented shape.
    #[error("sends a malformed {0}")]
    Malformed(&'static str),
    /// The signature of a release.
    #[error("released key: {0}")]
    Signature(&'static str),
    /// The certificates of a release.
    #[error("released key: its certificates do not hold: {0}")]
    Chain(Redacted),
    /// Another key, version, wrapping or nonce than was asked for.
    #[error("released key: another {0} than was asked for")]
    Other(&'static str),
    /// The key's attributes: disabled, expired, not yet valid, not exportable.
    #[error("the key is {0}")]
    NotUsable(&'static str),
    /// A key that is neither AES-256 nor RSA.
    #[error("expected a key of type oct-HSM (256 bits) or RSA-HSM")]
    KeyType,
    /// The ciphertext does not open.
    #[error("released key: does not open with the transfer key")]
    Unwrap,
    /// No attestation of this machine.
    #[error("no attestation: {0}")]
    NoAttestation(Redacted),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    NoRandomness,
}

impl Refused {
    /// Of an answer that is not 200.
    #[must_use]
    pub fn of_status(status: u16, code: &str, wait: Option<u64>) -> Self {
        match status {
            400 => Self::BadRequest(Redacted::new(code)),
            401 => Self::Unauthorised,
            403 => Self::Forbidden(Redacted::new(code)),
            404 => Self::NotFound,
            429 => Self::Throttled(wait),
            500..=599 => Self::Away(status),
            _ => Self::Unexpected(status),
        }
    }

    /// Whether the same request may be answered later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow | Self::Throttled(_) | Self::Away(_))
    }

    /// Whether the key's owner has taken it away: it was an answer of the vault, about the key.
    #[must_use]
    pub fn is_taken_away(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::NotFound | Self::NotUsable(_))
    }
}
