//! API keys: metadata, salt and hash. The key itself is never here.
//!
//! Invariant: every read and write names the tenant; another tenant's key is unknown. A
//! row is vouched for only while its MAC holds ([`RowKeys`]): planting or editing one in the
//! database gives nobody a key.

use postern_core::api_key::{KeyId, StoredKey};
use postern_core::identity::{DirectoryRecord, KeyState};
use postern_core::key_service::KeyEntry;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// Most keys of one user that are neither revoked nor expired. One that is being rotated out
/// does not count beside its successor.
pub const MAX_ACTIVE: i64 = 10;
/// How old `last used` may be before a look-up writes it again.
const LAST_USED_GRAIN_MS: u64 = 60_000;

/// What a new key may do and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// User the key belongs to.
    pub user: String,
    /// Organisation in which the roles hold.
    pub organisation: String,
    /// Agent that will present it.
    pub agent: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Trust level.
    pub trust: String,
    /// Clearance level.
    #[serde(default)]
    pub clearance: Option<String>,
    /// Connector platform.
    #[serde(default)]
    pub platform: Option<String>,
    /// Milliseconds since 1970 from which the key is no good.
    #[serde(default)]
    pub not_after: Option<u64>,
}

/// What a list shows of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Key id.
    pub id: String,
    /// `active`, `expired` or `revoked`; `forged` for a row that this service did not write.
    pub state: String,
    /// Whose it is and what it may do.
    #[serde(flatten)]
    pub grant: Grant,
    /// When it was made.
    pub created: u64,
    /// When it was last looked up, to the minute.
    pub last_used: Option<u64>,
    /// The key that takes its place, after a rotation.
    pub replaced_by: Option<String>,
}

#[derive(FromRow)]
struct Row {
    key_id: String,
    tenant: String,
    user: String,
    organisation: String,
    agent: String,
    scopes: String,
    roles: String,
    trust: String,
    clearance: Option<String>,
    platform: Option<String>,
    not_after_ms: Option<i64>,
    revoked_ms: Option<i64>,
    salt: Vec<u8>,
    hash: Vec<u8>,
    created_ms: i64,
    last_used_ms: Option<i64>,
    replaced_by: Option<String>,
    mac: Vec<u8>,
}

/// Looks a key up for a gateway of `tenant`.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &KeyId,
) -> Result<Option<KeyEntry>, Fault> {
    row(db, rows, tenant, id.as_str()).await?.map(entry).transpose()
}

/// Metadata of one key.
pub async fn metadata(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
    now: UnixMillis,
) -> Result<Option<Metadata>, Fault> {
    row(db, rows, tenant, id).await?.map(|row| row.metadata(rows, now)).transpose()
}

/// The row of a key, if this service wrote it.
async fn row(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
) -> Result<Option<Row>, Fault> {
    let found: Option<Row> =
        sqlx::query_as("SELECT * FROM api_keys WHERE tenant = $1 AND key_id = $2")
            .bind(tenant)
            .bind(id)
            .fetch_optional(db)
            .await?;
    found.map(|row| rows.check(&row.bytes(), &row.mac).map(|()| row)).transpose()
}

fn entry(row: Row) -> Result<KeyEntry, Fault> {
    let stored =
        StoredKey { salt: exact(&row.salt, "key salt")?, hash: exact(&row.hash, "key hash")? };
    let state = if row.revoked_ms.is_some() { KeyState::Revoked } else { KeyState::Active };
    let record = DirectoryRecord {
        scopes: list(&row.scopes)?,
        roles: list(&row.roles)?,
        tenant: row.tenant,
        user: row.user,
        organisation: row.organisation,
        agent: row.agent,
        trust: row.trust,
        clearance: row.clearance,
        platform: row.platform,
        not_after: row.not_after_ms.map(at),
        state,
    };
    Ok(KeyEntry { stored, record })
}

fn list(json: &str) -> Result<Vec<String>, Fault> {
    serde_json::from_str(json).map_err(|_| Fault::Malformed("key record"))
}

fn json(list: &[String]) -> Result<String, Fault> {
    serde_json::to_string(list).map_err(|_| Fault::Malformed("key record"))
}

impl Row {
    fn new(
        tenant: &str,
        id: &KeyId,
        stored: &StoredKey,
        grant: &Grant,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        Ok(Self {
            key_id: id.as_str().to_owned(),
            tenant: tenant.to_owned(),
            user: grant.user.clone(),
            organisation: grant.organisation.clone(),
            agent: grant.agent.clone(),
            scopes: json(&grant.scopes)?,
            roles: json(&grant.roles)?,
            trust: grant.trust.clone(),
            clearance: grant.clearance.clone(),
            platform: grant.platform.clone(),
            not_after_ms: grant.not_after.map(|end| millis(UnixMillis(end))),
            revoked_ms: None,
            salt: stored.salt.to_vec(),
            hash: stored.hash.to_vec(),
            created_ms: millis(now),
            last_used_ms: None,
            replaced_by: None,
            mac: Vec::new(),
        })
    }

    /// Every column but when it was last used, which decides nothing.
    fn bytes(&self) -> RowBytes {
        RowBytes::of("api_keys")
            .part(self.key_id.as_bytes())
            .part(self.tenant.as_bytes())
            .part(self.user.as_bytes())
            .part(self.organisation.as_bytes())
            .part(self.agent.as_bytes())
            .part(self.scopes.as_bytes())
            .part(self.roles.as_bytes())
            .part(self.trust.as_bytes())
            .maybe(self.clearance.as_deref().map(str::as_bytes))
            .maybe(self.platform.as_deref().map(str::as_bytes))
            .maybe_number(self.not_after_ms)
            .maybe_number(self.revoked_ms)
            .part(&self.salt)
            .part(&self.hash)
            .number(self.created_ms)
            .maybe(self.replaced_by.as_deref().map(str::as_bytes))
    }

    /// Writes the end, the revocation and the successor with a new MAC.
    async fn change(&self, db: &mut Connection, rows: &RowKeys) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE api_keys SET not_after_ms = $1, revoked_ms = $2, replaced_by = $3, mac = $4
             WHERE tenant = $5 AND key_id = $6",
        )
        .bind(self.not_after_ms)
        .bind(self.revoked_ms)
        .bind(&self.replaced_by)
        .bind(rows.sign(&self.bytes()))
        .bind(&self.tenant)
        .bind(&self.key_id)
        .execute(db)
        .await?;
        Ok(())
    }

    fn metadata(self, rows: &RowKeys, now: UnixMillis) -> Result<Metadata, Fault> {
        let state = match (self.revoked_ms, self.not_after_ms.map(at)) {
            _ if !rows.holds(&self.bytes(), &self.mac) => "forged",
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            _ => "active",
        };
        Ok(Metadata {
            id: self.key_id,
            state: state.to_owned(),
            grant: Grant {
                scopes: list(&self.scopes)?,
                roles: list(&self.roles)?,
                user: self.user,
                organisation: self.organisation,
                agent: self.agent,
                trust: self.trust,
                clearance: self.clearance,
                platform: self.platform,
                not_after: self.not_after_ms.map(|end| at(end).0),
            },
            created: at(self.created_ms).0,
            last_used: self.last_used_ms.map(|used| at(used).0),
            replaced_by: self.replaced_by,
        })
    }
}

/// Writes that a key was looked up, at most once a minute.
pub async fn touch(db: &mut Connection, id: &KeyId, now: UnixMillis) -> Result<bool, Fault> {
    let before = UnixMillis(now.0.saturating_sub(LAST_USED_GRAIN_MS));
    let done = sqlx::query(
        "UPDATE api_keys SET last_used_ms = $1 WHERE key_id = $2 AND (last_used_ms IS NULL OR last_used_ms < $3)",
    )
    .bind(millis(now))
    .bind(id.as_str())
    .bind(millis(before))
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Active keys of `user`, without those whose successor is active.
pub async fn active(
    db: &mut Connection,
    tenant: &str,
    user: &str,
    now: UnixMillis,
) -> Result<i64, Fault> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM api_keys k WHERE tenant = $1 AND \"user\" = $2 AND revoked_ms IS NULL
         AND (not_after_ms IS NULL OR not_after_ms > $3)
         AND NOT EXISTS (SELECT 1 FROM api_keys s WHERE s.tenant = $1 AND s.key_id = k.replaced_by
             AND s.revoked_ms IS NULL AND (s.not_after_ms IS NULL OR s.not_after_ms > $3))",
    )
    .bind(tenant)
    .bind(user)
    .bind(millis(now))
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// Whether the active key `id` has an active successor, or an active predecessor.
pub async fn in_rotation(
    db: &mut Connection,
    tenant: &str,
    id: &str,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let (found,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM api_keys WHERE tenant = $1 AND revoked_ms IS NULL
         AND (not_after_ms IS NULL OR not_after_ms > $3) AND (replaced_by = $2 OR key_id =
             (SELECT replaced_by FROM api_keys WHERE tenant = $1 AND key_id = $2))",
    )
    .bind(tenant)
    .bind(id)
    .bind(millis(now))
    .fetch_one(db)
    .await?;
    Ok(found > 0)
}

/// Adds a key; `false` when the id is taken, by whatever tenant.
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &KeyId,
    stored: &StoredKey,
    grant: &Grant,
    now: UnixMillis,
) -> Result<bool, Fault> {
    sqlx::query(
        "INSERT INTO users (tenant, \"user\", organisation, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(&grant.user)
    .bind(&grant.organisation)
    .bind(millis(now))
    .execute(&mut *db)
    .await?;
    let row = Row::new(tenant, id, stored, grant, now)?;
    let mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO api_keys (key_id, tenant, \"user\", organisation, agent, scopes, roles, trust,
         clearance, platform, not_after_ms, salt, hash, created_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
    )
    .bind(row.key_id)
    .bind(row.tenant)
    .bind(row.user)
    .bind(row.organisation)
    .bind(row.agent)
    .bind(row.scopes)
    .bind(row.roles)
    .bind(row.trust)
    .bind(row.clearance)
    .bind(row.platform)
    .bind(row.not_after_ms)
    .bind(row.salt)
    .bind(row.hash)
    .bind(row.created_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// All keys of a tenant, oldest first.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    now: UnixMillis,
) -> Result<Vec<Metadata>, Fault> {
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM api_keys WHERE tenant = $1 ORDER BY created_ms, key_id")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    found.into_iter().map(|row| row.metadata(rows, now)).collect()
}

/// Revokes a key; `false` when there is none that is not revoked.
pub async fn revoke(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let found = row(&mut *db, rows, tenant, id).await?;
    let Some(mut row) = found.filter(|row| row.revoked_ms.is_none()) else { return Ok(false) };
    row.revoked_ms = Some(millis(now));
    row.change(db, rows).await?;
    Ok(true)
}

/// Gives a key an end, no later than it had, and names its successor.
pub async fn supersede(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
    by: &KeyId,
    end: UnixMillis,
) -> Result<(), Fault> {
    let Some(mut row) = row(&mut *db, rows, tenant, id).await? else { return Ok(()) };
    let end = millis(end);
    row.not_after_ms = Some(row.not_after_ms.map_or(end, |had| had.min(end)));
    row.replaced_by = Some(by.as_str().to_owned());
    row.change(db, rows).await
}
