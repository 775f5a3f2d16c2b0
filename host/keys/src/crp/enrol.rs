//! Type 2: a new identity, admitted by a join token, or another key for one that is there,
//! admitted by the key in use ([`crate::renewal`]).
//!
//! Invariant: a token is used up in the transaction that writes the identity, so two
//! enrolments with one token cannot both succeed.

use postern_core::time::UnixMillis;
use postern_crp::message::enrol::{Answer as Enrolled, Request};
use postern_crp::message::{Answer, Status};

use crate::fault::Fault;
use crate::join;
use crate::renewal::Renewal;
use crate::service::Inner;
use crate::store::Connection;
use crate::store::identities::{self, New, Next, Renewed};

/// An enrolment ends after 90 days.
const LIFE_MS: u64 = 90 * 24 * 3600 * 1000;

/// Enrols a key whose signature was verified.
pub(super) async fn enrol(
    service: &Inner,
    db: &mut Connection,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    if let Some(renewal) = Renewal::parse(request.join_token.expose()) {
        return renewed(service, db, request, &renewal, now).await;
    }
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

/// Another key for an identity: the message is signed by it, and the renewal by the one in use.
async fn renewed(
    service: &Inner,
    db: &mut Connection,
    request: &Request,
    renewal: &Renewal,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let not_after = UnixMillis(now.0.saturating_add(LIFE_MS));
    let (role, public_key) = (request.role, &request.public_key);
    let next = Next { renewal, role, public_key, not_after };
    let admitted = match identities::renew(&mut *db, &service.rows, next, now).await? {
        None => {
            tracing::warn!(role = role.name(), "renewal refused: not by the key in use");
            return Ok(Answer::Denied(Status::Denied));
        }
        Some(Renewed::Before(admitted)) => admitted,
        Some(Renewed::Now(admitted, until)) => {
            let event = admitted.event("identity_renewed").with_hex("public_key", public_key);
            let event = event.with("previous_until", until.0.to_string());
            service.audit.append(db, event, now).await?;
            admitted
        }
    };
    let gateway_id = admitted.gateway;
    Ok(Answer::Enrol(Enrolled { gateway_id, tenant: admitted.tenant, not_after }))
}
