//! People who may decide about requests, and the links by which they register a passkey.
//!
//! Invariant: a person is believed only while the row's MAC holds. A link is here as a hash,
//! and is gone once it was used.

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// What authenticators know a person by.
pub type Handle = [u8; 16];

/// A person as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What authenticators know the person by.
    pub handle: Handle,
    /// Tenant.
    pub tenant: String,
    /// Name, as the directory knows the user.
    pub person: String,
    /// Organisation in which the role holds.
    pub organisation: String,
    /// Role.
    pub role: String,
    /// When it was added.
    pub created: UnixMillis,
}

#[derive(FromRow)]
struct Row {
    handle: Vec<u8>,
    tenant: String,
    person: String,
    organisation: String,
    role: String,
    created_ms: i64,
    mac: Vec<u8>,
}

impl Row {
    fn bytes(&self) -> RowBytes {
        RowBytes::of("people")
            .part(&self.handle)
            .part(self.tenant.as_bytes())
            .part(self.person.as_bytes())
            .part(self.organisation.as_bytes())
            .part(self.role.as_bytes())
            .number(self.created_ms)
    }

    fn record(self, rows: &RowKeys) -> Result<Record, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Record {
            handle: exact(&self.handle, "person")?,
            created: at(self.created_ms),
            tenant: self.tenant,
            person: self.person,
            organisation: self.organisation,
            role: self.role,
        })
    }
}

/// Adds a person; `false` when the tenant has one of this name.
pub async fn add(db: &mut Connection, rows: &RowKeys, record: &Record) -> Result<bool, Fault> {
    let row = Row {
        handle: record.handle.to_vec(),
        tenant: record.tenant.clone(),
        person: record.person.clone(),
        organisation: record.organisation.clone(),
        role: record.role.clone(),
        created_ms: millis(record.created),
        mac: Vec::new(),
    };
    let mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO people (handle, tenant, person, organisation, role, created_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(row.handle)
    .bind(row.tenant)
    .bind(row.person)
    .bind(row.organisation)
    .bind(row.role)
    .bind(row.created_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The person whom authenticators know by `handle`.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    handle: &Handle,
) -> Result<Option<Record>, Fault> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM people WHERE handle = $1")
        .bind(handle.as_slice())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.record(rows)).transpose()
}

/// People of a tenant, by name.
pub async fn all(db: &mut Connection, rows: &RowKeys, tenant: &str) -> Result<Vec<Record>, Fault> {
    let found: Vec<Row> = sqlx::query_as("SELECT * FROM people WHERE tenant = $1 ORDER BY person")
        .bind(tenant)
        .fetch_all(db)
        .await?;
    found.into_iter().map(|row| row.record(rows)).collect()
}

/// Removes a person with all passkeys, links and sessions; `false` when there is none.
pub async fn remove(db: &mut Connection, tenant: &str, handle: &Handle) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM people WHERE tenant = $1 AND handle = $2")
        .bind(tenant)
        .bind(handle.as_slice())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn link_bytes(hash: &[u8], handle: &[u8], expires_ms: i64) -> RowBytes {
    RowBytes::of("person_links").part(hash).part(handle).number(expires_ms)
}

/// Adds a link in place of any other of this person.
pub async fn add_link(
    db: &mut Connection,
    rows: &RowKeys,
    hash: &[u8; 32],
    handle: &Handle,
    expires: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query("DELETE FROM person_links WHERE handle = $1")
        .bind(handle.as_slice())
        .execute(&mut *db)
        .await?;
    let mac = rows.sign(&link_bytes(hash, handle, millis(expires)));
    sqlx::query("INSERT INTO person_links (hash, handle, expires_ms, mac) VALUES ($1, $2, $3, $4)")
        .bind(hash.as_slice())
        .bind(handle.as_slice())
        .bind(millis(expires))
        .bind(mac)
        .execute(db)
        .await?;
    Ok(())
}

/// Whose link this is, while it is good.
pub async fn link(
    db: &mut Connection,
    rows: &RowKeys,
    hash: &[u8; 32],
    now: UnixMillis,
) -> Result<Option<Handle>, Fault> {
    let row: Option<(Vec<u8>, i64, Vec<u8>)> =
        sqlx::query_as("SELECT handle, expires_ms, mac FROM person_links WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(db)
            .await?;
    let Some((handle, expires_ms, mac)) = row else { return Ok(None) };
    rows.check(&link_bytes(hash, &handle, expires_ms), &mac)?;
    if at(expires_ms) <= now {
        return Ok(None);
    }
    exact(&handle, "link").map(Some)
}

/// Uses a link up; `false` when somebody else did.
pub async fn use_link(db: &mut Connection, hash: &[u8; 32]) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM person_links WHERE hash = $1")
        .bind(hash.as_slice())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets every link; how many there were.
pub async fn forget_links(db: &mut Connection) -> Result<u64, Fault> {
    Ok(sqlx::query("DELETE FROM person_links").execute(db).await?.rows_affected())
}

/// Forgets links that have ended.
pub async fn prune_links(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    sqlx::query("DELETE FROM person_links WHERE expires_ms < $1")
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(())
}
