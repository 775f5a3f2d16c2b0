//! Keys as policies give them to `io.jwt`: a key or a set in JSON (RFC 7517), or a public key
//! in PEM.
//!
//! Invariant: a key that is not certain to be read as OPA reads it is [`No::Unknown`], or
//! [`Material::Unknown`] where the others of its set may still answer.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use rsa::{BoxedUint, PublicKey};
use serde_json::{Map, Value};

use super::No;

/// Sizes of RSA moduli, in bits: verification grows with the square.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Keys of a set: a token may be tried with each.
const MOST: usize = 32;
/// Names of algorithms that a key may be for, of those that OPA knows.
const ALGORITHMS: [&str; 17] = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "HS256",
    "HS384",
    "HS512",
    "EdDSA",
    "RSA-OAEP",
    "RSA-OAEP-256",
    "ECDH-ES",
    "dir",
];

pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) material: Material,
}

pub(super) enum Material {
    Ed25519(VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(PublicKey),
    Secret(Vec<u8>),
    /// A secret among keys that are public.
    Octets,
    /// Of a kind or size that nothing here verifies with.
    Unknown,
}

impl Key {
    pub(super) fn secret(text: &str) -> Self {
        Self::bare(Material::Secret(text.as_bytes().to_vec()))
    }

    fn bare(material: Material) -> Self {
        Self { id: None, algorithm: None, material }
    }

    fn of(jwk: &Map<String, Value>) -> Result<Self, No> {
        let said = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(No::Unknown),
        };
        // Private keys, of which OPA takes the public part.
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth"];
        let algorithm = said("alg")?;
        let known = algorithm.as_deref().is_none_or(|name| ALGORITHMS.contains(&name));
        let operations = jwk.get("key_ops").is_none_or(|all| *all == serde_json::json!(["verify"]));
        if !known || !operations || private.iter().any(|name| jwk.contains_key(*name)) {
            return Err(No::Unknown);
        }
        let id = said("kid")?;
        let bytes = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str).ok_or(No::Unknown)?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| No::Unknown)
        };
        let point = || Ok([vec![4], bytes("x")?, bytes("y")?].concat());
        let material = match (said("kty")?.as_deref(), said("crv")?.as_deref()) {
            (Some("RSA"), _) => rsa(&bytes("n")?, &bytes("e")?),
            (Some("EC"), Some("P-256")) => p256(&point()?),
            (Some("EC"), Some("P-384")) => p384(&point()?),
            (Some("OKP"), Some("Ed25519")) => ed25519(&bytes("x")?),
            (Some("EC"), Some("P-521")) => Material::Unknown,
            (Some("oct"), _) => bytes("k").map(|_| Material::Octets)?,
            _ => return Err(No::Unknown),
        };
        Ok(Self { id, algorithm, material })
    }
}

/// The keys of a text.
pub(super) fn read(text: &str) -> Result<Vec<Key>, No> {
    if text.contains("-----BEGIN") {
        return pem(text).map(|material| vec![Key::bare(material)]).ok_or(No::Unknown);
    }
    let value: Value = serde_json::from_str(text).map_err(|_| No::Error)?;
    let Value::Object(object) = value else { return Err(No::Error) };
    let Some(keys) = object.get("keys") else { return Key::of(&object).map(|key| vec![key]) };
    let keys = keys.as_array().filter(|keys| keys.len() <= MOST).ok_or(No::Unknown)?;
    keys.iter().map(|key| Key::of(key.as_object().ok_or(No::Unknown)?)).collect()
}

/// A `PUBLIC KEY` and nothing else.
fn pem(text: &str) -> Option<Material> {
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----\n")?;
    let body = body.strip_suffix('\n').unwrap_or(body);
    let body = body.strip_suffix("\n-----END PUBLIC KEY-----")?;
    public_key(&STANDARD.decode(body.replace('\n', "")).ok()?)
}

/// A SubjectPublicKeyInfo (RFC 5280, 4.1): its beginning tells what it is.
fn public_key(info: &[u8]) -> Option<Material> {
    const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
    const P256: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0,
    ];
    const P384: &[u8] = &[
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
        0x2b, 0x81, 0x04, 0, 0x22, 0x03, 0x62, 0,
    ];
    if let Some(key) = info.strip_prefix(ED25519) {
        return Some(ed25519(key));
    }
    if let Some(key) = info.strip_prefix(P256) {
        return Some(p256(key));
    }
    if let Some(key) = info.strip_prefix(P384) {
        return Some(p384(key));
    }
    let (n, e) = rsa_info(info)?;
    Some(rsa(n, e))
}

/// Modulus and exponent of a SubjectPublicKeyInfo for `rsaEncryption`.
fn rsa_info(info: &[u8]) -> Option<(&[u8], &[u8])> {
    const ALGORITHM: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0];
    let whole = |(value, rest): (_, &[u8])| rest.is_empty().then_some(value);
    let bits = whole(element(0x30, info)?)?.strip_prefix(ALGORITHM)?;
    let key = whole(element(0x03, bits)?)?.strip_prefix(&[0])?;
    let (n, rest) = element(0x02, whole(element(0x30, key)?)?)?;
    let e = whole(element(0x02, rest)?)?;
    Some((n.strip_prefix(&[0])?, e))
}

/// The content of an element of DER with this tag, and what stands behind it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der.strip_prefix(&[tag])? {
        [length, rest @ ..] if *length < 0x80 => (usize::from(*length), rest),
        [0x81, length, rest @ ..] if *length >= 0x80 => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] if *high > 0 => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn ed25519(key: &[u8]) -> Material {
    let key = key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
    key.filter(|key| !key.is_weak()).map_or(Material::Unknown, Material::Ed25519)
}

fn p256(point: &[u8]) -> Material {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
    key.filter(|_| point.len() == 65).map_or(Material::Unknown, Material::P256)
}

fn p384(point: &[u8]) -> Material {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
    key.filter(|_| point.len() == 97).map_or(Material::Unknown, Material::P384)
}

/// Without leading zeros; what Go may refuse is unknown.
fn rsa(n: &[u8], e: &[u8]) -> Material {
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    let minimal = |bytes: &[u8]| bytes.first().is_some_and(|byte| *byte != 0);
    let sized = n.len() <= MODULUS.end() / 8 && e.len() <= 3 && e != [1];
    if !sized || ![n, e].into_iter().all(|bytes| odd(bytes) && minimal(bytes)) {
        return Material::Unknown;
    }
    let number = BoxedUint::from_be_slice_vartime;
    PublicKey::new_with_size_limits(number(n), number(e), MODULUS)
        .map_or(Material::Unknown, Material::Rsa)
}
