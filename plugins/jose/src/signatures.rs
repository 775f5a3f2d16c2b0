//! Verification: in Rust, or by the host's native function where there is one.
//!
//! Invariant: both give the same verdict. What only one of them would take (a signature of
//! another length, a key of another type) is refused before either is asked.

#[cfg(feature = "full")]
use rsa::Pss;
use rsa::{Pkcs1v15Sign, PublicKey};
use sha2::{Digest, Sha256};
#[cfg(feature = "full")]
use sha2::{Sha384, Sha512};
// The trait of both curves' keys.
#[cfg(feature = "full")]
use p256::ecdsa::signature::hazmat::PrehashVerifier;

use crate::algorithm::Algorithm;
use crate::der;
use crate::jwk::{Key, Material};

/// Verifies signatures of JWS.
pub trait Signatures {
    /// Whether `signature`, in the form of a JWS, is one of `message` under `key`.
    fn hold(&self, key: &Key, message: &[u8], signature: &[u8]) -> bool;
}

/// In Rust, all algorithms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pure;

impl Signatures for Pure {
    fn hold(&self, key: &Key, message: &[u8], signature: &[u8]) -> bool {
        pure(key, message, signature).is_some()
    }
}

fn pure(key: &Key, message: &[u8], signature: &[u8]) -> Option<()> {
    match key.material() {
        #[cfg(feature = "full")]
        Material::Ed25519(key) => {
            let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
            key.verify_strict(message, &signature).ok()
        }
        #[cfg(feature = "full")]
        Material::P256(key) => {
            let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
            key.verify_prehash(&Sha256::digest(message), &signature).ok()
        }
        #[cfg(feature = "full")]
        Material::P384(key) => {
            let signature = p384::ecdsa::Signature::from_slice(signature).ok()?;
            key.verify_prehash(&Sha384::digest(message), &signature).ok()
        }
        Material::Rsa(material) => rsa(material, key.algorithm(), message, signature),
    }
}

/// DigestInfo before the hash (RFC 8017, 9.2, note 1): fourteen bytes that differ in three
/// lengths and the last of the algorithm's number.
fn prefix(number: u8, length: u8) -> Box<[u8]> {
    let whole = length.saturating_add(0x11);
    Box::new([
        0x30, whole, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
        number, 0x05, 0x00, 0x04, length,
    ])
}

fn rsa(key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
    let pkcs = |number, hash: &[u8]| {
        let prefix = prefix(number, u8::try_from(hash.len()).ok()?);
        let scheme = Pkcs1v15Sign { hash_len: Some(hash.len()), prefix };
        key.verify(scheme, hash, signature).ok()
    };
    match algorithm {
        Algorithm::Rs256 => pkcs(1, &Sha256::digest(message)),
        #[cfg(feature = "full")]
        Algorithm::Rs384 => pkcs(2, &Sha384::digest(message)),
        #[cfg(feature = "full")]
        Algorithm::Rs512 => pkcs(3, &Sha512::digest(message)),
        // The salt is as long as the hash (RFC 7518, 3.5).
        #[cfg(feature = "full")]
        Algorithm::Ps256 => {
            key.verify(Pss::<Sha256>::new(), &Sha256::digest(message), signature).ok()
        }
        _ => None,
    }
}

/// A host's function: a hash's name (`sha256`), a key's SubjectPublicKeyInfo, the message
/// and a signature, ECDSA's in DER and RSA's with PKCS #1 v1.5. `None` when the host does not
/// have it.
pub trait Host {
    /// Asks the host.
    fn verify(&self, hash: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool>;
}

/// By the host where it can, else in Rust.
#[derive(Clone, Copy, Debug)]
pub struct Native<H>(pub H);

impl<H: Host> Signatures for Native<H> {
    fn hold(&self, key: &Key, message: &[u8], signature: &[u8]) -> bool {
        let answer = request(key.algorithm(), signature)
            .and_then(|(hash, signature)| self.0.verify(hash, key.info(), message, &signature));
        answer.unwrap_or_else(|| Pure.hold(key, message, signature))
    }
}

/// What to ask a host, if it can be asked: the hash, and the signature in its form.
fn request(algorithm: Algorithm, signature: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let halves = |length| {
        let (r, s) = signature.split_at_checked(length)?;
        (s.len() == length).then(|| der::ecdsa(r, s))
    };
    match algorithm {
        Algorithm::Es256 => Some(("sha256", halves(32)?)),
        Algorithm::Es384 => Some(("sha384", halves(48)?)),
        Algorithm::Rs256 => Some(("sha256", signature.to_vec())),
        Algorithm::Rs384 => Some(("sha384", signature.to_vec())),
        Algorithm::Rs512 => Some(("sha512", signature.to_vec())),
        Algorithm::EdDsa | Algorithm::Ps256 => None,
    }
}
