//! Sealed seeds of the epochs that are in force.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::Dek;
use crate::fault::Fault;
use crate::random;
use crate::store::{Connection, millis};

/// The seed of an epoch, as it is kept.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct Row {
    epoch: i64,
    sealed: Vec<u8>,
    exp_ms: i64,
}

impl Row {
    /// Number of the epoch.
    pub fn epoch(&self) -> Result<u64, Fault> {
        u64::try_from(self.epoch).map_err(|_| Fault::Malformed("epoch"))
    }

    /// Its seed.
    pub fn seed(&self, dek: &Dek) -> Result<Secret, Fault> {
        dek.open_seed(&name(self.epoch()?), &self.sealed)
    }
}

/// Deletes the seeds of epochs that are over: what was sealed to them stays sealed. Whether
/// there were any; then [`crate::store::open::empty_log`] is due.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<bool, Fault> {
    let delete = sqlx::query("DELETE FROM epochs WHERE exp_ms <= $1").bind(millis(now));
    let deleted = delete.execute(&mut *db).await?.rows_affected() > 0;
    if deleted && db.backend_name() == "PostgreSQL" {
        renew_table(db, now).await?;
    }
    Ok(deleted)
}

/// PostgreSQL leaves a deleted row in its file until somebody cleans up. An emptied table gets
/// a new file, and the old one goes.
async fn renew_table(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    let left = rows(&mut *db, now).await?;
    sqlx::query("TRUNCATE epochs").execute(&mut *db).await?;
    for row in left {
        insert(&mut *db, row).await?;
    }
    Ok(())
}

/// Destroys every seed: of rows that came back from a backup none is used again.
pub async fn destroy(db: &mut Connection) -> Result<(), Fault> {
    let destroy = match db.backend_name() {
        "PostgreSQL" => "TRUNCATE epochs",
        _ => "DELETE FROM epochs",
    };
    sqlx::query(destroy).execute(db).await?;
    Ok(())
}

/// Every seed in force, newest epoch first.
pub async fn rows(db: &mut Connection, now: UnixMillis) -> Result<Vec<Row>, Fault> {
    let all = sqlx::query_as("SELECT * FROM epochs WHERE exp_ms > $1 ORDER BY epoch DESC");
    Ok(all.bind(millis(now)).fetch_all(db).await?)
}

/// Draws the seed of `epoch` unless another process has.
pub async fn add(db: &mut Connection, dek: &Dek, epoch: u64, exp: UnixMillis) -> Result<(), Fault> {
    let sealed = dek.seal_seed(&name(epoch), &random::key()?)?;
    let epoch = i64::try_from(epoch).map_err(|_| Fault::Malformed("epoch"))?;
    insert(db, Row { epoch, sealed, exp_ms: millis(exp) }).await
}

async fn insert(db: &mut Connection, row: Row) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO epochs (epoch, sealed, exp_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(row.epoch)
    .bind(row.sealed)
    .bind(row.exp_ms)
    .execute(db)
    .await?;
    Ok(())
}

fn name(epoch: u64) -> String {
    format!("epoch/{epoch}")
}
