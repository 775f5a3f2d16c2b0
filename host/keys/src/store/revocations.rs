//! What is revoked, and the count of its changes.
//!
//! Invariant: whoever changes the list counts it in the same transaction, so two lists
//! never have one epoch. Rows carry a MAC ([`RowKeys`]): planting one stops the service
//! and revokes nobody.

use postern_core::revocation::{Entry, Kind};
use postern_core::time::UnixMillis;
use postern_crp::revocation::{List, MAX_ENTRIES};
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, at, millis};

/// For how long gateways are told of what the service itself refuses: longer than any of
/// their caches lives.
pub const TOLD_MS: u64 = 600_000;
/// One place is for the entry that makes gateways forget.
const ROOM: i64 = MAX_ENTRIES as i64 - 1;

const BEGUN: i64 = 1;
const CROWDED: i64 = 2;

/// One thing that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: Vec<u8>,
    /// From when on.
    pub from: UnixMillis,
    /// Until when; `None` until it is taken back.
    pub until: Option<UnixMillis>,
}

impl Revocation {
    /// From `now` on, told for as long as gateways may know better.
    pub fn told(kind: Kind, id: &[u8], now: UnixMillis) -> Self {
        Self { kind, id: id.to_vec(), from: now, until: Some(UnixMillis(now.0 + TOLD_MS)) }
    }

    /// Whether both revoke the same thing.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.kind, &self.id) == (other.kind, &other.id)
    }

    /// Whether it says all that `other` does: no later, and for at least as long.
    fn covers(&self, other: &Self) -> bool {
        let lasts = match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own >= others,
        };
        self.is_of(other) && self.from <= other.from && lasts
    }
}

/// The list is full, and gateways cannot be made to ask about this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(FromRow)]
struct Row {
    tenant: String,
    kind: i64,
    id: Vec<u8>,
    from_ms: i64,
    until_ms: Option<i64>,
    mac: Vec<u8>,
}

impl Row {
    fn bytes(&self) -> RowBytes {
        RowBytes::of("revocations")
            .part(self.tenant.as_bytes())
            .number(self.kind)
            .part(&self.id)
            .number(self.from_ms)
            .maybe_number(self.until_ms)
    }

    fn read(self, rows: &RowKeys) -> Result<(String, Revocation), Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        let kind = u8::try_from(self.kind).ok().and_then(Kind::from_code);
        let revocation = Revocation {
            kind: kind.ok_or(Fault::Malformed("revocation"))?,
            id: self.id,
            from: at(self.from_ms),
            until: self.until_ms.map(at),
        };
        Ok((self.tenant, revocation))
    }
}

/// Kinds that the service checks by itself whenever it is asked.
fn is_checked_here(kind: Kind) -> bool {
    use Kind::{Agent, ApiKey, Approval, Credential, Gateway, User};
    matches!(kind, ApiKey | Gateway | Credential | Agent | User | Approval)
}

/// Epoch of the list, and the number that makes gateways forget.
pub async fn state(db: &mut Connection, rows: &RowKeys) -> Result<(u64, u64), Fault> {
    let found: Option<(i64, i64, Vec<u8>)> =
        sqlx::query_as("SELECT epoch, forget, mac FROM revocation_state")
            .fetch_optional(db)
            .await?;
    let Some((epoch, forget, mac)) = found else { return Ok((0, 0)) };
    rows.check(&state_bytes(epoch, forget), &mac)?;
    let number = |value| u64::try_from(value).map_err(|_| Fault::Malformed("revocation epoch"));
    Ok((number(epoch)?, number(forget)?))
}

fn state_bytes(epoch: i64, forget: i64) -> RowBytes {
    RowBytes::of("revocation_state").number(epoch).number(forget)
}

/// Counts a change of the list.
async fn changed(db: &mut Connection, rows: &RowKeys, forget: bool) -> Result<(), Fault> {
    let (epoch, forgets) = state(&mut *db, rows).await?;
    write_state(db, rows, epoch + 1, forgets + u64::from(forget)).await
}

async fn write_state(
    db: &mut Connection,
    rows: &RowKeys,
    epoch: u64,
    forgets: u64,
) -> Result<(), Fault> {
    let number =
        |value: u64| i64::try_from(value).map_err(|_| Fault::Malformed("revocation epoch"));
    let (epoch, forgets) = (number(epoch)?, number(forgets)?);
    sqlx::query(
        "INSERT INTO revocation_state (one, epoch, forget, mac) VALUES (1, $1, $2, $3)
         ON CONFLICT (one)
         DO UPDATE SET epoch = excluded.epoch, forget = excluded.forget, mac = excluded.mac",
    )
    .bind(epoch)
    .bind(forgets)
    .bind(rows.sign(&state_bytes(epoch, forgets)))
    .execute(db)
    .await?;
    Ok(())
}

/// Moves the count ahead of every count that gateways may have seen, and makes them forget:
/// for rows that came back from a backup. One change a second is more than there ever is, so
/// the time in seconds is ahead of all that were counted before.
pub async fn leap(db: &mut Connection, rows: &RowKeys, now: UnixMillis) -> Result<(), Fault> {
    let (epoch, forgets) = state(&mut *db, rows).await?;
    write_state(db, rows, (epoch + 1).max(now.seconds()), forgets.max(now.seconds()) + 1).await
}

/// Makes every gateway forget what it keeps.
pub async fn forget(db: &mut Connection, rows: &RowKeys) -> Result<(), Fault> {
    changed(db, rows, true).await
}

/// Revokes something, anew if it is revoked already.
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    revocation: &Revocation,
    now: UnixMillis,
) -> Result<Result<(), Full>, Fault> {
    let mut row = Row {
        tenant: tenant.to_owned(),
        kind: revocation.kind.code().into(),
        id: revocation.id.clone(),
        from_ms: millis(revocation.from),
        until_ms: revocation.until.map(millis),
        mac: Vec::new(),
    };
    row.mac = rows.sign(&row.bytes());
    let begins = revocation.from <= now;
    let has_room = count(&mut *db).await? < ROOM;
    if begins && !has_room && !is_checked_here(revocation.kind) {
        return Ok(Err(Full));
    }
    let listed = match (begins, has_room) {
        (false, _) => 0,
        (true, true) => BEGUN,
        (true, false) => CROWDED,
    };
    sqlx::query(
        "INSERT INTO revocations (tenant, kind, id, from_ms, until_ms, listed, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant, kind, id) DO UPDATE SET from_ms = excluded.from_ms,
         until_ms = excluded.until_ms, listed = excluded.listed, mac = excluded.mac",
    )
    .bind(row.tenant)
    .bind(row.kind)
    .bind(row.id)
    .bind(row.from_ms)
    .bind(row.until_ms)
    .bind(listed)
    .bind(row.mac)
    .execute(&mut *db)
    .await?;
    if begins {
        changed(db, rows, !has_room).await?;
    }
    Ok(Ok(()))
}

/// Tells of something that ended. What an operator has revoked for longer stays so.
pub async fn tell(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    told: &Revocation,
    now: UnixMillis,
) -> Result<Result<(), Full>, Fault> {
    match find(&mut *db, rows, tenant, told.kind, &told.id).await? {
        Some(known) if known.covers(told) => Ok(Ok(())),
        _ => add(db, rows, tenant, told, now).await,
    }
}

async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    kind: Kind,
    id: &[u8],
) -> Result<Option<Revocation>, Fault> {
    let found: Option<Row> =
        sqlx::query_as("SELECT * FROM revocations WHERE tenant = $1 AND kind = $2 AND id = $3")
            .bind(tenant)
            .bind(i64::from(kind.code()))
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(found.map(|row| row.read(rows)).transpose()?.map(|(_, found)| found))
}

async fn count(db: &mut Connection) -> Result<i64, Fault> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT count FROM revocations_listed").fetch_one(db).await?;
    Ok(count)
}

/// Takes a revocation back; `false` when there is none. With `told_only`, only one that
/// would end by itself.
pub async fn remove(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    kind: Kind,
    id: &[u8],
    told_only: bool,
) -> Result<bool, Fault> {
    let done = sqlx::query(
        "DELETE FROM revocations WHERE tenant = $1 AND kind = $2 AND id = $3 AND (NOT $4 OR until_ms IS NOT NULL)",
    )
    .bind(tenant)
    .bind(i64::from(kind.code()))
    .bind(id)
    .bind(told_only)
    .execute(&mut *db)
    .await?;
    let removed = done.rows_affected() > 0;
    if removed {
        changed(db, rows, false).await?;
    }
    Ok(removed)
}

/// Begins what has come to its time, and ends what has.
pub async fn keep_time(db: &mut Connection, rows: &RowKeys, now: UnixMillis) -> Result<(), Fault> {
    let ended = sqlx::query("DELETE FROM revocations WHERE until_ms <= $1")
        .bind(millis(now))
        .execute(&mut *db)
        .await?
        .rows_affected();
    let room = (ROOM - count(&mut *db).await?).max(0);
    let begun = sqlx::query(
        "UPDATE revocations SET listed = 1 WHERE (tenant, kind, id) IN
         (SELECT tenant, kind, id FROM revocations WHERE listed = 0 AND from_ms <= $1 LIMIT $2)",
    )
    .bind(millis(now))
    .bind(room)
    .execute(&mut *db)
    .await?
    .rows_affected();
    // Only keys begin later, and the service checks those itself.
    let crowded =
        sqlx::query("UPDATE revocations SET listed = 2 WHERE listed = 0 AND from_ms <= $1")
            .bind(millis(now))
            .execute(&mut *db)
            .await?
            .rows_affected();
    if ended + begun + crowded > 0 {
        changed(db, rows, crowded > 0).await?;
    }
    Ok(())
}

/// Which of these is revoked, the first of them. One look at the table for all.
///
/// Keys alone begin to be revoked later than they are written. Anything else that can be seen is
/// in force, whenever the question came: it may have waited while somebody revoked.
pub async fn any(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    things: &[(Kind, &[u8])],
    now: UnixMillis,
) -> Result<Option<Kind>, Fault> {
    let places =
        (0..things.len()).map(|at| format!("(kind = ${} AND id = ${})", 2 * at + 2, 2 * at + 3));
    let places = places.collect::<Vec<_>>().join(" OR ");
    let find = format!("SELECT * FROM revocations WHERE tenant = $1 AND ({places})");
    // Made of numbers alone.
    let mut query = sqlx::query_as(sqlx::AssertSqlSafe(find)).bind(tenant);
    for (kind, id) in things {
        query = query.bind(i64::from(kind.code())).bind(*id);
    }
    let found: Vec<Row> = query.fetch_all(db).await?;
    let found = found.into_iter().map(|row| Ok(row.read(rows)?.1));
    let found = found.collect::<Result<Vec<Revocation>, Fault>>()?;
    let begun = |one: &Revocation| one.kind != Kind::ApiKey || one.from <= now;
    let in_force = |one: &&Revocation| begun(one) && one.until.is_none_or(|end| now < end);
    let is = |(kind, id): &&(Kind, &[u8])| {
        found.iter().filter(in_force).any(|one| (one.kind, one.id.as_slice()) == (*kind, *id))
    };
    Ok(things.iter().find(is).map(|(kind, _)| *kind))
}

/// Everything revoked of a tenant, by kind and id.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
) -> Result<Vec<Revocation>, Fault> {
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM revocations WHERE tenant = $1 ORDER BY kind, id")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    found.into_iter().map(|row| row.read(rows).map(|(_, revocation)| revocation)).collect()
}

/// The list that gateways get, with its epoch.
pub async fn list(db: &mut Connection, rows: &RowKeys) -> Result<(u64, List), Fault> {
    let (epoch, forget) = state(&mut *db, rows).await?;
    let found: Vec<Row> =
        sqlx::query_as("SELECT * FROM revocations WHERE listed = 1").fetch_all(db).await?;
    let entry = |row: Row| {
        let (tenant, revoked) = row.read(rows)?;
        Ok(Entry::of(revoked.kind, &tenant, &revoked.id))
    };
    let entries = found.into_iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
    Ok((epoch, List::new(entries, forget)))
}
