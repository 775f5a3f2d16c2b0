//! Which key-encryption key it is: that of the file, of a passphrase or of a vault.
//!
//! Invariant: whoever opens the database has its key from here, but for a rotation of key files,
//! which needs two.

use std::sync::Arc;

use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;

use crate::config::{Config, Kek};
use crate::envelope::passphrase::derived;
use crate::envelope::vault::released;
use crate::envelope::{Held, KekProvider, LocalKek};
use crate::evidence::{self, Attester};
use crate::fault::Fault;

/// The key-encryption key that `config` names; a vault is shown tokens of `attester`, or of the
/// configured one.
///
/// # Errors
/// As [`LocalKek::release`], [`derived`] and [`released`].
pub async fn key_encryption_key(
    config: &Config,
    attester: Option<Arc<dyn Attester>>,
    now: UnixMillis,
) -> Result<Box<dyn KekProvider>, Fault> {
    let held: Box<dyn FnOnce() -> Result<Held, Fault> + Send> = match config.kek.clone() {
        Kek::File => return Ok(Box::new(LocalKek::release(&config.kek_file())?)),
        Kek::Passphrase(keys) => {
            let folder = config.data_dir.clone();
            Box::new(move || derived(&keys, &folder))
        }
        Kek::Azure(keys) => {
            let attester = attester.map_or_else(|| evidence::attester(config), Ok)?;
            Box::new(move || released(&keys, attester.as_ref(), now))
        }
    };
    // Both take their time.
    let ended = |_| Fault::Attestation(Redacted::new("the key-encryption key broke off"));
    Ok(Box::new(tokio::task::spawn_blocking(held).await.map_err(ended)??))
}
