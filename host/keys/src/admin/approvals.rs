//! Approvals: list, show, approve, deny.
//!
//! An operator decides for its tenant as any person does, by its signature, and under the same
//! rules ([`crate::approvals::decide`]): never alone where two are needed, and never for what
//! needs a passkey.

use postern_core::hex;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Operator, bad_request, conflict, not_found};
use crate::approvals::{self, Approval, Decider, Filter, GRANT_SECONDS, Refusal, Ruling, Verdict};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};

/// `POST /api/v1/approvals/{id}/approve` and `…/deny`; empty content says nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Said {
    /// Why, at most 200 characters.
    pub reason: String,
    /// Approve alike requests too, for the usual time or for so many seconds.
    pub grant: Option<GrantWire>,
    /// Approve also what is not shown of the request.
    pub in_part: bool,
}

/// How long a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GrantWire {
    /// 30 minutes, or no grant.
    Usual(bool),
    /// So many seconds.
    Seconds(u32),
}

impl GrantWire {
    fn seconds(self) -> Option<u32> {
        match self {
            Self::Usual(wanted) => wanted.then_some(GRANT_SECONDS),
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

impl Service {
    pub(super) async fn list_approvals(
        &self,
        operator: &Operator,
        query: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let filter = match query {
            "" | "state=pending" => Filter::Pending,
            "state=all" => Filter::All,
            _ => return Ok(bad_request("Expected state=pending or state=all")),
        };
        let found = approvals::list(self, &operator.tenant, filter, now).await?;
        let all: Vec<Value> = found.iter().map(|approval| shown(approval, now)).collect();
        Ok(HttpAnswer::json(&json!({ "approvals": all })))
    }

    pub(super) async fn show_approval(
        &self,
        operator: &Operator,
        id: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Some(id) = hex::read(id.as_bytes()) else { return Ok(not_found()) };
        let found = approvals::show(self, &operator.tenant, &id).await?;
        let Some(approval) = found else { return Ok(not_found()) };
        Ok(HttpAnswer::json(&shown(&approval, now)))
    }

    pub(super) async fn decide_approval(
        &self,
        operator: &Operator,
        (id, verdict): (&str, Verdict),
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Some(id) = hex::read(id.as_bytes()) else { return Ok(not_found()) };
        let said = if body.is_empty() { Some(Said::default()) } else { read(body) };
        let Some(said) = said else { return Ok(bad_request("Expected reason, grant and in_part")) };
        let grant_seconds = said.grant.and_then(GrantWire::seconds);
        let ruling = Ruling { verdict, reason: said.reason, grant_seconds, in_part: said.in_part };
        let decider = Decider::operator(operator);
        let decided = approvals::decide(self, &id, &decider, &ruling, now).await?;
        Ok(match decided {
            Ok(approval) => HttpAnswer::json(&shown(&approval, now)),
            Err(Refusal::Unknown) => not_found(),
            Err(refusal @ Refusal::Grant) => bad_request(&refusal.to_string()),
            Err(refusal) => conflict(&refusal.to_string()),
        })
    }
}

fn read(body: &[u8]) -> Option<Said> {
    serde_json::from_slice(body).ok()
}

/// An approval as the interface has it.
pub(crate) fn shown(approval: &Approval, now: UnixMillis) -> Value {
    let requester = &approval.requester;
    json!({
        "id": hex::lower(&approval.id),
        "state": approval.state(now).name(),
        "requester": {
            "user": requester.user, "agent": requester.agent,
            "organisation": requester.organisation,
            "caller": hex::lower(&requester.subject_hash),
        },
        "request": hex::lower(&approval.digest),
        "credentials": approval.credentials,
        "needed": approval.needed,
        "passkey": approval.passkey,
        "created": approval.created.0,
        "expires": approval.expires.0,
        "decisions": approval.decisions,
        "grant_until": approval.grant.map(|grant| grant.until.0),
        "preview": approval.preview,
        "whole": approval.preview.as_ref().map(approvals::Preview::is_whole),
    })
}
