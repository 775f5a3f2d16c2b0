//! Invites: what they grant, salt and hash, and what became of them. The invite itself is
//! never here.
//!
//! Invariant: every read and write names the tenant; a row is vouched for only while its MAC
//! holds, so that planting or editing one in the database gives nobody a token.

use postern_core::api_key::{KeyId, StoredKey};
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// An invite that ended is forgotten after this: 30 days.
const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// What the token of an invite says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The one document.
    pub document: String,
    /// Organisation in which roles hold.
    pub organisation: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Trust level.
    pub trust: String,
    /// Credentials that may be used.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// Hosts; empty does not limit.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Methods; empty does not limit.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths with all below them; empty does not limit.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How often the token may be passed on.
    #[serde(default)]
    pub depth: u8,
    /// Life of the token, in seconds.
    pub life_seconds: u32,
}

/// A token that was made for an invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The holder's key.
    pub holder: [u8; 32],
    /// The gateway that it is for.
    pub audience: String,
    /// `cti`.
    pub id: [u8; 16],
    /// `iat`, in seconds.
    pub issued: u64,
    /// `exp`, in seconds.
    pub expires: u64,
}

/// An invite as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// What it grants.
    pub grant: Grant,
    /// No good for a first exchange from then on.
    pub not_after: UnixMillis,
    /// It was taken back.
    pub revoked: bool,
    /// What it was exchanged for.
    pub issue: Option<Issue>,
}

/// What a list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Id: what the invite begins with.
    pub id: String,
    /// `open`, `exchanged`, `expired` or `revoked`; `forged` for a row that this service did
    /// not write.
    pub state: String,
    /// What its token says.
    #[serde(flatten)]
    pub grant: Grant,
    /// The operator who made it.
    pub issuer: String,
    /// When it was made.
    pub created: u64,
    /// When it ends.
    pub not_after: u64,
    /// `cti` of the token that it was exchanged for.
    pub token_id: Option<String>,
    /// When that token ends, in milliseconds.
    pub token_ends: Option<u64>,
}

#[derive(FromRow)]
struct Row {
    invite_id: String,
    tenant: String,
    grants: String,
    issuer: Vec<u8>,
    salt: Vec<u8>,
    hash: Vec<u8>,
    created_ms: i64,
    not_after_ms: i64,
    revoked_ms: Option<i64>,
    holder: Option<Vec<u8>>,
    audience: Option<String>,
    token_id: Option<Vec<u8>>,
    issued_s: Option<i64>,
    expires_s: Option<i64>,
    mac: Vec<u8>,
}

impl Row {
    fn bytes(&self) -> RowBytes {
        RowBytes::of("invites")
            .part(self.invite_id.as_bytes())
            .part(self.tenant.as_bytes())
            .part(self.grants.as_bytes())
            .part(&self.issuer)
            .part(&self.salt)
            .part(&self.hash)
            .number(self.created_ms)
            .number(self.not_after_ms)
            .maybe_number(self.revoked_ms)
            .maybe(self.holder.as_deref())
            .maybe(self.audience.as_deref().map(str::as_bytes))
            .maybe(self.token_id.as_deref())
            .maybe_number(self.issued_s)
            .maybe_number(self.expires_s)
    }

    fn grant(&self) -> Result<Grant, Fault> {
        serde_json::from_str(&self.grants).map_err(|_| Fault::Malformed("invite"))
    }

    fn stored(&self) -> Result<StoredKey, Fault> {
        let (salt, hash) = (exact(&self.salt, "invite")?, exact(&self.hash, "invite")?);
        Ok(StoredKey { salt, hash })
    }

    fn issue(&self) -> Result<Option<Issue>, Fault> {
        let Some(holder) = &self.holder else { return Ok(None) };
        let seconds = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let read = || {
            Some(Issue {
                holder: holder.as_slice().try_into().ok()?,
                audience: self.audience.clone()?,
                id: self.token_id.as_deref()?.try_into().ok()?,
                issued: seconds(self.issued_s)?,
                expires: seconds(self.expires_s)?,
            })
        };
        read().map(Some).ok_or(Fault::Malformed("invite"))
    }

    fn metadata(self, rows: &RowKeys, now: UnixMillis) -> Result<Metadata, Fault> {
        let issue = self.issue()?;
        let state = match (self.revoked_ms, &issue) {
            _ if !rows.holds(&self.bytes(), &self.mac) => "forged",
            (Some(_), _) => "revoked",
            (None, Some(_)) => "exchanged",
            (None, None) if at(self.not_after_ms) <= now => "expired",
            (None, None) => "open",
        };
        Ok(Metadata {
            state: state.to_owned(),
            grant: self.grant()?,
            issuer: postern_core::hex::lower(&self.issuer),
            created: at(self.created_ms).0,
            not_after: at(self.not_after_ms).0,
            token_id: issue.as_ref().map(|issue| postern_core::hex::lower(&issue.id)),
            token_ends: issue.map(|issue| issue.expires.saturating_mul(1000)),
            id: self.invite_id,
        })
    }
}

async fn row(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
) -> Result<Option<Row>, Fault> {
    let found: Option<Row> =
        sqlx::query_as("SELECT * FROM invites WHERE tenant = $1 AND invite_id = $2")
            .bind(tenant)
            .bind(id)
            .fetch_optional(db)
            .await?;
    found.map(|row| rows.check(&row.bytes(), &row.mac).map(|()| row)).transpose()
}

/// The invite `id` of `tenant`, with what to compare it with.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
) -> Result<Option<(StoredKey, Invite)>, Fault> {
    let Some(row) = row(db, rows, tenant, id).await? else { return Ok(None) };
    let invite = Invite {
        grant: row.grant()?,
        not_after: at(row.not_after_ms),
        revoked: row.revoked_ms.is_some(),
        issue: row.issue()?,
    };
    Ok(Some((row.stored()?, invite)))
}

/// A new invite.
pub struct New<'a> {
    /// Owner.
    pub tenant: &'a str,
    /// Id.
    pub id: &'a KeyId,
    /// Salt and hash.
    pub stored: &'a StoredKey,
    /// What its token says.
    pub grant: &'a Grant,
    /// The operator who makes it.
    pub issuer: &'a [u8; 16],
    /// When it ends.
    pub not_after: UnixMillis,
}

/// Adds an invite; `false` when the id is taken, by whatever tenant.
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    new: &New<'_>,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let mut row = Row {
        invite_id: new.id.as_str().to_owned(),
        tenant: new.tenant.to_owned(),
        grants: serde_json::to_string(new.grant).map_err(|_| Fault::Malformed("invite"))?,
        issuer: new.issuer.to_vec(),
        salt: new.stored.salt.to_vec(),
        hash: new.stored.hash.to_vec(),
        created_ms: millis(now),
        not_after_ms: millis(new.not_after),
        revoked_ms: None,
        holder: None,
        audience: None,
        token_id: None,
        issued_s: None,
        expires_s: None,
        mac: Vec::new(),
    };
    row.mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO invites (invite_id, tenant, grants, issuer, salt, hash, created_ms, not_after_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
    )
    .bind(row.invite_id)
    .bind(row.tenant)
    .bind(row.grants)
    .bind(row.issuer)
    .bind(row.salt)
    .bind(row.hash)
    .bind(row.created_ms)
    .bind(row.not_after_ms)
    .bind(row.mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Uses an invite up. The caller's transaction holds the write lock, so that nobody uses it
/// between look and change.
pub async fn exchange(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
    issue: &Issue,
) -> Result<(), Fault> {
    let found = row(&mut *db, rows, tenant, id).await?;
    let Some(mut row) = found.filter(|row| row.holder.is_none()) else {
        return Err(Fault::Malformed("invite"));
    };
    let seconds = |value: u64| i64::try_from(value).map_err(|_| Fault::Malformed("invite"));
    row.holder = Some(issue.holder.to_vec());
    row.audience = Some(issue.audience.clone());
    row.token_id = Some(issue.id.to_vec());
    row.issued_s = Some(seconds(issue.issued)?);
    row.expires_s = Some(seconds(issue.expires)?);
    change(db, rows, &row).await
}

/// Takes an invite back, and says what it was exchanged for; `None` when there is none that
/// was not taken back.
pub async fn revoke(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &str,
    now: UnixMillis,
) -> Result<Option<Option<Issue>>, Fault> {
    let found = row(&mut *db, rows, tenant, id).await?;
    let Some(mut row) = found.filter(|row| row.revoked_ms.is_none()) else { return Ok(None) };
    row.revoked_ms = Some(millis(now));
    change(db, rows, &row).await?;
    row.issue().map(Some)
}

/// Takes back every invite of every tenant that was not exchanged; how many there were.
pub async fn revoke_open(
    db: &mut Connection,
    rows: &RowKeys,
    now: UnixMillis,
) -> Result<u64, Fault> {
    let open = "SELECT * FROM invites WHERE holder IS NULL AND revoked_ms IS NULL";
    let found: Vec<Row> = sqlx::query_as(open).fetch_all(&mut *db).await?;
    let mut revoked: u64 = 0;
    for mut row in found {
        rows.check(&row.bytes(), &row.mac)?;
        row.revoked_ms = Some(millis(now));
        change(&mut *db, rows, &row).await?;
        revoked = revoked.saturating_add(1);
    }
    Ok(revoked)
}

/// Writes what can change, with a new MAC.
async fn change(db: &mut Connection, rows: &RowKeys, row: &Row) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE invites SET revoked_ms = $1, holder = $2, audience = $3, token_id = $4, issued_s = $5,
         expires_s = $6, mac = $7 WHERE tenant = $8 AND invite_id = $9",
    )
    .bind(row.revoked_ms)
    .bind(&row.holder)
    .bind(&row.audience)
    .bind(&row.token_id)
    .bind(row.issued_s)
    .bind(row.expires_s)
    .bind(rows.sign(&row.bytes()))
    .bind(&row.tenant)
    .bind(&row.invite_id)
    .execute(db)
    .await?;
    Ok(())
}

/// How many invites of a tenant can still be exchanged.
pub async fn open(db: &mut Connection, tenant: &str, now: UnixMillis) -> Result<i64, Fault> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM invites WHERE tenant = $1 AND not_after_ms > $2 AND revoked_ms IS NULL
         AND holder IS NULL",
    )
    .bind(tenant)
    .bind(millis(now))
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// All invites of a tenant, oldest first.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    now: UnixMillis,
) -> Result<Vec<Metadata>, Fault> {
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM invites WHERE tenant = $1 ORDER BY created_ms, invite_id")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    found.into_iter().map(|row| row.metadata(rows, now)).collect()
}

/// Forgets invites that ended long ago; their tokens ended before.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    let before = UnixMillis(now.0.saturating_sub(KEPT_MS));
    sqlx::query("DELETE FROM invites WHERE not_after_ms < $1")
        .bind(millis(before))
        .execute(db)
        .await?;
    Ok(())
}
