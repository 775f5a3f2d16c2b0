//! Ed25519 public keys and signatures, verified strictly.
//!
//! Invariant: a [`PublicKey`] is the canonical encoding of a point that is not of small
//! order, so that one key has one encoding and no signature fits every message.

use std::fmt;

use curve25519_dalek::EdwardsPoint;
use ed25519_dalek::{Signature, VerifyingKey};

/// A key that signatures can be verified under.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the 32 bytes of RFC 8032, 5.1.5.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        let key = VerifyingKey::from_bytes(&bytes).ok()?;
        (is_canonical(&bytes) && !key.is_weak()).then_some(Self(key))
    }

    /// The encoding it was read from.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The point, for tables.
    pub(crate) fn point(&self) -> EdwardsPoint {
        self.0.to_edwards()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:02x?})", self.as_bytes())
    }
}

/// Whether y is below 2^255 - 19; the decoder of points takes the few that are not.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    high & 0x7f != 0x7f || *low < 0xed || middle.iter().any(|byte| *byte != 0xff)
}

/// Verifies Ed25519. A gateway may bring an implementation with tables for keys that it
/// knows; the verdict must be [`Strict`]'s.
pub trait Signatures {
    /// Whether `signature` is one of `message` under `key`.
    fn hold(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// The reference: `R` canonical and not of small order, `S` below the group order, no
/// cofactor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strict;

impl Signatures for Strict {
    fn hold(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        key.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    #[test]
    fn a_key_of_small_order_is_none() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::parse(&identity), None);
        // Order four: y = 0.
        assert_eq!(PublicKey::parse(&[0; 32]), None);
    }

    #[test]
    fn a_key_with_a_second_encoding_is_none() {
        // y = p + 3, which decodes to the point of y = 3.
        let mut canonical = [0; 32];
        canonical[0] = 3;
        assert!(PublicKey::parse(&canonical).is_some());
        let mut other = [0xff; 32];
        other[0] = 0xed + 3;
        other[31] = 0x7f;
        assert!(VerifyingKey::from_bytes(&other).is_ok(), "the library takes it");
        assert_eq!(PublicKey::parse(&other), None);
    }

    #[test]
    fn a_signature_of_another_message_or_key_does_not_hold() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::parse(key.verifying_key().as_bytes()).unwrap();
        let other = SigningKey::from_bytes(&[8; 32]);
        let signature = key.sign(b"message").to_bytes();
        assert!(Strict.hold(&public, b"message", &signature));
        assert!(!Strict.hold(&public, b"massage", &signature));
        assert!(!Strict.hold(&public, b"message", &other.sign(b"message").to_bytes()));
    }
}
