//! Key-encryption keys that a vault releases to this machine alone.
//!
//! The vault compares an attestation token of this process with its release policy; what it
//! releases stays in memory. Run against a local server of the vault's REST shape only. Invariant:
//! a key is held only when the vault has released it in this process's life, and is named by the
//! vault's identifier of it, version included.

use postern_azure::{Client, KeyRef, Refused, Settings};
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;

use crate::config::AzureKey;
use crate::envelope::held::{Held, Named};
use crate::evidence::Attester;
use crate::fault::Fault;

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
