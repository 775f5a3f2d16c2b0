//! Reasons for the audit record: what exactly was wrong, never shown to a client.
//!
//! Invariant: every reason is a fixed word of ours; none carries a caller's bytes.

use crate::denial::{AuditReason, Denial};
use crate::key_service::{KeyServiceFault, ReleaseDenied};

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $text:literal $why:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $why] $variant,)+
        }

        impl $name {
            /// The word in the audit record.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    /// Where a placeholder was seen.
    Place {
        FieldName "in_field_name" "In the name of a field.",
        FieldValue "in_field_value" "In a field that is not its site.",
        Target "in_target" "In the path, the query or the authority.",
        Content "in_content" "In the content.",
        Trailer "in_trailer" "In the trailer section.",
        Message "in_message" "In a WebSocket message or control frame.",
        Twice "twice" "More often than `max_occurrences` in one request.",
    }
}

reasons! {
    /// Why a request could be read in two ways.
    Ambiguity {
        PseudoFields "pseudo_fields" "A pseudo-field is missing or there is more than one.",
        Authority "authority" "`Host` and `:authority` disagree, or one is repeated.",
        Framing "framing" "Content-length is repeated, no number, or beside transfer-encoding.",
        Path "path" "Dot segments, encoded separators, backslash or control bytes in the path.",
        FieldBytes "field_bytes" "A field name or value with bytes that no field may have.",
        Upgrade "upgrade" "The request asks to leave HTTP.",
        Identities "several_identities" "Credentials in more than one place, and no rule combines them.",
        CredentialField "credential_field" "More than one credential field.",
        Signature "signature" "A parameter that a signature cannot cover, or that belongs to one.",
        TrailerField "trailer_field" "A trailer with a name that only a header may have.",
        Frame "websocket_frame" "WebSocket bytes that are no frame of text, or before there is one.",
        Forward "forward_fields" "Forward fields repeated, missing, malformed or out of place.",
    }
}

reasons! {
    /// Why a presented key or token authenticates nobody. Alike to the client.
    TokenReason {
        Repeated "repeated" "More than one line of the key's field.",
        Joined "joined" "Values joined by a comma.",
        NotUtf8 "not_utf8" "Bytes that are not UTF-8.",
        Scheme "scheme" "Not the Bearer scheme (RFC 6750 2.1).",
        Syntax "syntax" "Wrong prefix, length, alphabet or checksum.",
        Unknown "unknown" "No such key id.",
        Mismatch "mismatch" "The id is known, the secret is wrong.",
        Expired "expired" "The key's time is over.",
        Revoked "revoked" "The key was revoked.",
        RecordName "record_name" "The directory gives the key a role or trust level that nobody knows.",
        Tenant "tenant" "Of a tenant that this gate does not serve.",
        Combined "combined" "Credentials that came together name different callers.",
        Content "content" "The caller has signed other content.",
        TooLong "too_long" "Longer than any token or name.",
        Form "form" "Not the parts of a token.",
        Json "json" "JSON that is malformed, too deep, too large or has a name twice.",
        Header "header" "A header parameter that is not understood or brings a key along.",
        Algorithm "algorithm" "An algorithm that no key is for, or none.",
        UnknownKey "unknown_key" "No key of the issuer has this id.",
        Signature "signature" "The signature does not hold.",
        Type "type" "A token of another type.",
        Claim "claim" "A claim that is needed is missing or malformed.",
        Issuer "issuer" "Of another issuer.",
        Audience "audience" "For another audience.",
        NotYet "not_yet" "Not valid yet.",
        Inactive "inactive" "Its issuer says that it is not active.",
        Life "life" "Made for a longer life than is accepted.",
        Directory "directory" "Of a directory (`tid`) that is not accepted.",
        Bound "bound" "Bound to a key that the request does not prove to have.",
        Claims "claims" "A claim is unknown, missing, out of place or not of its form.",
        Chain "chain" "Blocks that do not follow each other, are too many or have nothing in common.",
        ProofMissing "proof_missing" "A token without a proof of possession.",
        Proof "proof" "The fields of the proof are not as the specification asks.",
        ProofTime "proof_time" "The proof is too old, or lies in the future.",
        ProofDigest "proof_digest" "Content without one sha-256 digest.",
        ProofToken "proof_token" "The proof is for another token.",
        ProofRequest "proof_request" "The proof is for another method or target.",
        Unbound "unbound" "Bound to nothing, where tokens have to be.",
        ProofSignature "proof_signature" "The holder has not signed this request.",
        ProofField "proof_field" "The holder has not signed the field that names a credential.",
        Certificate "certificate" "The client certificate cannot be read, or is an authority's.",
        NoSpiffeId "no_spiffe_id" "A client certificate without a SPIFFE ID.",
        SpiffeIds "several_uris" "A client certificate with more than one URI.",
        SpiffeId "spiffe_id" "Not a SPIFFE ID of a workload as the specification spells it.",
        TrustDomain "trust_domain" "Of a trust domain that is not accepted.",
        Hop "hop" "A forwarded certificate from a peer that is no configured hop.",
        NotForwarded "not_forwarded" "A hop that says nothing of its caller's certificate.",
        Forwarded "forwarded" "A forwarded certificate that is not one element of one workload.",
        Unmapped "unmapped" "A SPIFFE ID that no agent is configured for.",
        Replayed "replayed" "The nonce was used before.",
        NonceMissing "nonce_missing" "A proof without a nonce of this gateway, which asks for one.",
        NonceStale "nonce_stale" "A nonce that is too old, or none that this gateway has issued.",
        Invite "invite" "An invite that is unknown, used, expired or revoked: the key service says which.",
    }
}

reasons! {
    /// Why nothing can be said about a token.
    KeysReason {
        Never "keys_missing" "The issuer's keys could not be had, or not for too long.",
        Late "keys_late" "The issuer did not answer in time.",
        Unanswered "introspection_failed" "The introspection endpoint gave no answer that counts.",
        Answer "introspection_answer" "The introspection endpoint's answer is not as RFC 7662 has it.",
        InTime "introspection_late" "The introspection endpoint did not answer in time.",
        Busy "introspection_busy" "The introspection endpoint is asked too much already.",
        Invites "keys_invites" "The key service issues tokens that this gate does not take.",
    }
}

reasons! {
    /// Why a credential may not be used here. Alike to the client.
    NotAllowed {
        Token "credential_token" "Not among the credentials of the caller's token.",
        Unknown "credential_unknown" "No binding of the caller's tenant has this name.",
        Site "credential_site" "Bound, but not at this site.",
        Method "credential_method" "Bound, but not for this method.",
        WebSocket "credential_websocket" "Bound, but not for a WebSocket.",
        Path "credential_path" "Bound, but not for this path.",
        Authority "credential_authority" "Bound, but not to this upstream.",
        Content "credential_content" "Its signature covers content that the gate did not read.",
        KeyService "release_denied" "The key service refuses the release.",
        KeyServiceUnknown "release_unknown" "The key service has no such credential.",
        KeyServiceRevoked "release_revoked" "The credential was revoked.",
        KeyServiceExpired "release_expired" "The credential has expired.",
        Field "release_field" "The credential has no such field.",
        Reflective "route_reflective" "A canary's value came back: the route gives away what it gets.",
        SecretInRequest "secret_in_request" "The request itself holds a value that this worker has.",
        TargetBytes "target_bytes" "Forward target: bytes that no URL has, `\\` or `#`.",
        TargetLength "target_length" "Forward target: longer than 8000 bytes.",
        TargetJoined "target_joined" "Forward target: a second URL behind a comma.",
        TargetScheme "target_scheme" "Forward target: not `https://`.",
        TargetUserinfo "target_userinfo" "Forward target: user information.",
        TargetHost "target_host" "Forward target: not a DNS name and a port.",
        TargetPath "target_path" "Forward target: a path that parsers disagree about.",
        TargetUnknown "target_unknown" "Forward target: no upstream has this authority.",
        TargetLoop "target_loop" "Forward target: the path of a forward endpoint.",
    }
}

reasons! {
    /// Which policy refuses.
    PolicyReason {
        GatewayRevoked "gateway_revoked" "The gateway or its tenant was revoked.",
        TokenMethod "token_method" "The caller's token is not for this method.",
        TokenHost "token_host" "The caller's token is not for where the request goes.",
        TokenPath "token_path" "The caller's token is not for this path.",
        TokenLimit "token_limit" "The caller's token has a limit that the gate cannot compare.",
        TokenDocument "token_document" "The caller's token is for another document, or for one and the rule is for none.",
        NoScopeRule "no_scope_rule" "No scope rule covers the method and path.",
        PermitMissing "permit_missing" "No permit reached the credential module.",
        PermitInvalid "permit_invalid" "The permit does not verify.",
        PermitExpired "permit_expired" "The permit's time is over.",
        ClusterUnknown "cluster_unknown" "The cluster is not in the upstreams table.",
        CanaryMark "canary_mark" "A canary's mark that does not hold, or on another request.",
        RequestChanged "request_changed" "What leaves is not what was decided.",
        Denied "policy_denies" "The policy refuses.",
        Undefined "policy_undefined" "The policy has no decision about this request.",
        Conflict "policy_conflict" "Rules of the policy contradict each other.",
        Failed "policy_error" "The policy could not be evaluated.",
        Limit "policy_limit" "The policy took more instructions than it may.",
        Type "policy_type" "The policy's decision is not of the documented form.",
        Input "policy_input" "The request cannot be made into the policy's input.",
        Change "policy_change" "The policy asks for a change that no policy may make.",
        NotLoaded "policy_not_loaded" "A policy is configured and none was loaded.",
        Obligation "policy_obligation" "An obligation that is not documented, or that this gate cannot keep.",
        Clearance "clearance_unknown" "The caller's clearance is no level of the framework.",
        NoBarrierRule "no_barrier_rule" "No rule of the barriers covers the path.",
        BarrierUpgrade "barrier_websocket" "A WebSocket where sections have to be removed.",
        ApprovalDenied "approval_denied" "A person has refused the request.",
        ApprovalUnknown "approval_unknown" "No such approval of this caller.",
        ApprovalContent "approval_content" "A WebSocket, or content that the gate does not read: nobody can approve what nobody sees.",
    }
}

reasons! {
    /// Which budget has nothing left.
    BudgetReason {
        Agent "budget_agent" "The agent's.",
        Credential "budget_credential" "The credential's.",
        Organisation "budget_organisation" "The organisation's.",
        Tenant "budget_tenant" "The tenant's.",
        Class "budget_class" "That of the rate class, which the policy has chosen.",
        Full "budget_full" "More callers than can be remembered at once.",
    }
}

reasons! {
    /// What has to be approved.
    ApprovalReason {
        Release "approval_required" "The key service wants an approval for the credential.",
        Policy "approval_policy" "The policy wants an approval.",
        Passkey "passkey_policy" "The policy wants an approval with a passkey.",
        Asked "approval_asked" "The caller asks for one, or names one that is not for this request.",
    }
}

reasons! {
    /// Why a region is none that the request may leave for.
    RegionReason {
        Elsewhere "region_elsewhere" "The upstream is in a region that is not allowed.",
        Unknown "region_unknown" "The upstream's region, or the upstream, is not known.",
    }
}

reasons! {
    /// Why an answer cannot be scrubbed.
    Unscannable {
        Encoded "encoded" "A content coding that is not decoded, or more than two.",
        Malformed "malformed" "Content that is not what its coding says, or not whole.",
        Expansion "expansion" "Content that grows out of proportion when it is decoded.",
        Archive "archive" "A secret in compressed content that nothing announced.",
        Crowded "crowded" "No memory is left for another decoder's window.",
        Partial "partial" "Part of a representation (206).",
        Upgraded "upgraded" "The upstream left HTTP.",
        Extensions "websocket_extensions" "Another protocol, or extensions that nobody offered.",
        Frame "websocket_frame" "WebSocket bytes that are no frame of text.",
        Message "websocket_message" "A WebSocket message longer than 256 KiB.",
        Control "websocket_control" "A secret in a control frame of a WebSocket.",
        Canary "canary_failed" "A canary had no answer of the upstream's that could be read.",
        Undeliverable "undeliverable" "Held bytes that can no longer be delivered.",
        MintEarly "mint_early" "A token endpoint's answer before the end of the request.",
        MintLarge "mint_large" "A token endpoint's answer of more than 64 KiB.",
        MintSlow "mint_slow" "A token endpoint's answer that does not end, or that the host does not deliver.",
        MintTrailers "mint_trailers" "A token endpoint's answer with trailers.",
        MintField "mint_field" "A header field that names a value which is minted.",
        MintForm "mint_form" "A token endpoint's answer that is no strict JSON.",
        MintKind "mint_kind" "A value to mint that is no string, too short, too long or unfit for a field.",
        MintElsewhere "mint_elsewhere" "A value of a minted name in another place of the answer.",
        MintExpiry "mint_expiry" "A number of seconds to live that is none.",
        BarrierType "barrier_type" "Content that is not JSON where sections have to be removed.",
        BarrierForm "barrier_json" "Content that is no strict JSON where sections have to be removed.",
        BarrierTwice "barrier_duplicate" "An object with a name twice where sections have to be removed.",
        BarrierSize "barrier_size" "JSON too deep, with too long a name or too many, to be filtered.",
        BarrierHeld "barrier_held" "A section whose tags come later than what may be held.",
    }
}

reasons! {
    /// What failed on our side.
    Ours {
        EffectFailed "effect_failed" "The host could not perform an effect.",
        Unexpected "unexpected_event" "An event in a state that cannot have it.",
        ContentNotDelivered "content_not_delivered" "The host does not deliver content to inspect.",
        EndedByHost "ended_by_host" "The host answered before a decision.",
        Value "credential_value" "The released value cannot stand in a field.",
        NoncesForged "nonces_forged" "Shared nonces that we did not write, or that were put back.",
        NoncesUnwritten "nonces_unwritten" "A nonce could not be written to shared data.",
        TalliesForged "tallies_forged" "Shared budgets or labels that we did not write, or that were put back.",
        TalliesUnwritten "tallies_unwritten" "Budgets or labels could not be written to shared data.",
        Unreachable "unreachable" "A bug.",
    }
}

impl Denial {
    /// The reason for the audit record.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PlaceholderMisplaced(place) => place.as_str(),
            Self::RequestAmbiguous(what) => what.as_str(),
            Self::InvalidToken(reason) | Self::InvalidProof(reason) => reason.as_str(),
            Self::NonceNeeded(needed) => needed.reason.as_str(),
            Self::CredentialNotAllowed(reason) => reason.as_str(),
            Self::PolicyDenied(reason) => reason.as_str(),
            Self::PolicyAnswered(_) => PolicyReason::Denied.as_str(),
            Self::RegionDenied(reason) => reason.as_str(),
            Self::BudgetExhausted { reason, .. } => reason.as_str(),
            Self::ApprovalRequired(reason) => reason.as_str(),
            Self::ApprovalAwaited(awaited) => awaited.reason.as_str(),
            Self::ApprovalUsed => "approval_used",
            Self::TooManyApprovals => "approvals_rate",
            Self::UpstreamUnscannable(reason) => reason.as_str(),
            Self::KeyService(fault) => key_service(*fault),
            Self::KeysUnavailable(reason) => reason.as_str(),
            Self::AuditUnavailable(AuditReason::Behind) => "receipt_missing",
            Self::AuditUnavailable(AuditReason::Full) => "buffer_full",
            Self::Internal(reason) => reason.as_str(),
            Self::PlaceholderMalformed
            | Self::CredentialsMissing
            | Self::MethodRefused
            | Self::BodyTooLarge
            | Self::EncodingUnsupported
            | Self::InsufficientScope { .. }
            | Self::RateLimited => self.code().as_str(),
        }
    }
}

impl From<ReleaseDenied> for Denial {
    fn from(denied: ReleaseDenied) -> Self {
        match denied {
            ReleaseDenied::Denied => Self::CredentialNotAllowed(NotAllowed::KeyService),
            ReleaseDenied::Unknown => Self::CredentialNotAllowed(NotAllowed::KeyServiceUnknown),
            ReleaseDenied::Revoked => Self::CredentialNotAllowed(NotAllowed::KeyServiceRevoked),
            ReleaseDenied::Expired => Self::CredentialNotAllowed(NotAllowed::KeyServiceExpired),
            ReleaseDenied::NeedsApproval { .. } => Self::ApprovalRequired(ApprovalReason::Release),
        }
    }
}

fn key_service(fault: KeyServiceFault) -> &'static str {
    match fault {
        KeyServiceFault::Unreachable => "unreachable",
        KeyServiceFault::TimedOut => "timed_out",
        KeyServiceFault::NotAuthentic => "not_authentic",
        KeyServiceFault::Evidence => "evidence",
        KeyServiceFault::NotReady => "not_ready",
        KeyServiceFault::RevocationStale => "revocation_stale",
        KeyServiceFault::Local => "local",
    }
}
