//! Type 3: what the directory holds under these key ids.
//!
//! Invariant: a gateway sees keys of its own tenant; every other id is unknown. Revoked
//! and expired keys are answered as records with their state: the gateway refuses them.

use postern_core::time::UnixMillis;
use postern_crp::message::Answer;
use postern_crp::message::directory::{Answer as Entries, Request};
use sqlx::SqliteConnection;

use super::Asker;
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::api_keys;

/// Answers a look-up and records, once a minute for a key, that it was used.
pub(super) async fn look_up(
    service: &Inner,
    db: &mut SqliteConnection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(request.ids.len());
    for id in &request.ids {
        let entry = api_keys::find(&mut *db, &service.rows, asker.tenant, id).await?;
        if entry.is_some() && api_keys::touch(&mut *db, id, now).await? {
            let event = asker.event("key_used").with("key", id.as_str());
            service.audit.append(&mut *db, event, now).await?;
        }
        entries.push((*id, entry));
    }
    Ok(Answer::Directory(Entries { entries }))
}
