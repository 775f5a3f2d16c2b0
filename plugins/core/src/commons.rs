//! What one worker of the gate has fetched and every worker uses: values in shared data under a
//! name, with a MAC under a key that no other module has ([`crate::keyring::commons_keys`]).
//!
//! Owns the seal round such a value. What it means, and who may fetch it next, whoever uses it
//! says in the value. Names are a fixed set, since shared data is never deleted.
//!
//! Invariant: a value counts when its MAC, which covers its name, holds. That it is the newest
//! nobody can see here: an older one that was put back opens as well.

use crate::mac::{self, MacKeys};
use crate::receipt::{ABSENT, SharedData};

const LABEL: &[u8] = b"postern commons/1\0";

/// What stands under a name, with the version that [`Commons::replace`] needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A value of ours.
    Value(Vec<u8>, u32),
    /// Something that we did not write there.
    Forged(u32),
}

impl Found {
    /// The version of what stands there.
    pub fn version(&self) -> u32 {
        match self {
            Self::Nothing => ABSENT,
            Self::Value(_, version) | Self::Forged(version) => *version,
        }
    }
}

/// Values that workers have in common, behind `&self`.
pub trait Commons {
    /// What stands under `name`.
    fn find(&self, name: &str) -> Found;
    /// Writes a value unless somebody has written since `version` was read.
    fn replace(&self, name: &str, value: &[u8], version: u32) -> bool;
}

/// The seal of all who share its keys.
pub struct Seal(MacKeys);

impl Seal {
    /// Under these keys.
    pub fn new(keys: MacKeys) -> Self {
        Self(keys)
    }

    /// As [`Commons::find`].
    pub fn find(&self, shared: &mut dyn SharedData, name: &str) -> Found {
        let Some((bytes, version)) = shared.read(name) else { return Found::Nothing };
        let opened = bytes.split_last_chunk::<{ mac::LENGTH }>();
        let opened = opened.filter(|(value, mac)| {
            self.0.verify(LABEL, &[&length(name), name.as_bytes(), value], *mac)
        });
        match opened {
            Some((value, _)) => Found::Value(value.to_vec(), version),
            None => Found::Forged(version),
        }
    }

    /// As [`Commons::replace`].
    pub fn replace(
        &self,
        shared: &mut dyn SharedData,
        name: &str,
        value: &[u8],
        version: u32,
    ) -> bool {
        let mac = self.0.sign(LABEL, &[&length(name), name.as_bytes(), value]);
        shared.replace(name, &[value, &mac].concat(), version)
    }
}

/// Says where the name ends.
fn length(name: &str) -> [u8; 1] {
    [u8::try_from(name.len()).unwrap_or(u8::MAX)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::secret::Secret;

    #[derive(Default)]
    struct Shared(BTreeMap<String, Vec<u8>>);

    impl SharedData for Shared {
        fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
            Some((self.0.get(key)?.clone(), 1))
        }

        fn replace(&mut self, key: &str, value: &[u8], _: u32) -> bool {
            self.0.insert(key.to_owned(), value.to_vec());
            true
        }
    }

    fn seal(key: u8) -> Seal {
        Seal::new(MacKeys::new(Secret::new(vec![key; 32]), None).unwrap())
    }

    #[test]
    fn a_value_opens_under_its_name_and_keys_only() {
        let mut shared = Shared::default();
        assert_eq!(seal(1).find(&mut shared, "a").version(), ABSENT);
        assert!(seal(1).replace(&mut shared, "a", b"value", ABSENT));
        assert_eq!(seal(1).find(&mut shared, "a"), Found::Value(b"value".to_vec(), 1));
        assert_eq!(seal(2).find(&mut shared, "a"), Found::Forged(1));
        let copied = shared.0.get("a").unwrap().clone();
        shared.0.insert("b".to_owned(), copied);
        assert_eq!(seal(1).find(&mut shared, "b"), Found::Forged(1));
    }

    #[test]
    fn a_value_that_was_changed_or_cut_does_not_open() {
        let mut shared = Shared::default();
        assert!(seal(1).replace(&mut shared, "a", b"value", ABSENT));
        let good = shared.0.get("a").unwrap().clone();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            shared.0.insert("a".to_owned(), bad);
            assert_eq!(seal(1).find(&mut shared, "a"), Found::Forged(1), "byte {at}");
        }
        for length in [0, 31, good.len() - 1] {
            shared.0.insert("a".to_owned(), good[..length].to_vec());
            assert_eq!(seal(1).find(&mut shared, "a"), Found::Forged(1), "{length} bytes");
        }
    }
}
