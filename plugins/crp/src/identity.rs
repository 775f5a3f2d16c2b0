//! Who signs a request: an Ed25519 key with one role.
//!
//! Invariant: every signature covers a label that ends in a zero byte, so no bytes
//! signed for one purpose can serve another; verification is strict (RFC 8032, no
//! small-order keys, canonical encodings only).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use postern_core::secret::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What an enrolled key may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The `gate` module: directory look-ups.
    Gate,
    /// The `credential` module: releases.
    Credential,
    /// The `audit` module: audit batches.
    Audit,
    /// A person's command line: stores credentials.
    Operator,
}

impl Role {
    /// As written in an enrolment.
    pub fn code(self) -> u8 {
        match self {
            Self::Gate => 1,
            Self::Credential => 2,
            Self::Audit => 3,
            Self::Operator => 4,
        }
    }

    /// The role of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Gate, Self::Credential, Self::Audit, Self::Operator]
            .into_iter()
            .find(|role| role.code() == code)
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Credential => "credential",
            Self::Audit => "audit",
            Self::Operator => "operator",
        }
    }
}

/// A signing key.
pub struct Identity {
    key: SigningKey,
    hedge: Zeroizing<[u8; 32]>,
}

/// The seed is not 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ed25519 seed has 32 bytes")]
pub struct BadSeed;

impl Identity {
    /// The key of a 32-byte seed (RFC 8032 5.1.5).
    pub fn from_seed(seed: &Secret) -> Result<Self, BadSeed> {
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(seed.expose().try_into().map_err(|_| BadSeed)?);
        let hedge = Sha256::new().chain_update(b"crp/1 hedge\0").chain_update(*seed).finalize();
        Ok(Self { key: SigningKey::from_bytes(&seed), hedge: Zeroizing::new(hedge.into()) })
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs `message`, which starts with its label.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// A seed for one exchange: the host's randomness, hardened by the key and a
    /// counter, so that a host that repeats itself does not repeat a key stream.
    pub(crate) fn hedged(&self, entropy: &[u8; 32], now: u64, count: u64) -> Zeroizing<[u8; 32]> {
        let seed = Sha256::new()
            .chain_update(b"crp/1 seed\0")
            .chain_update(*self.hedge)
            .chain_update(entropy)
            .chain_update(now.to_be_bytes())
            .chain_update(count.to_be_bytes())
            .finalize();
        Zeroizing::new(seed.into())
    }
}

/// Whether `signature` over `message` is by `public_key`, strictly.
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public_key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}
