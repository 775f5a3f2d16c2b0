//! Secure key release: the request, and what of its answer is believed.
//!
//! Invariant: a key is given out only for the version, wrapping and transfer key that were asked
//! for, while its attributes allow it, and never as it was released: what leaves is derived from
//! it, for wrapping by this program alone.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use hkdf::Hkdf;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use rsa::PrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PrivateKeyParts;
use rustls::pki_types::TrustAnchor;
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::call::{Call, VAULT_API};
use crate::transfer::TransferKey;
use crate::{KeyRef, Refused, jws};

/// RSA-OAEP with SHA-256, then RFC 5649.
const WRAPPING: &str = "RSA_AES_KEY_WRAP_256";

/// What is asked for.
pub struct Asked<'a> {
    /// Which key.
    pub key: &'a KeyRef,
    /// Wrapped to which key.
    pub transfer: &'a TransferKey,
    /// Fresh; the service may say it again.
    pub nonce: &'a str,
}

impl Asked<'_> {
    /// The request, with an attestation token about the transfer key.
    #[must_use]
    pub fn request(&self, token: &str) -> Call {
        let body = json!({"target": token, "enc": WRAPPING, "nonce": self.nonce}).to_string();
        let url = format!("{}/release?api-version={VAULT_API}", self.key);
        Call { url, body: Some(body) }
    }

    /// The key-encryption key of a release's answer.
    ///
    /// # Errors
    /// What does not hold.
    pub fn open(
        &self,
        content: &[u8],
        roots: &[TrustAnchor<'_>],
        now: UnixMillis,
    ) -> Result<Secret, Refused> {
        let malformed = || Refused::Malformed("released key");
        let answer: Answer<'_> = serde_json::from_slice(content).map_err(|_| malformed())?;
        let payload = jws::verify(answer.value, self.key.host(), roots, now)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| malformed())?;
        let kid = self.key.to_string();
        self.is_asked_for(&payload, &kid)?;
        let released = payload.response.key;
        released.attributes.allow(now)?;
        let wrapped = B64.decode(&released.key.key_hsm).map_err(|_| malformed())?;
        let wrapped: Wrapped<'_> = serde_json::from_slice(&wrapped).map_err(|_| malformed())?;
        let ciphertext = B64.decode(wrapped.ciphertext).map_err(|_| malformed())?;
        let key = self.transfer.unwrap(&ciphertext)?;
        derived(&material(&released.key.kty, key)?, &kid)
    }

    fn is_asked_for(&self, payload: &Payload, kid: &str) -> Result<(), Refused> {
        let request = &payload.request;
        if request.kid != kid || payload.response.key.key.kid != kid {
            return Err(Refused::Other("key"));
        }
        if request.enc != WRAPPING {
            return Err(Refused::Other("wrapping"));
        }
        // Whether it is said again is not documented; a different one is never right.
        if request.nonce.as_deref().is_some_and(|nonce| nonce != self.nonce) {
            return Err(Refused::Other("nonce"));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    value: &'a str,
}

#[derive(Deserialize)]
struct Payload {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    enc: String,
    kid: String,
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    key: Released,
}

#[derive(Deserialize)]
struct Released {
    attributes: Attributes,
    key: Key,
}

/// Times are in seconds.
#[derive(Deserialize)]
struct Attributes {
    enabled: Option<bool>,
    exportable: Option<bool>,
    nbf: Option<u64>,
    exp: Option<u64>,
}

impl Attributes {
    fn allow(&self, now: UnixMillis) -> Result<(), Refused> {
        let now = now.seconds();
        let rows = [
            (self.enabled == Some(false), "disabled"),
            (self.exportable != Some(true), "not exportable"),
            (self.nbf.is_some_and(|begin| now < begin), "not valid yet"),
            (self.exp.is_some_and(|end| now >= end), "expired"),
        ];
        match rows.into_iter().find(|(is, _)| *is) {
            Some((_, what)) => Err(Refused::NotUsable(what)),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    key_hsm: String,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    ciphertext: &'a str,
}

/// What of the key does not change with its encoding: the bytes of AES-256; of RSA the primes,
/// the lesser first.
fn material(kty: &str, key: Secret) -> Result<Secret, Refused> {
    match kty {
        "oct" | "oct-HSM" if key.len() == 32 => Ok(key),
        "RSA" | "RSA-HSM" => {
            let key = PrivateKey::from_pkcs8_der(key.expose());
            let key = key.map_err(|_| Refused::Malformed("released key"))?;
            let primes = key.primes().iter().map(|prime| Zeroizing::new(prime.to_be_bytes()));
            let mut primes: Vec<_> = primes.collect();
            primes.sort_unstable_by(|one, other| one[..].cmp(&other[..]));
            Ok(Secret::new(primes.iter().flat_map(|prime| prime.iter().copied()).collect()))
        }
        _ => Err(Refused::KeyType),
    }
}

/// Not RSA-OAEP under the released key: anybody with its public half could plant data keys.
/// Whoever wraps by this key has had the private one.
fn derived(material: &Secret, kid: &str) -> Result<Secret, Refused> {
    let mut key = vec![0; 32];
    let info = [b"postern azure kek/1\0", kid.as_bytes()].concat();
    Hkdf::<Sha256>::new(None, material.expose())
        .expand(&info, &mut key)
        .map_err(|_| Refused::Malformed("released key"))?;
    Ok(Secret::new(key))
}
