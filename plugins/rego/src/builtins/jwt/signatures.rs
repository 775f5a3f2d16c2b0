//! Signatures of JWS (RFC 7518, 3.1), as OPA verifies them: the hash is the algorithm's,
//! the curve is the key's.
//!
//! Invariant: a key of another kind than the algorithm's verifies nothing.

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{Pkcs1v15Sign, PublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::No;
use super::keys::Material;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ecdsa,
    EdDsa,
    Hmac,
    Pkcs1,
    Pss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    family: Family,
    hash: Hash,
}

impl Scheme {
    /// By the value of `alg`.
    pub(super) fn find(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self { family: Family::EdDsa, hash: Hash::Sha512 });
        }
        let (family, hash) = name.split_at_checked(2)?;
        let family = match family {
            "ES" => Family::Ecdsa,
            "HS" => Family::Hmac,
            "PS" => Family::Pss,
            "RS" => Family::Pkcs1,
            _ => return None,
        };
        let hash = match hash {
            "256" => Hash::Sha256,
            "384" => Hash::Sha384,
            "512" => Hash::Sha512,
            _ => return None,
        };
        Some(Self { family, hash })
    }

    pub(super) fn is_symmetric(self) -> bool {
        self.family == Family::Hmac
    }
}

impl Hash {
    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// Whether this is a signature of the message.
pub(super) fn hold(
    scheme: Scheme,
    key: &Material,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, No> {
    let held = match (scheme.family, key) {
        (_, Material::Unknown) | (Family::Hmac, Material::Octets) => return Err(No::Unknown),
        (Family::Hmac, Material::Secret(key)) => hmac(scheme.hash, key, message, signature),
        (Family::EdDsa, Material::Ed25519(key)) => ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        (Family::Ecdsa, Material::P256(key)) => halves(signature, 32)
            .and_then(|signature| p256::ecdsa::Signature::from_slice(&signature).ok())
            .is_some_and(|one| key.verify_prehash(&scheme.hash.digest(message), &one).is_ok()),
        (Family::Ecdsa, Material::P384(key)) => halves(signature, 48)
            .and_then(|signature| p384::ecdsa::Signature::from_slice(&signature).ok())
            .is_some_and(|one| key.verify_prehash(&scheme.hash.digest(message), &one).is_ok()),
        (Family::Pkcs1, Material::Rsa(key)) => pkcs1(scheme.hash, key, message, signature),
        (Family::Pss, Material::Rsa(key)) => pss(scheme.hash, key, message, signature),
        _ => false,
    };
    Ok(held)
}

/// Both numbers of a signature in full length; OPA cuts it in the middle, however long it is.
fn halves(signature: &[u8], length: usize) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(signature.len() / 2)?;
    let mut both = Vec::with_capacity(length.checked_mul(2)?);
    for half in [r, s] {
        let start = half.iter().position(|byte| *byte != 0)?;
        let number = half.get(start..)?;
        both.resize(both.len().checked_add(length.checked_sub(number.len())?)?, 0);
        both.extend(number);
    }
    Some(both)
}

fn hmac(hash: Hash, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    macro_rules! holds {
        ($hash:ty) => {
            Hmac::<$hash>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(message).verify_slice(signature).is_ok())
        };
    }
    match hash {
        Hash::Sha256 => holds!(Sha256),
        Hash::Sha384 => holds!(Sha384),
        Hash::Sha512 => holds!(Sha512),
    }
}

/// DigestInfo before the hash (RFC 8017, 9.2, note 1).
fn prefix(number: u8, length: u8) -> Box<[u8]> {
    let whole = length.saturating_add(0x11);
    Box::new([
        0x30, whole, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
        number, 0x05, 0x00, 0x04, length,
    ])
}

fn pkcs1(hash: Hash, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let (number, length) = match hash {
        Hash::Sha256 => (1, 32),
        Hash::Sha384 => (2, 48),
        Hash::Sha512 => (3, 64),
    };
    let prefix = prefix(number, length);
    let scheme = Pkcs1v15Sign { hash_len: Some(usize::from(length)), prefix };
    key.verify(scheme, &hash.digest(message), signature).is_ok()
}

/// With a salt of any length, which the signature tells.
fn pss(hash: Hash, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    macro_rules! holds {
        ($hash:ty) => {{
            let scheme = rsa::Pss::<$hash> { salt_len: None, ..rsa::Pss::<$hash>::new() };
            key.verify(scheme, &hash.digest(message), signature).is_ok()
        }};
    }
    match hash {
        Hash::Sha256 => holds!(Sha256),
        Hash::Sha384 => holds!(Sha384),
        Hash::Sha512 => holds!(Sha512),
    }
}
