//! An issuer of access tokens: signs what scenarios describe and publishes its keys in good
//! and bad ways.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use postern_core::time::UnixMillis;
use postern_rig::gateway::merge;
use serde_json::{Value, json};

use super::keys::derive;
use crate::faults::Outcome;
use crate::scenario::TokenSeed;

/// Its name.
const ISSUER: &str = "https://issuer.test";

/// Which keys are published.
pub struct Issuer(Mutex<Vec<String>>);

impl Default for Issuer {
    fn default() -> Self {
        Self(Mutex::new(first()))
    }
}

/// What is published before anybody says otherwise.
pub fn first() -> Vec<String> {
    vec!["k1".to_owned()]
}

fn key(name: &str) -> SigningKey {
    SigningKey::from_bytes(&derive(&format!("issuer {name}")))
}

impl Issuer {
    /// Publishes these keys from now on.
    pub fn publish(&self, keys: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// What its endpoints answer; `None` for a path that is not its own.
    pub fn exchange(&self, path: &str) -> Option<Outcome> {
        Some(match path.strip_prefix("/issuer/")? {
            "keys" => Outcome::Answer(200, self.set().to_string().into_bytes()),
            "down" => Outcome::HangUp,
            "slow" => Outcome::Silence,
            "error" => Outcome::Answer(500, self.set().to_string().into_bytes()),
            "rubbish" => Outcome::Answer(200, b"{\"keys\": 7}".to_vec()),
            "empty" => Outcome::Answer(200, b"{\"keys\": []}".to_vec()),
            "huge" => {
                let mut set = self.set();
                set["more"] = Value::String("x".repeat(200_000));
                Outcome::Answer(200, set.to_string().into_bytes())
            }
            _ => Outcome::Answer(404, Vec::new()),
        })
    }

    fn set(&self) -> Value {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let jwk = |name: &String| {
            let x = URL_SAFE_NO_PAD.encode(key(name).verifying_key().as_bytes());
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": name, "x": x})
        };
        json!({"keys": names.iter().map(jwk).collect::<Vec<_>>()})
    }
}

/// A token as of now, bound to a certificate of this thumbprint.
pub fn token(seed: &TokenSeed, bound: Option<String>, now: UnixMillis) -> String {
    let name = seed.key.as_deref().unwrap_or("k1");
    let usual = json!({"alg": "EdDSA", "kid": name, "typ": "at+jwt"});
    let header = merged(usual, &seed.header);
    let mut usual = json!({
        "iss": ISSUER, "aud": "https://gateway.test", "sub": "service-7", "client_id": "agent-7",
        "jti": "token-7", "iat": "+0", "exp": "+300",
        "scope": "documents:read documents:write",
    });
    if let Some(thumbprint) = bound {
        usual["cnf"] = json!({"x5t#S256": thumbprint});
    }
    let claims = dated(merged(usual, &seed.claims), now);
    let payload = seed.payload.clone().unwrap_or_else(|| claims.to_string());
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(&header.to_string()), encode(&payload));
    let signature = key(name).sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn merged(mut usual: Value, overlay: &Value) -> Value {
    if !overlay.is_null() {
        merge(&mut usual, overlay);
    }
    usual
}

/// Replaces `"+60"` and `"-60"` by dates.
fn dated(claims: Value, now: UnixMillis) -> Value {
    let Value::Object(claims) = claims else { return claims };
    let date = |value: Value| match value.as_str().filter(|text| text.starts_with(['+', '-'])) {
        Some(text) => match text.parse::<i64>() {
            Ok(span) => json!(now.seconds().saturating_add_signed(span)),
            Err(_) => value,
        },
        None => value,
    };
    let dated: BTreeMap<_, _> = claims.into_iter().map(|(n, v)| (n, date(v))).collect();
    json!(dated)
}
