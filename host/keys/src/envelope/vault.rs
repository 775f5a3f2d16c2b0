//! Key-encryption keys that a vault releases to this machine alone.
//!
//! The vault compares an attestation token of this process with its release policy; what it
//! releases stays in memory. Run against a local server of the vault's REST shape only. Invariant:
//! a key is held only when the vault has released it in this process's life, and is named by the
//! vault's identifier of it, version included.

use std::sync::Arc;

use postern_azure::{Client, KeyRef, Refused, Settings};
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;

use crate::config::{AzureKey, Config, Kek};
use crate::envelope::held::{Held, Named};
use crate::envelope::passphrase::derived;
use crate::envelope::{KekProvider, LocalKek};
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

/// Has the keys released. Waits: a release takes four answers of at most 4 s each, some of which
/// are asked for three times.
///
/// # Errors
/// [`Fault::Vault`] for what the vault or its answer refuses, [`Fault::Attestation`] where there
/// is no token of this machine.
pub fn released(keys: &AzureKey, attester: &dyn Attester, now: UnixMillis) -> Result<Held, Fault> {
    let mut settings = Settings { client_id: keys.client_id.clone(), ..Settings::default() };
    if let Some(stand_in) = &keys.stand_in {
        settings.identity = stand_in.identity.clone();
        settings.roots = Some(vec![stand_in.root.clone()]);
    }
    let client = Client::new(settings).map_err(|why| refused(&keys.key, &why))?;
    let release = |key: &KeyRef| release(&client, key, attester, now);
    let first = release(&keys.key)?;
    let others = keys.previous.iter().map(release).collect::<Result<_, _>>()?;
    Ok(Held::new(first, others, true))
}

fn release(
    client: &Client,
    key: &KeyRef,
    attester: &dyn Attester,
    now: UnixMillis,
) -> Result<Named, Fault> {
    let attested = |runtime: &[u8]| {
        attester
            .token(runtime)
            .map_err(|why| Refused::NoAttestation(Redacted::new(&why.to_string())))
    };
    let secret = client.release(key, &attested, now).map_err(|why| refused(key, &why))?;
    Ok((format!("azure:{key}"), secret))
}

fn refused(key: &KeyRef, why: &Refused) -> Fault {
    Fault::Vault { key: key.to_string(), why: Redacted::new(&why.to_string()) }
}
