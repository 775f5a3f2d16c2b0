//! An issuer of access tokens: signs what scenarios describe and publishes its keys in good
//! and bad ways.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use postern_core::time::UnixMillis;
use postern_rig::gateway::merge;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::keys::derive;
use crate::faults::Outcome;
use crate::hostile::{self, NEUTRAL};
use crate::scenario::TokenSeed;

/// Its name.
const ISSUER: &str = "https://issuer.test";

/// Which keys are published, and how often each address was asked.
pub struct Issuer {
    keys: Mutex<Vec<String>>,
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self { keys: Mutex::new(first()), asked: Mutex::default() }
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
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// How often this path was asked.
    pub fn asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(path).copied().unwrap_or_default()
    }

    /// What its endpoints answer; `None` for a path that is not its own. A query makes another
    /// source of the same keys.
    pub fn exchange(&self, path: &str) -> Option<Outcome> {
        let own = path.strip_prefix("/issuer/")?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(path.to_owned()).or_default();
        *times = times.saturating_add(1);
        drop(asked);
        Some(match own.split_once('?').map_or(own, |(path, _)| path) {
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

    /// The keys that are published, as a JWK Set (RFC 7517, section 5).
    pub fn set(&self) -> Value {
        let names = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        json!({"keys": names.iter().map(|name| jwk(name)).collect::<Vec<_>>()})
    }
}

/// A key as it is published: of RSA when its name begins with `rs`, of P-256 when its name begins with `es` or `p256`, one that no
/// verifier may take when it is called so, else of Ed25519. Those whose names end with
/// `bundle` stand in the set as trust bundles have them.
fn jwk(name: &str) -> Value {
    let usage = if name.ends_with("bundle") { "jwt-svid" } else { "sig" };
    let okp = |x: &[u8]| {
        let x = URL_SAFE_NO_PAD.encode(x);
        json!({"kty": "OKP", "crv": "Ed25519", "use": usage, "kid": name, "x": x})
    };
    let ec = |x: &[u8], y: &[u8]| {
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"kty": "EC", "crv": "P-256", "use": usage, "kid": name, "x": x, "y": y})
    };
    match name {
        "neutral" => okp(&NEUTRAL),
        "off_curve" => ec(&[1; 32], &[1; 32]),
        "small_rsa" => {
            let n = URL_SAFE_NO_PAD.encode([0xff; 64]);
            json!({"kty": "RSA", "alg": "RS256", "kid": name, "n": n, "e": "AQAB"})
        }
        "shared" => {
            let k = URL_SAFE_NO_PAD.encode(key(name).verifying_key().as_bytes());
            json!({"kty": "oct", "alg": "HS256", "kid": name, "k": k})
        }
        _ if is_p256(name) => {
            let point = p256_key(name).verifying_key().to_sec1_point(false);
            let (x, y) = (point.x(), point.y());
            ec(
                x.map(|x| x.as_slice()).unwrap_or_default(),
                y.map(|y| y.as_slice()).unwrap_or_default(),
            )
        }
        _ if is_rsa(name) => {
            let public = PublicKeyComponents::<Vec<u8>>::from(rsa_key().public());
            let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
            json!({"kty": "RSA", "alg": "RS256", "use": usage, "kid": name, "n": n, "e": e})
        }
        _ => okp(key(name).verifying_key().as_bytes()),
    }
}

fn is_p256(name: &str) -> bool {
    name.starts_with("es") || name.starts_with("p256")
}

fn is_rsa(name: &str) -> bool {
    name.starts_with("rs")
}

/// The only one there is, made for these tests and good for nothing else.
fn rsa_key() -> KeyPair {
    let text: String = include_str!("issuer_rsa.txt").split_ascii_whitespace().collect();
    let key = STANDARD.decode(text).expect("base64");
    KeyPair::from_pkcs8(&key).expect("a key")
}

fn rsa_signature(message: &[u8]) -> Vec<u8> {
    let key = rsa_key();
    let mut signature = vec![0; key.public().modulus_len()];
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
    signed.map(|()| signature).expect("a signature")
}

/// Of a fixed scalar, which is below the order.
fn p256_key(name: &str) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&derive(&format!("issuer {name}"))).expect("a key")
}

fn sign(name: &str, message: &[u8]) -> Vec<u8> {
    if is_p256(name) {
        let signature: p256::ecdsa::Signature = p256_key(name).sign(message);
        return signature.to_bytes().to_vec();
    }
    if is_rsa(name) {
        return rsa_signature(message);
    }
    key(name).sign(message).to_bytes().to_vec()
}

/// A token as of now, bound to a certificate of this thumbprint.
pub fn token(seed: &TokenSeed, bound: Option<String>, now: UnixMillis) -> Result<String> {
    let name = seed.key.as_deref().unwrap_or("k1");
    let usual = json!({"alg": algorithm(name), "kid": name, "typ": "at+jwt"});
    let header = merged(usual, &seed.header);
    let claims = dated(claims(seed, bound), now);
    let payload = seed.payload.clone().unwrap_or_else(|| claims.to_string());
    let text = unsigned(&header, &payload);
    let signature = sign(name, text.as_bytes());
    let changed = seed.signature.as_deref().map(|how| hostile::changed(&signature, how));
    let signature = changed.transpose()?.unwrap_or(signature);
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Its claims, where dates may still be said from now.
pub fn claims(seed: &TokenSeed, bound: Option<String>) -> Value {
    let mut usual = json!({
        "iss": ISSUER, "aud": "https://gateway.test", "sub": "service-7", "client_id": "agent-7",
        "jti": "token-7", "iat": "+0", "exp": "+300",
        "scope": "documents:read documents:write",
    });
    if let Some(thumbprint) = bound {
        usual["cnf"] = json!({"x5t#S256": thumbprint});
    }
    if let Some(holder) = &seed.holder {
        usual["cnf"] = json!({"jkt": thumbprint(&holder_key(holder))});
    }
    merged(usual, &seed.claims)
}

fn unsigned(header: &Value, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(&header.to_string()), encode(payload))
}

/// A JWS by this key.
pub fn signed(name: &str, header: &Value, payload: &str) -> String {
    let text = unsigned(header, payload);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(sign(name, text.as_bytes())))
}

/// `alg` of a key.
pub fn algorithm(name: &str) -> &'static str {
    match name {
        _ if is_p256(name) => "ES256",
        _ if is_rsa(name) => "RS256",
        _ => "EdDSA",
    }
}

/// The public half of a holder's key, and nothing else of it.
pub fn holder_key(name: &str) -> Value {
    let mut key = jwk(name);
    if let Some(key) = key.as_object_mut() {
        key.retain(|member, _| !["use", "kid"].contains(&member.as_str()));
    }
    key
}

/// Its thumbprint (RFC 7638): `Value` keeps members sorted, which is the form that is hashed.
fn thumbprint(key: &Value) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(key.to_string()))
}

/// An overlay on a value.
pub fn merged(mut usual: Value, overlay: &Value) -> Value {
    if !overlay.is_null() {
        merge(&mut usual, overlay);
    }
    usual
}

/// Replaces `"+60"` and `"-60"` by dates.
pub fn dated(claims: Value, now: UnixMillis) -> Value {
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
