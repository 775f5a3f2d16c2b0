//! HMAC-SHA-256 under a key that may be in rotation.
//!
//! Owns the only construction of our own MACs in this crate; signatures of other protocols are
//! made by [`crate::inject`]. Invariant: a key has 32 bytes, so
//! there is no empty key; every MAC has a label, and comparison is constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// Bytes of a key and of a MAC.
pub const LENGTH: usize = 32;

/// The key that signs, and the one before it, which is still believed.
pub struct MacKeys {
    new: Secret,
    old: Option<Secret>,
}

impl MacKeys {
    /// `None` unless every key has 32 bytes.
    pub fn new(new: Secret, old: Option<Secret>) -> Option<Self> {
        let fits = new.len() == LENGTH && old.as_ref().is_none_or(|old| old.len() == LENGTH);
        fits.then_some(Self { new, old })
    }

    /// The MAC of `parts`, one after the other, under `label`. The caller's format has
    /// to make the parts unambiguous.
    pub fn sign(&self, label: &[u8], parts: &[&[u8]]) -> [u8; LENGTH] {
        match keyed(&self.new, label, parts) {
            Some(mac) => mac.finalize().into_bytes().into(),
            None => [0; LENGTH],
        }
    }

    /// The MACs of `parts` under the new key and, if there is one, the old: for whoever keeps a
    /// part of one, and compares in constant time.
    pub(crate) fn each(&self, label: &[u8], parts: &[&[u8]]) -> Vec<[u8; LENGTH]> {
        let mac = |key| Some(keyed(key, label, parts)?.finalize().into_bytes().into());
        std::iter::once(&self.new).chain(&self.old).filter_map(mac).collect()
    }

    /// Whether `mac` is that of `parts` under the new key or the old one.
    pub fn verify(&self, label: &[u8], parts: &[&[u8]], mac: &[u8]) -> bool {
        let holds = |key: &Secret| {
            keyed(key, label, parts).is_some_and(|state| state.verify_slice(mac).is_ok())
        };
        holds(&self.new) || self.old.as_ref().is_some_and(holds)
    }
}

/// `None` never happens: HMAC takes keys of any length.
fn keyed(key: &Secret, label: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(label);
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
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
