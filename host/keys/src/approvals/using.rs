//! A credential is released under an approval.
//!
//! Invariant: each credential of an approval is released under it once, to the digest, caller
//! and agent that it is about; looked at and changed in the release's own transaction.

use postern_core::time::UnixMillis;
use sqlx::SqliteConnection;

use super::asking::revoked;
use super::{Approval, CLAIM_MS, State};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::approvals as rows;

/// A release that names an approval.
pub(crate) struct Use<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) id: &'a [u8; 16],
    pub(crate) subject: &'a [u8; 32],
    pub(crate) agent: &'a str,
    pub(crate) digest: &'a [u8; 32],
    pub(crate) credential: &'a str,
    /// How many have to have said yes.
    pub(crate) needed: u8,
    pub(crate) passkey: bool,
}

/// The approval, if it serves this release, or why it does not.
pub(crate) async fn serving(
    service: &Inner,
    db: &mut SqliteConnection,
    what: &Use<'_>,
    now: UnixMillis,
) -> Result<Result<Approval, &'static str>, Fault> {
    let found = rows::find(&mut *db, &service.rows, what.tenant, what.id).await?;
    let Some(approval) = found else { return Ok(Err("approval_unknown")) };
    if revoked(service, db, &approval, now).await? {
        return Ok(Err("approval_revoked"));
    }
    Ok(serves(&approval, what, now).map(|()| approval))
}

/// Uses an approval that serves for one credential.
pub(crate) async fn spend(
    service: &Inner,
    db: &mut SqliteConnection,
    mut approval: Approval,
    credential: &str,
) -> Result<(), Fault> {
    approval.released.push(credential.to_owned());
    rows::change(&mut *db, &service.rows, &approval).await?;
    rows::forget_preview(db, &approval.id).await
}

fn serves(approval: &Approval, what: &Use<'_>, now: UnixMillis) -> Result<(), &'static str> {
    let requester = &approval.requester;
    if requester.subject_hash != *what.subject || requester.agent != what.agent {
        return Err("approval_of_another");
    }
    if approval.digest != *what.digest {
        return Err("approval_of_another_request");
    }
    if !approval.credentials.iter().any(|name| name == what.credential) {
        return Err("approval_without_credential");
    }
    if approval.released.iter().any(|name| name == what.credential) {
        return Err("approval_used");
    }
    if approval.decided.is_none() {
        return Err("approval_pending");
    }
    if approval.denied() {
        return Err("approval_denied");
    }
    let over = match (approval.claimed, approval.state(now)) {
        (Some(at), _) => UnixMillis(at.0.saturating_add(CLAIM_MS)) <= now,
        (None, State::Expired) => true,
        (None, _) => approval.expires <= now,
    };
    if over {
        return Err("approval_expired");
    }
    if approval.approvals() < usize::from(what.needed.max(approval.needed)) {
        return Err("approval_by_too_few");
    }
    if what.passkey && !approval.passkey {
        return Err("approval_without_passkey");
    }
    Ok(())
}
