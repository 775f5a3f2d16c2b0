//! JSON Web Keys and sets of them (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! Invariant: a [`Key`] has one algorithm, which its set or its type has fixed, and is a
//! valid point or a modulus of a size that is neither weak nor a burden.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
#[cfg(feature = "full")]
use ed25519_dalek::VerifyingKey;
use rsa::{BoxedUint, PublicKey};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::algorithm::Algorithm;
use crate::{der, json};

/// Most bytes of a set.
pub const SET: usize = 64 << 10;
/// Most keys of a set.
pub const KEYS: usize = 32;
/// Longest key id.
pub const KEY_ID: usize = 256;
/// Sizes of RSA moduli, in bits (RFC 7518, 3.3; verification grows with the square).
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Longest RSA exponent, in bytes.
const EXPONENT: usize = 4;

/// A key of an issuer.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
    info: Vec<u8>,
}

/// What the keys of a set are taken for, by `use` (RFC 7517, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `sig`, or not said.
    Signatures,
    /// JWT-SVIDs: `jwt-svid`, as trust bundles have it (SPIFFE trust domain and bundle, 4.2.2),
    /// and what plain key sets say. Keys for X.509-SVIDs are none.
    Svids,
}

impl Usage {
    fn admits(self, said: Option<Result<&str, ()>>) -> bool {
        match said {
            None | Some(Ok("sig")) => true,
            Some(Ok("jwt-svid")) => self == Self::Svids,
            Some(_) => false,
        }
    }
}

/// What the algorithms take.
#[derive(Clone)]
pub(crate) enum Material {
    #[cfg(feature = "full")]
    Ed25519(VerifyingKey),
    #[cfg(feature = "full")]
    P256(p256::ecdsa::VerifyingKey),
    #[cfg(feature = "full")]
    P384(p384::ecdsa::VerifyingKey),
    Rsa(PublicKey),
}

impl Key {
    /// Reads a key; `None` for one that nothing here verifies with, or that is not valid.
    pub fn read(jwk: &Map<String, Value>) -> Option<Self> {
        Self::read_for(jwk, Usage::Signatures)
    }

    /// The same, of a key in a set that may hold keys for other uses.
    pub fn read_for(jwk: &Map<String, Value>, usage: Usage) -> Option<Self> {
        let text = |name: &str| jwk.get(name).map(|value| value.as_str().ok_or(()));
        let id = text("kid").transpose().ok()?;
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        let verifies = jwk.get("key_ops").is_none_or(|ops| {
            ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"))
        });
        let signs = usage.admits(text("use"));
        let public = !private.iter().any(|name| jwk.contains_key(*name));
        if !verifies || !signs || !public || id.is_some_and(|id| id.len() > KEY_ID) {
            return None;
        }
        let algorithm = algorithm(jwk)?;
        let (material, bits) = material(jwk, algorithm)?;
        let info = der::public_key(algorithm, &bits);
        Some(Self { id: id.map(str::to_owned), algorithm, material, info })
    }

    /// What `kid` names it by.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The only algorithm that it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The encoded point of an Ed25519 key (RFC 8032, 5.1.5).
    #[cfg(feature = "full")]
    pub fn ed25519(&self) -> Option<&[u8; 32]> {
        match &self.material {
            Material::Ed25519(key) => Some(key.as_bytes()),
            _ => None,
        }
    }

    /// Its `SubjectPublicKeyInfo` in DER.
    pub fn info(&self) -> &[u8] {
        &self.info
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {})", self.id, self.algorithm.name())
    }
}

/// What the key says, or what its type can only be. RSA keys that do not say are taken for
/// RS256, which RFC 9068 (4) makes every issuer support.
fn algorithm(jwk: &Map<String, Value>) -> Option<Algorithm> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let of_type: &[Algorithm] = match (text("kty")?, text("crv")) {
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
        ("EC", Some("P-256")) => &[Algorithm::Es256],
        ("EC", Some("P-384")) => &[Algorithm::Es384],
        ("RSA", _) => &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256],
        _ => return None,
    };
    let said = match jwk.get("alg").map(|name| name.as_str().unwrap_or_default()) {
        None => *of_type.first()?,
        // The fully specified name of RFC 9864.
        Some("Ed25519") => Algorithm::EdDsa,
        Some(name) => Algorithm::find(name)?,
    };
    of_type.contains(&said).then_some(said)
}

/// The key and its bits as they stand in a SubjectPublicKeyInfo.
fn material(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<(Material, Vec<u8>)> {
    let bytes = |name: &str| B64.decode(jwk.get(name)?.as_str()?).ok();
    match algorithm {
        #[cfg(feature = "full")]
        Algorithm::EdDsa => {
            let x: [u8; 32] = bytes("x")?.try_into().ok()?;
            let key = VerifyingKey::from_bytes(&x).ok()?;
            let good = is_canonical(&x) && !key.is_weak();
            good.then(|| (Material::Ed25519(key), x.to_vec()))
        }
        #[cfg(feature = "full")]
        Algorithm::Es256 => {
            let point = point(&bytes("x")?, &bytes("y")?, 32)?;
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
            Some((Material::P256(key), point))
        }
        #[cfg(feature = "full")]
        Algorithm::Es384 => {
            let point = point(&bytes("x")?, &bytes("y")?, 48)?;
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
            Some((Material::P384(key), point))
        }
        #[cfg(not(feature = "full"))]
        Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Es384 => None,
        _ => rsa(&bytes("n")?, &bytes("e")?),
    }
}

/// Whether y is below 2^255 - 19 (RFC 8032, 5.1.3).
#[cfg(feature = "full")]
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    high & 0x7f != 0x7f || *low < 0xed || middle.iter().any(|byte| *byte != 0xff)
}

/// Uncompressed, of coordinates in full length (RFC 7518, 6.2.1).
#[cfg(feature = "full")]
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    let full = x.len() == length && y.len() == length;
    full.then(|| [&[4], x, y].concat())
}

/// Without leading zeros (RFC 7518, 6.3.1); an even exponent or modulus is none.
fn rsa(n: &[u8], e: &[u8]) -> Option<(Material, Vec<u8>)> {
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    let minimal = |bytes: &[u8]| bytes.first().is_some_and(|byte| *byte != 0);
    let sized = n.len() <= MODULUS.end() / 8 && e.len() <= EXPONENT && e != [1];
    if !sized || ![n, e].into_iter().all(|bytes| odd(bytes) && minimal(bytes)) {
        return None;
    }
    let number = BoxedUint::from_be_slice_vartime;
    let key = PublicKey::new_with_size_limits(number(n), number(e), MODULUS).ok()?;
    Some((Material::Rsa(key), der::rsa(n, e)))
}

/// Why there is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SetError {
    /// Over 64 KiB.
    #[error("expected at most 65536 bytes")]
    TooLong,
    /// Not an object with an array of objects.
    #[error("expected a JSON Web Key Set")]
    Json,
    /// Over 32 keys.
    #[error("expected at most 32 keys")]
    TooMany,
    /// Two keys of one id and algorithm.
    #[error("two keys of one id")]
    Twice,
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out (RFC 7517, 5).
    pub fn parse(bytes: &[u8]) -> Result<Self, SetError> {
        Self::parse_for(bytes, Usage::Signatures)
    }

    /// The same, with the keys of this usage.
    pub fn parse_for(bytes: &[u8], usage: Usage) -> Result<Self, SetError> {
        if bytes.len() > SET {
            return Err(SetError::TooLong);
        }
        let set = json::object(bytes).ok_or(SetError::Json)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(SetError::Json)?;
        if keys.len() > KEYS {
            return Err(SetError::TooMany);
        }
        let keys: Option<Vec<&Map<String, Value>>> = keys.iter().map(Value::as_object).collect();
        let keys = keys.ok_or(SetError::Json)?;
        let read = |jwk: &Map<String, Value>| Key::read_for(jwk, usage);
        Self::of(keys.into_iter().filter_map(read).collect())
    }

    /// A set of keys that were read before.
    pub fn of(keys: Vec<Key>) -> Result<Self, SetError> {
        let name = |key: &Key| (key.id.clone(), key.algorithm);
        let mut names: Vec<_> = keys.iter().filter(|key| key.id.is_some()).map(name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(SetError::Twice);
        }
        Ok(Self(keys))
    }

    /// The key of this id and algorithm. Without an id, the only key of the algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut found = self
            .0
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let first = found.next();
        first.filter(|_| found.next().is_none())
    }

    /// Whether a key has this id: with another algorithm, that is no reason to fetch keys.
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }
}
