//! A small cache of compiled patterns.

use std::collections::BTreeMap;

const MOST: usize = 128;

/// Text to what was made of it. When it is full it starts anew: a policy has fewer patterns
/// than this, and patterns from requests should not stay.
pub(super) struct Cache<T>(BTreeMap<String, T>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Cache<T> {
    pub(super) fn get(&mut self, key: &str, make: impl FnOnce() -> T) -> Option<&T> {
        if !self.0.contains_key(key) {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(key.to_owned(), make());
        }
        self.0.get(key)
    }
}
