//! Type 7: a gate asks for an approval, or how one stands.
//!
//! Invariant: what a credential of the request demands holds, whatever the gate says; an
//! approval of another caller, or of another tenant, is unknown.

use postern_core::approvals::Ask;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::approval::{Answer as Standing, Request};
use postern_crp::message::store::Guard;
use postern_crp::message::{Answer, Status};

use super::{Asker, policy};
use crate::approvals::Requester;
use crate::approvals::asking::{self, Told};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::{Connection, credentials, revocations};

/// Most credentials of one request.
const MOST_CREDENTIALS: usize = 16;

/// Answers it.
pub(super) async fn approval(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let told = match request {
        Request::Poll { id, subject_hash } => {
            asking::poll(service, db, asker.tenant, subject_hash, id, now).await
        }
        Request::Ask(ask) => asked(service, db, asker, ask, now).await,
    };
    Ok(match told {
        Ok(Told::Stands(standing)) => Answer::Approval(Standing { standing }),
        Ok(Told::Unknown) => Answer::Denied(Status::Denied),
        Ok(Told::Rate) => Answer::Denied(Status::Rate),
        Err(Fault::OtherKek | Fault::Sealed(_)) => Answer::Denied(Status::KekUnavailable),
        Err(fault) => return Err(fault),
    })
}

async fn asked(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    ask: &Ask,
    now: UnixMillis,
) -> Result<Told, Fault> {
    let things = [
        (Kind::Tenant, b"".as_slice()),
        (Kind::Agent, ask.agent.as_bytes()),
        (Kind::User, ask.user.as_bytes()),
    ];
    let revoked = revocations::any(&mut *db, &service.rows, asker.tenant, &things, now).await?;
    if revoked.is_some() || ask.credentials.len() > MOST_CREDENTIALS {
        return Ok(Told::Unknown);
    }
    let guard = strictest(db, asker.tenant, &ask.credentials).await?;
    let ask = asking::Ask {
        tenant: asker.tenant,
        gateway: asker.gateway,
        requester: Requester {
            subject_hash: ask.subject_hash,
            user: ask.user.clone(),
            agent: ask.agent.clone(),
            organisation: ask.organisation.clone(),
        },
        named: ask.named,
        requested: &ask.requested,
        credentials: &ask.credentials,
        life: ask.life,
        needed: guard.approvers,
        passkey: ask.passkey || guard.passkey,
    };
    asking::ask(service, db, &ask, now).await
}

/// What all of a request's credentials demand together.
async fn strictest(db: &mut Connection, tenant: &str, names: &[String]) -> Result<Guard, Fault> {
    let mut strictest = Guard::default();
    for name in names {
        let Some(credential) = credentials::find(&mut *db, tenant, name).await? else { continue };
        let guard = guard(&mut *db, tenant, &credential).await?;
        strictest = policy::both(strictest, guard);
    }
    Ok(strictest)
}

/// What a credential demands; a minted one also what the credential does by which it was minted.
pub(super) async fn guard(
    db: &mut Connection,
    tenant: &str,
    credential: &credentials::Credential,
) -> Result<Guard, Fault> {
    let stored = policy::read(&credential.policy);
    let Some(source) = stored.source else { return Ok(stored.guard) };
    let source = credentials::find(db, tenant, &source).await?;
    let inherited = source.map(|source| policy::read(&source.policy).guard);
    Ok(policy::both(stored.guard, inherited.unwrap_or_default()))
}
