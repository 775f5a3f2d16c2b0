//! Type 2: a new identity, admitted by a join token.
//!
//! Invariant: a token is used up in the transaction that writes the identity, so two
//! enrolments with one token cannot both succeed.

use postern_core::time::UnixMillis;
use postern_crp::message::enrol::{Answer as Enrolled, Request};
use postern_crp::message::{Answer, Status};

use crate::fault::Fault;
use crate::join;
use crate::service::Inner;
use crate::store::Connection;
use crate::store::identities::{self, New};

/// An enrolment ends after 90 days.
const LIFE_MS: u64 = 90 * 24 * 3600 * 1000;

/// Enrols a key whose signature was verified.
pub(super) async fn enrol(
    service: &Inner,
    db: &mut Connection,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let hash = join::hash(&request.join_token);
    let (rows, role) = (&service.rows, request.role);
    let Some(admitted) = identities::use_token(&mut *db, rows, &hash, role, now).await? else {
        tracing::warn!(role = request.role.name(), "enrolment refused: token unknown or used");
        return Ok(Answer::Denied(Status::Denied));
    };
    let not_after = UnixMillis(now.0.saturating_add(LIFE_MS));
    let public_key = &request.public_key;
    let new = New { admitted: &admitted, public_key, label: &request.label, not_after };
    identities::add(&mut *db, rows, new, now).await?;
    let event = admitted.event("identity_enrolled").with("label", request.label.as_str());
    service.audit.append(db, event.with_hex("public_key", public_key), now).await?;
    let gateway_id = admitted.gateway;
    Ok(Answer::Enrol(Enrolled { gateway_id, tenant: admitted.tenant, not_after }))
}
