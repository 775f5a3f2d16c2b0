//! Who is signed in to the pages: hashes of what browsers hold.
//!
//! Invariant: a session is believed only while the row's MAC holds, and a person has no more
//! than [`MOST`].

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::people::Handle;
use crate::store::{Connection, at, exact, millis};

/// Most sessions of a person; the oldest ends when another begins.
pub const MOST: usize = 5;

/// A session as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Hash of what the browser holds.
    pub hash: [u8; 32],
    /// Whose it is.
    pub handle: Handle,
    /// When it began.
    pub signed_in: UnixMillis,
    /// When it was used last, to the minute.
    pub seen: UnixMillis,
    /// When it ends, used or not.
    pub expires: UnixMillis,
}

#[derive(FromRow)]
struct Row {
    hash: Vec<u8>,
    handle: Vec<u8>,
    signed_in_ms: i64,
    seen_ms: i64,
    expires_ms: i64,
    mac: Vec<u8>,
}

impl Row {
    fn of(session: &Session) -> Self {
        Self {
            hash: session.hash.to_vec(),
            handle: session.handle.to_vec(),
            signed_in_ms: millis(session.signed_in),
            seen_ms: millis(session.seen),
            expires_ms: millis(session.expires),
            mac: Vec::new(),
        }
    }

    fn bytes(&self) -> RowBytes {
        RowBytes::of("page_sessions")
            .part(&self.hash)
            .part(&self.handle)
            .number(self.signed_in_ms)
            .number(self.seen_ms)
            .number(self.expires_ms)
    }

    fn session(self, rows: &RowKeys) -> Result<Session, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Session {
            hash: exact(&self.hash, "session")?,
            handle: exact(&self.handle, "session")?,
            signed_in: at(self.signed_in_ms),
            seen: at(self.seen_ms),
            expires: at(self.expires_ms),
        })
    }
}

/// Adds a session; the oldest beyond [`MOST`] end.
pub async fn add(db: &mut Connection, rows: &RowKeys, session: &Session) -> Result<(), Fault> {
    let row = Row::of(session);
    let mac = rows.sign(&row.bytes());
    sqlx::query(
        "INSERT INTO page_sessions (hash, handle, signed_in_ms, seen_ms, expires_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(row.hash)
    .bind(row.handle)
    .bind(row.signed_in_ms)
    .bind(row.seen_ms)
    .bind(row.expires_ms)
    .bind(mac)
    .execute(&mut *db)
    .await?;
    let all = of(db, rows, &session.handle).await?;
    for old in all.iter().filter(|old| old.hash != session.hash).skip(MOST - 1) {
        end(db, &old.hash).await?;
    }
    Ok(())
}

/// The session with this hash.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    hash: &[u8; 32],
) -> Result<Option<Session>, Fault> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM page_sessions WHERE hash = $1")
        .bind(hash.as_slice())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.session(rows)).transpose()
}

/// Sessions of a person, the newest first.
pub async fn of(
    db: &mut Connection,
    rows: &RowKeys,
    handle: &Handle,
) -> Result<Vec<Session>, Fault> {
    let found: Vec<Row> = sqlx::query_as(
        "SELECT * FROM page_sessions WHERE handle = $1 ORDER BY signed_in_ms DESC, hash",
    )
    .bind(handle.as_slice())
    .fetch_all(db)
    .await?;
    found.into_iter().map(|row| row.session(rows)).collect()
}

/// Writes when a session was used last.
pub async fn seen(db: &mut Connection, rows: &RowKeys, session: &Session) -> Result<(), Fault> {
    let row = Row::of(session);
    sqlx::query("UPDATE page_sessions SET seen_ms = $1, mac = $2 WHERE hash = $3")
        .bind(row.seen_ms)
        .bind(rows.sign(&row.bytes()))
        .bind(&row.hash)
        .execute(db)
        .await?;
    Ok(())
}

/// Ends one session.
pub async fn end(db: &mut Connection, hash: &[u8; 32]) -> Result<(), Fault> {
    sqlx::query("DELETE FROM page_sessions WHERE hash = $1")
        .bind(hash.as_slice())
        .execute(db)
        .await?;
    Ok(())
}

/// Ends all sessions of a person, and says how many there were.
pub async fn end_all(db: &mut Connection, handle: &Handle) -> Result<u64, Fault> {
    let done = sqlx::query("DELETE FROM page_sessions WHERE handle = $1")
        .bind(handle.as_slice())
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}

/// Signs everybody out.
pub async fn end_everywhere(db: &mut Connection) -> Result<(), Fault> {
    sqlx::query("DELETE FROM page_sessions").execute(db).await?;
    Ok(())
}

/// Forgets sessions that have ended.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    sqlx::query("DELETE FROM page_sessions WHERE expires_ms < $1")
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(())
}
