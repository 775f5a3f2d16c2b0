//! RSA signatures of certificates and endorsements (RFC 8017), under SHA-384 or SHA-256.
//!
//! Invariant: keys have 2048 to 4096 bits; the scheme comes from the caller, and the salt of
//! PSS is as long as the hash.

use rsa::{BoxedUint, Pkcs1v15Sign, PublicKey};
use sha2::{Digest, Sha256, Sha384};

use crate::der::{self, Reader};

/// Sizes of moduli, in bits.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// DigestInfo before the hash (RFC 8017, 9.2, note 1).
const SHA256: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
const SHA384: [u8; 19] =
    [0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 0x30];

/// A public key.
#[derive(Clone, Debug)]
pub(super) struct Key(PublicKey);

impl Key {
    /// From big-endian modulus and exponent without leading zeros.
    pub(super) fn new(n: &[u8], e: &[u8]) -> Option<Self> {
        let sized = n.len() <= MODULUS.end() / 8 && e.len() <= 4;
        let odd = [n, e].iter().all(|it| it.last().is_some_and(|byte| byte & 1 == 1));
        if !(sized && odd) {
            return None;
        }
        let number = BoxedUint::from_be_slice_vartime;
        PublicKey::new_with_size_limits(number(n), number(e), MODULUS).ok().map(Self)
    }

    /// From an RSAPublicKey (RFC 8017, A.1.1).
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(der::only(bytes, der::SEQUENCE)?);
        let n = der::unsigned(fields.take(der::INTEGER)?)?;
        let e = der::unsigned(fields.take(der::INTEGER)?)?;
        fields.end()?;
        Self::new(n, e)
    }

    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes.
    pub(super) fn verify_pss(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.pss_verify_prehash::<Sha384>(&Sha384::digest(message), signature).is_ok()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn verify_pkcs1_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        self.pkcs1(&SHA256, &Sha256::digest(message), signature)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-384.
    pub(super) fn verify_pkcs1_sha384(&self, message: &[u8], signature: &[u8]) -> bool {
        self.pkcs1(&SHA384, &Sha384::digest(message), signature)
    }

    fn pkcs1(&self, prefix: &[u8], hash: &[u8], signature: &[u8]) -> bool {
        let scheme = Pkcs1v15Sign { hash_len: Some(hash.len()), prefix: prefix.into() };
        self.0.verify(scheme, hash, signature).is_ok()
    }
}
