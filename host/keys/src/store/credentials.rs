//! Credentials: names, policies and sealed values.
//!
//! Invariant: the only function that gives a sealed value is [`sealed`], which the release
//! alone calls; what lists and the interface see is [`Metadata`].

use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::FromRow;

use crate::crp::policy;
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// A credential without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Random id.
    pub id: [u8; 16],
    /// Newest version, from 1.
    pub version: u32,
    /// Where it may go and, where it was minted, whose it is (`crp::policy`).
    pub policy: Vec<u8>,
    /// When it ends.
    pub not_after: Option<UnixMillis>,
}

/// What a list shows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Newest version.
    pub version: u32,
    /// Where it may go.
    pub bindings: Box<RawValue>,
    /// Of a minted credential the agent that it was minted for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<String>,
    /// Releases that need an approval: `none`, `writes` or `every_release`.
    #[serde(default = "unguarded")]
    pub approval: String,
    /// Only a passkey approves.
    #[serde(default)]
    pub require_passkey: bool,
    /// How many have to approve.
    #[serde(default = "one")]
    pub approvers: u8,
    /// The vault that keeps the value, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vault: Option<String>,
    /// When it ends.
    pub not_after: Option<u64>,
    /// When it was first stored.
    pub created: u64,
    /// When its value was last replaced.
    pub updated: u64,
}

fn unguarded() -> String {
    "none".to_owned()
}

fn one() -> u8 {
    1
}

#[derive(FromRow)]
struct Row {
    cred_id: Vec<u8>,
    name: String,
    description: String,
    policy: Vec<u8>,
    version: i64,
    not_after_ms: Option<i64>,
    created_ms: i64,
    updated_ms: i64,
}

/// The credential `name` of `tenant`.
pub async fn find(
    db: &mut Connection,
    tenant: &str,
    name: &str,
) -> Result<Option<Credential>, Fault> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM credentials WHERE tenant = $1 AND name = $2")
            .bind(tenant)
            .bind(name)
            .fetch_optional(db)
            .await?;
    let read = |row: Row| {
        Ok(Credential {
            id: exact(&row.cred_id, "credential")?,
            version: version(row.version)?,
            policy: row.policy,
            not_after: row.not_after_ms.map(at),
        })
    };
    row.map(read).transpose()
}

fn version(stored: i64) -> Result<u32, Fault> {
    u32::try_from(stored).map_err(|_| Fault::Malformed("credential"))
}

/// Metadata of every credential of `tenant`.
pub async fn all(db: &mut Connection, tenant: &str) -> Result<Vec<Metadata>, Fault> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM credentials WHERE tenant = $1 ORDER BY name")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    rows.into_iter().map(metadata).collect()
}

fn metadata(row: Row) -> Result<Metadata, Fault> {
    let shown = policy::shown(&row.policy);
    let (owner, guard, bindings) = shown.ok_or(Fault::Malformed("credential"))?;
    Ok(Metadata {
        name: row.name,
        description: row.description,
        version: version(row.version)?,
        bindings,
        agent: owner.map(|owner| owner.agent),
        approval: guard.approval.name().to_owned(),
        require_passkey: guard.passkey,
        approvers: guard.approvers,
        vault: policy::vault(&row.policy).map(|vault| vault.name),
        not_after: row.not_after_ms.map(|end| at(end).0),
        created: at(row.created_ms).0,
        updated: at(row.updated_ms).0,
    })
}

/// What is written when a value is stored.
pub struct New<'a> {
    /// Owner.
    pub tenant: &'a str,
    /// Name.
    pub name: &'a str,
    /// For people.
    pub description: &'a str,
    /// The credential with its new version and policy.
    pub credential: &'a Credential,
    /// Its value.
    pub sealed: Sealed<'a>,
    /// Hash of the caller that it was minted for.
    pub minted_by: Option<&'a [u8; 32]>,
}

/// A value that is sealed.
pub struct Sealed<'a> {
    /// Data key the value is sealed under.
    pub dek_id: &'a [u8; 16],
    /// SHA-256 of the policy.
    pub policy_hash: &'a [u8; 32],
    /// The sealed value.
    pub value_ct: &'a [u8],
}

/// Writes a credential with its newest value; older values go.
pub async fn put(db: &mut Connection, new: New<'_>, now: UnixMillis) -> Result<(), Fault> {
    let Credential { id, version, policy, not_after } = new.credential;
    sqlx::query(
        "INSERT INTO credentials (cred_id, tenant, name, description, policy, version, not_after_ms, created_ms, updated_ms, minted_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (cred_id) DO UPDATE SET description = excluded.description, policy = excluded.policy,
         version = excluded.version, not_after_ms = excluded.not_after_ms, updated_ms = excluded.updated_ms,
         minted_by = excluded.minted_by",
    )
    .bind(id.as_slice())
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.description)
    .bind(policy.as_slice())
    .bind(i64::from(*version))
    .bind(not_after.map(millis))
    .bind(millis(now))
    .bind(millis(now))
    .bind(new.minted_by.map(<[u8; 32]>::as_slice))
    .execute(&mut *db)
    .await?;
    replace_value(db, new.credential, new.sealed, now).await
}

/// Writes a newer version of a credential that is there: its policy and its only value.
pub async fn rotate(
    db: &mut Connection,
    credential: &Credential,
    sealed: Sealed<'_>,
    now: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE credentials SET policy = $1, version = $2, updated_ms = $3 WHERE cred_id = $4",
    )
    .bind(credential.policy.as_slice())
    .bind(i64::from(credential.version))
    .bind(millis(now))
    .bind(credential.id.as_slice())
    .execute(&mut *db)
    .await?;
    replace_value(db, credential, sealed, now).await
}

/// Older values go.
async fn replace_value(
    db: &mut Connection,
    Credential { id, version, .. }: &Credential,
    sealed: Sealed<'_>,
    now: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query("DELETE FROM credential_versions WHERE cred_id = $1")
        .bind(id.as_slice())
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO credential_versions (cred_id, version, dek_id, policy_hash, value_ct, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.as_slice())
    .bind(i64::from(*version))
    .bind(sealed.dek_id.as_slice())
    .bind(sealed.policy_hash.as_slice())
    .bind(sealed.value_ct)
    .bind(millis(now))
    .execute(db)
    .await?;
    Ok(())
}

/// The sealed value of the newest version.
pub async fn sealed(
    db: &mut Connection,
    credential: &Credential,
) -> Result<Option<Vec<u8>>, Fault> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT value_ct FROM credential_versions WHERE cred_id = $1 AND version = $2",
    )
    .bind(credential.id.as_slice())
    .bind(i64::from(credential.version))
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(value,)| value))
}

/// Deletes a credential and its value; `false` when there is none.
pub async fn delete(db: &mut Connection, tenant: &str, name: &str) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM credentials WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes what was minted and had ended by `then`.
pub async fn forget_minted(
    db: &mut Connection,
    tenant: &str,
    then: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM credentials WHERE tenant = $1 AND minted_by IS NOT NULL AND not_after_ms <= $2",
    )
    .bind(tenant)
    .bind(millis(then))
    .execute(db)
    .await?;
    Ok(())
}

/// How many minted credentials of this caller have not ended.
pub async fn count_minted(
    db: &mut Connection,
    tenant: &str,
    minted_by: &[u8; 32],
    now: UnixMillis,
) -> Result<u32, Fault> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM credentials WHERE tenant = $1 AND minted_by = $2 AND not_after_ms > $3",
    )
    .bind(tenant)
    .bind(minted_by.as_slice())
    .bind(millis(now))
    .fetch_one(db)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
