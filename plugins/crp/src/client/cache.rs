//! What is remembered for seconds, bounded, least recently used out first.
//!
//! Knows no protocol. Invariant: [`Cache::get`] never gives a value past its end, and
//! never holds more than its limit; what leaves is dropped, and secrets wipe on drop.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::time::UnixMillis;

pub(super) struct Cache<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    limit: usize,
    uses: u64,
}

struct Slot<V> {
    value: V,
    since: UnixMillis,
    until: UnixMillis,
    used: u64,
}

impl<K: Ord + Clone, V> Cache<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: BTreeMap::new(), limit, uses: 0 }
    }

    /// The value, unless it is past its end or was put here longer ago than `oldest`.
    pub(super) fn get(&mut self, key: &K, now: UnixMillis, oldest: Duration) -> Option<&mut V> {
        self.uses = self.uses.wrapping_add(1);
        let is_good = |slot: &&mut Slot<V>| now < slot.until && now < slot.since.after(oldest);
        let slot = self.slots.get_mut(key).filter(is_good)?;
        slot.used = self.uses;
        Some(&mut slot.value)
    }

    /// Whether the key is remembered at all, past its end or not.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    pub(super) fn put(&mut self, key: K, value: V, since: UnixMillis, until: UnixMillis) {
        if self.limit == 0 {
            return;
        }
        if !self.knows(&key) && self.slots.len() >= self.limit {
            self.drop_least_used();
        }
        self.uses = self.uses.wrapping_add(1);
        self.slots.insert(key, Slot { value, since, until, used: self.uses });
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.slots.remove(key);
    }

    /// Drops everything past its end.
    pub(super) fn sweep(&mut self, now: UnixMillis) {
        self.slots.retain(|_, slot| now < slot.until);
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    fn drop_least_used(&mut self) {
        let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.slots.remove(&key);
        }
    }
}

/// Limits how often something is asked for: some at once, then one each interval.
pub(super) struct Bucket {
    level: u64,
    full: u64,
    interval: u64,
    at: UnixMillis,
}

impl Bucket {
    /// Unknown key ids: 64 at once, then 20 a second.
    pub(super) fn of_ids(now: UnixMillis) -> Self {
        Self::full(64, 50, now)
    }

    /// Invites: 16 at once, then 2 a second.
    pub(super) fn of_exchanges(now: UnixMillis) -> Self {
        Self::full(16, 500, now)
    }

    fn full(burst: u64, interval: u64, now: UnixMillis) -> Self {
        let full = interval.saturating_mul(burst);
        Self { level: full, full, interval, at: now }
    }

    pub(super) fn is_empty(&mut self, now: UnixMillis) -> bool {
        let gained = now.0.saturating_sub(self.at.0);
        self.level = self.level.saturating_add(gained).min(self.full);
        self.at = now;
        self.level < self.interval
    }

    pub(super) fn spend(&mut self) {
        self.level = self.level.saturating_sub(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_with_its_time_and_the_least_used_leaves_first() {
        let mut cache = Cache::new(2);
        let (start, always) = (UnixMillis(0), Duration::MAX);
        cache.put(1, 'a', start, UnixMillis(10));
        cache.put(2, 'b', start, UnixMillis(20));
        assert_eq!(cache.get(&1, UnixMillis(9), always), Some(&mut 'a'));
        cache.put(3, 'c', start, UnixMillis(20));
        assert_eq!(cache.get(&2, UnixMillis(9), always), None);
        assert_eq!(cache.get(&1, UnixMillis(10), always), None);
        assert_eq!(cache.get(&3, UnixMillis(4), Duration::from_millis(4)), None);
        assert_eq!(cache.get(&3, UnixMillis(3), Duration::from_millis(4)), Some(&mut 'c'));
        assert!(cache.knows(&1));
        cache.sweep(UnixMillis(10));
        assert!(!cache.knows(&1));
    }

    #[test]
    fn the_bucket_allows_a_burst_and_then_one_each_interval() {
        let ids = (Bucket::of_ids(UnixMillis(0)), 64, 50);
        let exchanges = (Bucket::of_exchanges(UnixMillis(0)), 16, 500);
        for (mut bucket, burst, interval) in [ids, exchanges] {
            for _ in 0..burst {
                assert!(!bucket.is_empty(UnixMillis(0)));
                bucket.spend();
            }
            assert!(bucket.is_empty(UnixMillis(interval - 1)));
            assert!(!bucket.is_empty(UnixMillis(interval)));
        }
    }
}
