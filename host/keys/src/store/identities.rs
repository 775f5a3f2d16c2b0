//! Enrolled identities and the join tokens that admit them.

use postern_core::time::UnixMillis;
use postern_crp::Role;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqliteConnection};

use crate::audit::Event;
use crate::fault::Fault;
use crate::store::{exact, millis};

/// An identity as far as a message's check needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Tenant it belongs to.
    pub tenant: String,
    /// Ed25519 key that signs.
    pub public_key: [u8; 32],
    /// Role.
    pub role: Role,
}

/// What a list shows of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct Metadata {
    /// Gateway id, hexadecimal.
    pub gateway: String,
    /// Role.
    pub role: String,
    /// For people.
    pub label: String,
    /// When it was enrolled.
    pub created_ms: i64,
    /// When the enrolment ends.
    pub not_after_ms: i64,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// The role of a name as stored.
pub fn role(name: &str) -> Option<Role> {
    [Role::Gate, Role::Credential, Role::Audit, Role::Operator]
        .into_iter()
        .find(|role| role.name() == name)
}

/// The identities of `gateway` that are in force at `now`.
pub async fn active(
    db: &mut SqliteConnection,
    gateway: &[u8; 16],
    now: UnixMillis,
) -> Result<Vec<Identity>, Fault> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT role, tenant, public_key FROM identities
         WHERE gateway = ? AND revoked_ms IS NULL AND not_after_ms > ?",
    )
    .bind(gateway.as_slice())
    .bind(millis(now))
    .fetch_all(db)
    .await?;
    let identity = |(name, tenant, key): (String, String, Vec<u8>)| {
        let role = role(&name).ok_or(Fault::Malformed("identity"))?;
        Ok(Identity { tenant, role, public_key: exact(&key, "identity")? })
    };
    rows.into_iter().map(identity).collect()
}

/// What an enrolment writes.
pub struct New<'a> {
    /// Whom the token admits.
    pub admitted: &'a Admitted,
    /// The key it brings.
    pub public_key: &'a [u8; 32],
    /// For people.
    pub label: &'a str,
    /// The enrolment's end.
    pub not_after: UnixMillis,
}

/// Writes an identity; one that is there under the same gateway and role is replaced.
pub async fn add(db: &mut SqliteConnection, new: New<'_>, now: UnixMillis) -> Result<(), Fault> {
    sqlx::query(
        "INSERT OR REPLACE INTO identities (gateway, role, tenant, public_key, label, created_ms, not_after_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(new.admitted.gateway.as_slice())
    .bind(new.admitted.role.name())
    .bind(&new.admitted.tenant)
    .bind(new.public_key.as_slice())
    .bind(new.label)
    .bind(millis(now))
    .bind(millis(new.not_after))
    .execute(db)
    .await?;
    Ok(())
}

/// All identities of a tenant.
pub async fn all(db: &mut SqliteConnection, tenant: &str) -> Result<Vec<Metadata>, Fault> {
    Ok(sqlx::query_as(
        "SELECT lower(hex(gateway)) AS gateway, role, label, created_ms, not_after_ms, revoked_ms
         FROM identities WHERE tenant = ? ORDER BY created_ms, role",
    )
    .bind(tenant)
    .fetch_all(db)
    .await?)
}

/// Revokes every identity of a gateway of `tenant`; how many there were.
pub async fn revoke(
    db: &mut SqliteConnection,
    tenant: &str,
    gateway: &[u8; 16],
    now: UnixMillis,
) -> Result<u64, Fault> {
    let done = sqlx::query(
        "UPDATE identities SET revoked_ms = ? WHERE tenant = ? AND gateway = ? AND revoked_ms IS NULL",
    )
    .bind(millis(now))
    .bind(tenant)
    .bind(gateway.as_slice())
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Whom a join token admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Tenant.
    pub tenant: String,
    /// Role.
    pub role: Role,
    /// Gateway or operator id.
    pub gateway: [u8; 16],
}

impl Admitted {
    /// An event about this identity.
    pub fn event(&self, kind: &'static str) -> Event {
        Event::new(kind, &self.tenant)
            .with("role", self.role.name())
            .with_hex("gateway", &self.gateway)
    }
}

/// Keeps the hash of a token.
pub async fn add_token(
    db: &mut SqliteConnection,
    hash: &[u8; 32],
    admitted: &Admitted,
    expires: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO join_tokens (hash, tenant, role, gateway, expires_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(hash.as_slice())
    .bind(&admitted.tenant)
    .bind(admitted.role.name())
    .bind(admitted.gateway.as_slice())
    .bind(millis(expires))
    .execute(db)
    .await?;
    Ok(())
}

/// Uses a token up. `None` when it is unknown, used, expired or for another role.
pub async fn use_token(
    db: &mut SqliteConnection,
    hash: &[u8; 32],
    wanted: Role,
    now: UnixMillis,
) -> Result<Option<Admitted>, Fault> {
    let row: Option<(String, String, Vec<u8>)> = sqlx::query_as(
        "UPDATE join_tokens SET used_ms = ? WHERE hash = ? AND used_ms IS NULL AND expires_ms > ?
         AND role = ? RETURNING tenant, role, gateway",
    )
    .bind(millis(now))
    .bind(hash.as_slice())
    .bind(millis(now))
    .bind(wanted.name())
    .fetch_optional(db)
    .await?;
    let Some((tenant, name, gateway)) = row else { return Ok(None) };
    let role = role(&name).ok_or(Fault::Malformed("join token"))?;
    Ok(Some(Admitted { tenant, role, gateway: exact(&gateway, "join token")? }))
}

/// Forgets tokens that nobody can use any more.
pub async fn prune_tokens(db: &mut SqliteConnection, now: UnixMillis) -> Result<(), Fault> {
    sqlx::query("DELETE FROM join_tokens WHERE expires_ms < ?")
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(())
}
