//! What witnesses have signed of which checkpoint: a line of its note each.
//!
//! Invariant: a line is only ever added. What one says is believed by its signature alone, so
//! whoever writes here can take one away and make none.

use crate::fault::Fault;
use crate::store::Connection;

/// Keeps the line of a witness under the checkpoint over `count` events.
pub(crate) async fn add(
    db: &mut Connection,
    count: i64,
    witness: &str,
    line: &str,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO cosignatures (count, witness, line) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(count)
    .bind(witness)
    .bind(line)
    .execute(db)
    .await?;
    Ok(())
}

/// The lines under that checkpoint.
pub(crate) async fn lines(db: &mut Connection, count: i64) -> Result<String, Fault> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT line FROM cosignatures WHERE count = $1 ORDER BY witness")
            .bind(count)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(|(line,)| line).collect())
}

/// Number of events of the newest checkpoint that so many witnesses have signed.
pub(crate) async fn newest(db: &mut Connection, witnesses: i64) -> Result<Option<i64>, Fault> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT count FROM cosignatures GROUP BY count HAVING COUNT(*) >= $1
         ORDER BY count DESC LIMIT 1",
    )
    .bind(witnesses)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(count,)| count))
}
