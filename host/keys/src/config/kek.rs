//! `kek`: where the key-encryption key comes from.
//!
//! Invariant: a vault's key is named with its version, at a host of Azure's own, and only where
//! the evidence has a token that a vault releases against.

use std::path::{Path, PathBuf};

use postern_azure::KeyRef;
use serde::Deserialize;

use super::{ConfigError, Evidence, problem};

/// Most keys that were in use before.
const MOST_PREVIOUS: usize = 4;

/// `kek` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// Released by Azure Key Vault or Managed HSM against an attestation token.
    azure: Option<WireAzure>,
    /// Derived from a passphrase. One of the two is required.
    passphrase: Option<WirePassphrase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePassphrase {
    /// File of mode 0600 or 0400 with the passphrase, at least 16 bytes. Relative paths start at
    /// the folder of the file.
    file: PathBuf,
    /// Files of passphrases before, to be read until `postern keys rotate kek` has run; at most
    /// 4. Default: none.
    #[serde(default)]
    previous: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAzure {
    /// The key that wraps, with its version: `https://VAULT/keys/NAME/VERSION`.
    key: String,
    /// Keys that wrapped before, to be read until `postern keys rotate kek` has run; at most 4.
    /// Default: none.
    #[serde(default)]
    previous: Vec<String>,
    /// Client id of the managed identity. Default: the machine's only one.
    client_id: Option<String>,
}

/// Where the key-encryption key comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kek {
    /// `kek.key` in `data_dir`.
    #[default]
    File,
    /// A passphrase.
    Passphrase(Passphrase),
    /// A vault.
    Azure(AzureKey),
}

/// Files of passphrases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passphrase {
    /// Of the key that wraps.
    pub file: PathBuf,
    /// Of those that wrapped before.
    pub previous: Vec<PathBuf>,
}

/// Keys of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureKey {
    /// The key that wraps.
    pub key: KeyRef,
    /// Those that wrapped before.
    pub previous: Vec<KeyRef>,
    /// Client id of the managed identity.
    pub client_id: Option<String>,
    /// What stands in for Azure in tests; nothing of `keys.yaml` sets it.
    pub stand_in: Option<StandIn>,
}

/// A local identity service, and the certificate of a local vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// URL of the identity service.
    pub identity: String,
    /// Root certificate, in DER.
    pub root: Vec<u8>,
}

/// Checks `kek`.
pub(super) fn checked(
    wire: Option<Wire>,
    evidence: &Evidence,
    base: &Path,
) -> Result<Kek, ConfigError> {
    match wire {
        None => Ok(Kek::File),
        Some(Wire { azure: Some(azure), passphrase: None }) => of_vault(azure, evidence),
        Some(Wire { azure: None, passphrase: Some(passphrase) }) => {
            let WirePassphrase { file, previous } = passphrase;
            if previous.len() > MOST_PREVIOUS || previous.contains(&file) {
                let why = "expected at most 4 other files than the one that wraps";
                return Err(problem("kek.passphrase.previous", why));
            }
            let previous = previous.iter().map(|file| base.join(file)).collect();
            Ok(Kek::Passphrase(Passphrase { file: base.join(file), previous }))
        }
        Some(_) => Err(problem("kek", "expected azure or passphrase")),
    }
}

fn of_vault(azure: WireAzure, evidence: &Evidence) -> Result<Kek, ConfigError> {
    let attested = matches!(evidence, Evidence::Hardware(hardware) if hardware.maa.is_some());
    if !attested {
        let why = "expected evidence.maa: a vault releases a key against its token";
        return Err(problem("kek.azure", why));
    }
    if azure.previous.len() > MOST_PREVIOUS {
        return Err(problem("kek.azure.previous", "expected at most 4"));
    }
    let previous = azure.previous.iter().map(|kid| key("kek.azure.previous", kid));
    let previous: Vec<KeyRef> = previous.collect::<Result<_, _>>()?;
    let key = key("kek.azure.key", &azure.key)?;
    if previous.contains(&key) {
        return Err(problem("kek.azure.previous", "expected other keys than the one that wraps"));
    }
    if azure.client_id.as_deref().is_some_and(|id| !is_client_id(id)) {
        return Err(problem("kek.azure.client_id", "expected letters, digits and -, at most 64"));
    }
    Ok(Kek::Azure(AzureKey { key, previous, client_id: azure.client_id, stand_in: None }))
}

fn key(path: &str, kid: &str) -> Result<KeyRef, ConfigError> {
    let expected =
        "expected https://NAME.vault.azure.net/keys/NAME/VERSION, or of managedhsm.azure.net";
    KeyRef::parse(kid, false).ok_or_else(|| problem(path, expected))
}

fn is_client_id(id: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&id.len()) && id.bytes().all(byte)
}
