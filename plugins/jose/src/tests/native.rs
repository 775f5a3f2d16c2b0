//! A stand-in for a host's native function: `ring`, which shares BoringSSL's code.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use std::cell::Cell;

use super::fixture::{b64, keys, token};
use crate::jwk::Key;
use crate::signatures::{Host, Native, Pure, Signatures};

/// Counts what it was asked.
#[derive(Default)]
pub struct Ring(pub Cell<usize>);

/// The bits of a SubjectPublicKeyInfo and whether it is one of RSA.
fn bits(info: &[u8]) -> (&[u8], bool) {
    let rsa = info.windows(9).any(|it| it == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]);
    // Past the two outer headers and the identifier: 03 length 00 bits.
    let header =
        |at: usize| if info[at + 1] < 0x80 { 2 } else { 2 + usize::from(info[at + 1] & 0x7f) };
    let identifier = header(0);
    let bit_string = identifier + 2 + usize::from(info[identifier + 1]);
    assert_eq!(info[bit_string], 3);
    (&info[bit_string + header(bit_string) + 1..], rsa)
}

impl Host for Ring {
    fn verify(&self, hash: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        self.0.set(self.0.get() + 1);
        let (bits, rsa) = bits(key);
        let algorithm: &'static dyn VerificationAlgorithm = match (rsa, hash) {
            (true, "sha256") => &RSA_PKCS1_2048_8192_SHA256,
            (true, "sha384") => &RSA_PKCS1_2048_8192_SHA384,
            (true, "sha512") => &RSA_PKCS1_2048_8192_SHA512,
            (false, "sha256") => &ECDSA_P256_SHA256_ASN1,
            (false, "sha384") => &ECDSA_P384_SHA384_ASN1,
            _ => return None,
        };
        Some(UnparsedPublicKey::new(algorithm, bits).verify(message, signature).is_ok())
    }
}

/// The verdict, which has to be the same both ways.
pub fn verdict(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let pure = Pure.hold(key, message, signature);
    let native = Native(Ring::default()).hold(key, message, signature);
    assert_eq!(pure, native, "{key:?}: {}", b64(signature));
    pure
}

/// A host without the function.
struct None_;

impl Host for None_ {
    fn verify(&self, _: &str, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

#[test]
fn what_a_host_does_not_have_is_verified_here() {
    let good = token(&super::fixture::header(), &super::fixture::claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature =
        base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature).unwrap();
    let keys = keys();
    let host = Native(Ring::default());
    assert!(host.hold(&keys.keys()[0], signed.as_bytes(), &signature));
    assert_eq!(host.0.0.get(), 0, "EdDSA is not asked for");
    assert!(Native(None_).hold(&keys.keys()[0], signed.as_bytes(), &signature));
}
