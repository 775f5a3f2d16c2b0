//! A key that signs bundles.
//!
//! Invariant: the private key is read from a file that only its owner may read, is erased
//! when it was used, and is written nowhere.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};

const LARGEST: usize = 16 << 10;

/// A key of one of the three algorithms, and its name.
pub(super) struct Signer {
    key: Key,
    id: Option<String>,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    /// Reads a private key: PKCS#8 (RFC 5958) in PEM (RFC 7468), of Ed25519, P-256 or RSA.
    pub(super) fn read(path: &Path, id: Option<String>) -> Outcome<Self> {
        let pem = postern_files::read_private(path, LARGEST).or_environment("cannot read")?;
        let pem = Zeroizing::new(pem);
        let der = decoded(&pem).map(Zeroizing::new);
        let key = der.and_then(|der| key(&der)).ok_or_else(|| {
            Failure::found(format!(
                "{}: expected PRIVATE KEY in PEM, of Ed25519, P-256 or RSA of 2048 bits or more",
                path.display()
            ))
        })?;
        Ok(Self { key, id })
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ed25519(_) => "EdDSA",
            Key::P256(_) => "ES256",
            Key::Rsa(_) => "RS256",
        }
    }

    /// A JWS in compact form (RFC 7515, 7.1).
    pub(super) fn sign(&self, payload: &Value) -> Outcome<String> {
        let mut header = json!({"alg": self.algorithm()});
        if let Some(id) = &self.id {
            header["kid"] = json!(id);
        }
        let signed =
            format!("{}.{}", B64.encode(header.to_string()), B64.encode(payload.to_string()));
        let signature = self.signature(signed.as_bytes()).or_environment("cannot sign")?;
        Ok(format!("{signed}.{}", B64.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Key::P256(key) => Ok(key.sign(&random, message)?.as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// The public key, as a set of one (RFC 7517, 5).
    pub(super) fn public(&self) -> Value {
        let b64 = |bytes: &[u8]| B64.encode(bytes);
        let mut key = match &self.key {
            Key::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref())})
            }
            Key::P256(key) => {
                // 0x04, x and y (SEC 1, 2.3.3).
                let point = key.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
                json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
            }
            Key::Rsa(key) => {
                let public: PublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "n": b64(&public.n), "e": b64(&public.e)})
            }
        };
        key["alg"] = json!(self.algorithm());
        key["use"] = json!("sig");
        if let Some(id) = &self.id {
            key["kid"] = json!(id);
        }
        json!({"keys": [key]})
    }
}

fn decoded(pem: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(body.as_bytes()).ok()
}

fn key(der: &[u8]) -> Option<Key> {
    let random = SystemRandom::new();
    let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Key::Ed25519);
    let p256 = || {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        key.ok().map(Key::P256)
    };
    let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Key::Rsa);
    ed25519().or_else(p256).or_else(rsa)
}
