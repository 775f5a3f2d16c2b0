//! Refusal codes: the table of status, name and title that clients may rely on.
//!
//! Invariant: a code is added here and nowhere else; its name never changes.

use crate::effect::Metric;

/// Which module refuses; part of the counter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// The gate.
    Gate,
    /// The credential module.
    Credential,
}

macro_rules! codes {
    ($($variant:ident $status:literal $name:literal $title:literal),+ $(,)?) => {
        /// What a client is told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// Every code, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The problem's title (RFC 9457 3.1.4), the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// The counter of this refusal in `module`.
            pub fn metric(self, module: Module) -> Metric {
                Metric(match (module, self) {
                    $((Module::Gate, Self::$variant) => {
                        concat!("postern.gate.denied.reason=", $name, ".total")
                    })+
                    $((Module::Credential, Self::$variant) => {
                        concat!("postern.credential.denied.reason=", $name, ".total")
                    })+
                })
            }
        }
    };
}

codes! {
    PlaceholderMisplaced 400 "placeholder_misplaced" "Placeholder outside its declared site",
    PlaceholderMalformed 400 "placeholder_malformed" "Placeholder not well formed",
    RequestAmbiguous 400 "request_ambiguous" "Request ambiguous",
    CredentialsMissing 401 "credentials_missing" "Credentials missing",
    InvalidToken 401 "invalid_token" "Invalid token",
    InsufficientScope 403 "insufficient_scope" "Scope missing",
    CredentialNotAllowed 403 "credential_not_allowed" "Credential not allowed",
    PolicyDenied 403 "policy_denied" "Denied by policy",
    RegionDenied 403 "region_denied" "Region not allowed",
    MethodRefused 405 "method_refused" "Method refused",
    ApprovalUsed 409 "approval_used" "Approval used already",
    BodyTooLarge 413 "body_too_large" "Content too large",
    EncodingUnsupported 415 "encoding_unsupported" "Content coding not supported",
    ApprovalRequired 428 "approval_required" "Approval required",
    RateLimited 429 "rate_limited" "Too many requests",
    BudgetExhausted 429 "budget_exhausted" "Budget exhausted",
    Internal 500 "internal" "Gateway failed",
    UpstreamUnscannable 502 "upstream_unscannable" "Answer cannot be inspected",
    KeyServiceUnavailable 503 "key_service_unavailable" "Key service unavailable",
    AttestationUnavailable 503 "attestation_unavailable" "Attestation unavailable",
    KeysUnavailable 503 "keys_unavailable" "Keys of the token's issuer unavailable",
    RevocationStale 503 "revocation_stale" "Revocations not known",
    AuditUnavailable 503 "audit_unavailable" "Audit unavailable",
}
