//! The database: opening, migrations, and rows of each kind in a file of their own.
//!
//! Owns every SQL statement. Knows no HTTP and no sealed message. Invariant: functions
//! take a connection and never the pool, so that one message is one transaction and
//! nothing waits for a second connection while it holds the first.

pub mod api_keys;
pub mod approvals;
pub mod credentials;
pub mod deks;
pub mod epochs;
pub mod identities;
pub mod invites;
pub mod nonces;
pub mod notices;
pub mod passkeys;
pub mod people;
pub mod revocations;
pub mod sessions;

use std::time::Duration;

use postern_core::time::UnixMillis;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::config::Database;
use crate::fault::Fault;

/// A write transaction.
pub type Write = Transaction<'static, Sqlite>;

/// Opens the database and brings its schema up to date.
///
/// # Errors
/// When it cannot be opened, or was made by a newer program.
pub async fn open(database: &Database) -> Result<SqlitePool, Fault> {
    let options = SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(2))
        .synchronous(SqliteSynchronous::Full)
        // What is deleted (an epoch's seed above all) is overwritten, not only unlinked; in
        // the log too, after [`empty_log`].
        .pragma("secure_delete", "ON");
    let pool = match database {
        Database::Memory => {
            let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None);
            pool.max_lifetime(None).connect_with(options.in_memory(true)).await?
        }
        Database::File(path) => {
            // SQLite gives its log and index the mode of the database.
            postern_files::create_private(path).map_err(|e| Fault::file(path, &e))?;
            let options = options.filename(path);
            let options = options.journal_mode(SqliteJournalMode::Wal);
            SqlitePoolOptions::new().max_connections(4).connect_with(options).await?
        }
    };
    sqlx::migrate!("./migrations").run(&pool).await?;
    Ok(pool)
}

/// Starts a transaction that holds the write lock from its first moment: what it reads
/// (the chain's head, a version) cannot change before it commits.
pub async fn write(pool: &SqlitePool) -> Result<Write, Fault> {
    Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
}

/// Moves the write-ahead log into the database and empties it: until then it holds what
/// was deleted. `false` when a reader was in the way; then it is to be tried again.
pub async fn empty_log(pool: &SqlitePool) -> Result<bool, Fault> {
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(pool).await?;
    Ok(busy == 0)
}

/// Makes a tenant unless it is there.
pub async fn add_tenant(
    db: &mut SqliteConnection,
    tenant: &str,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let made = sqlx::query(
        "INSERT INTO tenants (tenant, created_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(millis(now))
    .execute(db)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// As SQLite keeps it. Saturates in the year 292 million.
pub fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// From SQLite; a negative time cannot have been written and reads as the epoch.
pub fn at(millis: i64) -> UnixMillis {
    UnixMillis(u64::try_from(millis).unwrap_or_default())
}

/// Bytes of a fixed length.
pub fn exact<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed(what))
}
