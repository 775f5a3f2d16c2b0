//! Why a token is refused.
//!
//! Invariant: a refusal names a rule and never a value of the token.

use thiserror::Error;

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Longer than [`crate::jws::LENGTH`].
    #[error("expected at most 16384 characters")]
    TooLong,
    /// Not three parts of base64url.
    #[error("expected the compact serialization of a JWS")]
    Form,
    /// JSON that is malformed, too deep, too large or has a name twice.
    #[error("expected a JSON object, each name once")]
    Json,
    /// A header parameter that is not understood or that brings a key along.
    #[error("a header parameter that is not accepted")]
    Header,
    /// An algorithm that the key is not for, or none at all.
    #[error("an algorithm that is not accepted")]
    Algorithm,
    /// There are no keys to verify with: nothing that the caller could do.
    #[error("there are no keys")]
    NoKeys,
    /// No key has this id.
    #[error("no such key")]
    UnknownKey,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// A token of another kind.
    #[error("a token of another type")]
    Type,
    /// A claim is missing or malformed.
    #[error("claim {0} is missing or malformed")]
    Claim(&'static str),
    /// Issued by someone else.
    #[error("of another issuer")]
    Issuer,
    /// Meant for someone else.
    #[error("for another audience")]
    Audience,
    /// `exp` has come.
    #[error("expired")]
    Expired,
    /// Before `nbf` or `iat`.
    #[error("not valid yet")]
    NotYet,
}

impl Refusal {
    /// The word for it in audit records.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Form => "form",
            Self::Json => "json",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::NoKeys => "no_keys",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::Claim(_) => "claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
        }
    }
}
