//! Enrolled identities and the join tokens that admit them.
//!
//! Invariant: an identity or a token counts only while its MAC holds ([`RowKeys`]), so that
//! writing to the database makes nobody a gateway or an operator.

use postern_core::hex;
use postern_core::time::UnixMillis;
use postern_crp::Role;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::audit::Event;
use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::renewal::Renewal;
use crate::store::{Connection, exact, millis};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(FromRow)]
struct Row {
    gateway: Vec<u8>,
    role: String,
    tenant: String,
    public_key: Vec<u8>,
    label: String,
    created_ms: i64,
    not_after_ms: i64,
    revoked_ms: Option<i64>,
    mac: Vec<u8>,
    previous_key: Option<Vec<u8>>,
    previous_until_ms: Option<i64>,
}

impl Row {
    fn bytes(&self) -> RowBytes {
        let row = RowBytes::of("identities")
            .part(&self.gateway)
            .part(self.role.as_bytes())
            .part(self.tenant.as_bytes())
            .part(&self.public_key)
            .part(self.label.as_bytes())
            .number(self.created_ms)
            .number(self.not_after_ms)
            .maybe_number(self.revoked_ms);
        // Rows that were never renewed have the MAC that they had before there were renewals.
        match &self.previous_key {
            Some(key) => row.part(key).maybe_number(self.previous_until_ms),
            None => row,
        }
    }

    fn is_in_force(&self, now: UnixMillis) -> bool {
        self.revoked_ms.is_none() && self.not_after_ms > millis(now)
    }

    /// The key before this one, while its overlap lasts.
    fn previous(&self, now: UnixMillis) -> Option<&[u8]> {
        let lasts = self.previous_until_ms.is_some_and(|until| until > millis(now));
        self.previous_key.as_deref().filter(|_| lasts)
    }

    fn metadata(self) -> Metadata {
        Metadata {
            gateway: hex::lower(&self.gateway),
            role: self.role,
            label: self.label,
            created_ms: self.created_ms,
            not_after_ms: self.not_after_ms,
            revoked_ms: self.revoked_ms,
        }
    }

    fn identity(&self, key: &[u8]) -> Result<Identity, Fault> {
        let role = role(&self.role).ok_or(Fault::Malformed("identity"))?;
        let public_key = exact(key, "identity")?;
        Ok(Identity { tenant: self.tenant.clone(), role, public_key })
    }
}

/// Every row of `gateway`, if this service wrote them.
async fn rows_of(
    db: &mut Connection,
    rows: &RowKeys,
    gateway: &[u8; 16],
) -> Result<Vec<Row>, Fault> {
    let found: Vec<Row> = sqlx::query_as("SELECT * FROM identities WHERE gateway = $1")
        .bind(gateway.as_slice())
        .fetch_all(db)
        .await?;
    found.iter().try_for_each(|row| rows.check(&row.bytes(), &row.mac))?;
    Ok(found)
}

/// The identities of `gateway` that are in force at `now`. One that was renewed is there twice
/// while its overlap lasts, under its own key first.
pub async fn active(
    db: &mut Connection,
    rows: &RowKeys,
    gateway: &[u8; 16],
    now: UnixMillis,
) -> Result<Vec<Identity>, Fault> {
    let found = rows_of(db, rows, gateway).await?;
    let mut identities = Vec::with_capacity(found.len());
    for row in found.iter().filter(|row| row.is_in_force(now)) {
        identities.push(row.identity(&row.public_key)?);
        if let Some(previous) = row.previous(now) {
            identities.push(row.identity(previous)?);
        }
    }
    Ok(identities)
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The new key is in use; the old one is taken until then.
    Now(Admitted, UnixMillis),
    /// It was before.
    Before(Admitted),
}

/// What a renewal writes.
pub struct Next<'a> {
    /// What the one in use has signed.
    pub renewal: &'a Renewal,
    /// Whose key it is.
    pub role: Role,
    /// The new key.
    pub public_key: &'a [u8; 32],
    /// The enrolment's new end.
    pub not_after: UnixMillis,
}

/// Puts another key into use, if the one in use says so; the old one is taken for a while yet.
/// `None` when it does not say so or is none. One that was done is found done.
pub async fn renew(
    db: &mut Connection,
    rows: &RowKeys,
    Next { renewal, role, public_key, not_after }: Next<'_>,
    now: UnixMillis,
) -> Result<Option<Renewed>, Fault> {
    let found = rows_of(&mut *db, rows, &renewal.gateway).await?;
    let mut found = found.into_iter().filter(|row| row.is_in_force(now));
    let Some(mut row) = found.find(|row| row.role == role.name()) else { return Ok(None) };
    let admitted = Admitted { tenant: row.tenant.clone(), role, gateway: renewal.gateway };
    let by = |key: &[u8]| {
        let key: Result<[u8; 32], Fault> = exact(key, "identity");
        key.is_ok_and(|key| renewal.holds(&key, role, public_key, now))
    };
    if row.public_key == public_key {
        // Also after the overlap: who has lost the answer asks again, however late.
        let done = row.previous_key.as_deref().is_some_and(by);
        return Ok(done.then_some(Renewed::Before(admitted)));
    }
    if !by(&row.public_key) {
        return Ok(None);
    }
    // The old key does not outlive its own enrolment.
    let overlap = UnixMillis(now.0.saturating_add(u64::from(renewal.overlap_s) * 1000));
    let until = overlap.min(super::at(row.not_after_ms));
    row.previous_key = Some(std::mem::replace(&mut row.public_key, public_key.to_vec()));
    row.previous_until_ms = Some(millis(until));
    row.not_after_ms = millis(not_after);
    sqlx::query(
        "UPDATE identities SET public_key = $1, previous_key = $2, previous_until_ms = $3,
         not_after_ms = $4, mac = $5 WHERE gateway = $6 AND role = $7",
    )
    .bind(&row.public_key)
    .bind(row.previous_key.as_deref())
    .bind(row.previous_until_ms)
    .bind(row.not_after_ms)
    .bind(rows.sign(&row.bytes()))
    .bind(&row.gateway)
    .bind(&row.role)
    .execute(db)
    .await?;
    Ok(Some(Renewed::Now(admitted, until)))
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
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    new: New<'_>,
    now: UnixMillis,
) -> Result<(), Fault> {
    let row = Row {
        gateway: new.admitted.gateway.to_vec(),
        role: new.admitted.role.name().to_owned(),
        tenant: new.admitted.tenant.clone(),
        public_key: new.public_key.to_vec(),
        label: new.label.to_owned(),
        created_ms: millis(now),
        not_after_ms: millis(new.not_after),
        revoked_ms: None,
        mac: Vec::new(),
        previous_key: None,
        previous_until_ms: None,
    };
    let mac = rows.sign(&row.bytes());
    sqlx::query(
        "INSERT INTO identities
         (gateway, role, tenant, public_key, label, created_ms, not_after_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (gateway, role) DO UPDATE SET tenant = excluded.tenant,
         public_key = excluded.public_key, label = excluded.label,
         created_ms = excluded.created_ms, not_after_ms = excluded.not_after_ms,
         revoked_ms = NULL, previous_key = NULL, previous_until_ms = NULL, mac = excluded.mac",
    )
    .bind(row.gateway)
    .bind(row.role)
    .bind(row.tenant)
    .bind(row.public_key)
    .bind(row.label)
    .bind(row.created_ms)
    .bind(row.not_after_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(())
}

/// All identities of a tenant.
pub async fn all(db: &mut Connection, tenant: &str) -> Result<Vec<Metadata>, Fault> {
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM identities WHERE tenant = $1 ORDER BY created_ms, role")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    Ok(found.into_iter().map(Row::metadata).collect())
}

/// Revokes every identity of a gateway of `tenant`; how many there were.
pub async fn revoke(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    gateway: &[u8; 16],
    now: UnixMillis,
) -> Result<u64, Fault> {
    let mut revoked: u64 = 0;
    for mut row in rows_of(&mut *db, rows, gateway).await? {
        if row.tenant != tenant || row.revoked_ms.is_some() {
            continue;
        }
        row.revoked_ms = Some(millis(now));
        sqlx::query(
            "UPDATE identities SET revoked_ms = $1, mac = $2 WHERE gateway = $3 AND role = $4",
        )
        .bind(row.revoked_ms)
        .bind(rows.sign(&row.bytes()))
        .bind(&row.gateway)
        .bind(&row.role)
        .execute(&mut *db)
        .await?;
        revoked = revoked.saturating_add(1);
    }
    Ok(revoked)
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
    db: &mut Connection,
    rows: &RowKeys,
    hash: &[u8; 32],
    admitted: &Admitted,
    expires: UnixMillis,
) -> Result<(), Fault> {
    let token = TokenRow {
        tenant: admitted.tenant.clone(),
        role: admitted.role.name().to_owned(),
        gateway: admitted.gateway.to_vec(),
        expires_ms: millis(expires),
        used_ms: None,
        mac: Vec::new(),
    };
    let mac = rows.sign(&token.bytes(hash));
    sqlx::query(
        "INSERT INTO join_tokens (hash, tenant, role, gateway, expires_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(hash.as_slice())
    .bind(token.tenant)
    .bind(token.role)
    .bind(token.gateway)
    .bind(token.expires_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct TokenRow {
    tenant: String,
    role: String,
    gateway: Vec<u8>,
    expires_ms: i64,
    used_ms: Option<i64>,
    mac: Vec<u8>,
}

impl TokenRow {
    fn bytes(&self, hash: &[u8; 32]) -> RowBytes {
        RowBytes::of("join_tokens")
            .part(hash)
            .part(self.tenant.as_bytes())
            .part(self.role.as_bytes())
            .part(&self.gateway)
            .number(self.expires_ms)
            .maybe_number(self.used_ms)
    }
}

/// Uses a token up. `None` when it is unknown, used, expired or for another role. The
/// caller's transaction holds the write lock, so nobody uses it between look and change.
pub async fn use_token(
    db: &mut Connection,
    rows: &RowKeys,
    hash: &[u8; 32],
    wanted: Role,
    now: UnixMillis,
) -> Result<Option<Admitted>, Fault> {
    let found: Option<TokenRow> = sqlx::query_as("SELECT * FROM join_tokens WHERE hash = $1")
        .bind(hash.as_slice())
        .fetch_optional(&mut *db)
        .await?;
    let Some(mut token) = found else { return Ok(None) };
    rows.check(&token.bytes(hash), &token.mac)?;
    let good = token.used_ms.is_none() && token.expires_ms > millis(now);
    if !good || token.role != wanted.name() {
        return Ok(None);
    }
    token.used_ms = Some(millis(now));
    sqlx::query("UPDATE join_tokens SET used_ms = $1, mac = $2 WHERE hash = $3")
        .bind(token.used_ms)
        .bind(rows.sign(&token.bytes(hash)))
        .bind(hash.as_slice())
        .execute(db)
        .await?;
    let gateway = exact(&token.gateway, "join token")?;
    Ok(Some(Admitted { tenant: token.tenant, role: wanted, gateway }))
}

/// Forgets every token, used or not; how many could still be used.
pub async fn forget_tokens(db: &mut Connection) -> Result<u64, Fault> {
    let used = sqlx::query("DELETE FROM join_tokens WHERE used_ms IS NOT NULL");
    used.execute(&mut *db).await?;
    Ok(sqlx::query("DELETE FROM join_tokens").execute(db).await?.rows_affected())
}

/// Forgets tokens that nobody can use any more.
pub async fn prune_tokens(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    sqlx::query("DELETE FROM join_tokens WHERE expires_ms < $1")
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(())
}
