//! Nonces that were seen: what makes a replay visible.

use postern_core::time::UnixMillis;

use crate::fault::Fault;
use crate::store::{Connection, millis};

/// Remembers `nonce` of `who` until `expires`. `false` means that it was there already.
pub async fn fresh(
    db: &mut Connection,
    who: &[u8; 16],
    nonce: &[u8; 16],
    expires: UnixMillis,
) -> Result<bool, Fault> {
    let done = sqlx::query(
        "INSERT INTO nonces (gateway, nonce, expires_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(who.as_slice())
    .bind(nonce.as_slice())
    .bind(millis(expires))
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks a nonce as replayed. `true` the first time, so that a flood of one replay leaves
/// one event and not as many as the attacker likes.
pub async fn first_replay(
    db: &mut Connection,
    who: &[u8; 16],
    nonce: &[u8; 16],
) -> Result<bool, Fault> {
    let done = sqlx::query(
        "UPDATE nonces SET replayed = 1 WHERE gateway = $1 AND nonce = $2 AND replayed = 0",
    )
    .bind(who.as_slice())
    .bind(nonce.as_slice())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How far the clock of another replica, or this one's before a step, may be behind: a nonce
/// that this clock is done with is still known to it. Twice what messages are allowed.
const BEHIND_MS: u64 = 120_000;

/// Forgets nonces whose messages would be refused by their time anyway.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<(), Fault> {
    let before = UnixMillis(now.0.saturating_sub(BEHIND_MS));
    let old = "DELETE FROM nonces WHERE expires_ms < $1";
    sqlx::query(old).bind(millis(before)).execute(db).await?;
    Ok(())
}
