//! The service's check of its own chain, for `/audit/integrity`.
//!
//! Invariant: the same verifier as offline, over the stored rows and the last checkpoint, be
//! it in the database or in the copy beside it.

use sqlx::SqliteConnection;

use crate::audit::verify::{Break, Report, Verifier};
use crate::audit::{AuditLog, export};
use crate::fault::Fault;

/// Verifies every stored event against the newest checkpoint of the database and of
/// `kept`, the copy beside it.
pub async fn check(
    db: &mut SqliteConnection,
    audit: &AuditLog,
    kept: Option<String>,
) -> Result<Report, Fault> {
    let key = audit.public_key();
    let mut chain = Verifier::new(&key);
    let notes = [last_note(&mut *db).await?, kept];
    let end = match notes.iter().flatten().try_for_each(|note| chain.against(note)) {
        Ok(()) => walk(db, &mut chain).await?,
        refused => refused,
    };
    Ok(chain.report(end))
}

async fn walk(
    db: &mut SqliteConnection,
    chain: &mut Verifier<'_>,
) -> Result<Result<(), Break>, Fault> {
    let mut after = 0;
    loop {
        let rows = export::page(&mut *db, after).await?;
        let Some(last) = rows.last().map(|row| row.0) else { return Ok(chain.finish(0)) };
        for row in rows {
            if let Err(broken) = chain.line(export::line(row, None)) {
                return Ok(Err(broken));
            }
        }
        after = last;
    }
}

/// The newest checkpoint note.
pub async fn last_note(db: &mut SqliteConnection) -> Result<Option<String>, Fault> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT note FROM checkpoints ORDER BY count DESC LIMIT 1")
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(note,)| note))
}
