//! New keys for what is stored, while it is served.
//!
//! Owns the order of steps. Invariant: at each moment every data key is wrapped by a key that
//! every replica can read, and every value is sealed by the data key that its row names; a step
//! that ends half-way changes nothing and is done again.

use std::path::Path;
use std::sync::Arc;

use postern_core::placeholder::Name;
use postern_core::time::UnixMillis;
use zeroize::Zeroizing;

use crate::audit::{AuditLog, Event};
use crate::config::{Config, Kek};
use crate::envelope::{
    Dek, KekProvider, LocalKek, Scope, key_encryption_key, next_file, previous_file,
};
use crate::evidence::{self, Attester};
use crate::fault::Fault;
use crate::store::open::open;
use crate::store::{Connection, Pool, Reach, approvals, deks, sealed};

/// Largest file of a key.
const MAX_KEY_FILE: usize = 4096;

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Data keys that are wrapped by another key-encryption key.
    pub keys: u64,
    /// Values that are sealed by another data key.
    pub values: u64,
}

/// Makes the file of the next key-encryption key, to be given to every replica before
/// [`kek`]. One that is there already stays.
///
/// # Errors
/// When a file cannot be read or written.
pub fn prepare_kek(config: &Config) -> Result<(), Fault> {
    if config.kek != Kek::File {
        let why = "nothing to prepare: name the next key in keys.yaml, and this one under previous";
        return Err(Fault::Schema(why.to_owned()));
    }
    LocalKek::release(&config.kek_file())?.next().map(drop)
}

/// Wraps every data key by the next key-encryption key, which then takes the place of the one
/// in use. That one stays in a file of its own: older backups open under it. With a vault the
/// next key is the one that the configuration names first.
///
/// # Errors
/// When a file or the database fails. Then nothing was changed, or all rows were and the files
/// were not yet: it is to be done again.
pub async fn kek(config: &Config, now: UnixMillis) -> Result<Rotated, Fault> {
    if config.kek != Kek::File {
        return kek_with(config, evidence::attester(config)?, now).await;
    }
    let file = config.kek_file();
    let kek = LocalKek::release(&file)?;
    let rotated = rewrapped(config, &kek, &kek.next()?, now).await?;
    moved(&file)?;
    Ok(rotated)
}

/// Wraps every data key by the key of a vault that is named first; `attester` gives the tokens
/// that the vault releases against.
///
/// # Errors
/// As [`kek`], and what the vault refuses.
pub async fn kek_with(
    config: &Config,
    attester: Arc<dyn Attester>,
    now: UnixMillis,
) -> Result<Rotated, Fault> {
    let kek = key_encryption_key(config, Some(attester), now).await?;
    rewrapped(config, kek.as_ref(), kek.id(), now).await
}

async fn rewrapped(
    config: &Config,
    kek: &dyn KekProvider,
    next: &str,
    now: UnixMillis,
) -> Result<Rotated, Fault> {
    let pool = open(&config.database).await?;
    let mut db = pool.write(Reach::All).await?;
    let keys = deks::rewrap(&mut db, kek, next).await?;
    let event = Event::new("kek_rotated", "").with("kek", next).with("keys", keys.to_string());
    recorded(&mut db, kek, event, now).await?;
    db.commit().await?;
    pool.close().await;
    Ok(Rotated { keys, values: 0 })
}

/// The next key becomes the one in use, in two steps of which each leaves both to be read.
fn moved(file: &Path) -> Result<(), Fault> {
    let (next, previous) = (next_file(file), previous_file(file));
    let key = postern_files::read_private(file, MAX_KEY_FILE).map(Zeroizing::new);
    let key = key.map_err(|error| Fault::file(file, &error))?;
    postern_files::write_private(&previous, &key).map_err(|e| Fault::file(&previous, &e))?;
    std::fs::rename(&next, file).map_err(|error| Fault::file(&next, &error))
}

/// A new data key for `tenant`: every value and seed of it is sealed anew, in one transaction.
///
/// # Errors
/// When there is no such tenant, a value does not open, or the database fails; then nothing
/// was changed.
pub async fn dek(config: &Config, tenant: &str, now: UnixMillis) -> Result<Rotated, Fault> {
    if Name::new(tenant).is_none() {
        return Err(Fault::Malformed("tenant"));
    }
    let kek = key_encryption_key(config, None, now).await?;
    let pool = open(&config.database).await?;
    let rotated = of_tenant(&pool, kek.as_ref(), tenant, now).await;
    pool.close().await;
    rotated
}

async fn of_tenant(
    pool: &Pool,
    kek: &dyn KekProvider,
    tenant: &str,
    now: UnixMillis,
) -> Result<Rotated, Fault> {
    let mut db = pool.write(Reach::All).await?;
    let scope = Scope::Tenant(tenant.to_owned());
    let found = deks::find(&mut db, &scope, kek).await?;
    let old = found.ok_or_else(|| Fault::Schema(format!("{tenant} has no data key")))?;
    let new = Dek::draw()?;
    let values = sealed::again(&mut db, tenant, &old, &new).await?;
    deks::seeds_again(&mut db, tenant, &old, &new).await?;
    approvals::previews_again(&mut db, tenant, &old, &new).await?;
    deks::replace(&mut db, &scope, &new, kek).await?;
    let event = Event::new("dek_rotated", tenant).with("values", values.to_string());
    recorded(&mut db, kek, event, now).await?;
    db.commit().await?;
    Ok(Rotated { keys: 1, values })
}

async fn recorded(
    db: &mut Connection,
    kek: &dyn KekProvider,
    event: Event,
    now: UnixMillis,
) -> Result<(), Fault> {
    let system = deks::find(&mut *db, &Scope::System, kek).await?.ok_or(Fault::OtherKek)?;
    let seed = deks::seed(&mut *db, &system, "audit", now).await?;
    AuditLog::new(&seed, "none")?.append(db, event, now).await.map(drop)
}
