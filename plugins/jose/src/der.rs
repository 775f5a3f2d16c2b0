//! The little DER (X.690) that a host's native verification asks for.
//!
//! Invariant: what is written here is the one encoding of its value.

use crate::algorithm::Algorithm;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// AlgorithmIdentifiers of RFC 8410 (3), RFC 5480 (2.1.1) and RFC 3279 (2.3.1).
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
const P384: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
    0x00, 0x22,
];
const RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut bytes = vec![tag];
    match significant.as_slice() {
        [] => bytes.push(0),
        [short @ 0..0x80] => bytes.push(*short),
        long => {
            // At most the eight bytes of a length.
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            bytes.extend(long);
        }
    }
    bytes.extend(content);
    bytes
}

/// A non-negative INTEGER from big-endian bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let negative = significant.first().is_none_or(|byte| byte & 0x80 != 0);
    let sign: &[u8] = if negative { &[0] } else { &[] };
    element(INTEGER, &[sign, &significant].concat())
}

/// `ECDSA-Sig-Value` (RFC 3279, 2.2.3) from the two halves of a JWS signature.
pub fn ecdsa(r: &[u8], s: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[integer(r), integer(s)].concat())
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub fn rsa(n: &[u8], e: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[integer(n), integer(e)].concat())
}

/// `SubjectPublicKeyInfo` (RFC 5280, 4.1) around a key's bits.
pub fn public_key(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let identifier = match algorithm {
        Algorithm::EdDsa => ED25519,
        Algorithm::Es256 => P256,
        Algorithm::Es384 => P384,
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 => RSA,
    };
    let bits = element(BIT_STRING, &[&[0], key].concat());
    element(SEQUENCE, &[identifier, &bits].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_not_negative() {
        let rows: [(&[u8], &[u8]); 5] = [
            (&[], &[2, 1, 0]),
            (&[0, 0], &[2, 1, 0]),
            (&[0, 1], &[2, 1, 1]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0x7f, 0xff], &[2, 2, 0x7f, 0xff]),
        ];
        for (bytes, encoding) in rows {
            assert_eq!(integer(bytes), encoding);
        }
    }

    #[test]
    fn lengths_are_minimal() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
        ] {
            let encoded = element(4, &vec![7; length]);
            assert_eq!(encoded.len(), head.len() + length);
            assert!(encoded.starts_with(head), "{length}");
        }
    }
}
