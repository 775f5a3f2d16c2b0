//! The database: opening, migrations, and rows of each kind in a file of their own.
//!
//! Owns every SQL statement. Knows no HTTP and no sealed message. Invariant: functions
//! take a connection and never the pool, so that one message is one transaction and
//! nothing waits for a second connection while it holds the first.

pub mod api_keys;
pub mod approvals;
pub mod cosignatures;
pub mod credentials;
pub mod deks;
pub mod epochs;
pub mod frameworks;
pub mod gateway_sets;
pub mod identities;
pub mod invites;
pub mod nonces;
pub mod notices;
pub mod open;
pub mod passkeys;
pub mod people;
mod pool;
mod postgres;
pub mod revocations;
pub mod schema;
pub mod sealed;
pub mod sessions;

pub use pool::{Batch, Busy, Connection, Engine, Pool, Reach, Read, Write, retried};

use postern_core::time::UnixMillis;

use crate::fault::Fault;

/// Makes a tenant unless it is there.
pub async fn add_tenant(db: &mut Connection, tenant: &str, now: UnixMillis) -> Result<bool, Fault> {
    let made = sqlx::query(
        "INSERT INTO tenants (tenant, created_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(millis(now))
    .execute(db)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// As the database keeps it. Saturates in the year 292 million.
pub fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// From the database; a negative time cannot have been written and reads as the epoch.
pub fn at(millis: i64) -> UnixMillis {
    UnixMillis(u64::try_from(millis).unwrap_or_default())
}

/// Bytes of a fixed length.
pub fn exact<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed(what))
}
