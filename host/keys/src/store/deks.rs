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
    sqlx::query(
        "INSERT INTO deks (dek_id, scope, kek_id, wrapped, created_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(dek.id().as_slice())
    .bind(scope.text())
    .bind(kek.id())
    .bind(dek.wrapped(scope, kek)?)
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
    if kek_id != kek.id() {
        return Err(Fault::OtherKek);
    }
    Dek::unwrap(exact(&id, "data key id")?, &wrapped, scope, kek).map(Some)
}

/// The service's own seed `name`, sealed by `dek`; drawn on first use.
pub async fn seed(
    db: &mut Connection,
    dek: &Dek,
    name: &str,
    now: UnixMillis,
) -> Result<Secret, Fault> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT sealed FROM service_keys WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut *db)
        .await?;
    if let Some((sealed,)) = row {
        return dek.open_seed(name, &sealed);
    }
    let seed = random::key()?;
    sqlx::query("INSERT INTO service_keys (name, sealed, created_ms) VALUES ($1, $2, $3)")
        .bind(name)
        .bind(dek.seal_seed(name, &seed)?)
        .bind(millis(now))
        .execute(db)
        .await?;
    Ok(seed)
}
