//! `verify_signature`: RSA PKCS#1 v1.5 and ECDSA on P-256, both with SHA-256, the key as a
//! DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
//!
//! Invariant: anything but a signature that verifies is a [`Fault`].

use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

/// AlgorithmIdentifier of rsaEncryption with its NULL (RFC 3279 section 2.3.1).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// AlgorithmIdentifier of id-ecPublicKey on secp256r1 (RFC 5480 section 2.1.1).
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("only sha256 is supported.")]
    Hash,
    #[error("the public key is neither RSA nor P-256 in SubjectPublicKeyInfo form.")]
    Key,
    #[error("the signature does not verify.")]
    Signature,
}

pub(super) fn verify(hash: &[u8], key: &[u8], signature: &[u8], text: &[u8]) -> Result<(), Fault> {
    if !hash.eq_ignore_ascii_case(b"sha256") {
        return Err(Fault::Hash);
    }
    let (algorithm, key) = public_key(key).ok_or(Fault::Key)?;
    let verified = match algorithm {
        RSA => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(text, signature),
        P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(text, signature),
        _ => return Err(Fault::Key),
    };
    verified.map_err(|_| Fault::Signature)
}

/// AlgorithmIdentifier and key bits.
fn public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut info, rest) = element(0x30, der)?;
    let (algorithm, after) = element(0x30, info)?;
    info = after;
    let (bits, after) = element(0x03, info)?;
    // A whole number of bytes, and nothing behind.
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && after.is_empty()).then_some((algorithm, key))
}

/// One DER element: its content and what follows.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    match first {
        0..=0x7f => rest.split_at_checked(usize::from(*first)),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest.split_at_checked(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    /// SubjectPublicKeyInfo of a key of 2048 bits that was thrown away.
    const RSA_KEY: &str = "\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA9Jo6VV8wXjz3DsdHimk0J4NFF_EZ_K0O9fTGhuSxVSYvDd\
        8RS-iT3ejS7EJqHRCDHhoqLsPoREuxvJ38YOJURECmnzOhAEOXIXwsadcIqyFUzxMGBh8SEtlOw_1-MBsmFs81Yj8w\
        QEKIdAf5Ym13I5GfAwUYUgGxdygxHXhm9itoDR01NnnR6AGy_lV8oKLfBYnn-vP6BDPq_H4bdWlUCeeGY8iyJAiNxA\
        BmMhnBn5sjuk8rR30XHX9TbgKwdDn5psgmheiBVt_sNyjwYJtRBFgHmP4hUbwOXEWdVCDhuU-TMh69sJgcv4fjXKeR\
        j4ZsJJDpjq2QijpSkwi3YdIe0wIDAQAB";
    /// Its signature over `text`.
    const RSA_SIGNATURE: &str = "\
        32vt058Q7hFxYkv2jGSHWO7D0fB7Hh8lYzk7byE2sENvFnrsUU3j8Pjyy1nnLoEKajAtf7h4WAYAjJ3YS8IzefEEA0\
        sibIPF7dCL2zHIHczZawlW_Xpw-xVevQ0y8W0Ye7k9Yoy5hFeVIzCKSRMaiCpERYoJqNyTd-3R9Pqw15oM-mKKTOYu\
        rIBac9uGg4CnveZtK15U_INvOKCzrfRmCNCxAdmvY2H7d3i3gOqVbhlqzbH6UgVFRt4l8UOu14Wkd6Q-TXkoWZBQLT\
        5RmjtQ0--16gArejZ3o8dl92mMm5aYDuBD-QYF31TbOtcNf_H4qtUtvbqv7lUwN0N88Dlt2A";

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    #[test]
    fn rsa_verifies_its_text_and_no_other() {
        let (key, signature) = (bytes(RSA_KEY), bytes(RSA_SIGNATURE));
        assert_eq!(verify(b"sha256", &key, &signature, b"text"), Ok(()));
        assert_eq!(verify(b"sha256", &key, &signature, b"texu"), Err(Fault::Signature));
        assert_eq!(verify(b"sha256", &key, &signature[1..], b"text"), Err(Fault::Signature));
    }

    fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let wrap =
            |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).unwrap()], inner].concat();
        wrap(0x30, &[wrap(0x30, algorithm), wrap(0x03, &[&[0], key].concat())].concat())
    }

    #[test]
    fn p256_verifies_its_text_and_no_other() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
                .unwrap();
        let signature = pair.sign(&random, b"text").unwrap();
        let key = info(P256, pair.public_key().as_ref());
        assert_eq!(verify(b"sha256", &key, signature.as_ref(), b"text"), Ok(()));
        assert_eq!(verify(b"sha256", &key, signature.as_ref(), b"other"), Err(Fault::Signature));
        assert_eq!(verify(b"sha512", &key, signature.as_ref(), b"text"), Err(Fault::Hash));
    }

    #[test]
    fn a_key_cut_short_or_of_another_kind_is_refused() {
        let key = info(P256, &[4; 65]);
        for end in 0..key.len() {
            assert_eq!(verify(b"sha256", &key[..end], b"", b""), Err(Fault::Key));
        }
        assert_eq!(
            verify(b"sha256", &info(b"\x06\x03\x2b\x65\x70", &[0; 32]), b"", b""),
            Err(Fault::Key)
        );
        assert_eq!(verify(b"sha256", &key, b"", b""), Err(Fault::Signature));
    }
}
