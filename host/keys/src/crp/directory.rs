//! Type 3: what the directory holds under these key ids.
//!
//! Invariant: a gateway sees keys of its own tenant; every other id is unknown. Revoked
//! and expired keys are answered as records with their state: the gateway refuses them.

use postern_core::identity::KeyState;
use postern_core::key_service::KeyEntry;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::Answer;
use postern_crp::message::directory::{Answer as Entries, Request};

use super::Asker;
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::{Connection, api_keys, frameworks, revocations};

/// Answers a look-up and records, once a minute for a key, that it was used.
pub(super) async fn look_up(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(request.ids.len());
    for id in &request.ids {
        let entry = api_keys::find(&mut *db, &service.rows, asker.tenant, id).await?;
        let entry = with_owners(service, db, asker, entry, now).await?;
        let entry = with_clearance(service, db, asker, entry).await?;
        if entry.is_some() && api_keys::touch(&mut *db, id, now).await? {
            let event = asker.event("key_used").with("key", id.as_str());
            service.audit.append(&mut *db, event, now).await?;
        }
        entries.push((*id, entry));
    }
    Ok(Answer::Directory(Entries { entries }))
}

/// A key is revoked with its agent, its user and its tenant.
async fn with_owners(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    entry: Option<KeyEntry>,
    now: UnixMillis,
) -> Result<Option<KeyEntry>, Fault> {
    let Some(mut entry) = entry else { return Ok(None) };
    let owners = [
        (Kind::Tenant, b"".as_slice()),
        (Kind::Agent, entry.record.agent.as_bytes()),
        (Kind::User, entry.record.user.as_bytes()),
    ];
    if revocations::any(db, &service.rows, asker.tenant, &owners, now).await?.is_some() {
        entry.record.state = KeyState::Revoked;
    }
    Ok(Some(entry))
}

/// No level of a framework has this name, so a gate takes it for one that it does not know.
const INCOMPARABLE: &str = "?";

/// An agent's clearance holds for each of its keys. Of a key that was made with another one the
/// lower counts; where the two cannot be compared, neither does.
async fn with_clearance(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    entry: Option<KeyEntry>,
) -> Result<Option<KeyEntry>, Fault> {
    let Some(mut entry) = entry else { return Ok(None) };
    let (rows, agent) = (&service.rows, &entry.record.agent);
    let Some(agent) = frameworks::clearance(db, rows, asker.tenant, agent).await? else {
        return Ok(Some(entry));
    };
    let framework = frameworks::find(db, rows, asker.tenant, &agent.framework).await?;
    let framework = framework.ok_or(Fault::Malformed("framework"))?;
    entry.record.clearance = Some(match entry.record.clearance.take() {
        None => agent.level,
        Some(own) => match (framework.rank(&own), framework.rank(&agent.level)) {
            (Some(rank), Some(most)) if rank < most => own,
            (Some(_), Some(_)) => agent.level,
            _ => INCOMPARABLE.to_owned(),
        },
    });
    Ok(Some(entry))
}
