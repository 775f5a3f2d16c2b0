//! Keys, a signer and rules.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Map, Value, json};

use crate::jwk::{Key, KeySet};
use crate::jwt::{self, Kind, Rules, Token};
use crate::refusal::Refusal;
use crate::signatures::Pure;

pub const NOW: u64 = 1_800_000_000;

pub fn signer() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    B64.encode(bytes)
}

pub fn jwk(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub fn key(value: Value) -> Option<Key> {
    Key::read(&jwk(value))
}

/// The public half of the signer.
pub fn public() -> Value {
    let x = b64(signer().verifying_key().as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x})
}

pub fn keys() -> KeySet {
    KeySet::parse(json!({"keys": [public()]}).to_string().as_bytes()).unwrap()
}

pub fn rules() -> Rules {
    Rules {
        issuer: "https://issuer.test".into(),
        audiences: vec!["https://gateway.test".into()],
        kind: Kind::AccessToken,
        leeway: 5,
    }
}

pub fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"})
}

pub fn claims() -> Value {
    json!({
        "iss": "https://issuer.test",
        "aud": "https://gateway.test",
        "sub": "ada",
        "client_id": "triage-bot",
        "jti": "j1",
        "iat": NOW - 10,
        "exp": NOW + 300,
    })
}

/// Signs texts as they are.
pub fn sign(header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    let signature = signer().sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", b64(signature))
}

pub fn token(header: &Value, claims: &Value) -> String {
    sign(&header.to_string(), &claims.to_string())
}

pub fn verify(token: &str) -> Result<Token, Refusal> {
    jwt::verify(token.as_bytes(), &keys(), &rules(), NOW, &Pure)
}

/// An object with one member changed, or removed by null.
pub fn with(mut value: Value, name: &str, member: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    if member.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), member);
    }
    value
}
