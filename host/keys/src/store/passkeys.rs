//! Passkeys: public keys and counters of people's authenticators.
//!
//! Invariant: a passkey is believed only while the row's MAC holds, so that planting a key in
//! the database lets nobody in; the counter is under it too.

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::people::Handle;
use crate::store::{Connection, at, exact, millis};

/// A passkey as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// Credential id, as the authenticator chose it.
    pub credential: Vec<u8>,
    /// Whose it is.
    pub handle: Handle,
    /// What its owner calls it.
    pub label: String,
    /// Public key and what else stays.
    pub fixed: Vec<u8>,
    /// Counter and flags as of the last use.
    pub state: [u8; 7],
    /// When it was registered.
    pub created: UnixMillis,
    /// When it was used last.
    pub used: Option<UnixMillis>,
}

#[derive(FromRow)]
struct Row {
    credential: Vec<u8>,
    handle: Vec<u8>,
    label: String,
    fixed: Vec<u8>,
    state: Vec<u8>,
    created_ms: i64,
    used_ms: Option<i64>,
    mac: Vec<u8>,
}

impl Row {
    fn of(passkey: &Passkey) -> Self {
        Self {
            credential: passkey.credential.clone(),
            handle: passkey.handle.to_vec(),
            label: passkey.label.clone(),
            fixed: passkey.fixed.clone(),
            state: passkey.state.to_vec(),
            created_ms: millis(passkey.created),
            used_ms: passkey.used.map(millis),
            mac: Vec::new(),
        }
    }

    fn bytes(&self) -> RowBytes {
        RowBytes::of("passkeys")
            .part(&self.credential)
            .part(&self.handle)
            .part(self.label.as_bytes())
            .part(&self.fixed)
            .part(&self.state)
            .number(self.created_ms)
            .maybe_number(self.used_ms)
    }

    fn passkey(self, rows: &RowKeys) -> Result<Passkey, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Passkey {
            handle: exact(&self.handle, "passkey")?,
            state: exact(&self.state, "passkey")?,
            created: at(self.created_ms),
            used: self.used_ms.map(at),
            credential: self.credential,
            label: self.label,
            fixed: self.fixed,
        })
    }
}

/// Adds a passkey; `false` when the credential id is taken, by whomever.
pub async fn add(db: &mut Connection, rows: &RowKeys, passkey: &Passkey) -> Result<bool, Fault> {
    let row = Row::of(passkey);
    let mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO passkeys (credential, handle, label, fixed, state, created_ms, used_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(row.credential)
    .bind(row.handle)
    .bind(row.label)
    .bind(row.fixed)
    .bind(row.state)
    .bind(row.created_ms)
    .bind(row.used_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The passkey with this credential id.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    credential: &[u8],
) -> Result<Option<Passkey>, Fault> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM passkeys WHERE credential = $1")
        .bind(credential)
        .fetch_optional(db)
        .await?;
    row.map(|row| row.passkey(rows)).transpose()
}

/// Passkeys of a person, oldest first.
pub async fn of(
    db: &mut Connection,
    rows: &RowKeys,
    handle: &Handle,
) -> Result<Vec<Passkey>, Fault> {
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM passkeys WHERE handle = $1 ORDER BY created_ms, credential")
            .bind(handle.as_slice())
            .fetch_all(db)
            .await?;
    found.into_iter().map(|row| row.passkey(rows)).collect()
}

/// Writes the counter and the time of a use, with a new MAC.
pub async fn used(db: &mut Connection, rows: &RowKeys, passkey: &Passkey) -> Result<(), Fault> {
    let row = Row::of(passkey);
    sqlx::query(
        "UPDATE passkeys SET state = $1, used_ms = $2, mac = $3
         WHERE credential = $4 AND handle = $5",
    )
    .bind(&row.state)
    .bind(row.used_ms)
    .bind(rows.sign(&row.bytes()))
    .bind(&row.credential)
    .bind(&row.handle)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a passkey of a person; `false` when there is none.
pub async fn remove(
    db: &mut Connection,
    handle: &Handle,
    credential: &[u8],
) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM passkeys WHERE handle = $1 AND credential = $2")
        .bind(handle.as_slice())
        .bind(credential)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}
