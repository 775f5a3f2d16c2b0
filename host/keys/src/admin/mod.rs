//! The operators' interface: `/api/v1/…`, `/audit/integrity`, `/audit/export`,
//! `/audit/proof/{n}`, `/audit/removals`, `/log/checkpoint` and `/log/consistency`.
//!
//! Every request is signed ([`crate::operator_auth`]) by an enrolled operator and acts on
//! that operator's tenant alone; there is no parameter by which to name another. Changes
//! and their audit event are one transaction.
//!
//! Invariant: nothing here reads a sealed value; a credential shows its name, bindings and
//! times.

mod approvals;
mod audit;
mod credentials;
mod frameworks;
mod gateway_sets;
mod gateways;
mod invites;
mod keys;
mod people;
mod revoking;

pub use approvals::{GrantWire, Said};
pub use audit::Removal;
pub use credentials::InVault;
pub use frameworks::{Classified, Cleared, NewFramework};
pub use gateway_sets::{NamedSet, NewSet};
pub use invites::NewInvite;
pub use keys::{NewKey, Rotation};
pub use people::{NewLink, NewPerson};
pub use revoking::Named;

use ed25519_dalek::VerifyingKey;
use postern_core::time::UnixMillis;
use postern_crp::Role;

use crate::approvals::Verdict;
use crate::audit::export::Export;
use crate::fault::Fault;
use crate::operator_auth::{self, Claim, Fields, Request};
use crate::service::{HttpAnswer, Service, unavailable};
use crate::store::revocations::{self, Revocation};
use crate::store::{self, Connection, Reach, api_keys, identities, nonces, retried};

/// Media type of an export.
pub(crate) const EXPORT_TYPE: &str = "application/jsonl";

/// A verified operator of one tenant. Made only by [`Service::operator_answer`].
pub(crate) struct Operator {
    id: [u8; 16],
    tenant: String,
}

impl Operator {
    pub(crate) fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The rows that it may see and change.
    fn reach(&self) -> Reach<'_> {
        Reach::Tenant(&self.tenant)
    }

    /// An event of this operator.
    fn event(&self, kind: &'static str) -> crate::audit::Event {
        crate::audit::Event::new(kind, &self.tenant).with_hex("operator", &self.id)
    }
}

/// What an operator is sent.
pub enum Answered {
    /// Whole.
    Whole(HttpAnswer),
    /// Page by page ([`Service::export_page`]).
    Export(Export),
}

impl Service {
    /// Answers a signed request.
    pub async fn operator_answer(
        &self,
        request: &Request<'_>,
        fields: Option<&Fields>,
        now: UnixMillis,
    ) -> Answered {
        let operator = match self.authenticate(request, fields, now).await {
            Ok(Some(operator)) => operator,
            Ok(None) => {
                let title = "Expected an operator's signature";
                return Answered::Whole(HttpAnswer::problem(401, "invalid_token", title));
            }
            Err(fault) => return Answered::Whole(unavailable(&fault)),
        };
        let answer = retried(|| self.route(&operator, request, now)).await;
        answer.unwrap_or_else(|fault| Answered::Whole(unavailable(&fault)))
    }

    /// The same with an export in memory, for whoever asks without a socket.
    pub async fn operator_request(
        &self,
        request: &Request<'_>,
        fields: Option<&Fields>,
        now: UnixMillis,
    ) -> HttpAnswer {
        let mut export = match self.operator_answer(request, fields, now).await {
            Answered::Whole(answer) => return answer,
            Answered::Export(export) => export,
        };
        let mut body = Vec::new();
        loop {
            match self.export_page(&mut export).await {
                Ok(Some(lines)) => body.extend_from_slice(&lines),
                Ok(None) => return HttpAnswer { status: 200, content_type: EXPORT_TYPE, body },
                Err(fault) => return unavailable(&fault),
            }
        }
    }

    /// Identity active, signature and time good, nonce new: in that order.
    async fn authenticate(
        &self,
        request: &Request<'_>,
        fields: Option<&Fields>,
        now: UnixMillis,
    ) -> Result<Option<Operator>, Fault> {
        let Some(fields) = fields else { return Ok(None) };
        let Ok(claim) = Claim::parse(&fields.signature_input) else { return Ok(None) };
        let mut db = self.inner.pool.read(Reach::All).await?;
        let identities =
            identities::active(&mut db, &self.inner.rows, &claim.operator, now).await?;
        drop(db);
        let (mut signed, mut refused) = (None, None);
        // Two while a renewed one's old key is still taken.
        for operator in identities.into_iter().filter(|one| one.role == Role::Operator) {
            let key = VerifyingKey::from_bytes(&operator.public_key);
            let key = key.map_err(|_| Fault::Malformed("identity"))?;
            match operator_auth::verify(request, fields, &claim, &key, now) {
                Ok(_) => signed = Some(operator),
                Err(refusal) => refused = Some(refusal),
            }
        }
        let Some(operator) = signed else {
            if let Some(refusal) = refused {
                tracing::warn!(%refusal, "operator request refused");
            }
            return Ok(None);
        };
        let mut db = self.inner.pool.write(Reach::All).await?;
        let fresh =
            nonces::fresh(&mut db, &claim.operator, &claim.nonce, claim.nonce_until()).await?;
        db.commit().await?;
        Ok(fresh.then_some(Operator { id: claim.operator, tenant: operator.tenant }))
    }

    async fn route(
        &self,
        operator: &Operator,
        request: &Request<'_>,
        now: UnixMillis,
    ) -> Result<Answered, Fault> {
        let path = request.path.strip_prefix('/').unwrap_or_default();
        let segments: Vec<&str> = path.split('/').collect();
        let answer = match (request.method, segments.as_slice()) {
            ("GET", ["audit", "export"] | ["api", "v1", "audit"]) => {
                return self.show_export(operator, request.query).await;
            }
            ("POST", ["audit", "removals"]) => {
                self.remove_content(operator, request.body, now).await
            }
            ("GET", ["audit", "integrity"]) => self.show_integrity().await,
            ("GET", ["audit", "proof", n]) => self.show_proof(operator, n).await,
            ("GET", ["audit", "proof", "decision", id]) => {
                self.show_decision_proof(operator, id).await
            }
            ("GET", ["log", "checkpoint"]) => self.show_checkpoint(request.query).await,
            ("GET", ["log", "consistency"]) => self.show_consistency(request.query).await,
            ("GET", ["api", "v1", "approvals"]) => {
                self.list_approvals(operator, request.query, now).await
            }
            (method, ["api", "v1", rest @ ..]) => {
                self.resource(operator, method, rest, request.body, now).await
            }
            _ => Ok(not_found()),
        };
        answer.map(Answered::Whole)
    }

    async fn resource(
        &self,
        operator: &Operator,
        method: &str,
        rest: &[&str],
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        match (method, rest) {
            ("GET", ["tenants"]) => {
                Ok(HttpAnswer::json(&serde_json::json!({ "tenants": [operator.tenant] })))
            }
            ("GET", ["users"]) => self.list_users(operator).await,
            ("GET", ["keys"]) => self.list_keys(operator, now).await,
            ("POST", ["keys"]) => self.create_key(operator, body, now).await,
            ("POST", ["keys", id, "rotate"]) => self.rotate_key(operator, id, body, now).await,
            ("POST", ["keys", id, "revoke"]) => self.revoke_key(operator, id, now).await,
            ("GET", ["invites"]) => self.list_invites(operator, now).await,
            ("POST", ["invites"]) => self.create_invite(operator, body, now).await,
            ("GET", ["invites", "issuer"]) => self.show_issuer(operator, now).await,
            ("POST", ["invites", "issuer", "next"]) => self.next_issuer(operator, now).await,
            ("POST", ["invites", "issuer", "change"]) => self.change_issuer(operator, now).await,
            ("POST", ["invites", id, "revoke"]) => self.revoke_invite(operator, id, now).await,
            ("GET", ["approvals", id]) => self.show_approval(operator, id, now).await,
            ("POST", ["approvals", id, "approve"]) => {
                self.decide_approval(operator, (id, Verdict::Approve), body, now).await
            }
            ("POST", ["approvals", id, "deny"]) => {
                self.decide_approval(operator, (id, Verdict::Deny), body, now).await
            }
            (method, ["people", rest @ ..]) => {
                self.people_resource(operator, (method, rest), body, now).await
            }
            (method, ["frameworks", rest @ ..]) => {
                self.frameworks_resource(operator, (method, rest), body, now).await
            }
            ("GET", ["credentials"]) => self.list_credentials(operator).await,
            ("POST", ["credentials"]) => self.put_in_vault(operator, body, now).await,
            ("DELETE", ["credentials", name]) => self.delete_credential(operator, name, now).await,
            ("GET", ["revocations"]) => self.list_revocations(operator).await,
            ("POST", ["revocations"]) => self.add_revocation(operator, body, now).await,
            ("DELETE", ["revocations"]) => self.remove_revocation(operator, body, now).await,
            (method, ["gateway-sets"]) => {
                self.gateway_sets_resource(operator, method, body, now).await
            }
            ("GET", ["gateways"]) => self.list_gateways(operator).await,
            ("POST", ["gateways"]) => self.create_gateway(operator, now).await,
            ("POST", ["gateways", id, "revoke"]) => self.revoke_gateway(operator, id, now).await,
            _ => Ok(not_found()),
        }
    }

    async fn list_users(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let rows: Vec<(String, String)> = sqlx::query_as(
            r#"SELECT "user", organisation FROM users WHERE tenant = $1 ORDER BY "user""#,
        )
        .bind(&operator.tenant)
        .fetch_all(&mut *db)
        .await?;
        let user = |(user, organisation)| serde_json::json!({ "user": user, "organisation": organisation });
        let users: Vec<serde_json::Value> = rows.into_iter().map(user).collect();
        Ok(HttpAnswer::json(&serde_json::json!({ "users": users })))
    }

    /// Commits a change together with its event.
    pub(crate) async fn recorded(
        &self,
        mut db: store::Write,
        event: crate::audit::Event,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        self.inner.audit.append(&mut db, event, now).await?;
        db.commit().await
    }
}

fn not_found() -> HttpAnswer {
    HttpAnswer::problem(404, "not_found", "There is no such thing here")
}

fn bad_request(title: &str) -> HttpAnswer {
    HttpAnswer::problem(400, "bad_request", title)
}

fn conflict(title: &str) -> HttpAnswer {
    HttpAnswer::problem(409, "conflict", title)
}

impl Service {
    /// Tells gateways of what ended here. The list has room for it or they are made to
    /// forget: either way nobody relies on what was.
    async fn tell(
        &self,
        db: &mut store::Write,
        operator: &Operator,
        revocation: Revocation,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let (rows, tenant) = (&self.inner.rows, &operator.tenant);
        if revocations::tell(db, rows, tenant, &revocation, now).await?.is_err() {
            tracing::warn!(kind = revocation.kind.name(), "the list of revocations is full");
        }
        Ok(())
    }
}

/// Whether `user` has room for one more key.
async fn has_room(
    db: &mut Connection,
    tenant: &str,
    user: &str,
    now: UnixMillis,
) -> Result<bool, Fault> {
    Ok(api_keys::active(db, tenant, user, now).await? < api_keys::MAX_ACTIVE)
}
