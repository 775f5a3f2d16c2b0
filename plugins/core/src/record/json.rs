//! RFC 8785 rendering of a record.
//!
//! Fields stand in code-unit order in the structs below (a test holds them there) and
//! no number but small integers occurs, so `serde_json`'s compact form is the canonical
//! one: its string escapes are those of RFC 8785 3.2.2.2.

use std::borrow::Cow;

use serde::Serialize;

use crate::canary::Verdict;
use crate::hex;

use super::{
    AuditRecord, Caller, Decision, Draft, Entry, NoDraft, ResponseFacts, ScopeCheck, ScrubReceipt,
};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    credentials: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    decide_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<String>,
    gateway: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    minted: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<Release>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_sections: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_check: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrub: Option<Scrub<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrub_hits: Option<String>,
    seq: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    v: u8,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    widened: &'a [String],
}

#[derive(Serialize)]
struct Release {
    audit_seq: String,
    cached: bool,
}

#[derive(Serialize)]
struct Scrub<'a> {
    bytes: String,
    decoders: &'a [Cow<'static, str>],
    views: &'a [Cow<'static, str>],
}

impl<'a> Scrub<'a> {
    fn of(receipt: &'a ScrubReceipt) -> Self {
        let ScrubReceipt { bytes, decoders, views } = receipt;
        Self { bytes: bytes.to_string(), decoders, views }
    }
}

pub(super) fn render(record: &AuditRecord) -> Vec<u8> {
    let mut line = Line::of(record);
    match &record.entry {
        Entry::ChainStarted => line.kind = "chain_started",
        Entry::Unlogged { count, root } => {
            line.kind = "unlogged";
            line.count = Some(count.to_string());
            line.root = Some(hex::lower(root));
        }
        Entry::ReceiptForged { root } => {
            line.kind = "receipt_forged";
            line.root = Some(hex::lower(root));
        }
        Entry::Dropped { count } => {
            line.kind = "dropped";
            line.count = Some(count.to_string());
        }
        Entry::SpillForged => line.kind = "spill_forged",
        Entry::Lost { count, vm } => {
            line.kind = "lost";
            line.count = Some(count.to_string());
            line.root = Some(hex::lower(vm));
        }
        Entry::Request { draft, facts } => {
            line.facts(facts);
            match draft {
                Ok(draft) => line.draft(draft),
                Err(why) => line.no_draft(*why),
            }
        }
    }
    // Only texts, small integers and options: serialising to a Vec cannot fail.
    serde_json::to_vec(&line).unwrap_or_default()
}

impl<'a> Line<'a> {
    fn of(record: &AuditRecord) -> Self {
        Self {
            agent: None,
            attestation: None,
            binding: None,
            canary: None,
            count: None,
            credentials: &[],
            decide_ms: None,
            decision: None,
            decision_id: None,
            digest: None,
            duration_us: None,
            flags: None,
            gateway: hex::lower(&record.gateway),
            identity: None,
            key: None,
            kind: "request",
            method: None,
            minted: &[],
            platform: None,
            policy: None,
            reason: None,
            received: None,
            release: None,
            release_ms: None,
            removed_sections: None,
            root: None,
            route: None,
            scope_check: None,
            scopes: None,
            scrub: None,
            scrub_hits: None,
            seq: record.seq.to_string(),
            status: None,
            tenant: None,
            time: record.time.0.to_string(),
            user: None,
            v: 1,
            widened: &[],
        }
    }

    fn facts(&mut self, facts: &ResponseFacts) {
        self.status = facts.status;
        self.flags = (facts.flags != 0).then(|| facts.flags.to_string());
        self.duration_us = facts.duration.map(|span| span.as_micros().to_string());
    }

    fn no_draft(&mut self, why: NoDraft) {
        self.decision = Some("none".to_owned());
        self.reason = Some(match why {
            NoDraft::Absent => "draft_absent",
            NoDraft::Unreadable => "draft_unreadable",
        });
    }

    fn draft(&mut self, draft: &'a Draft) {
        self.received = Some(draft.received.0.to_string());
        self.decision_id = draft.decision_id.map(|id| hex::lower(&id));
        self.method = Some(&draft.method);
        self.route = Some(&draft.route);
        self.scope_check = Some(match draft.scope_check {
            ScopeCheck::NotReached => "not_reached",
            ScopeCheck::Passed => "passed",
            ScopeCheck::Failed => "failed",
        });
        self.decision(&draft.decision);
        self.credentials = &draft.credentials;
        self.digest = draft.request_digest.map(|digest| hex::lower(&digest));
        self.binding = draft.binding_hash.map(|hash| hex::lower(&hash));
        self.release = draft.release.map(|release| Release {
            audit_seq: release.audit_seq.to_string(),
            cached: release.cached,
        });
        self.canary = draft.canary.map(Verdict::as_str);
        self.minted = &draft.minted;
        self.scrub = draft.scrub.as_ref().map(Scrub::of);
        self.scrub_hits = Some(draft.scrub_hits.to_string());
        let removed = draft.removed_sections;
        self.removed_sections = (removed > 0).then(|| removed.to_string());
        self.attestation = draft.attestation.as_deref();
        self.policy = draft.policy_revision.as_deref();
        self.decide_ms = draft.decide_ms;
        self.release_ms = draft.release_ms;
        if let Some(caller) = &draft.caller {
            self.caller(caller);
        }
    }

    fn caller(&mut self, caller: &'a Caller) {
        self.tenant = Some(&caller.tenant);
        self.user = Some(hex::lower(&caller.user_hash));
        self.agent = Some(&caller.agent);
        self.key = Some(&caller.key_id);
        self.platform = caller.platform.as_deref();
        self.scopes = Some(&caller.scopes);
        self.identity = Some(&caller.kind);
        self.widened = &caller.widened;
    }

    fn decision(&mut self, decision: &'a Decision) {
        self.decision = Some(match decision {
            Decision::Undecided => "none".to_owned(),
            Decision::Allow => "allow".to_owned(),
            Decision::Deny { code, reason } => {
                self.reason = Some(reason);
                format!("deny:{code}")
            }
        });
    }
}
