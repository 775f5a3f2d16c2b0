//! The test keys. They are public: never pin one of them outside of tests.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::{Signer, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{ORIGIN, b64, der, hex};

/// An RSA key pair.
pub struct Rsa(RsaKeyPair);

impl Rsa {
    pub fn ark() -> Self {
        Self::read(include_bytes!("../keys/ark.pkcs8"))
    }

    pub fn ask() -> Self {
        Self::read(include_bytes!("../keys/ask.pkcs8"))
    }

    pub fn uvm_root() -> Self {
        Self::read(include_bytes!("../keys/uvm-root.pkcs8"))
    }

    pub fn uvm_leaf() -> Self {
        Self::read(include_bytes!("../keys/uvm-leaf.pkcs8"))
    }

    pub fn maa() -> Self {
        Self::read(include_bytes!("../keys/maa.pkcs8"))
    }

    pub fn stranger() -> Self {
        Self::read(include_bytes!("../keys/stranger.pkcs8"))
    }

    fn read(pkcs8: &[u8]) -> Self {
        Self(RsaKeyPair::from_pkcs8(pkcs8).expect("a test key"))
    }

    /// RSAPublicKey.
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    pub fn pss_sha384(&self, message: &[u8]) -> Vec<u8> {
        self.sign(&RSA_PSS_SHA384, message)
    }

    pub fn pkcs1_sha384(&self, message: &[u8]) -> Vec<u8> {
        self.sign(&RSA_PKCS1_SHA384, message)
    }

    pub fn pkcs1_sha256(&self, message: &[u8]) -> Vec<u8> {
        self.sign(&RSA_PKCS1_SHA256, message)
    }

    fn sign(&self, scheme: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(scheme, &SystemRandom::new(), message, &mut signature).expect("signs");
        signature
    }
}

/// The chip's key.
pub struct Chip(EcdsaKeyPair);

impl Chip {
    pub fn new() -> Self {
        let key = include_bytes!("../keys/vcek.pkcs8");
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key, &random);
        Self(pair.expect("a test key"))
    }

    /// Uncompressed point.
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// r and s, big-endian.
    pub fn sign(&self, message: &[u8]) -> [Vec<u8>; 2] {
        let signature = self.0.sign(&SystemRandom::new(), message).expect("signs");
        let (r, s) = signature.as_ref().split_at(48);
        [r.to_vec(), s.to_vec()]
    }
}

/// Modulus of the test root, which stands for AMD's in tests.
#[must_use]
pub fn root_modulus() -> Vec<u8> {
    der::modulus(&Rsa::ark().public())
}

/// Modulus of a root that nobody pins.
#[must_use]
pub fn stranger_root() -> Vec<u8> {
    der::modulus(&Rsa::stranger().public())
}

/// The key of the test attestation service: a JWK.
#[must_use]
pub fn maa_key() -> Value {
    let n = b64(&der::modulus(&Rsa::maa().public()));
    json!({"kty": "RSA", "kid": crate::KEY_ID, "n": n, "e": "AQAB"})
}

/// Name of the test release key.
pub const RELEASE_NAME: &str = "release.test";

fn release_key() -> SigningKey {
    SigningKey::from_bytes(&[0x5e; 32])
}

fn key_id(key: &SigningKey) -> [u8; 4] {
    let hash = Sha256::digest(
        [RELEASE_NAME.as_bytes(), b"\n\x01", key.verifying_key().as_bytes()].concat(),
    );
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The test release key as a gateway pins it.
#[must_use]
pub fn release_vkey() -> String {
    let key = release_key();
    let public = [&[1], key.verifying_key().as_bytes().as_slice()].concat();
    format!("{RELEASE_NAME}+{}+{}", hex(&key_id(&key)), B64.encode(public))
}

/// A signed release set with these host data.
#[must_use]
pub fn release_set(sequence: u64, not_after: u64, host_data: &[[u8; 32]]) -> String {
    let mut text = format!("crp-release-set/v1\n{ORIGIN}\nseq {sequence}\nnot-after {not_after}\n");
    for data in host_data {
        let _ = writeln!(text, "{} sha256:{} {}", hex(data), "1a".repeat(32), "c0".repeat(20));
    }
    let key = release_key();
    let signature = [&key_id(&key), key.sign(text.as_bytes()).to_bytes().as_slice()].concat();
    format!("{text}\n\u{2014} {RELEASE_NAME} {}\n", B64.encode(signature))
}
