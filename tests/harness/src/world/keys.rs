//! API keys of scenarios: the same on every boundary, different in every scenario.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::api_key::{ALPHABET, KeyId, SECRET_LENGTH, StoredKey, assemble};
use postern_core::time::{Entropy, UnixMillis};
use postern_keys::admin::NewKey;
use postern_keys::store::api_keys::Grant;
use sha2::{Digest, Sha256};

use crate::scenario::{KeySeed, KeyState};

/// The whole key that a caller presents.
pub fn text(scenario: &str, name: &str, seed: &KeySeed) -> Option<Vec<u8>> {
    let (id, secret) = parts(scenario, name);
    Some(assemble(&seed.prefix, &id, &secret)?.expose().to_vec())
}

/// The public part.
pub fn id(scenario: &str, name: &str) -> KeyId {
    parts(scenario, name).0
}

/// What an operator sends to create it.
pub fn new_key(
    scenario: &str,
    name: &str,
    seed: &KeySeed,
    not_after: Option<UnixMillis>,
) -> Result<Vec<u8>> {
    let (id, mut secret) = parts(scenario, name);
    if seed.state == KeyState::Mismatch {
        secret.reverse();
    }
    let key = assemble(&seed.prefix, &id, &secret).context("key")?;
    let stored = StoredKey::of(short(&derive(&format!("{scenario}/{name}/salt"))), &key);
    let new = NewKey {
        id: id.as_str().to_owned(),
        salt: URL_SAFE_NO_PAD.encode(stored.salt),
        hash: URL_SAFE_NO_PAD.encode(stored.hash),
        grant: Grant {
            user: scenario.to_owned(),
            organisation: seed.organisation.clone(),
            agent: seed.agent.clone(),
            scopes: seed.scopes.clone(),
            roles: Vec::new(),
            trust: "collaborator".into(),
            clearance: seed.clearance.clone(),
            platform: None,
            not_after: not_after.map(|end| end.0),
        },
    };
    Ok(serde_json::to_vec(&new)?)
}

/// Id and secret.
pub(super) fn parts(scenario: &str, name: &str) -> (KeyId, [u8; SECRET_LENGTH]) {
    let base62 = |byte: &u8| ALPHABET[usize::from(byte % 62)];
    let digest = |part: &str| derive(&format!("{scenario}/{name}/{part}"));
    let id: Vec<u8> = digest("id").iter().take(8).map(base62).collect();
    let mut secret = [b'0'; SECRET_LENGTH];
    let bytes = digest("first").into_iter().chain(digest("second"));
    secret.iter_mut().zip(bytes).for_each(|(to, from)| *to = base62(&from));
    let id = KeyId::new(&id).unwrap_or_else(|| unreachable!("eight base62 characters"));
    (id, secret)
}

/// 32 bytes that depend on `label` alone.
pub fn derive(label: &str) -> [u8; 32] {
    Sha256::digest(format!("postern harness\0{label}")).into()
}

/// The first half.
pub fn short(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    half
}

/// Never the same twice in a process; tests need no more.
pub fn entropy() -> Entropy {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Entropy(derive(&format!("entropy {} {count}", std::process::id())))
}
