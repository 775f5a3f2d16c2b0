//! Verdicts that are remembered, bounded, least recently used out first.
//!
//! Invariant: nothing is found past its end, and there are never more than the limit.

use std::collections::BTreeMap;

use postern_core::time::UnixMillis;

/// What a credential hashes to.
pub type Digest = [u8; 32];

/// Remembers `V` for credentials.
pub struct Cache<V> {
    slots: BTreeMap<Digest, Slot<V>>,
    /// Digests by when they were used last; each slot has one.
    order: BTreeMap<u64, Digest>,
    uses: u64,
    most: usize,
}

struct Slot<V> {
    value: V,
    until: UnixMillis,
    used: u64,
}

impl<V: Clone> Cache<V> {
    /// Remembers at most `most`.
    pub fn new(most: usize) -> Self {
        Self { slots: BTreeMap::new(), order: BTreeMap::new(), uses: 0, most }
    }

    /// What is remembered, if its time is not over.
    pub fn find(&mut self, digest: &Digest, now: UnixMillis) -> Option<V> {
        if self.slots.get(digest)?.until <= now {
            self.forget(digest);
            return None;
        }
        self.uses = self.uses.wrapping_add(1);
        let slot = self.slots.get_mut(digest)?;
        self.order.remove(&slot.used);
        slot.used = self.uses;
        self.order.insert(self.uses, *digest);
        Some(slot.value.clone())
    }

    /// Remembers a value until then.
    pub fn put(&mut self, digest: Digest, value: V, until: UnixMillis) {
        self.forget(&digest);
        if self.most == 0 {
            return;
        }
        if self.slots.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.slots.remove(&oldest);
        }
        self.uses = self.uses.wrapping_add(1);
        self.order.insert(self.uses, digest);
        self.slots.insert(digest, Slot { value, until, used: self.uses });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(slot) = self.slots.remove(digest) {
            self.order.remove(&slot.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_and_nothing_outlives_its_end() {
        let mut cache = Cache::new(2);
        let (now, end) = (UnixMillis(10), UnixMillis(20));
        cache.put([1; 32], 'a', end);
        cache.put([2; 32], 'b', end);
        assert_eq!(cache.find(&[1; 32], now), Some('a'));
        cache.put([3; 32], 'c', end);
        assert_eq!(cache.find(&[2; 32], now), None);
        assert_eq!((cache.slots.len(), cache.order.len()), (2, 2));
        assert_eq!(cache.find(&[1; 32], end), None);
        assert_eq!((cache.slots.len(), cache.order.len()), (1, 1));
        cache.put([3; 32], 'd', end);
        assert_eq!(cache.find(&[3; 32], now), Some('d'));
        cache.clear();
        assert_eq!(cache.find(&[3; 32], now), None);
    }

    #[test]
    fn a_limit_of_zero_remembers_nothing() {
        let mut cache = Cache::new(0);
        cache.put([1; 32], 'a', UnixMillis(20));
        assert_eq!(cache.find(&[1; 32], UnixMillis(10)), None);
    }
}
