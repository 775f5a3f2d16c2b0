//! Wrapped data keys and the service's sealed seeds.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::envelope::{Dek, KekProvider, Scope};
use crate::fault::Fault;
use crate::random;
use crate::store::{Connection, exact, millis};

/// The data key of `scope`; drawn and wrapped when there is none.
pub async fn dek(
    db: &mut Connection,
    scope: &Scope,
    kek: &dyn KekProvider,
    now: UnixMillis,
) -> Result<Dek, Fault> {
    if let Some(dek) = find(db, scope, kek).await? {
        return Ok(dek);
    }
    let dek = Dek::draw()?;
    let kek_id = in_use(&mut *db).await?.unwrap_or_else(|| kek.id().to_owned());
    sqlx::query(
        "INSERT INTO deks (dek_id, scope, kek_id, wrapped, created_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(dek.id().as_slice())
    .bind(scope.text())
    .bind(&kek_id)
    .bind(dek.wrapped(scope, kek, &kek_id)?)
    .bind(millis(now))
    .execute(db)
    .await?;
    Ok(dek)
}

/// The data key of `scope`, if there is one.
pub async fn find(
    db: &mut Connection,
    scope: &Scope,
    kek: &dyn KekProvider,
) -> Result<Option<Dek>, Fault> {
    let row: Option<(Vec<u8>, String, Vec<u8>)> =
        sqlx::query_as("SELECT dek_id, kek_id, wrapped FROM deks WHERE scope = $1")
            .bind(scope.text())
            .fetch_optional(db)
            .await?;
    let Some((id, kek_id, wrapped)) = row else { return Ok(None) };
    Dek::unwrap(exact(&id, "data key id")?, &wrapped, scope, kek, &kek_id).map(Some)
}

/// The key-encryption key that this database is under: the one of the service's own data key.
/// A process that was started before a rotation does not go on with the one before.
async fn in_use(db: &mut Connection) -> Result<Option<String>, Fault> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT kek_id FROM kek_in_use").fetch_optional(db).await?;
    Ok(row.map(|(id,)| id))
}

/// Wraps every data key by the key-encryption key `next`; how many were wrapped by another.
pub async fn rewrap(db: &mut Connection, kek: &dyn KekProvider, next: &str) -> Result<u64, Fault> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT scope FROM deks WHERE kek_id <> $1")
        .bind(next)
        .fetch_all(&mut *db)
        .await?;
    let mut count: u64 = 0;
    for (scope,) in rows {
        let scope = Scope::of(&scope).ok_or(Fault::Malformed("data key"))?;
        let dek = find(&mut *db, &scope, kek).await?.ok_or(Fault::Malformed("data key"))?;
        write(&mut *db, &scope, &dek, kek, next).await?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Puts `dek` in the place of the data key of `scope`.
pub async fn replace(
    db: &mut Connection,
    scope: &Scope,
    dek: &Dek,
    kek: &dyn KekProvider,
) -> Result<(), Fault> {
    let kek_id = in_use(&mut *db).await?.ok_or(Fault::OtherKek)?;
    write(db, scope, dek, kek, &kek_id).await
}

async fn write(
    db: &mut Connection,
    scope: &Scope,
    dek: &Dek,
    kek: &dyn KekProvider,
    kek_id: &str,
) -> Result<(), Fault> {
    sqlx::query("UPDATE deks SET dek_id = $1, kek_id = $2, wrapped = $3 WHERE scope = $4")
        .bind(dek.id().as_slice())
        .bind(kek_id)
        .bind(dek.wrapped(scope, kek, kek_id)?)
        .bind(scope.text())
        .execute(db)
        .await?;
    Ok(())
}

/// Seals the seeds of `tenant` (`PURPOSE/VERSION/TENANT`) by `new`.
pub async fn seeds_again(
    db: &mut Connection,
    tenant: &str,
    old: &Dek,
    new: &Dek,
) -> Result<(), Fault> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, sealed FROM service_keys").fetch_all(&mut *db).await?;
    let theirs = |name: &str| name.split('/').nth(2) == Some(tenant);
    for (name, sealed) in rows.into_iter().filter(|(name, _)| theirs(name)) {
        let seed = old.open_seed(&name, &sealed)?;
        sqlx::query("UPDATE service_keys SET sealed = $1 WHERE name = $2")
            .bind(new.seal_seed(&name, &seed)?)
            .bind(name)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// The service's own seed `name`, sealed by `dek`; drawn on first use.
pub async fn seed(
    db: &mut Connection,
    dek: &Dek,
    name: &str,
    now: UnixMillis,
) -> Result<Secret, Fault> {
    if let Some(seed) = find_seed(&mut *db, dek, name).await? {
        return Ok(seed);
    }
    let seed = random::key()?;
    put_seed(db, dek, (name, &seed), now).await?;
    Ok(seed)
}

async fn put_seed(
    db: &mut Connection,
    dek: &Dek,
    (name, seed): (&str, &Secret),
    now: UnixMillis,
) -> Result<(), Fault> {
    sqlx::query("INSERT INTO service_keys (name, sealed, created_ms) VALUES ($1, $2, $3)")
        .bind(name)
        .bind(dek.seal_seed(name, seed)?)
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(())
}

/// The seed `name`, if there is one.
pub async fn find_seed(
    db: &mut Connection,
    dek: &Dek,
    name: &str,
) -> Result<Option<Secret>, Fault> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT sealed FROM service_keys WHERE name = $1")
        .bind(name)
        .fetch_optional(db)
        .await?;
    row.map(|(sealed,)| dek.open_seed(name, &sealed)).transpose()
}

/// The seed `from` takes the place of the seed `to`, which is gone then; false when there is no
/// `from`.
pub async fn replace_seed(
    db: &mut Connection,
    dek: &Dek,
    (from, to): (&str, &str),
    now: UnixMillis,
) -> Result<bool, Fault> {
    let Some(seed) = find_seed(&mut *db, dek, from).await? else { return Ok(false) };
    sqlx::query("DELETE FROM service_keys WHERE name = $1 OR name = $2")
        .bind(from)
        .bind(to)
        .execute(&mut *db)
        .await?;
    put_seed(db, dek, (to, &seed), now).await?;
    Ok(true)
}
