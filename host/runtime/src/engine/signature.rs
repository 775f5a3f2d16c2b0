//! `verify_signature` and `sign`: RSA PKCS#1 v1.5 and ECDSA, the public key as a DER
//! SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), the private one as PKCS#8 or PKCS#1.
//!
//! Envoy's texts. Its library knows more pairs of key and hash than this one; what is not
//! known here is an error that names the hash.
//!
//! Invariant: anything but a signature that verifies is a [`Fault`].

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{self as algorithms, EcdsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};

/// AlgorithmIdentifier of rsaEncryption with its NULL (RFC 3279 section 2.3.1).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// AlgorithmIdentifier of id-ecPublicKey on secp256r1 (RFC 5480 section 2.1.1).
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// The same on secp384r1.
const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";

/// Why there is no signature, or why one does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0} is not supported.")]
    Hash(String),
    #[error("Failed to initialize digest verify.")]
    Key,
    #[error("Failed to verify digest. Error code: 0")]
    Signature,
    #[error("Invalid key type: private key required for signing operation.")]
    PrivateKey,
}

/// Hashes that are known by name, whatever a key can do with them.
fn is_hash(name: &str) -> bool {
    ["sha1", "sha224", "sha256", "sha384", "sha512"].contains(&name)
}

fn hash(name: &[u8]) -> Result<String, Fault> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if is_hash(&name) { Ok(name) } else { Err(Fault::Hash(name)) }
}

pub(super) fn verify(name: &[u8], key: &[u8], signature: &[u8], text: &[u8]) -> Result<(), Fault> {
    let hash = hash(name)?;
    let (algorithm, key) = public_key(key).ok_or(Fault::Key)?;
    let algorithm: &dyn VerificationAlgorithm = match (algorithm, hash.as_str()) {
        (RSA, "sha1") => &algorithms::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (RSA, "sha256") => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        (RSA, "sha384") => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        (RSA, "sha512") => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        (P256, "sha256") => &algorithms::ECDSA_P256_SHA256_ASN1,
        (P256, "sha384") => &algorithms::ECDSA_P256_SHA384_ASN1,
        (P384, "sha256") => &algorithms::ECDSA_P384_SHA256_ASN1,
        (P384, "sha384") => &algorithms::ECDSA_P384_SHA384_ASN1,
        (RSA | P256 | P384, _) => return Err(Fault::Hash(hash)),
        _ => return Err(Fault::Key),
    };
    let verified = UnparsedPublicKey::new(algorithm, key).verify(text, signature);
    verified.map_err(|_| Fault::Signature)
}

pub(super) fn sign(name: &[u8], key: &[u8], text: &[u8]) -> Result<Vec<u8>, Fault> {
    let hash = hash(name)?;
    if let Ok(key) = rsa::KeyPair::from_pkcs8(key).or_else(|_| rsa::KeyPair::from_der(key)) {
        return sign_rsa(&hash, &key, text);
    }
    let random = SystemRandom::new();
    let algorithm = [
        ("sha256", &algorithms::ECDSA_P256_SHA256_ASN1_SIGNING),
        ("sha384", &algorithms::ECDSA_P384_SHA384_ASN1_SIGNING),
    ];
    let pairs = algorithm.map(|(name, it)| (name, EcdsaKeyPair::from_pkcs8(it, key, &random)));
    let Some((fits, pair)) = pairs.into_iter().find_map(|(name, it)| Some((name, it.ok()?))) else {
        return Err(Fault::PrivateKey);
    };
    if fits != hash {
        return Err(Fault::Hash(hash));
    }
    let signature = pair.sign(&random, text).map_err(|_| Fault::PrivateKey)?;
    Ok(signature.as_ref().to_vec())
}

fn sign_rsa(hash: &str, key: &rsa::KeyPair, text: &[u8]) -> Result<Vec<u8>, Fault> {
    let padding: &dyn algorithms::RsaEncoding = match hash {
        "sha256" => &algorithms::RSA_PKCS1_SHA256,
        "sha384" => &algorithms::RSA_PKCS1_SHA384,
        "sha512" => &algorithms::RSA_PKCS1_SHA512,
        _ => return Err(Fault::Hash(hash.to_owned())),
    };
    let mut signature = vec![0; key.public().modulus_len()];
    let signed = key.sign(padding, &SystemRandom::new(), text, &mut signature);
    signed.map(|()| signature).map_err(|_| Fault::PrivateKey)
}

/// The bytes of the first block of PEM (RFC 7468); `None` if there is none.
pub(super) fn pem(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (_, rest) = rest.split_once("-----")?;
    let (base64, _) = rest.split_once("-----END ")?;
    let base64: String = base64.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(base64).ok()
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
        assert_eq!(
            verify(b"sha512", &key, signature.as_ref(), b"text"),
            Err(Fault::Hash("sha512".to_owned()))
        );
    }

    #[test]
    fn what_is_signed_verifies_and_a_public_key_signs_nothing() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
                .unwrap();
        let key = info(P256, pair.public_key().as_ref());
        let signature = sign(b"SHA256", pkcs8.as_ref(), b"text").unwrap();
        assert_eq!(verify(b"sha256", &key, &signature, b"text"), Ok(()));
        assert_eq!(sign(b"sha256", &key, b"text"), Err(Fault::PrivateKey));
        assert_eq!(sign(b"md5", pkcs8.as_ref(), b""), Err(Fault::Hash("md5".to_owned())));
        let text = Fault::Hash("md5".to_owned()).to_string();
        assert_eq!(text, "md5 is not supported.");
    }

    #[test]
    fn the_first_block_of_pem_is_taken() {
        let text = b"note\n-----BEGIN PUBLIC KEY-----\naGVs\nbG8=\n-----END PUBLIC KEY-----\n";
        assert_eq!(pem(text).as_deref(), Some(&b"hello"[..]));
        assert_eq!(pem(&text[..40]), None);
        assert_eq!(pem(b"junk"), None);
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
