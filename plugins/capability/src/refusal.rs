//! Why a token or a proof is refused.
//!
//! Invariant: a refusal names a rule and never a value of the token. Callers of the gateway
//! get one answer for all of them; the audit record gets [`Refusal::code`].

use thiserror::Error;

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Over 4096 characters.
    #[error("expected at most 4096 characters")]
    TooLong,
    /// Not `pct1.` and base64url.
    #[error("expected pct1. and base64url")]
    Text,
    /// Not deterministically encoded CBOR of the allowed types.
    #[error("expected deterministically encoded CBOR")]
    Encoding,
    /// Not 1 to 8 blocks.
    #[error("expected 1 to 8 blocks")]
    Blocks,
    /// A block is not the COSE_Sign1 that the specification describes.
    #[error("expected a COSE_Sign1 block")]
    Structure,
    /// Header parameters other than those of the block's place.
    #[error("expected the header of a block")]
    Header,
    /// No issuer of this tenant has this key id.
    #[error("no such issuer key")]
    UnknownIssuer,
    /// A block's signature does not hold.
    #[error("the signature of a block does not hold")]
    Signature,
    /// A claim that the specification does not know.
    #[error("unknown claim")]
    UnknownClaim,
    /// A claim is missing, out of place or not of its form.
    #[error("claim {0} is missing, out of place or malformed")]
    Claim(&'static str),
    /// `previous` is not the hash of the block before.
    #[error("a block does not follow the one before it")]
    Chain,
    /// More blocks than a `depth` allows.
    #[error("more blocks than allowed")]
    TooDeep,
    /// Before `nbf` or an `iat`.
    #[error("not valid yet")]
    NotYet,
    /// `exp` has come.
    #[error("expired")]
    Expired,
    /// Lives longer than the gateway accepts.
    #[error("lives too long")]
    Life,
    /// Meant for someone else.
    #[error("for another audience")]
    Audience,
    /// Of another tenant.
    #[error("of another tenant")]
    Tenant,
    /// Blocks name different organisations or documents.
    #[error("the blocks have nothing in common")]
    Disjoint,
    /// The fields of the proof are not in the form that the specification asks for.
    #[error("expected the fields of a proof of possession")]
    ProofForm,
    /// Other components are covered.
    #[error("expected the covered components of a proof of possession")]
    ProofComponents,
    /// A parameter is missing, repeated, unknown or wrong.
    #[error("expected the parameters of a proof of possession")]
    ProofParameters,
    /// Made too long ago.
    #[error("the proof is too old")]
    ProofStale,
    /// Made in the future.
    #[error("the proof lies in the future")]
    ProofFuture,
    /// Content without a digest, or a digest in another form.
    #[error("expected one sha-256 content digest")]
    ProofDigest,
    /// The holder's signature does not hold.
    #[error("the signature of the proof does not hold")]
    ProofSignature,
}

impl Refusal {
    /// The word for it in audit records and vectors.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Text => "text",
            Self::Encoding => "encoding",
            Self::Blocks => "blocks",
            Self::Structure => "structure",
            Self::Header => "header",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Signature => "signature",
            Self::UnknownClaim => "unknown_claim",
            Self::Claim(_) => "claim",
            Self::Chain => "chain",
            Self::TooDeep => "too_deep",
            Self::NotYet => "not_yet",
            Self::Expired => "expired",
            Self::Life => "life",
            Self::Audience => "audience",
            Self::Tenant => "tenant",
            Self::Disjoint => "disjoint",
            Self::ProofForm => "proof_form",
            Self::ProofComponents => "proof_components",
            Self::ProofParameters => "proof_parameters",
            Self::ProofStale => "proof_stale",
            Self::ProofFuture => "proof_future",
            Self::ProofDigest => "proof_digest",
            Self::ProofSignature => "proof_signature",
        }
    }
}
