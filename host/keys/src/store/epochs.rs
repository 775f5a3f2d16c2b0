//! Sealed seeds of the epochs that are in force.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::envelope::Dek;
use crate::fault::Fault;
use crate::random;
use crate::store::{Connection, millis};

/// Deletes the seeds of epochs that are over: what was sealed to them stays sealed. Whether
/// there were any; then [`crate::store::empty_log`] is due.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<bool, Fault> {
    let delete = sqlx::query("DELETE FROM epochs WHERE exp_ms <= $1").bind(millis(now));
    Ok(delete.execute(db).await?.rows_affected() > 0)
}

/// Every seed in force, newest epoch first.
pub async fn all(
    db: &mut Connection,
    dek: &Dek,
    now: UnixMillis,
) -> Result<Vec<(u64, Secret)>, Fault> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT epoch, sealed FROM epochs WHERE exp_ms > $1 ORDER BY epoch DESC")
            .bind(millis(now))
            .fetch_all(db)
            .await?;
    let seed = |(epoch, sealed): (i64, Vec<u8>)| {
        let epoch = u64::try_from(epoch).map_err(|_| Fault::Malformed("epoch"))?;
        Ok((epoch, dek.open_seed(&name(epoch), &sealed)?))
    };
    rows.into_iter().map(seed).collect()
}

/// Draws the seed of `epoch` unless another process has.
pub async fn add(db: &mut Connection, dek: &Dek, epoch: u64, exp: UnixMillis) -> Result<(), Fault> {
    let sealed = dek.seal_seed(&name(epoch), &random::key()?)?;
    sqlx::query(
        "INSERT INTO epochs (epoch, sealed, exp_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(i64::try_from(epoch).map_err(|_| Fault::Malformed("epoch"))?)
    .bind(sealed)
    .bind(millis(exp))
    .execute(db)
    .await?;
    Ok(())
}

fn name(epoch: u64) -> String {
    format!("epoch/{epoch}")
}
