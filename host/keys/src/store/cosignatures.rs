//! What witnesses have signed of which checkpoint: a line of its note each.
//!
//! Invariant: what a line says is believed by its signature alone, and one that would spoil its
//! note is left out when it is read: whoever writes here can take lines away and make none.

use postern_tlog::note;

use crate::audit::checkpoint::ORIGIN;
use crate::fault::Fault;
use crate::store::Connection;

/// Longest line: a name, and a signature in base64.
const LONGEST: usize = 512;

/// Keeps the line of a witness under the checkpoint over `count` events.
pub(crate) async fn add(
    db: &mut Connection,
    count: i64,
    witness: &str,
    line: &str,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO cosignatures (count, witness, line) VALUES ($1, $2, $3)
         ON CONFLICT (count, witness) DO UPDATE SET line = excluded.line",
    )
    .bind(count)
    .bind(witness)
    .bind(line)
    .execute(db)
    .await?;
    Ok(())
}

/// A note with the lines under its checkpoint.
pub(crate) async fn under(
    db: &mut Connection,
    count: i64,
    mut note: String,
) -> Result<String, Fault> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT line FROM cosignatures WHERE count = $1 ORDER BY witness LIMIT 32")
            .bind(count)
            .fetch_all(db)
            .await?;
    for (line,) in rows.into_iter().filter(|(line,)| is_line(line)) {
        let longer = format!("{note}{line}");
        if note::parts(&longer).is_some() {
            note = longer;
        }
    }
    Ok(note)
}

/// Whether it is one line of somebody else than the log.
fn is_line(line: &str) -> bool {
    let one = line.len() <= LONGEST && line.matches('\n').count() == 1 && line.ends_with('\n');
    let signature = note::signature(line.trim_end_matches('\n'));
    one && signature.is_some_and(|(name, ..)| name != ORIGIN)
}

/// Number of events of the newest checkpoint that so many witnesses have signed.
pub(crate) async fn newest(db: &mut Connection, witnesses: i64) -> Result<Option<i64>, Fault> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT count FROM cosignatures WHERE count IN (SELECT count FROM checkpoints)
         GROUP BY count HAVING COUNT(*) >= $1 ORDER BY count DESC LIMIT 1",
    )
    .bind(witnesses)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(count,)| count))
}
