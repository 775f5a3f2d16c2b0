//! What people are told of: an approval and a channel, and how often it was tried.
//!
//! Invariant: an attempt is counted before it is made, by one process alone, so that no
//! failure makes more of them than there may be.

use postern_core::time::UnixMillis;
use sqlx::{FromRow, SqliteConnection};

use crate::fault::Fault;
use crate::store::{exact, millis};

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which approval.
    pub approval: [u8; 16],
    /// By which channel.
    pub channel: String,
    /// How often it was tried.
    pub attempts: i64,
}

#[derive(FromRow)]
struct Row {
    approval_id: Vec<u8>,
    channel: String,
    attempts: i64,
}

/// Adds what is to be told, unless it is there.
pub async fn add(
    db: &mut SqliteConnection,
    approval: &[u8; 16],
    channel: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO notices (approval_id, channel, attempts, next_ms, done)
         VALUES ($1, $2, 0, $3, 0) ON CONFLICT DO NOTHING",
    )
    .bind(approval.as_slice())
    .bind(channel)
    .bind(millis(now))
    .execute(db)
    .await?;
    Ok(())
}

/// What is to be told now, `most` at most.
pub async fn due(db: &mut SqliteConnection, now: UnixMillis, most: i64) -> Result<Vec<Due>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT approval_id, channel, attempts FROM notices WHERE done = 0 AND next_ms <= $1
         ORDER BY next_ms LIMIT $2",
    )
    .bind(millis(now))
    .bind(most)
    .fetch_all(db)
    .await?;
    let due = |row: Row| {
        let approval = exact(&row.approval_id, "notice")?;
        Ok(Due { approval, channel: row.channel, attempts: row.attempts })
    };
    rows.into_iter().map(due).collect()
}

/// Counts an attempt; the next is not before `next`. `false` when another process makes it.
pub async fn claim(db: &mut SqliteConnection, due: &Due, next: UnixMillis) -> Result<bool, Fault> {
    let done = sqlx::query(
        "UPDATE notices SET attempts = attempts + 1, next_ms = $1
         WHERE approval_id = $2 AND channel = $3 AND attempts = $4 AND done = 0",
    )
    .bind(millis(next))
    .bind(due.approval.as_slice())
    .bind(&due.channel)
    .bind(due.attempts)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Nothing more is to be done.
pub async fn end(db: &mut SqliteConnection, due: &Due) -> Result<(), Fault> {
    sqlx::query("UPDATE notices SET done = 1 WHERE approval_id = $1 AND channel = $2")
        .bind(due.approval.as_slice())
        .bind(&due.channel)
        .execute(db)
        .await?;
    Ok(())
}
