//! Why a request is refused, sorted by whose fault it is, and the one mapping from
//! that to what a client, a counter and the audit record learn.
//!
//! Invariant: a client learns the class ([`Code`]), the audit record the reason
//! ([`Denial::reason`]); neither holds a key, a token, a secret or a caller's bytes.

use std::time::Duration;

use crate::approvals;
use crate::effect::{Metric, Reply};
use crate::hex;
use crate::key_service::KeyServiceFault;
use crate::policy::Refusal;
use crate::time::UnixMillis;

mod code;
mod reason;

pub use code::{Code, Module};
pub use reason::{
    Ambiguity, ApprovalReason, BudgetReason, KeysReason, NotAllowed, Ours, Place, PolicyReason,
    RegionReason, TokenReason, Unscannable,
};

/// A refusal. The variants say whose fault it is: the client's first, then policy, the
/// upstream, the key service, and us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Client: a placeholder outside its declared site, in any encoding.
    #[error("placeholder outside its declared site")]
    PlaceholderMisplaced(Place),
    /// Client: in a declared site, but not exactly one well-formed placeholder.
    #[error("placeholder is not well formed")]
    PlaceholderMalformed,
    /// Client: two parsers could read this request differently.
    #[error("request could be read in more than one way")]
    RequestAmbiguous(Ambiguity),
    /// Client: no credentials of ours were presented.
    #[error("no credential was presented")]
    CredentialsMissing,
    /// Client: what was presented authenticates nobody.
    #[error("the credential authenticates nobody")]
    InvalidToken(TokenReason),
    /// Client: a token without a proof that its holder sends it (RFC 9449, 7.1).
    #[error("the proof of possession does not hold")]
    InvalidProof(TokenReason),
    /// Client: a proof without a nonce of this gateway, where one is asked for.
    #[error("the proof does not hold a nonce of this gateway")]
    NonceNeeded(Box<NonceNeeded>),
    /// Client: a method that never carries a credential.
    #[error("method is never forwarded")]
    MethodRefused,
    /// Client: content above the cap for inspection.
    #[error("content is larger than the limit")]
    BodyTooLarge,
    /// Client: content in a coding that is not decoded here.
    #[error("content coding is not supported")]
    EncodingUnsupported,
    /// Policy: the caller lacks a scope that the route needs. Space-separated, from the
    /// configuration (RFC 6749 3.3).
    #[error("scope {scope} is needed")]
    InsufficientScope {
        /// Every scope that the rule requires.
        scope: String,
    },
    /// Policy: unknown, another tenant's or not bound here; all alike to the client.
    #[error("credential is not allowed here")]
    CredentialNotAllowed(NotAllowed),
    /// Policy: a rule refuses, or no rule allows.
    #[error("policy does not allow this request")]
    PolicyDenied(PolicyReason),
    /// Policy: refused by a policy that writes its own answer.
    #[error("policy does not allow this request")]
    PolicyAnswered(Box<Refusal>),
    /// Policy: a person has to approve this first.
    #[error("an approval is needed")]
    ApprovalRequired(ApprovalReason),
    /// Policy: a person has to approve this first, and was asked.
    #[error("an approval is waited for")]
    ApprovalAwaited(Box<ApprovalAwaited>),
    /// Client: the approval that is named was used already.
    #[error("the approval was used")]
    ApprovalUsed,
    /// Policy: people are asked for too many approvals.
    #[error("too many approvals are waited for")]
    TooManyApprovals,
    /// Policy: a budget that the request counts in has nothing left.
    #[error("a budget is exhausted")]
    BudgetExhausted {
        /// Whose budget.
        reason: BudgetReason,
        /// When there may be something again.
        retry: Duration,
    },
    /// Policy: the request would leave for a region that the tenant does not allow.
    #[error("the upstream's region is not allowed")]
    RegionDenied(RegionReason),
    /// Policy: more signed requests than can be remembered, so that this one cannot be told
    /// from a replay.
    #[error("too many signed requests")]
    RateLimited,
    /// Upstream: its answer cannot be scrubbed.
    #[error("the answer cannot be inspected")]
    UpstreamUnscannable(Unscannable),
    /// Key service: no usable answer.
    #[error(transparent)]
    KeyService(#[from] KeyServiceFault),
    /// Token service: there are no keys to verify a token with, or nobody to ask about it.
    #[error("keys of the token's issuer are not available")]
    KeysUnavailable(KeysReason),
    /// Us: the audit logger does not acknowledge, or its buffer is full.
    #[error("audit is not available")]
    AuditUnavailable(AuditReason),
    /// Us: a bug or a broken host.
    #[error("gateway failed")]
    Internal(Ours),
}

/// A nonce that the next proof has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonceNeeded {
    /// What is wrong with the one that came.
    pub reason: TokenReason,
    /// What proofs it is for.
    pub proof: ProofKind,
    /// The nonce.
    pub nonce: String,
}

/// Kinds of proofs that hold nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// RFC 9449.
    Dpop,
    /// Of a capability token's holder.
    Capability,
}

impl ProofKind {
    /// The field that brings a nonce (RFC 9449, 8.1).
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Dpop => "dpop-nonce",
            Self::Capability => "postern-nonce",
        }
    }
}

/// An approval that a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalAwaited {
    /// Who wants it.
    pub reason: ApprovalReason,
    /// Its id: it authorises nothing by itself.
    pub id: [u8; 16],
    /// Where it stands: it waits, or the request has to name it.
    pub state: approvals::State,
    /// Where people decide.
    pub link: Option<String>,
    /// Path by which the caller asks how it stands.
    pub poll: String,
    /// No good from then on.
    pub expires: UnixMillis,
    /// When to ask again.
    pub retry: Duration,
}

/// What is wrong with the audit logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditReason {
    /// A record of this root has no receipt.
    Behind,
    /// The logger's buffer is full.
    Full,
}

/// Names one decision: in the refusal, the permit and the audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecisionId(pub [u8; 16]);

impl DecisionId {
    /// 32 lower-case hex digits.
    pub fn hex(&self) -> String {
        hex::lower(&self.0)
    }
}

/// What a gate says of itself in challenges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// URL of its metadata (RFC 9728, 5.1), without a quote.
    pub metadata: Option<&'a str>,
    /// It takes tokens that are bound to a key, with a proof.
    pub proofs: bool,
}

/// Algorithms of proofs, as challenges list them.
pub const PROOF_ALGORITHMS: &str = "EdDSA ES256 ES384 RS256 RS384 RS512 PS256";

/// The realm of every challenge (RFC 9110 11.5).
const REALM: &str = "postern";

impl Denial {
    /// The refusal code: all that a client learns beside the status.
    pub fn code(&self) -> Code {
        match self {
            Self::PlaceholderMisplaced(_) => Code::PlaceholderMisplaced,
            Self::PlaceholderMalformed => Code::PlaceholderMalformed,
            Self::RequestAmbiguous(_) => Code::RequestAmbiguous,
            Self::CredentialsMissing => Code::CredentialsMissing,
            Self::InvalidToken(_) | Self::InvalidProof(_) | Self::NonceNeeded(_) => {
                Code::InvalidToken
            }
            Self::MethodRefused => Code::MethodRefused,
            Self::BodyTooLarge => Code::BodyTooLarge,
            Self::EncodingUnsupported => Code::EncodingUnsupported,
            Self::InsufficientScope { .. } => Code::InsufficientScope,
            Self::CredentialNotAllowed(_) => Code::CredentialNotAllowed,
            Self::PolicyDenied(_) | Self::PolicyAnswered(_) => Code::PolicyDenied,
            Self::ApprovalRequired(_) | Self::ApprovalAwaited(_) => Code::ApprovalRequired,
            Self::ApprovalUsed => Code::ApprovalUsed,
            Self::RegionDenied(_) => Code::RegionDenied,
            Self::BudgetExhausted { .. } => Code::BudgetExhausted,
            Self::RateLimited | Self::TooManyApprovals => Code::RateLimited,
            Self::UpstreamUnscannable(_) => Code::UpstreamUnscannable,
            Self::KeyService(KeyServiceFault::Evidence) => Code::AttestationUnavailable,
            Self::KeyService(KeyServiceFault::RevocationStale) => Code::RevocationStale,
            Self::KeyService(_) => Code::KeyServiceUnavailable,
            Self::KeysUnavailable(_) => Code::KeysUnavailable,
            Self::AuditUnavailable(_) => Code::AuditUnavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The one mapping to the wire: status, challenge (RFC 6750 3) and problem document
    /// (RFC 9457).
    pub fn reply(&self, decision: &DecisionId) -> Reply {
        self.reply_with(decision, Offer::default())
    }

    /// The same, with what challenges say of the gate.
    pub fn reply_with(&self, decision: &DecisionId, offer: Offer<'_>) -> Reply {
        let code = self.code();
        if let Self::PolicyAnswered(refusal) = self {
            return refusal.reply(self, decision);
        }
        let mut fields = vec![
            ("content-type".to_owned(), "application/problem+json".to_owned()),
            ("cache-control".to_owned(), "no-store".to_owned()),
        ];
        let proofs = self.challenge_for_proofs().filter(|_| offer.proofs);
        for mut challenge in self.challenge().into_iter().chain(proofs) {
            if let Some(url) = offer.metadata {
                challenge.push_str(&format!(", resource_metadata=\"{url}\""));
            }
            fields.push(("www-authenticate".to_owned(), challenge));
        }
        if let Self::NonceNeeded(needed) = self {
            fields.push((needed.proof.field().to_owned(), needed.nonce.clone()));
        }
        if code == Code::MethodRefused {
            // RFC 9110 15.5.6 wants the field; which methods a resource takes is the
            // upstream's to say, so the list is empty.
            fields.push(("allow".to_owned(), String::new()));
        }
        if let Some(retry) = self.retry() {
            // RFC 9110 10.2.3; a wait that is not over yet is not over in the second it ends.
            let seconds = retry.as_millis().div_ceil(1000).max(1);
            fields.push(("retry-after".to_owned(), seconds.to_string()));
        }
        let content = self.problem(code.status(), decision).into_bytes();
        Reply { status: code.status(), fields, content, details: code.as_str() }
    }

    /// `deny:<code>`, the value of filter state `postern.decision`.
    pub fn decision(&self) -> String {
        format!("deny:{}", self.code().as_str())
    }

    /// The counter of this refusal in `module`.
    pub fn metric(&self, module: Module) -> Metric {
        self.code().metric(module)
    }

    fn retry(&self) -> Option<Duration> {
        match self {
            Self::BudgetExhausted { retry, .. } => Some(*retry),
            Self::ApprovalAwaited(awaited) => Some(awaited.retry),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<String> {
        match self {
            Self::CredentialsMissing => Some(format!("Bearer realm=\"{REALM}\"")),
            Self::NonceNeeded(needed) if needed.proof == ProofKind::Dpop => None,
            Self::InvalidToken(_) | Self::NonceNeeded(_) => {
                Some(format!("Bearer realm=\"{REALM}\", error=\"invalid_token\""))
            }
            Self::InsufficientScope { scope } => Some(format!(
                "Bearer realm=\"{REALM}\", error=\"insufficient_scope\", scope=\"{scope}\""
            )),
            _ => None,
        }
    }

    /// The same of the other scheme (RFC 9449, 7.1).
    fn challenge_for_proofs(&self) -> Option<String> {
        let error = match self {
            Self::CredentialsMissing => "",
            Self::InvalidToken(_) => ", error=\"invalid_token\"",
            Self::InvalidProof(_) => ", error=\"invalid_dpop_proof\"",
            Self::NonceNeeded(needed) if needed.proof == ProofKind::Dpop => {
                ", error=\"use_dpop_nonce\""
            }
            _ => return None,
        };
        Some(format!("DPoP realm=\"{REALM}\"{error}, algs=\"{PROOF_ALGORITHMS}\""))
    }

    /// Everything in it is ours or, for the scope and an approval's link, checked configuration
    /// (no quote, no backslash), so it needs no escaping.
    fn problem(&self, status: u16, decision: &DecisionId) -> String {
        let code = self.code();
        let (name, title) = (code.as_str(), code.title());
        let more = match self {
            Self::InsufficientScope { scope } => format!(",\"scope\":\"{scope}\""),
            Self::ApprovalAwaited(awaited) => awaited.members(),
            _ => String::new(),
        };
        format!(
            "{{\"type\":\"urn:postern:problem:{name}\",\"title\":\"{title}\",\"status\":{status},\
             \"code\":\"{name}\",\"decision\":\"{}\"{more}}}",
            decision.hex()
        )
    }
}

impl ApprovalAwaited {
    /// Members of the problem document.
    fn members(&self) -> String {
        let link = match &self.link {
            Some(link) => format!(",\"link\":\"{link}\""),
            None => String::new(),
        };
        format!(
            ",\"approval\":\"{}\",\"state\":\"{}\",\"poll\":\"{}\",\"expires\":{}{link}",
            hex::lower(&self.id),
            self.state.name(),
            self.poll,
            self.expires.seconds()
        )
    }
}

impl Refusal {
    /// The policy's own answer; what it leaves out is as in any other refusal.
    fn reply(&self, denial: &Denial, decision: &DecisionId) -> Reply {
        let code = denial.code();
        let status = self.status.unwrap_or(code.status());
        let (kind, content) = match &self.content {
            Some(text) => ("text/plain; charset=utf-8", text.clone()),
            None => ("application/problem+json", denial.problem(status, decision)),
        };
        let has = |name: &str| self.fields.iter().any(|(field, _)| field == name);
        let usual = [("content-type", kind), ("cache-control", "no-store")];
        let usual = usual.into_iter().filter(|(name, _)| !has(name));
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = usual.chain(self.fields.iter().cloned()).collect();
        Reply { status, fields, content: content.into_bytes(), details: code.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: DecisionId = DecisionId([0xab; 16]);

    fn body(denial: &Denial) -> serde_json::Value {
        serde_json::from_slice(&denial.reply(&ID).content).unwrap()
    }

    fn challenge(denial: &Denial) -> Option<String> {
        let fields = denial.reply(&ID).fields;
        fields.into_iter().find(|(name, _)| name == "www-authenticate").map(|(_, value)| value)
    }

    #[test]
    fn unknown_expired_and_revoked_keys_get_the_same_reply() {
        let unknown = Denial::InvalidToken(TokenReason::Unknown).reply(&ID);
        for reason in [TokenReason::Expired, TokenReason::Revoked, TokenReason::Mismatch] {
            assert_eq!(Denial::InvalidToken(reason).reply(&ID), unknown, "{reason:?}");
        }
    }

    #[test]
    fn insufficient_scope_names_the_scope_in_challenge_and_body() {
        let denial = Denial::InsufficientScope { scope: "tap:write".into() };
        assert_eq!(
            challenge(&denial).as_deref(),
            Some("Bearer realm=\"postern\", error=\"insufficient_scope\", scope=\"tap:write\"")
        );
        assert_eq!(
            body(&denial),
            serde_json::json!({
                "type": "urn:postern:problem:insufficient_scope",
                "title": "Scope missing",
                "status": 403,
                "code": "insufficient_scope",
                "decision": "ab".repeat(16),
                "scope": "tap:write",
            })
        );
    }

    #[test]
    fn a_gate_that_takes_proofs_says_so_beside_the_other_scheme() {
        let lines = |denial: &Denial| -> Vec<String> {
            let fields = denial.reply_with(&ID, Offer { metadata: None, proofs: true }).fields;
            let lines = fields.into_iter().filter(|(name, _)| name == "www-authenticate");
            lines.map(|(_, value)| value).collect()
        };
        let algs = format!("algs=\"{PROOF_ALGORITHMS}\"");
        let proof = Denial::InvalidProof(TokenReason::Replayed);
        let dpop = |error: &str| format!("DPoP realm=\"postern\"{error}, {algs}");
        assert_eq!(lines(&proof), [dpop(", error=\"invalid_dpop_proof\"")]);
        assert_eq!(
            lines(&Denial::CredentialsMissing),
            ["Bearer realm=\"postern\"".to_owned(), dpop("")]
        );
        assert_eq!((proof.code(), proof.reason()), (Code::InvalidToken, "replayed"));
    }

    #[test]
    fn missing_credentials_are_challenged_without_an_error_code() {
        assert_eq!(
            challenge(&Denial::CredentialsMissing).as_deref(),
            Some("Bearer realm=\"postern\"")
        );
    }

    #[test]
    fn evidence_that_is_not_accepted_is_attestation_unavailable() {
        let denial = Denial::from(KeyServiceFault::Evidence);
        assert_eq!((denial.code(), denial.code().status()), (Code::AttestationUnavailable, 503));
        let denial = Denial::from(KeyServiceFault::TimedOut);
        assert_eq!(denial.code(), Code::KeyServiceUnavailable);
    }

    #[test]
    fn every_code_has_a_status_of_its_class_and_a_metric_for_each_module() {
        for code in Code::ALL {
            assert!((400..=503).contains(&code.status()), "{code:?}");
            let metric = code.metric(Module::Gate).0;
            assert_eq!(
                metric,
                format!("postern.gate.denied.reason={}.total", code.as_str()),
                "{code:?}"
            );
        }
    }
}
