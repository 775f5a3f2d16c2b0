//! HMAC-SHA-256 under a key that may be in rotation.
//!
//! Owns the only construction of our own MACs in this crate; signatures of other protocols are
//! made by [`crate::inject`]. What a MAC hashes of its key is hashed once, which spares each MAC two
//! compressions; the state is as secret as the key and is wiped like it.
//!
//! Invariant: a key has 32 bytes, so there is no empty key; every MAC has a label, and comparison
//! is constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// Bytes of a key and of a MAC.
pub const LENGTH: usize = 32;

/// The key that signs, and the one before it, which is still believed.
pub struct MacKeys {
    new: Keyed,
    old: Option<Keyed>,
}

/// The state of a MAC that has taken its key and nothing else.
struct Keyed(Hmac<Sha256>);

impl MacKeys {
    /// `None` unless every key has 32 bytes.
    pub fn new(new: Secret, old: Option<Secret>) -> Option<Self> {
        let old = match old {
            Some(old) => Some(Keyed::of(&old)?),
            None => None,
        };
        Some(Self { new: Keyed::of(&new)?, old })
    }

    /// The MAC of `parts`, one after the other, under `label`. The caller's format has
    /// to make the parts unambiguous.
    pub fn sign(&self, label: &[u8], parts: &[&[u8]]) -> [u8; LENGTH] {
        self.new.over(label, parts).finalize().into_bytes().into()
    }

    /// The MACs of `parts` under the new key and, if there is one, the old: for whoever keeps a
    /// part of one, and compares in constant time.
    pub(crate) fn each(&self, label: &[u8], parts: &[&[u8]]) -> Vec<[u8; LENGTH]> {
        let mac = |key: &Keyed| key.over(label, parts).finalize().into_bytes().into();
        std::iter::once(&self.new).chain(&self.old).map(mac).collect()
    }

    /// Whether `mac` is that of `parts` under the new key or the old one.
    pub fn verify(&self, label: &[u8], parts: &[&[u8]], mac: &[u8]) -> bool {
        let holds = |key: &Keyed| key.over(label, parts).verify_slice(mac).is_ok();
        holds(&self.new) || self.old.as_ref().is_some_and(holds)
    }
}

impl Keyed {
    /// `None` unless the key has 32 bytes.
    fn of(key: &Secret) -> Option<Self> {
        if key.len() != LENGTH {
            return None;
        }
        Hmac::new_from_slice(key.expose()).ok().map(Self)
    }

    fn over(&self, label: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(label);
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(new: u8, old: Option<u8>) -> MacKeys {
        let key = |byte| Secret::new(vec![byte; LENGTH]);
        MacKeys::new(key(new), old.map(key)).unwrap()
    }

    #[test]
    fn a_mac_holds_under_its_key_label_and_parts_only() {
        let mac = keys(1, None).sign(b"a\0", &[b"x", b"y"]);
        assert!(keys(1, None).verify(b"a\0", &[b"xy"], &mac));
        assert!(keys(2, Some(1)).verify(b"a\0", &[b"xy"], &mac));
        assert!(!keys(2, None).verify(b"a\0", &[b"xy"], &mac));
        assert!(!keys(1, None).verify(b"b\0", &[b"xy"], &mac));
        assert!(!keys(1, None).verify(b"a\0", &[b"xz"], &mac));
        assert!(!keys(1, None).verify(b"a\0", &[b"xy"], &mac[..31]));
        assert!(!keys(1, None).verify(b"a\0", &[b"xy"], b""));
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for length in [0, 16, 31, 33] {
            assert!(MacKeys::new(Secret::new(vec![1; length]), None).is_none());
            let old = Some(Secret::new(vec![1; length]));
            assert!(MacKeys::new(Secret::new(vec![1; 32]), old).is_none());
        }
    }
}
