//! Key-encryption keys that a vault releases to this machine alone.
//!
//! The vault compares an attestation token of this process with its release policy; what it
//! releases stays in memory. Run against a local server of the vault's REST shape only. Invariant:
//! a key is held only when the vault has released it in this process's life, and is named by the
//! vault's identifier of it, version included.

use std::sync::Arc;

use postern_azure::{Client, KeyRef, Refused, Settings};
use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::config::{AzureKey, Config, Kek};
use crate::envelope::{KekProvider, LocalKek, aead};
use crate::evidence::{self, Attester};
use crate::fault::Fault;

/// The key-encryption key that `config` names; a vault is shown tokens of `attester`, or of the
/// configured one.
///
/// # Errors
/// As [`LocalKek::release`] and [`VaultKek::release`].
pub async fn key_encryption_key(
    config: &Config,
    attester: Option<Arc<dyn Attester>>,
    now: UnixMillis,
) -> Result<Box<dyn KekProvider>, Fault> {
    let Kek::Azure(keys) = &config.kek else {
        return Ok(Box::new(LocalKek::release(&config.kek_file())?));
    };
    let attester = attester.map_or_else(|| evidence::attester(config), Ok)?;
    let keys = keys.clone();
    // The vault's client waits in its thread.
    let release =
        tokio::task::spawn_blocking(move || VaultKek::release(&keys, attester.as_ref(), now));
    let ended = |_| Fault::Attestation(Redacted::new("the release of a key broke off"));
    Ok(Box::new(release.await.map_err(ended)??))
}

/// Keys of Azure Key Vault or Managed HSM.
pub struct VaultKek {
    /// The first one wraps.
    first: (String, Secret),
    others: Vec<(String, Secret)>,
}

impl VaultKek {
    /// Has the keys released. Waits: a release takes four answers of at most 4 s each, some of
    /// which are asked for three times.
    ///
    /// # Errors
    /// [`Fault::Vault`] for what the vault or its answer refuses, [`Fault::Attestation`] where
    /// there is no token of this machine.
    pub fn release(
        keys: &AzureKey,
        attester: &dyn Attester,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        let mut settings = Settings { client_id: keys.client_id.clone(), ..Settings::default() };
        if let Some(stand_in) = &keys.stand_in {
            settings.identity = stand_in.identity.clone();
            settings.roots = Some(vec![stand_in.root.clone()]);
        }
        let client = Client::new(settings).map_err(|why| refused(&keys.key, &why))?;
        let released = |key: &KeyRef| released(&client, key, attester, now);
        let first = released(&keys.key)?;
        let others = keys.previous.iter().map(released).collect::<Result<_, _>>()?;
        Ok(Self { first, others })
    }

    fn key(&self, id: &str) -> Result<&Secret, Fault> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|(known, _)| known == id).map(|(_, key)| key).ok_or(Fault::OtherKek)
    }
}

fn released(
    client: &Client,
    key: &KeyRef,
    attester: &dyn Attester,
    now: UnixMillis,
) -> Result<(String, Secret), Fault> {
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

impl KekProvider for VaultKek {
    fn id(&self) -> &str {
        &self.first.0
    }

    fn attested(&self) -> bool {
        true
    }

    fn wrap(&self, id: &str, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault> {
        aead::seal(self.key(id)?, aad, plain.expose())
    }

    fn unwrap(&self, id: &str, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault> {
        aead::open(self.key(id)?, aad, wrapped, "data key")
    }
}
