//! The audit record of one request.
//!
//! Owns two shapes. A [`Draft`] is what gate and credential know; it travels as
//! filter state `postern.record`, a CBOR array. An [`AuditRecord`] adds what only the
//! access logger sees and renders as RFC 8785 JSON: the exact bytes that are chained,
//! stored and verified.
//!
//! Invariant: no key, token, value, content or query is ever in either. A route is the
//! configured path template, a user is a short hash, every text is cut at a bound.

mod codec;
mod json;

use std::borrow::Cow;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::canary::Verdict;
use crate::time::UnixMillis;

/// What gate and credential know about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// When the gate saw the header section.
    pub received: UnixMillis,
    /// The decision's id; `None` when nothing was decided.
    pub decision_id: Option<[u8; 16]>,
    /// Request method.
    pub method: String,
    /// The path template that matched, never the path itself; empty when none did.
    pub route: String,
    /// Who called; `None` for everything before authentication has passed.
    pub caller: Option<Caller>,
    /// Outcome of the scope check.
    pub scope_check: ScopeCheck,
    /// What was decided, and why not.
    pub decision: Decision,
    /// Credential names, `name` or `name.field`.
    pub credentials: Vec<String>,
    /// Digest of the request as it was decided.
    pub request_digest: Option<[u8; 32]>,
    /// SHA-256 of the binding under which the credential was injected.
    pub binding_hash: Option<[u8; 32]>,
    /// Where the value came from.
    pub release: Option<ReleaseSource>,
    /// What a canary has shown of the route, where a binding has one; the worst of several.
    pub canary: Option<Verdict>,
    /// Names of the credentials that were minted from the answer.
    pub minted: Vec<String>,
    /// Forms of a secret replaced in the answer.
    pub scrub_hits: u64,
    /// What was looked through for them; `None` when nothing was.
    pub scrub: Option<ScrubReceipt>,
    /// Sections that were removed from the answer.
    pub removed_sections: u64,
    /// Kind of evidence accepted from the key service, such as `simulated`.
    pub attestation: Option<String>,
    /// Revision of the policy in force.
    pub policy_revision: Option<String>,
    /// Milliseconds from headers to decision.
    pub decide_ms: Option<u32>,
    /// Milliseconds from asking for the value to having it.
    pub release_ms: Option<u32>,
}

/// The authenticated caller as the audit shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Tenant.
    pub tenant: String,
    /// [`user_hash`] of the user.
    pub user_hash: [u8; 8],
    /// Agent.
    pub agent: String,
    /// Key id or token id; public.
    pub key_id: String,
    /// Connector platform.
    pub platform: Option<String>,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// How the caller was authenticated: the `kind` of the identity document.
    pub kind: Cow<'static, str>,
    /// Claims by which blocks of a capability token asked for more than was left, such as
    /// `1:scopes`: without effect, but somebody tried.
    pub widened: Vec<String>,
}

/// Outcome of the scope check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScopeCheck {
    /// Not reached.
    #[default]
    NotReached,
    /// Every required scope is granted.
    Passed,
    /// A required scope is missing.
    Failed,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// Nobody decided: the gate never ran, or trapped.
    #[default]
    Undecided,
    /// Forwarded.
    Allow,
    /// Refused.
    Deny {
        /// The code the client got.
        code: Cow<'static, str>,
        /// The reason only the audit learns.
        reason: Cow<'static, str>,
    },
}

/// Where an injected value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseSource {
    /// Sequence number under which the key service recorded the release.
    pub audit_seq: u64,
    /// True when the value was still in this gateway's cache.
    pub cached: bool,
}

/// What the scrubber looked through, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReceipt {
    /// Bytes of content, as they are once they are decoded.
    pub bytes: u64,
    /// Content codings that were undone, in the order in which they were applied.
    pub decoders: Vec<Cow<'static, str>>,
    /// Readings of the content in which every form was looked for.
    pub views: Vec<Cow<'static, str>>,
}

/// What the credential module adds to the gate's draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialPart {
    /// Names in the permit.
    pub credentials: Vec<String>,
    /// The binding used.
    pub binding_hash: Option<[u8; 32]>,
    /// Where the value came from.
    pub release: Option<ReleaseSource>,
    /// Names minted from the answer.
    pub minted: Vec<String>,
    /// Forms replaced so far.
    pub scrub_hits: u64,
    /// What was looked through so far.
    pub scrub: Option<ScrubReceipt>,
    /// Milliseconds spent on the release.
    pub release_ms: Option<u32>,
    /// Kind of evidence accepted, once the key service has answered.
    pub attestation: Option<String>,
    /// A refusal by the credential module; it overrides the gate's `allow`.
    pub denied: Option<Decision>,
}

impl Draft {
    /// An empty draft of a request that was received now.
    pub fn new(received: UnixMillis) -> Self {
        Self {
            received,
            decision_id: None,
            method: String::new(),
            route: String::new(),
            caller: None,
            scope_check: ScopeCheck::NotReached,
            decision: Decision::Undecided,
            credentials: Vec::new(),
            request_digest: None,
            binding_hash: None,
            release: None,
            canary: None,
            minted: Vec::new(),
            scrub_hits: 0,
            scrub: None,
            removed_sections: 0,
            attestation: None,
            policy_revision: None,
            decide_ms: None,
            release_ms: None,
        }
    }

    /// The draft with the credential module's part in it.
    #[must_use]
    pub fn with(mut self, part: CredentialPart) -> Self {
        if !part.credentials.is_empty() {
            self.credentials = part.credentials;
        }
        self.binding_hash = part.binding_hash.or(self.binding_hash);
        self.release = part.release.or(self.release);
        if !part.minted.is_empty() {
            self.minted = part.minted;
        }
        self.release_ms = part.release_ms.or(self.release_ms);
        self.attestation = part.attestation.or(self.attestation);
        self.scrub_hits = self.scrub_hits.max(part.scrub_hits);
        self.scrub = part.scrub.or(self.scrub);
        if let Some(denied) = part.denied {
            self.decision = denied;
        }
        self
    }

    /// The bytes of filter state `postern.record`. Texts beyond their bound are cut.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Draft::encode`] wrote; anything else is [`BadDraft`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadDraft> {
        codec::decode(bytes).ok_or(BadDraft)
    }
}

/// What the gate has done to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPart {
    /// Sections removed so far.
    pub removed_sections: u64,
    /// A refusal of the answer; it overrides what was decided about the request.
    pub denied: Option<Decision>,
}

/// An [`AnswerPart`] on its way into a record that others have written to as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    own: Box<Draft>,
    part: AnswerPart,
}

impl Amendment {
    /// `own` is the gate's draft.
    pub fn new(own: Draft, part: AnswerPart) -> Self {
        Self { own: Box::new(own), part }
    }

    /// The record, when it holds `current` now. One of another decision, or none that reads,
    /// does not count.
    pub fn into_record(self, current: Option<&[u8]>) -> Vec<u8> {
        let current = current.and_then(|bytes| Draft::decode(bytes).ok());
        let current = current.filter(|draft| draft.decision_id == self.own.decision_id);
        let mut draft = current.unwrap_or(*self.own);
        draft.removed_sections = self.part.removed_sections;
        if let Some(denied) = self.part.denied {
            draft.decision = denied;
        }
        draft.encode()
    }
}

/// Bytes that are not a draft: wrong shape, a text beyond its bound, or more behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an audit draft")]
pub struct BadDraft;

/// The first eight bytes of `SHA-256("postern user/1\0" || tenant || 0 || user)`: tells
/// users apart without naming them.
pub fn user_hash(tenant: &str, user: &str) -> [u8; 8] {
    let digest = Sha256::new()
        .chain_update(b"postern user/1\0")
        .chain_update(tenant)
        .chain_update([0])
        .chain_update(user)
        .finalize();
    let mut short = [0; 8];
    short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    short
}

/// What only the access logger sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Status sent to the client; `None` when it left before there was one.
    pub status: Option<u16>,
    /// Envoy's response flags, as bits.
    pub flags: u64,
    /// From the first byte of the request to the last of the response.
    pub duration: Option<Duration>,
}

/// One record of an edge chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Gateway that recorded it.
    pub gateway: [u8; 16],
    /// Position in the chain.
    pub seq: u64,
    /// When it was appended.
    pub time: UnixMillis,
    /// What it says.
    pub entry: Entry,
}

/// What an [`AuditRecord`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A chain starts here.
    ChainStarted,
    /// Requests of one gate root passed without a record.
    Unlogged {
        /// How many.
        count: u64,
        /// The root that counted them.
        root: [u8; 16],
    },
    /// A receipt's slot did not hold what the logger wrote: records of this root may be
    /// missing.
    ReceiptForged {
        /// Whose slot it was.
        root: [u8; 16],
    },
    /// Records were dropped because the buffer was full.
    Dropped {
        /// How many.
        count: u64,
    },
    /// An area of shared data for records that wait was not as a logger leaves it: what was in
    /// it may be missing.
    SpillForged,
    /// Another VM's records waited in shared data and are not there any more.
    Lost {
        /// How many.
        count: u64,
        /// The VM that left them.
        vm: [u8; 16],
    },
    /// One request.
    Request {
        /// `Err` when there was no draft, or none that decodes.
        draft: Result<Box<Draft>, NoDraft>,
        /// The answer.
        facts: ResponseFacts,
    },
}

/// Why a request's record has no draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDraft {
    /// No `postern.record`: the gate never ran, or trapped.
    Absent,
    /// `postern.record` is not a draft.
    Unreadable,
}

impl AuditRecord {
    /// RFC 8785 JSON, 64-bit numbers as strings: the bytes that are hashed.
    pub fn render(&self) -> Vec<u8> {
        json::render(self)
    }
}

#[cfg(test)]
mod tests;
