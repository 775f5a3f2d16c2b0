//! The memory of one instance, which stands for the proxy's shared data.
//!
//! Spin has no memory that instances share with compare-and-set, so nonces, budgets, labels of
//! sessions and revocation heads are known to one instance. What that costs is in `spin/README.md`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use postern_core::commons::{Commons, Found, Seal};
use postern_core::nonces::{Met, Nonces, Table};
use postern_core::receipt::{ABSENT, ANY, SharedData};
use postern_core::tally::{self, Change, Tallies, Updated};
use postern_core::time::UnixMillis;

/// Values and their versions. The keys are a fixed set, so it has a bound.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, (Vec<u8>, u32)>);

impl SharedData for Memory {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let next = match self.0.get(key) {
            None if [ABSENT, ANY].contains(&version) => 1,
            Some((_, held)) if [*held, ANY].contains(&version) => match held.checked_add(1) {
                Some(next) if next != ABSENT => next,
                _ => 1,
            },
            _ => return false,
        };
        self.0.insert(key.to_owned(), (value.to_vec(), next));
        true
    }
}

/// Nonces that this instance has met.
pub struct InstanceNonces(RefCell<(Table, Memory)>);

impl InstanceNonces {
    /// Nothing was met.
    pub fn new(table: Table) -> Self {
        Self(RefCell::new((table, Memory::default())))
    }
}

impl Nonces for InstanceNonces {
    fn meet(&self, hash: &[u8; 32], now: UnixMillis) -> Met {
        let Ok(mut both) = self.0.try_borrow_mut() else { return Met::Unwritten };
        let (table, memory) = &mut *both;
        table.meet(hash, memory, now)
    }

    fn issue(&self, now: UnixMillis) -> Option<String> {
        self.0.try_borrow().ok()?.0.issue(now)
    }

    fn is_issued(&self, nonce: &str, now: UnixMillis) -> bool {
        self.0.try_borrow().is_ok_and(|both| both.0.is_issued(nonce, now))
    }
}

/// What this instance has fetched: nobody else is there to leave it to.
pub struct InstanceCommons(RefCell<(Seal, Memory)>);

impl InstanceCommons {
    /// Nothing was fetched.
    pub fn new(seal: Seal) -> Self {
        Self(RefCell::new((seal, Memory::default())))
    }
}

impl Commons for InstanceCommons {
    fn find(&self, name: &str) -> Found {
        let Ok(mut both) = self.0.try_borrow_mut() else { return Found::Nothing };
        let (seal, memory) = &mut *both;
        seal.find(memory, name)
    }

    fn replace(&self, name: &str, value: &[u8], version: u32) -> bool {
        let Ok(mut both) = self.0.try_borrow_mut() else { return false };
        let (seal, memory) = &mut *both;
        seal.replace(memory, name, value, version)
    }
}

/// Budgets that were spent in this instance, and labels that sessions got there.
pub struct InstanceTallies(RefCell<(tally::Table, Memory)>);

impl InstanceTallies {
    /// Nothing was spent.
    pub fn new(table: tally::Table) -> Self {
        Self(RefCell::new((table, Memory::default())))
    }
}

impl Tallies for InstanceTallies {
    fn update(&self, key: &[u8; 32], now: UnixMillis, change: Change<'_>) -> Updated {
        let Ok(mut both) = self.0.try_borrow_mut() else { return Updated::Unwritten };
        let (table, memory) = &mut *both;
        table.update(key, memory, now, change)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::mac::MacKeys;
    use postern_core::nonces::MEMORY;
    use postern_core::secret::Secret;

    use super::*;

    #[test]
    fn a_value_is_replaced_by_who_knows_its_version() {
        let mut memory = Memory::default();
        assert_eq!(memory.read("a"), None);
        assert!(!memory.replace("a", b"1", 7));
        assert!(memory.replace("a", b"1", ABSENT));
        assert!(!memory.replace("a", b"2", ABSENT));
        let (value, version) = memory.read("a").unwrap();
        assert_eq!(value, b"1");
        assert!(memory.replace("a", b"2", version));
        assert!(!memory.replace("a", b"3", version));
        assert_eq!(memory.read("a").unwrap().0, b"2");
    }

    #[test]
    fn a_nonce_is_new_once() {
        let keys = MacKeys::new(Secret::new(vec![7; 32]), None).unwrap();
        let nonces = InstanceNonces::new(Table::new(keys, MEMORY));
        let met = |now| nonces.meet(&[3; 32], UnixMillis(now));
        assert_eq!([met(1), met(2)], [Met::New, Met::Before]);
    }

    #[test]
    fn an_entry_is_changed_from_what_it_was_last() {
        let keys = MacKeys::new(Secret::new(vec![1; 32]), None).unwrap();
        let tallies = InstanceTallies::new(tally::Table::new(keys));
        let add = |now: u64| {
            let mut seen = 0;
            let updated = tallies.update(&[3; 32], UnixMillis(now), &mut |entry| {
                seen = entry.value;
                Some(tally::Entry { until: UnixMillis(100), value: entry.value + 1 })
            });
            assert_eq!(updated, Updated::Done);
            seen
        };
        assert_eq!([add(1), add(2), add(99), add(100)], [0, 1, 2, 0]);
    }
}
