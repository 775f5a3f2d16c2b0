//! Invites of scenarios, and the tokens that they are exchanged for: a scenario writes
//! `TOKEN-1` for the first that came up, in what it wants, and `issued: 1` to send it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::api_key::{INVITE_PREFIX, StoredKey, assemble};
use postern_core::time::UnixMillis;
use postern_keys::admin::NewInvite;
use postern_keys::store::invites::Grant;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{derive, parts, short};
use crate::observation::Observation;
use crate::scenario::KeyState;

/// One invite.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InviteSeed {
    /// Tenant of the operator who makes it.
    pub tenant: String,
    /// The one document.
    pub document: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Trust level.
    pub trust: String,
    /// Credentials that may be used.
    pub credentials: Vec<String>,
    /// Paths; any when empty.
    pub paths: Vec<String>,
    /// How often its token may be passed on.
    pub depth: u8,
    /// Seconds that its token lives.
    pub life: u32,
    /// What the key service holds about it.
    pub state: KeyState,
}

impl Default for InviteSeed {
    fn default() -> Self {
        Self {
            tenant: "acme".into(),
            document: "d1".into(),
            scopes: vec!["documents:read".into()],
            trust: "suggester".into(),
            credentials: Vec::new(),
            paths: Vec::new(),
            depth: 0,
            life: 600,
            state: KeyState::Active,
        }
    }
}

/// The whole invite.
pub fn text(scenario: &str, name: &str) -> Option<Vec<u8>> {
    let (id, secret) = parts(scenario, &format!("invite {name}"));
    Some(assemble(INVITE_PREFIX, &id, &secret)?.expose().to_vec())
}

/// Its id.
pub fn id(scenario: &str, name: &str) -> String {
    parts(scenario, &format!("invite {name}")).0.as_str().to_owned()
}

/// What an operator sends to create it.
pub fn new_invite(
    scenario: &str,
    name: &str,
    seed: &InviteSeed,
    not_after: UnixMillis,
) -> Result<Vec<u8>> {
    let (id, mut secret) = parts(scenario, &format!("invite {name}"));
    if seed.state == KeyState::Mismatch {
        secret.reverse();
    }
    let whole = assemble(INVITE_PREFIX, &id, &secret).context("invite")?;
    let stored = StoredKey::of(short(&derive(&format!("{scenario}/{name}/salt"))), &whole);
    let new = NewInvite {
        id: id.as_str().to_owned(),
        salt: URL_SAFE_NO_PAD.encode(stored.salt),
        hash: URL_SAFE_NO_PAD.encode(stored.hash),
        grant: Grant {
            document: seed.document.clone(),
            organisation: "research".into(),
            scopes: seed.scopes.clone(),
            roles: vec!["AGENT".into()],
            trust: seed.trust.clone(),
            credentials: seed.credentials.clone(),
            hosts: Vec::new(),
            methods: Vec::new(),
            paths: seed.paths.clone(),
            depth: seed.depth,
            life_seconds: seed.life,
        },
        not_after: not_after.0,
    };
    Ok(serde_json::to_vec(&new)?)
}

/// Writes the issuer of this world wherever a gate's `issuers` say `own`.
pub fn own_issuer(document: &mut Value, issuer: &Value) {
    let authenticators = document.get_mut("authenticators").and_then(Value::as_array_mut);
    for one in authenticators.into_iter().flatten() {
        let issuers = one.get_mut("capability").and_then(|one| one.get_mut("issuers"));
        let issuers = issuers.and_then(Value::as_array_mut).into_iter().flatten();
        issuers.filter(|one| *one == "own").for_each(|one| one.clone_from(issuer));
    }
}

/// The tokens, and the nonces of challenges, that came up, in order.
#[derive(Debug, Default)]
pub struct Issued {
    tokens: Vec<String>,
    nonces: Vec<String>,
}

impl Issued {
    /// The one with this number, from 1.
    pub fn token(&self, number: usize) -> Option<&str> {
        self.tokens.get(number.checked_sub(1)?).map(String::as_str)
    }

    /// The nonce with this number, from 1.
    pub fn nonce(&self, number: usize) -> Option<&str> {
        self.nonces.get(number.checked_sub(1)?).map(String::as_str)
    }

    /// Writes numbers for tokens, and nothing for their times and ids, nor for nonces.
    pub fn settle(&mut self, seen: &mut Observation) {
        for name in ["dpop-nonce", "postern-nonce"] {
            for value in seen.answer.fields.get_mut(name).into_iter().flatten() {
                self.nonces.push(std::mem::replace(value, "NONCE".to_owned()));
            }
        }
        if let Ok(mut document) = serde_json::from_str::<Value>(&seen.answer.body)
            && let Some(token) = document["token"].as_str().map(str::to_owned)
            && token.starts_with("pct1.")
        {
            let at = self.tokens.iter().position(|known| *known == token);
            let at = at.unwrap_or_else(|| {
                self.tokens.push(token);
                self.tokens.len() - 1
            });
            document["token"] = Value::String(format!("TOKEN-{}", at + 1));
            document["expires"] = Value::from(0);
            seen.answer.body = document.to_string();
        }
        if let Some(audit) = &mut seen.audit
            && audit["agent"].as_str().is_some_and(|agent| agent.starts_with("invite:"))
        {
            audit["key"] = Value::String("TOKEN".into());
        }
    }
}
